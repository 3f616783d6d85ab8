"""Videos of LeRobot v3.0 recordings: those that episodes share, those that a killed encoder left, those of depth."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.processors.depth.files import inputs
from episoded.processors.depth.frames import look_at
from episoded.processors.depth.frames import recorded as recorded_frames
from episoded.processors.depth.params import DepthParams
from episoded.processors.lerobot.reading import read_dataset
from episoded.processors.media.lerobot_depth import DepthCodes, read_codes
from episoded.processors.simulation_v3 import DEPTH, depth_picture, without_footer
from lerobot_data import TOP, WRIST, change_info, info_of
from lerobot_v3_sessions import DATA, ENDS, LISTED, PLAIN, V3, finish, frame, listed, quality, recording, refused
from lerobot_v30 import join
from recordings import Originals, snapshot, unsettled

if TYPE_CHECKING:
    from pathlib import Path

    from episoded.processors.simulation_v3 import End


class TestSharedVideos:
    @pytest.fixture
    def shared(self, tmp_path: Path) -> Path:
        """Encoded as it was recorded, three episodes in one file; then killed: no list, no footer."""
        root = finish(recording(tmp_path / "it", episodes=3, frames=4))
        for key in (TOP, WRIST):
            folder = root / f"videos/{key}/chunk-000"
            parts = [folder / f"file-{number:03d}.mp4" for number in range(3)]
            join(parts, tmp_path / "joined.mp4")
            for part in parts:
                part.unlink()
            (tmp_path / "joined.mp4").rename(parts[0])
        shutil.rmtree(root / "meta/episodes")
        shutil.rmtree(root / ".episoded")
        (root / DATA).write_bytes(without_footer((root / DATA).read_bytes()))
        return root

    def test_episodes_are_found_in_them_by_counting(self, shared: Path) -> None:
        before = snapshot(shared / "videos")
        finish(shared)
        assert snapshot(shared / "videos") == before
        spans = [episode.videos[TOP] for episode in read_dataset(shared).episodes]
        assert [round(span.start_s * 30) for span in spans] == [0, 4, 8]
        assert {str(span.file) for span in spans} == {f"videos/{TOP}/chunk-000/file-000.mp4"}
        assert any("found by counting the rows" in note for note in quality(shared)["notes"])

    def test_in_any_order(self, shared: Path) -> None:
        for episode in ("episode_000001", "episode_000002", "episode_000000"):
            assert work_on(Work(shared, shared, episode, V3.name, PLAIN)) == "ready"
        spans = [episode.videos[WRIST] for episode in read_dataset(shared).episodes]
        assert [round(span.start_s * 30) for span in spans] == [0, 4, 8]

    def test_nothing_is_guessed_when_the_numbers_do_not_fit(self, shared: Path) -> None:
        recording(shared.with_name("other"), episodes=3, frames=5, end="killed")
        shutil.copy(shared.with_name("other") / DATA, shared / DATA)
        assert refused(shared).code == "videos_ambiguous"

    def test_depth_is_made_of_the_episodes_own_frames(self, shared: Path) -> None:
        episode = V3.load(shared, "episode_000001", shared)
        camera = episode.cameras[0]
        (path,) = inputs(episode, camera, DepthParams())
        look = recorded_frames(camera, episode, path, lambda path, part: look_at(path, part=part))
        own = [picture.copy() for picture in look.read()]
        whole = [picture.copy() for picture in look_at(path).read()]
        assert camera.start
        assert len(own) == episode.length < len(whole)
        assert np.array_equal(np.stack(own), np.stack(whole[camera.start : camera.start + episode.length]))

    def test_a_frame_more_or_less_is_noticed_by_looking(self, shared: Path) -> None:
        finish(shared)
        rows = pq.read_table(shared / LISTED)
        late = pa.array([8 / 30, 8 / 30, 9 / 30])
        name = f"videos/{TOP}/from_timestamp"
        pq.write_table(rows.set_column(rows.schema.get_field_index(name), name, late), shared / LISTED)
        shutil.rmtree(shared / ".episoded")
        assert work_on(Work(shared, shared, "episode_000002", V3.name, PLAIN)) == "failed"

    def test_an_episode_behind_them_gets_a_file_of_its_own(self, shared: Path) -> None:
        finish(shared)
        recording(shared, "finalized", episodes=1, seed=3)
        finish(shared)
        assert str(read_dataset(shared).episodes[3].videos[TOP].file).endswith("chunk-000/file-003.mp4")

    def test_an_episode_before_them_would_take_a_number_that_lerobot_counts_on(self, tmp_path: Path) -> None:
        root = recording(tmp_path, episodes=2)
        place: dict[str, list[Any]] = {"chunk_index": [None, 0], "file_index": [None, 0]}
        place |= {"from_timestamp": [None, 0.0], "to_timestamp": [None, 1 / 6]}
        table = pq.read_table(root / LISTED)
        for name, values in place.items():
            table = table.append_column(f"videos/{TOP}/{name}", pa.array(values))
        pq.write_table(table, root / LISTED)
        assert refused(root).code == "video_place_taken"


class TestLeftVideos:
    """LeRobot encodes in processes of their own, into `tmp*/`, and removes the frames; then it was killed."""

    @pytest.fixture
    def left(self, tmp_path: Path) -> Path:
        root = recording(tmp_path / "it", "killed")
        whole = finish(recording(tmp_path / "whole"))
        for key in (TOP, WRIST):
            (root / f"tmp{key[-3:]}").mkdir()
            video = whole / f"videos/{key}/chunk-000/file-001.mp4"
            shutil.copy(video, root / f"tmp{key[-3:]}" / f"{key}_001.mp4")
            shutil.rmtree(frame(root, 0, key, 1).parent)
        return root

    def test_are_put_into_their_place(self, left: Path, tmp_path: Path) -> None:
        originals = Originals.of(recording(tmp_path / "once more"))
        assert V3.upload(left, "episode_000001").missing == (f"the end of {DATA}", "meta/episodes")
        finish(left)
        assert originals.missing_from(left) == []
        assert len(list(left.glob("tmp*/*.mp4"))) == 2, "what the recorder left is not touched"
        assert any("where its recorder had left it" in note for note in quality(left, 1)["notes"])
        assert unsettled(left) == []

    def test_one_that_was_cut_off_is_none(self, left: Path) -> None:
        path = next(left.glob(f"tmp*/{TOP}_001.mp4"))
        path.write_bytes(path.read_bytes()[:-10])
        assert refused(left, "episode_000001").code == "frames_missing"


class TestDepth:
    @pytest.mark.parametrize("end", ENDS)
    def test_tiff_frames_become_lerobots_depth_video(self, tmp_path: Path, end: End) -> None:
        root = finish(recording(tmp_path, end, depth=True))
        assert not (root / "images").exists()
        for episode in range(2):
            found = list(read_codes(root / f"videos/{DEPTH}/chunk-000/file-{episode:03d}.mp4"))
            due = [DepthCodes().of_millimetres(depth_picture((48, 64), episode, number)) for number in range(5)]
            np.testing.assert_array_equal(found, due)
        info = info_of(root)["features"][DEPTH]["info"]
        assert (info["is_depth_map"], info["depth_unit"], info["video.pix_fmt"]) == (True, "mm", "gray12le")
        assert listed(root)[1][f"videos/{DEPTH}/file_index"] == 1

    def test_statistics_are_millimetres(self, tmp_path: Path) -> None:
        root = finish(recording(tmp_path, depth=True))
        pictures = np.stack([depth_picture((48, 64), 1, number) for number in range(5)])
        entry = {
            name: listed(root)[1][f"stats/{DEPTH}/{name}"] for name in ("min", "max", "mean", "std", "count", "q50")
        }
        assert (entry["min"], entry["max"], entry["count"]) == ([[[0.0]]], [[[pictures.max()]]], [5])
        np.testing.assert_allclose(entry["mean"], [[[pictures.mean()]]], rtol=1e-12)
        np.testing.assert_allclose(entry["std"], [[[pictures.std()]]], rtol=1e-9)
        np.testing.assert_allclose(entry["q50"], [[[np.quantile(pictures, 0.5)]]], atol=2)

    def test_settings_of_the_feature_are_kept(self, tmp_path: Path) -> None:
        root = recording(tmp_path, depth=True)
        change_info(root, lambda info: info["features"][DEPTH]["info"].update({"video.depth_max": 4.0}))
        finish(root)
        found = next(read_codes(root / f"videos/{DEPTH}/chunk-000/file-000.mp4"))
        np.testing.assert_array_equal(found, DepthCodes(depth_max=4.0).of_millimetres(depth_picture((48, 64), 0, 0)))
        assert info_of(root)["features"][DEPTH]["info"]["video.depth_max"] == 4.0

    def test_pictures_of_another_kind_are_not_taken_for_depth(self, tmp_path: Path) -> None:
        root = recording(tmp_path, depth=True)
        for number in range(5):
            frame(root, number, DEPTH).with_suffix(".tiff").rename(frame(root, number, DEPTH))
        assert refused(root).code == "frames_not_tiff"

    def test_a_frame_that_ends_early_fails_its_episode_by_name(self, tmp_path: Path) -> None:
        root = recording(tmp_path, depth=True)
        path = frame(root, 2, DEPTH).with_suffix(".tiff")
        path.write_bytes(path.read_bytes()[:-1])
        assert V3.upload(root, "episode_000000").missing == (f"the end of {path.name} in {path.parent}",)
        assert work_on(Work(root, root, "episode_000000", V3.name, PLAIN)) == "failed"
        failure = json.loads((root / ".episoded/episode_000000/failed").read_bytes())
        assert failure["code"] == "tiff_damaged"
        assert str(path) in failure["message"]
        assert work_on(Work(root, root, "episode_000001", V3.name, PLAIN)) == "ready"
