"""The rows of a parquet file that was never closed: found, whole, and none of them made up."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.processors.formats.lerobot_v3_schema import row_schema, row_widths
from episoded.processors.formats.parquet_rescue import Rescued, rescue
from episoded.processors.formats.parquet_thrift import NotThrift, read_struct
from episoded.processors.simulation_v3 import without_footer

FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [7]},
    "next.done": {"dtype": "bool", "shape": [1]},
    "gripper.open": {"dtype": "bool", "shape": [2]},
    "grid": {"dtype": "float32", "shape": [2, 3]},
    "said": {"dtype": "string", "shape": [1]},
    "picture": {"dtype": "image", "shape": [4, 4, 3]},
    "observation.images.top": {"dtype": "video", "shape": [4, 4, 3]},
    "frame_index": {"dtype": "int64", "shape": [1]},
    "episode_index": {"dtype": "int64", "shape": [1]},
}
ROWS = (5, 1, 8)


def episode(index: int, rows: int, features: dict[str, dict[str, Any]] = FEATURES) -> pa.Table:
    chance = np.random.default_rng(index)
    columns: dict[str, list[Any]] = {
        "observation.state": chance.standard_normal((rows, 7)).astype(np.float32).tolist(),
        "next.done": [row == rows - 1 for row in range(rows)],
        "gripper.open": (chance.random((rows, 2)) < 0.5).tolist(),
        "grid": chance.standard_normal((rows, 2, 3)).astype(np.float32).tolist(),
        "said": [f"word {number}" for number in chance.integers(0, 3, rows)],
        "picture": [{"bytes": chance.bytes(50), "path": f"{row}.png"} for row in range(rows)],
        "frame_index": list(range(rows)),
        "episode_index": [index] * rows,
    }
    schema = row_schema(features)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def closed(tables: list[pa.Table], **settings: Any) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, tables[0].schema, compression="snappy", **settings) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def recorded(tables: list[pa.Table], **settings: Any) -> bytes:
    """What is on disk before the writer closes the file."""
    return without_footer(closed(tables, **settings))


def found(content: bytes, features: dict[str, dict[str, Any]] = FEATURES) -> Rescued | None:
    return rescue(content, row_schema(features), row_widths(features))


def read(content: bytes, rescued: Rescued) -> pa.Table:
    return pq.read_table(pa.BufferReader(rescued.content(content)))


@pytest.fixture(scope="module")
def episodes() -> list[pa.Table]:
    return [episode(index, rows) for index, rows in enumerate(ROWS)]


def test_every_row_of_every_type_comes_back(episodes: list[pa.Table]) -> None:
    content = recorded(episodes)
    rescued = found(content)
    assert rescued is not None
    assert (rescued.rows, rescued.left, rescued.end) == (ROWS, 0, len(content))
    table = read(content, rescued)
    assert table.equals(pa.concat_tables(episodes))
    assert table.schema.equals(pq.read_schema(pa.BufferReader(closed(episodes))), check_metadata=True)


def test_the_recorded_bytes_are_not_touched(episodes: list[pa.Table]) -> None:
    content = recorded(episodes)
    rescued = found(content)
    assert rescued is not None
    assert rescued.content(content).startswith(content)


def test_a_file_cut_at_any_byte_gives_the_row_groups_before_and_no_more(episodes: list[pa.Table]) -> None:
    content = recorded(episodes)
    ends = [len(recorded(episodes[:count])) for count in range(1, len(episodes) + 1)]
    for cut in sorted(
        {*range(0, len(content), 11), *(end + k for end in ends for k in (-1, 0, 1))} - {len(content) + 1}
    ):
        rescued = found(content[:cut])
        whole = sum(end <= cut for end in ends)
        assert (rescued.rows if rescued else ()) == ROWS[:whole], cut
        if rescued and cut % 50 == 0:
            assert read(content, rescued).equals(pa.concat_tables(episodes[:whole]))
            assert rescued.left == cut - ends[whole - 1]


def test_zeros_at_the_end_are_no_rows(episodes: list[pa.Table]) -> None:
    """What a power cut leaves of the last blocks, on some filesystems."""
    content = recorded(episodes)
    end = len(recorded(episodes[:2]))
    rescued = found(content[: end + 100] + bytes(4096))
    assert rescued is not None
    assert rescued.rows == ROWS[:2]


def test_a_row_group_with_a_damaged_page_and_what_follows_it_is_left_out(episodes: list[pa.Table]) -> None:
    content = bytearray(recorded(episodes))
    first = len(recorded(episodes[:1]))
    for at in range(first + 40, first + 90):
        content[at] ^= 0x5A
    rescued = found(bytes(content))
    assert rescued is not None
    assert rescued.rows == ROWS[:1]
    assert rescued.left == len(content) - first


@pytest.mark.parametrize(
    "settings",
    [
        {"data_page_size": 64},
        {"data_page_size": 64, "dictionary_pagesize_limit": 64},
        {"data_page_version": "2.0", "data_page_size": 64},
        {"write_page_checksum": True},
    ],
    ids=str,
)
def test_long_episodes_have_many_pages(settings: dict[str, Any]) -> None:
    """A dictionary that grows too large is given up in the middle of a column, without a new one."""
    tables = [episode(0, 3000), episode(1, 700)]
    content = recorded(tables, write_batch_size=8, **settings)
    rescued = found(content)
    assert rescued is not None
    assert rescued.rows == (3000, 700)
    assert read(content, rescued).equals(pa.concat_tables(tables))


def test_a_file_with_booleans_first(episodes: list[pa.Table]) -> None:
    """Booleans have no dictionary: nothing marks where their column begins."""
    features = {key: FEATURES[key] for key in ("next.done", "gripper.open", "episode_index")}
    tables = [episode(index, rows, features) for index, rows in enumerate((300, 1, 2))]
    content = recorded(tables, data_page_size=16, write_batch_size=8)
    rescued = found(content, features)
    assert rescued is not None
    assert rescued.rows == (300, 1, 2)
    assert read(content, rescued).equals(pa.concat_tables(tables))


def test_a_closed_file_gives_the_same(episodes: list[pa.Table]) -> None:
    rescued = found(closed(episodes))
    assert rescued is not None
    assert rescued.rows == ROWS


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR", b"PAR1" + bytes(100), b"PAR1" + b"\xff" * 100, os.urandom(4096)], ids=len
)
def test_what_holds_no_rows_gives_none(content: bytes) -> None:
    assert found(content) is None


def test_other_columns_than_the_dataset_has_give_none(episodes: list[pa.Table]) -> None:
    features = {**FEATURES, "observation.state": {"dtype": "float32", "shape": [6]}}
    assert found(recorded(episodes), features) is None


def test_noise_is_no_structure() -> None:
    chance = np.random.default_rng(0)
    for _ in range(500):
        noise = chance.bytes(60)
        try:
            read_struct(noise)
        except NotThrift:
            continue
