"""Raw DROID trees: what is found, what is believed, and what an upload lacks."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from droid_data import DROID, REAL_UUID, change_metadata, episode_folder, real_episode, tree, uuid_of
from episoded.processors import formats
from episoded.processors.errors import InputError
from lerobot_data import POINTER, recording

if TYPE_CHECKING:
    from pathlib import Path


class TestFinding:
    @pytest.mark.parametrize("part", [".", "SIMLab", "SIMLab/success", "SIMLab/success/2023-08-01"])
    def test_any_part_of_a_tree_is_a_dataset(self, tmp_path: Path, part: str) -> None:
        root = tree(tmp_path / "droid", episodes=3) / part
        assert formats.detect(root) is DROID
        assert len(DROID.listing(root).episodes) == 3

    def test_a_version_folder_and_a_single_episode_are_too(self, tmp_path: Path) -> None:
        tree(tmp_path / "droid" / "1.0.1")
        folder = episode_folder(tmp_path / "droid")
        for root in (tmp_path / "droid", tmp_path / "droid/1.0.1", folder):
            assert formats.detect(root) is DROID, root
            assert DROID.listing(root).episodes == (uuid_of(folder),)

    def test_other_folders_are_none(self, tmp_path: Path) -> None:
        assert formats.detect(tmp_path) is None
        (tmp_path / "runs/success").mkdir(parents=True)
        (tmp_path / "runs/metadata_42.json").write_text("{}")
        assert formats.detect(tmp_path / "runs") is None
        assert formats.detect(tmp_path) is None
        assert formats.detect(tmp_path / "missing") is None
        assert formats.detect(recording(tmp_path / "lerobot")) is not DROID

    def test_the_real_episode(self, tmp_path: Path) -> None:
        real_episode(tmp_path)
        assert DROID.listing(tmp_path).episodes == (REAL_UUID,)
        episode = DROID.load(tmp_path, REAL_UUID, tmp_path / "out")
        assert episode.length == 226

    def test_an_episode_is_its_uuid_wherever_it_lies(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        folder, uuid = episode_folder(root), uuid_of(episode_folder(root))
        folder.rename(folder.with_name("Día_ü_1"))
        assert DROID.listing(root).episodes == (uuid,)
        assert DROID.load(root, uuid, tmp_path).length == 20

    def test_a_second_copy_is_reported_and_not_used(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        folder = episode_folder(root)
        shutil.copytree(folder, folder.with_name("copy"))
        listing = DROID.listing(root)
        assert listing.episodes == (uuid_of(folder),)
        [(name, why)] = listing.orphans
        assert "second copy" in why
        assert name.endswith("copy")

    def test_a_folder_without_metadata_is_an_orphan(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid", episodes=2)
        next(episode_folder(root).glob("metadata_*")).unlink()
        listing = DROID.listing(root)
        assert len(listing.episodes) == 1
        assert "no metadata_LAB+" in listing.orphans[0][1]

    def test_what_comes_and_goes_is_noticed(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid", episodes=2)
        for _ in range(2):
            assert len(DROID.listing(root).episodes) == 2
            for folder in [root, *root.rglob("*")]:
                os.utime(folder, (1, 1))  # long settled: from now on it is remembered
        shutil.rmtree(episode_folder(root))
        assert len(DROID.listing(root).episodes) == 1
        tree(root, episodes=3, lab="Other")
        assert len(DROID.listing(root).episodes) == 4

    def test_an_episode_that_was_moved_is_found_again(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        folder, uuid = episode_folder(root), uuid_of(episode_folder(root))
        assert DROID.load(root, uuid, tmp_path).length == 20
        folder.rename(folder.with_name("moved"))
        episode = DROID.load(root, uuid, tmp_path)
        assert isinstance(episode, formats.droid.DroidEpisode)
        assert episode.folder.name == "moved"

    def test_a_large_tree_is_walked_once_and_not_for_each_episode(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid", episodes=30, rows=1)
        walks: list[str] = []

        class Counting(type(DROID)):  # type: ignore[misc]
            def _find(self, root: Path) -> object:
                walks.append(str(root))
                return super()._find(root)

        layout = Counting()
        for uuid in layout.listing(root).episodes:
            assert layout.upload(root, uuid).missing == ()
            layout.load(root, uuid, tmp_path / "out")
        assert len(walks) == 1

    def test_a_root_that_is_gone_is_a_refusal(self, tmp_path: Path) -> None:
        assert DROID.listing(tmp_path / "gone").refusal is not None


class TestUploads:
    def missing(self, folder: Path) -> tuple[str, ...]:
        return DROID.upload(folder, uuid_of(folder)).missing

    def test_a_whole_episode_needs_no_recordings(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        upload = DROID.upload(folder, uuid_of(folder))
        assert (upload.files, upload.missing) == (2, ())
        assert upload.bytes > 10_000

    def test_the_trajectory_is_waited_for(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        (folder / "trajectory.h5").unlink()
        assert self.missing(folder) == ("trajectory.h5",)

    @pytest.mark.parametrize("name", ["trajectory.h5", "metadata"])
    def test_a_file_that_is_cut_off_is_still_arriving(self, tmp_path: Path, name: str) -> None:
        folder = episode_folder(tree(tmp_path))
        (path,) = folder.glob(f"{name}*")
        path.write_bytes(path.read_bytes()[:-100])
        [missing] = self.missing(folder)
        assert missing.startswith("the end of")

    def test_a_video_that_is_still_arriving(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        (folder / "recordings/MP4").mkdir(parents=True)
        (folder / "recordings/MP4/18026681.mp4").write_bytes(b"\0\0\0\x20ftypisom")
        assert "18026681.mp4" in self.missing(folder)[0]

    def test_a_git_lfs_pointer_is_no_trajectory(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        (folder / "trajectory.h5").write_bytes(POINTER)
        assert "git lfs pull" in self.missing(folder)[0]

    def test_an_episode_that_is_gone(self, tmp_path: Path) -> None:
        assert "metadata_X+1+2.json" in DROID.upload(tree(tmp_path), "X+1+2").missing[0]


class TestMetadata:
    def load(self, folder: Path) -> formats.droid.DroidEpisode:
        episode = DROID.load(folder, uuid_of(folder), folder / "out")
        assert isinstance(episode, formats.droid.DroidEpisode)
        return episode

    def test_the_files_of_each_camera(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        (folder / "recordings/MP4").mkdir(parents=True)
        (folder / "recordings/SVO").mkdir(parents=True)
        for name in ("MP4/22008760.mp4", "MP4/22008760-stereo.mp4", "SVO/22008760.svo", "24400334.svo"):
            (folder / "recordings" / name).write_bytes(b"x")
        wrist, ext1, ext2 = self.load(folder).recorded
        assert [camera.role for camera in (wrist, ext1, ext2)] == ["wrist", "ext1", "ext2"]
        assert wrist.files == ()
        assert [path.name for path in ext1.files] == ["22008760.mp4", "22008760-stereo.mp4", "22008760.svo"]
        assert [path.name for path in ext2.files] == ["24400334.svo"]

    def test_what_it_lacks_is_said_and_costs_nothing(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        change_metadata(folder, ext2_cam_serial=None, ext1_cam_extrinsics=None, success=None, uuid="another")
        episode = self.load(folder)
        assert [camera.role for camera in episode.recorded] == ["wrist", "ext1"]
        assert episode.recorded[1].pose is None
        assert episode.metadata is not None
        assert episode.metadata.outcome is None
        assert any("no ext2 camera" in note for note in episode.notes)
        assert any("uuid another" in note for note in episode.notes)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", POINTER])
    def test_a_broken_file_is_an_error_that_names_it(self, tmp_path: Path, content: bytes) -> None:
        folder = episode_folder(tree(tmp_path))
        (path,) = folder.glob("metadata_*")
        path.write_bytes(content)
        with pytest.raises(InputError, match="metadata_SIMLab") as caught:
            self.load(folder)
        assert caught.value.code == ("lfs_pointer" if content == POINTER else "metadata_unreadable")

    def test_both_names_of_the_version(self, tmp_path: Path) -> None:
        folder = episode_folder(tree(tmp_path))
        assert json.loads(next(folder.glob("metadata*")).read_bytes())["r2d2_version"] == "1.3"
        change_metadata(folder, r2d2_version=None, droid_version="1.4")
        metadata = self.load(folder).metadata
        assert metadata is not None
        assert metadata.version == "1.4"
