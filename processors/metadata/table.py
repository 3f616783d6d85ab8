"""The parquet file of an episode as arrays, and without the picture columns that a video has replaced."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..formats.lerobot_table import opened

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_NOT_NUMBERS = ("video", "image", "audio", "string")


def read_columns(path: Path, features: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """The numeric features of an episode, in the order of `features`: key -> array (rows, *shape of the feature).

    dtypes are those that `features` declares (what the recorder had in memory), where numpy knows them. A feature
    without a column, with empty cells or with anything but numbers is left out. Raises InputError as `opened`.
    """
    with opened(path) as parquet:
        table = parquet.read(columns=_numeric(parquet.schema_arrow.names, features), use_threads=False)
    return arrays_of(table, features)


def arrays_of(table: pa.Table, features: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """The same from rows that have been read."""
    arrays = {key: _as_array(table.column(key), features[key]) for key in _numeric(table.column_names, features)}
    return {key: array for key, array in arrays.items() if array is not None}


def _numeric(names: Collection[str], features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [key for key, feature in features.items() if feature.get("dtype") not in _NOT_NUMBERS and key in names]


def without_columns(content: bytes, keys: Collection[str]) -> bytes | None:
    """A parquet file without the columns `keys`, and without them in its `huggingface` schema metadata.

    Compression, row groups and the remaining columns stay as they are. None when it has none of these columns. Raises
    pyarrow.ArrowException for what is no parquet file.
    """
    with pq.ParquetFile(pa.BufferReader(content)) as parquet:
        dropped = [key for key in parquet.schema_arrow.names if key in keys]
        if not dropped:
            return None
        table = parquet.read(use_threads=False).drop_columns(dropped)
        first = parquet.metadata.row_group(0) if parquet.metadata.num_row_groups else None
        compression = first.column(0).compression if first is not None else "SNAPPY"
        rows = first.num_rows if first is not None else None
    metadata = {**(table.schema.metadata or {})}
    if b"huggingface" in metadata:
        metadata[b"huggingface"] = forget_features(metadata[b"huggingface"], dropped)
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="none" if compression == "UNCOMPRESSED" else compression.lower(),
        row_group_size=max(rows or 1, 1),
    )
    return sink.getvalue()


def forget_features(huggingface: bytes, keys: Collection[str]) -> bytes:
    """The features that the `datasets` library notes in the file, without `keys`."""
    try:
        value = json.loads(huggingface)
        for key in keys:
            value["info"]["features"].pop(key, None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return huggingface  # not of the shape that `datasets` writes: nothing in it to forget
    return json.dumps(value).encode()


def _as_array(column: pa.ChunkedArray, feature: Mapping[str, Any]) -> NDArray[Any] | None:
    rows = len(column)
    values = column.combine_chunks()
    while isinstance(values, pa.ChunkedArray):  # an empty column stays chunked
        values = values.chunk(0) if values.num_chunks else pa.array([], values.type.value_type)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    nested = False
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type) or _is_large_list(values.type):
        values, nested = values.flatten(), True
    if values.null_count or not (_is_number(values.type) or pa.types.is_boolean(values.type)):
        return None
    array = np.asarray(values.to_numpy(zero_copy_only=False))
    if nested:
        if rows == 0 or len(array) % rows:
            return None
        array = array.reshape(rows, *_shape(feature, len(array) // rows))
    try:
        return array.astype(np.dtype(feature.get("dtype")), copy=False)
    except TypeError:
        return array


def _shape(feature: Mapping[str, Any], size: int) -> tuple[int, ...]:
    """The declared shape of one row where it holds `size` numbers, else a flat one."""
    shape = feature.get("shape")
    if isinstance(shape, list) and all(type(n) is int for n in shape) and int(np.prod(shape)) == size:
        return tuple(shape)
    return (size,)


def _is_large_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
