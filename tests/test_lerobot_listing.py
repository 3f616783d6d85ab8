"""What a LeRobot v2.x dataset says that it holds: its layout, its episodes, its `info.json`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from episoded.processors import formats
from episoded.processors.errors import RetryableError
from episoded.processors.formats.lerobot_info import parse_fps, read_info
from lerobot_data import (
    FIRST,
    LEROBOT,
    POINTER,
    SECOND,
    TOP,
    change_info,
    frame,
    load,
    real,
    recording,
    refused,
    root,  # noqa: F401 - a fixture
)

if TYPE_CHECKING:
    from collections.abc import Callable


class TestDetection:
    def test_a_folder_with_info_json_is_a_dataset(self, root: Path) -> None:
        assert formats.detect(root) is LEROBOT
        assert formats.detect(root / "meta") is None

    def test_costs_no_heavy_import(self) -> None:
        code = (
            "import sys, episoded.processors.formats;"
            "print(sorted({'av', 'numpy', 'pyarrow', 'pydantic', 'torch'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    @pytest.mark.parametrize("name", [".frame_000001.png.Xy12Zk", "a.part", "b.tmp", "c~", "@eaDir", "lost+found"])
    def test_knows_the_names_that_copying_leaves(self, name: str) -> None:
        assert formats.is_ignored(name)
        assert not formats.is_ignored("frame_000001.png")


class TestListing:
    def test_lists_the_episodes_of_a_real_recording(self, tmp_path: Path) -> None:
        listing = LEROBOT.listing(real("pending/g1_v21", tmp_path / "g1"))
        assert listing.episodes == (FIRST, SECOND, "episode_000002")
        assert listing.orphans == ()
        assert listing.refusal is None

    def test_reports_the_frames_of_an_interrupted_session_as_orphans(self, tmp_path: Path) -> None:
        listing = LEROBOT.listing(real("pending/franka_v21_interrupted", tmp_path / "franka"))
        assert listing.episodes == (FIRST,)
        [(episode, why)] = listing.orphans
        assert episode == SECOND
        assert "53 frames of observation.images.tpv, 53 frames of observation.images.wrist" in why

    def test_refuses_a_clone_without_git_lfs(self, tmp_path: Path) -> None:
        refusal = LEROBOT.listing(real("corrupt/dataset_lfs_pointers", tmp_path / "clone")).refusal
        assert refusal is not None
        assert refusal.code == "lfs_pointer"
        assert "git lfs pull" in refusal.hint

    def test_sees_what_came_in_since(self, root: Path) -> None:
        assert LEROBOT.listing(root) is LEROBOT.listing(root)
        recording(root, episodes=1)
        assert len(LEROBOT.listing(root).episodes) == 3

    def test_counts_the_frames_of_an_orphan_while_they_come_in(self, root: Path) -> None:
        folder = frame(root, 0, episode=2).parent
        folder.mkdir()
        assert LEROBOT.listing(root).orphans == ()
        for number in range(3):
            shutil.copy(frame(root, 0), folder / f"frame_{number:06d}.png")
            [(_, why)] = LEROBOT.listing(root).orphans
            assert why.startswith(f"{number + 1} frames of {TOP}")

    def test_an_orphan_becomes_an_episode_with_its_line(self, root: Path) -> None:
        lines = root / "meta/episodes.jsonl"
        whole = lines.read_bytes()
        lines.write_bytes(whole.splitlines(keepends=True)[0])
        assert [episode for episode, _ in LEROBOT.listing(root).orphans] == [SECOND]
        lines.write_bytes(whole)
        assert LEROBOT.listing(root).orphans == ()

    def test_keeps_the_gaps_of_the_recorder(self, tmp_path: Path) -> None:
        root = tmp_path / "gaps"
        for index in (0, 2, 4):
            recording(root, episodes=1, start=index)
        assert LEROBOT.listing(root).episodes == (FIRST, "episode_000002", "episode_000004")

    def test_a_last_line_that_is_being_written_does_not_count_yet(self, root: Path) -> None:
        with (root / "meta/episodes.jsonl").open("ab") as file:
            file.write(b'{"episode_index": 2, "tasks": ["Fet')
        assert LEROBOT.listing(root).episodes == (FIRST, SECOND)

    def test_a_session_killed_before_its_first_save_has_orphans_only(self, root: Path) -> None:
        (root / "meta/episodes.jsonl").unlink()
        listing = LEROBOT.listing(root)
        assert listing.episodes == ()
        assert [episode for episode, _ in listing.orphans] == [FIRST, SECOND]

    def test_a_line_separator_in_a_task_is_no_line_end(self, root: Path) -> None:
        with (root / "meta/episodes.jsonl").open("a") as file:
            file.write(json.dumps({"episode_index": 2, "tasks": ["a\u2028b\x85c"], "length": 1}, ensure_ascii=False))
        assert len(LEROBOT.listing(root).episodes) == 3

    @pytest.mark.parametrize(
        ("bad", "told"),
        [
            (b'{"episode_index": 2, "length": 3\n{}\n', "line 3"),
            (b"[1]\n", "line 3: not a JSON object"),
            (b'{"episode_index": 2}\n', "line 3: key `length` is None"),
            (b'{"episode_index": -1, "length": 3}\n', "line 3: key `episode_index` is -1"),
            (b'{"episode_index": 0, "length": 3}\n', "line 3: episode 0 again, with 3 frames, not 5"),
            (b"\xff\n", "not UTF-8"),
        ],
    )
    def test_names_the_wrong_line_of_episodes_jsonl(self, root: Path, bad: bytes, told: str) -> None:
        with (root / "meta/episodes.jsonl").open("ab") as file:
            file.write(bad)
        refusal = LEROBOT.listing(root).refusal
        assert refusal is not None
        assert refusal.code == "meta_invalid"
        assert "episodes.jsonl" in refusal.message
        assert told in refusal.message

    def test_what_the_system_refuses_is_a_refusal_too(self, root: Path) -> None:
        (root / "meta/episodes.jsonl").unlink()
        (root / "meta/episodes.jsonl").mkdir()
        refusal = LEROBOT.listing(root).refusal
        assert refusal is not None
        assert "Is a directory" in refusal.message


class TestInfo:
    @pytest.mark.parametrize(
        ("change", "code", "told"),
        [
            (lambda info: info.update(codebase_version="v1.6"), "version_unsupported", "v1.6"),
            (lambda info: info.pop("codebase_version"), "meta_invalid", "`codebase_version`"),
            (lambda info: info.update(fps="fast"), "meta_invalid", "`fps`"),
            (lambda info: info.update(fps=0), "meta_invalid", "`fps`"),
            (lambda info: info.update(fps=True), "meta_invalid", "`fps`"),
            (lambda info: info.update(chunks_size=0), "meta_invalid", "`chunks_size`"),
            (lambda info: info.update(features=[]), "meta_invalid", "`features`"),
            (lambda info: info["features"].update(x=3), "meta_invalid", "`features.x`"),
            (lambda info: info["features"].update({"../x": {"dtype": "video"}}), "meta_invalid", "features.../x"),
            (lambda info: info.update(data_path=7), "meta_invalid", "`data_path`"),
            (lambda info: info.update(data_path="/etc/{episode_index}"), "meta_invalid", "leads out"),
            (lambda info: info.update(video_path="../{episode_index}"), "meta_invalid", "leads out"),
            (lambda info: info.update(video_path="a/{episode}"), "meta_invalid", "{episode}"),
            (lambda info: info.update(video_path="a/{episode_index.real}"), "meta_invalid", "episode_index.real"),
            (lambda info: info.update(video_path="a/{video_key}{episode_index:99999d}"), "meta_invalid", "99999d"),
            (lambda info: info.update(video_path="a/{video_key:03d}"), "meta_invalid", "video_key"),
            (lambda info: info.update(video_path="{video_key}.mp4"), "meta_invalid", "the same for every episode"),
            (lambda info: info.update(video_path="{episode_index}.mp4"), "meta_invalid", "the same for every camera"),
            (lambda info: info.update(data_path="rows.parquet"), "meta_invalid", "the same for every episode"),
            (lambda info: info.update(video_path="a/{episode_index"), "meta_invalid", "`video_path`"),
        ],
    )
    def test_names_the_wrong_key(
        self, root: Path, change: Callable[[dict[str, Any]], object], code: str, told: str
    ) -> None:
        change_info(root, change)
        refusal = LEROBOT.listing(root).refusal
        assert refusal is not None
        assert refusal.code == code
        assert told in refusal.message
        assert refused(root).code == code

    @pytest.mark.parametrize("name", ["info.json", "episodes.jsonl", "episodes_stats.jsonl", "tasks.jsonl"])
    def test_a_pointer_in_its_place(self, root: Path, name: str) -> None:
        (root / "meta" / name).write_bytes(POINTER)
        error = refused(root)
        assert (error.code, "git lfs pull" in error.hint) == ("lfs_pointer", True)
        assert name in error.message

    def test_names_the_line_of_broken_json(self, root: Path) -> None:
        (root / "meta/info.json").write_text('{\n"fps": 30\n"chunks_size": 1000}')
        assert refused(root).message.endswith("info.json: line 3: Expecting ',' delimiter")

    @pytest.mark.parametrize("part", [0, 1, 200, 1000])
    def test_half_of_it_is_tried_again(self, root: Path, part: int) -> None:
        """LeRobot rewrites info.json in place: a reader meets any part of it."""
        path = root / "meta/info.json"
        path.write_bytes(path.read_bytes()[:part])
        with pytest.raises(RetryableError, match="ends in the middle"):
            load(root)

    @pytest.mark.parametrize(
        ("written", "fps"),
        [
            (30, Fraction(30)),
            (30.0, Fraction(30)),
            (29.97, Fraction(2997, 100)),
            ("33360/1411", Fraction(33360, 1411)),
            (33360 / 1411, Fraction(33360, 1411)),
            (30000 / 1001, Fraction(30000, 1001)),
        ],
    )
    def test_reads_the_rate_exactly(self, written: float | str, fps: Fraction) -> None:
        assert parse_fps(written, Path("info.json")) == fps

    @pytest.mark.parametrize(
        ("shape", "names", "size"),
        [
            ([48, 64, 3], ["height", "width", "channels"], (48, 64)),
            ([3, 224, 200], ["channels", "height", "width"], (224, 200)),
            ([3, 224, 200], ["height", "width", "channel"], (224, 200)),
            ([48, 64], None, (48, 64)),
            ([3, 4, 3], ["channels", "height", "width"], (4, 3)),
            ([3, 4, 3], ["height", "width", "channels"], (3, 4)),
            ([48, 64, 7], None, None),
            ("wide", None, None),
        ],
    )
    def test_reads_the_size_whichever_way_round(
        self, root: Path, shape: object, names: object, size: tuple[int, int] | None
    ) -> None:
        change_info(root, lambda info: info["features"][TOP].update(shape=shape, names=names))
        assert load(root).cameras[0].shape == size

    def test_understands_placeholders_of_v3(self, root: Path) -> None:
        change_info(
            root,
            lambda info: info.update(
                data_path="data/chunk-{chunk_index:03d}/episode_{episode_index:06d}.parquet",
                video_path="videos/chunk-{chunk_index:03d}/{video_key}/episode_{file_index:06d}.mp4",
            ),
        )
        assert load(root).cameras[0].video == PurePosixPath(f"videos/chunk-000/{TOP}/{FIRST}.mp4")

    def test_puts_episodes_into_chunks(self, root: Path) -> None:
        change_info(root, lambda info: info.update(chunks_size=2))
        assert read_info(root / "meta/info.json").video(TOP, 5).parts[1] == "chunk-002"
