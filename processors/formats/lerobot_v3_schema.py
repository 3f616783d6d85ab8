"""The parquet schema of the rows of a LeRobot v3.0 dataset, from the features in its `meta/info.json`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


def row_widths(features: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many numbers a row of each column holds."""
    return {key: math.prod(feature["shape"]) for key, feature in _columns(features).items() if _is_vector(feature)}


def row_schema(features: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """The schema with which LeRobot's recorder writes `data/`: a column for each feature that is no video, in order.

    Raises KeyError, TypeError or ValueError for features that LeRobot does not know.
    """
    import pyarrow as pa

    fields, described = [], {}
    for key, feature in _columns(features).items():
        kind, described[key] = _column(feature)
        fields.append(pa.field(key, kind))
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": described}})})


def _columns(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {key: feature for key, feature in features.items() if feature["dtype"] != "video"}


def _is_vector(feature: Mapping[str, Any]) -> bool:
    return feature["dtype"] not in ("image", "string") and tuple(feature["shape"]) != (1,)


def _column(feature: Mapping[str, Any]) -> tuple[pa.DataType, dict[str, Any]]:
    """The type of a column, and how the `datasets` library notes it in the file."""
    import pyarrow as pa

    dtype, shape = feature["dtype"], [int(size) for size in feature["shape"]]
    if dtype == "image":
        return pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}
    number = pa.string() if dtype == "string" else pa.type_for_alias("bool" if dtype == "bool" else dtype)
    value = {"dtype": dtype, "_type": "Value"}
    if not _is_vector(feature):
        return number, value
    if len(shape) == 1:
        return pa.list_(number, shape[0]), {"feature": value, "length": shape[0], "_type": "List"}
    nested = number
    for _ in shape:
        nested = pa.list_(nested)
    return nested, {"shape": shape, "dtype": dtype, "_type": f"Array{len(shape)}D"}
