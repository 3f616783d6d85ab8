"""What a repair believes: rows out of order, and lists of episodes that are damaged or contradict the rows."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from broken_datasets import (
    codes,
    lost,
    mend,
    whole,  # noqa: F401 - a fixture
)
from episoded.processors.lerobot.reading import read_dataset
from lerobot_broken import V21, V30, cut_off, gap_v21
from lerobot_data import TOP, lines_of, table, video
from lerobot_v30 import read_episodes, write_episodes
from recordings import contents

if TYPE_CHECKING:
    from pathlib import Path


def turn_around(path: Path) -> None:
    rows = pq.read_table(path)
    pq.write_table(rows.take([*range(rows.num_rows - 1, -1, -1)]), path)


def test_rows_out_of_order_are_left_as_they_are(whole: dict[str, Path], tmp_path: Path) -> None:
    """Numbers by the place of the row would make them look right, beside pictures of other rows."""
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    turn_around(table(root, 1))
    before = contents(root)
    plans = mend(root)
    assert {refusal.finding.code for refusal in plans[0].refusals} == {"frame_index", "timestamps", "row_index"}
    assert contents(root) == before


def test_rows_out_of_order_stay_marked_where_a_gap_before_them_is_closed(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    turn_around(table(root, 2))
    gap_v21(root)
    mend(root)
    assert {"frame_index", "timestamps"} <= codes(root)
    assert pq.read_table(table(root, 2)).column("frame_index").to_pylist() == [*range(5, -1, -1)]


def test_a_list_of_episodes_that_contradicts_the_rows_is_not_believed(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V30], root)
    rows = read_episodes(root)
    for row, length in zip(rows, (6, 7, 5), strict=True):
        row["length"] = length
    write_episodes(root, rows)
    before = contents(root)
    plans = mend(root)
    assert not plans[0].changes
    assert {"episode_index", "frame_index", "range_wrong"} <= {refusal.finding.code for refusal in plans[0].refusals}
    assert contents(root) == before


def test_no_list_of_episodes_is_made_where_nobody_knows_what_they_show(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    for name in ("tasks.jsonl", "episodes.jsonl", "episodes_stats.jsonl"):
        (root / "meta" / name).unlink()
    before = contents(root)
    plans = mend(root)
    assert not plans[0].changes
    assert contents(root) == before


def spoil_list(root: Path, content: bytes) -> None:
    (path,) = [*(root / "meta").glob("episodes.jsonl"), *(root / "meta/episodes").glob("*/*")]
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"\0garbage" * 20], ids=["empty", "garbage"])
@pytest.mark.parametrize("version", [V21, V30])
def test_a_list_of_episodes_that_says_nothing_is_made_anew(
    version: str, content: bytes, whole: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[version], root)
    listed = [entry.tasks for entry in read_dataset(root).episodes]
    spoil_list(root, content)
    assert "episodes_missing" in codes(root)
    before = contents(root)
    mend(root)
    assert codes(root) == set()
    assert [entry.tasks for entry in read_dataset(root).episodes] == listed
    assert lost(root, before) == set()
    assert contents(root).keys() == before.keys()


def test_a_list_of_episodes_without_one_episode_takes_no_tables_out(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V30], root)
    write_episodes(root, [])
    before = contents(root)
    mend(root)
    assert codes(root) == set()
    assert contents(root).keys() == before.keys()


def test_an_episode_whose_line_is_torn_stays(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    whole_list, before = lines_of(root / "meta/episodes.jsonl"), contents(root)
    cut_off(root / "meta/episodes.jsonl", 0.9)
    mend(root)
    assert codes(root) == set()
    assert lines_of(root / "meta/episodes.jsonl") == whole_list
    assert contents(root).keys() == before.keys()


def test_a_torn_list_waits_for_the_list_of_tasks(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    whole_list = lines_of(root / "meta/episodes.jsonl")
    (root / "meta/tasks.jsonl").unlink()
    cut_off(root / "meta/episodes.jsonl", 0.9)
    plans = mend(root)
    assert "meta_invalid" in {refusal.finding.code for refusal in plans[0].refusals}
    assert codes(root) == set()
    assert lines_of(root / "meta/episodes.jsonl") == whole_list


def test_videos_under_other_names_stay_while_episodes_lack_theirs(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    for index in range(3):
        video(root, TOP, index).rename(video(root, TOP, index).with_name(f"take_{index}.mp4"))
    before = contents(root)
    plans = mend(root)
    assert {refusal.finding.code for refusal in plans[0].refusals} == {"video_missing", "video_stray"}
    assert contents(root) == before
