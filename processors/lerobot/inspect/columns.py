"""The columns of a table against the features that info.json declares."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from ..findings import Severity

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from ..dataset import Dataset, Feature
    from ..findings import Problems

#: How Arrow calls what LeRobot calls by numpy's names.
_ARROW: Final = {"float32": "float", "float64": "double", "float16": "halffloat", "bool": "bool", "string": "string"}


def check_columns(dataset: Dataset, schema: Any, name: PurePosixPath, report: Problems) -> None:
    """Report columns that are missing, undeclared, of another type, or of another size than declared."""
    present = set(schema.names)
    for feature in dataset.features.values():
        if feature.is_video:
            continue
        if feature.key not in present:
            report.add("column_missing", f"no column `{feature.key}`", name)
        elif not feature.is_picture:
            _check_type(feature, schema.field(feature.key).type, name, report)
    for key in schema.names:
        declared = dataset.features.get(key)
        if declared is None:
            report.add("column_undeclared", f"column `{key}` is no feature of info.json", name, severity=_by(dataset))
        elif declared.is_video:
            message = f"column `{key}` beside the video of that camera"
            report.add("column_dangling", message, name, camera=key)


def huggingface_features(schema: Any) -> dict[str, Any]:
    """What the `datasets` library noted about the columns when it wrote the table; empty where it did not."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return noted if isinstance(noted, dict) else {}


def leaf_type(kind: Any) -> Any:
    """The type of the values inside of lists."""
    import pyarrow as pa

    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return kind


def _by(dataset: Dataset) -> Severity:
    """LeRobot 0.4 wants exactly the features in the tables, 0.3 takes what there is."""
    return Severity.ERROR if dataset.version >= (3, 0) else Severity.WARNING


def _check_type(feature: Feature, kind: Any, name: PurePosixPath, report: Problems) -> None:
    import pyarrow as pa

    leaf = leaf_type(kind)
    if str(leaf) != _ARROW.get(feature.dtype, feature.dtype) and feature.dtype != "language":
        message = f"column `{feature.key}` is {leaf}, info.json declares {feature.dtype}"
        report.add("column_type", message, name)
    if pa.types.is_fixed_size_list(kind) and feature.shape and len(feature.shape) == 1:
        if kind.list_size != feature.shape[0]:
            message = f"column `{feature.key}` has {kind.list_size} values a row, info.json declares {feature.shape[0]}"
            report.add("column_shape", message, name)
    elif leaf is kind and math.prod(feature.shape or (1,)) != 1:
        message = f"column `{feature.key}` has 1 value a row, info.json declares the shape {[*feature.shape]}"
        report.add("column_shape", message, name)
