"""One view of any LeRobot dataset: the same nouns from v2.0, v2.1 and v3.0; strict and lenient reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from episoded.processors.errors import InputError
from episoded.processors.lerobot.dataset import Dataset, VideoSpan
from episoded.processors.lerobot.reading import read_dataset, read_episode_stats, read_total_stats
from lerobot_data import DATA, POINTER, TOP, WRIST, change_info, finish, lines_of, recording
from lerobot_v30 import as_v30, episodes_table, read_episodes, write_episodes

if TYPE_CHECKING:
    from pathlib import Path

    from episoded.processors.lerobot.findings import Finding


@pytest.fixture(scope="module")
def v21(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(recording(tmp_path_factory.mktemp("v21") / "dataset", episodes=3))


@pytest.fixture(scope="module")
def v30(v21: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_v30(v21, tmp_path_factory.mktemp("v30") / "dataset")


def lenient(root: Path) -> tuple[Dataset, list[Finding]]:
    problems: list[Finding] = []
    return read_dataset(root, problems), problems


class TestTheSameNouns:
    def test_of_what_is_the_same(self, v21: Path, v30: Path) -> None:
        old, new = read_dataset(v21), read_dataset(v30)
        assert (old.version_name, new.version_name) == ("v2.1", "v3.0")
        assert old.features == new.features
        assert [camera.key for camera in new.cameras] == [TOP, WRIST]
        assert old.tasks == new.tasks == {0: "Fetch the red ball."}
        assert (old.fps, old.frames) == (new.fps, new.frames) == (30, 15)
        for one, other in zip(old.episodes, new.episodes, strict=True):
            assert (one.index, one.length, one.tasks) == (other.index, other.length, other.tasks)
        assert [*read_episode_stats(old)] == [*read_episode_stats(new)]

    def test_where_the_rows_lie(self, v21: Path, v30: Path) -> None:
        tables = [(str(episode.table), episode.first_row) for episode in read_dataset(v21).episodes]
        assert tables == [(f"data/chunk-000/episode_{index:06d}.parquet", 0) for index in range(3)]
        files = [(str(episode.table), episode.first_row) for episode in read_dataset(v30).episodes]
        assert files == [("data/chunk-000/file-000.parquet", first) for first in (0, 5, 10)]
        assert [episode.dataset_range for episode in read_dataset(v30).episodes] == [(0, 5), (5, 10), (10, 15)]

    def test_where_the_pictures_lie(self, v21: Path, v30: Path, tmp_path: Path) -> None:
        spans = [episode.videos[TOP] for episode in read_dataset(v21).episodes]
        assert (spans[1].start_s, spans[1].end_s) == (0.0, 5 / 30)
        joined = [episode.videos[TOP] for episode in read_dataset(v30).episodes]
        assert [span.start_s for span in joined] == pytest.approx([0, 5 / 30, 10 / 30])
        assert {str(span.file) for span in joined} == {f"videos/{TOP}/chunk-000/file-000.mp4"}
        each = read_dataset(as_v30(v21, tmp_path / "each", joined=False)).episodes
        assert [span.videos[WRIST].file.name for span in each] == ["file-000.mp4", "file-001.mp4", "file-002.mp4"]
        assert each[2].videos[WRIST] == VideoSpan(each[2].videos[WRIST].file, 0.0, 5 / 30)

    def test_v20_has_statistics_of_the_whole_only(self, tmp_path: Path) -> None:
        dataset = read_dataset(finish(recording(tmp_path / "dataset", version="v2.0")))
        assert dataset.version == (2, 0)
        assert [*read_episode_stats(dataset)] == []
        total = read_total_stats(dataset)
        assert total
        assert {TOP, WRIST} <= set(total)


class TestWhatIsWrong:
    def test_is_raised_by_the_strict_and_collected_by_the_lenient(self, tmp_path: Path) -> None:
        root = finish(recording(tmp_path / "dataset"))
        (root / "meta/tasks.jsonl").unlink()
        with (root / "meta/episodes.jsonl").open("a") as file:
            file.write('{"episode_index": 2}\n[1]\n{"episode_index": 0, "length": 5}\n')
        with pytest.raises(InputError, match="no list of tasks") as raised:
            read_dataset(root)
        assert raised.value.code == "tasks_missing"
        dataset, problems = lenient(root)
        assert [problem.code for problem in problems] == [
            "tasks_missing",
            "meta_invalid",
            "meta_invalid",
            "episode_double",
        ]
        assert "line 3" in problems[1].message
        assert [episode.index for episode in dataset.episodes] == [0, 1]

    def test_an_info_of_which_nothing_can_be_made_is_raised_either_way(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset")
        for content, code in ((POINTER, "lfs_pointer"), (b'{"fps": 30', "meta_invalid"), (b"{}", "meta_invalid")):
            (root / "meta/info.json").write_bytes(content)
            with pytest.raises(InputError) as raised:
                lenient(root)
            assert raised.value.code == code
        (root / "meta/info.json").unlink()
        with pytest.raises(InputError) as raised:
            lenient(root)
        assert raised.value.code == "meta_missing"

    def test_a_version_that_nobody_knows(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset")
        change_info(root, lambda info: info.update(codebase_version="v1.6"))
        with pytest.raises(InputError) as raised:
            read_dataset(root)
        assert raised.value.code == "version_unsupported"

    def test_a_camera_that_was_never_encoded(self, v21: Path, tmp_path: Path) -> None:
        root = as_v30(v21, tmp_path / "v30")
        rows = [{key: value for key, value in row.items() if WRIST not in key} for row in read_episodes(root)]
        write_episodes(root, rows)
        dataset, problems = lenient(root)
        assert [(problem.code, problem.camera, problem.episode) for problem in problems] == [
            ("video_columns_missing", WRIST, index) for index in range(3)
        ]
        assert [*dataset.episodes[0].videos] == [TOP]

    def test_a_recorder_that_was_killed_before_the_footer(self, v21: Path, tmp_path: Path) -> None:
        root = as_v30(v21, tmp_path / "v30")
        content = episodes_table(root).read_bytes()
        episodes_table(root).write_bytes(content[:-20])
        dataset, problems = lenient(root)
        assert [problem.code for problem in problems] == ["table_unreadable"]
        assert dataset.episodes == ()

    def test_a_clone_without_git_lfs(self) -> None:
        root = DATA / "corrupt/dataset_lfs_pointers"
        if not root.is_dir():
            pytest.skip(f"needs the real recordings ({DATA})")
        dataset, problems = lenient(root)
        assert {problem.code for problem in problems} == {"lfs_pointer"}
        assert dataset.version_name == "v2.1"
        assert dataset.episodes == ()


def test_statistics_come_one_at_a_time(v21: Path) -> None:
    index, stats = next(read_episode_stats(read_dataset(v21)))
    assert index == 0
    assert stats == lines_of(v21 / "meta/episodes_stats.jsonl")[0]["stats"]
