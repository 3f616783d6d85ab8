"""LeRobot's own depth videos become depth cameras of a v3.0 dataset, and of nothing else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from commandline import episoded
from episoded.daemon.convert.conversion import convert
from episoded.processors.depth import ladder
from episoded.processors.depth.reader import read_depth
from episoded.processors.lerobot.inspect import inspect_dataset
from episoded.processors.lerobot.reading import read_dataset
from episoded.processors.lerobot.statistics import of_rows
from episoded.processors.media.lerobot_depth import DepthCodes, read_codes
from known_depth import KnownDepth
from lerobot_data import TOP, WRIST, change_info, finish, info_of, recording
from lerobot_v30 import as_v30
from recordings import contents, made_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from episoded.daemon.convert.result import Result

DEPTH = {"segment_frames": 5, "preview": False, "export": ["lerobot"]}


def with_depth(root: Path, **depth: Any) -> Path:
    """Two more episodes, finished by a pipeline that makes LeRobot's depth videos."""
    recording(root, frames=8, episodes=2)
    return finish(root, stages=["encode", "metadata", "depth"], depth={**DEPTH, **depth})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(KnownDepth(), case.frames))
        yield with_depth(tmp_path_factory.mktemp("depth") / "fold")


@pytest.fixture
def source(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(KnownDepth(), case.frames))
    return shutil.copytree(finished, tmp_path / "fold")


def to_v30(source: Path, **settings: Any) -> tuple[Path, Result]:
    output = source.with_name(f"{source.name}_v30")
    result = convert(source, output, "v3.0", **settings)
    assert (result.left, result.wrong) == ([], [])
    return output, result


def cameras(root: Path) -> list[str]:
    return [camera.key for camera in read_dataset(root).cameras]


def millimetres(source: Path, key: str, index: int) -> Any:
    """The frames of the lossless depth video that the source keeps."""
    return np.stack(list(read_depth(source / f"depth/chunk-000/{key}/episode_{index:06d}.mkv")))


class TestEntered:
    def test_each_camera_has_a_depth_camera_that_is_right_to_the_codes_error(self, source: Path) -> None:
        output, result = to_v30(source)
        assert cameras(output) == [TOP, WRIST, f"{TOP}_depth", f"{WRIST}_depth"]
        for key in (TOP, WRIST):
            feature = info_of(output)["features"][f"{key}_depth"]
            assert (feature["shape"], feature["info"]["is_depth_map"]) == ([48, 64, 1], True)
            codes = DepthCodes.of_info(feature["info"])
            video = output / f"videos/{key}_depth/chunk-000/file-000.mp4"
            found = np.stack([codes.to_millimetres(one) for one in read_codes(video)]).astype(int)
            ours = np.concatenate([millimetres(source, key, index) for index in (0, 1)]).astype(int)
            assert np.abs(found - ours).max() <= 2
            assert any(f"{key}_depth" in note and "0.6" in note for note in result.notes)

    def test_verify_finds_nothing_wrong_with_it(self, source: Path) -> None:
        output, _ = to_v30(source)
        assert inspect_dataset(output, deep=True).findings == ()

    def test_statistics_are_of_the_millimetres_that_lerobot_reads(self, source: Path) -> None:
        output, _ = to_v30(source)
        row = json.loads((output / "meta/stats.json").read_text())[f"{TOP}_depth"]
        codes = DepthCodes.of_info(info_of(output)["features"][f"{TOP}_depth"]["info"])
        video = output / f"videos/{TOP}_depth/chunk-000/file-000.mp4"
        values = np.rint(np.concatenate([codes.to_metres(one).ravel() for one in read_codes(video)]) * 1000.0)
        assert row["min"] == [[[10]]], "no depth is read as the nearest distance"
        assert row["count"] == [16]
        expected = {"max": values.max(), "mean": values.mean(), "std": values.std()}
        for name, value in expected.items():
            assert row[name] == [[[pytest.approx(value, rel=1e-5)]]]
        assert row["q50"] == [[[pytest.approx(of_rows(values[:, np.newaxis])["q50"][0], rel=0.01)]]]

    def test_the_lossless_depth_is_carried_along(self, source: Path) -> None:
        output, _ = to_v30(source)
        assert contents(output / "depth") == contents(source / "depth")
        assert np.array_equal(millimetres(output, TOP, 1), millimetres(source, TOP, 1))

    def test_once_more_makes_nothing(self, source: Path) -> None:
        output, _ = to_v30(source)
        before = made_files(output)
        _, again = to_v30(source)
        assert (again.examined, again.made) == (0, 0)
        assert made_files(output) == before

    def test_further_episodes_are_appended(self, source: Path) -> None:
        to_v30(source)
        with_depth(source)
        output, result = to_v30(source)
        assert (result.episodes, result.examined) == (4, 2)
        assert inspect_dataset(output, deep=True).findings == ()
        video = output / f"videos/{WRIST}_depth/chunk-000/file-000.mp4"
        assert len(list(read_codes(video))) == 4 * 8

    def test_it_is_found_in_the_chunk_of_the_version_that_it_was_made_in(self, source: Path) -> None:
        """A chunk is a thousand episodes in v2.1, and a thousand files of many episodes in v3.0."""
        (source / "depth/chunk-000").rename(source / "depth/chunk-003")
        output, _ = to_v30(source)
        assert cameras(output) == [TOP, WRIST, f"{TOP}_depth", f"{WRIST}_depth"]

    def test_a_dataset_received_as_v30_has_them_by_way_of_v21(self, source: Path, tmp_path: Path) -> None:
        received = as_v30(source, tmp_path / "received")
        shutil.copytree(source / "depth", received / "depth")
        convert(received, tmp_path / "between", "v2.1")
        assert cameras(tmp_path / "between") == [TOP, WRIST]
        result = convert(tmp_path / "between", tmp_path / "at last", "v3.0")
        assert result.wrong == []
        assert cameras(tmp_path / "at last") == [TOP, WRIST, f"{TOP}_depth", f"{WRIST}_depth"]


class TestNotEntered:
    def test_on_request(self, source: Path) -> None:
        """Earlier releases of LeRobot cannot read such a camera; asked for without, what was made goes."""
        output, _ = to_v30(source)
        done = episoded("convert", source, "--to", "v3.0", "--no-depth")
        assert done.code == 0, done.err
        assert cameras(output) == [TOP, WRIST]
        assert not list(output.glob("videos/*_depth/*/*"))
        assert not any(key.endswith("_depth") for key in json.loads((output / "meta/stats.json").read_text()))
        assert inspect_dataset(output).findings == ()
        done = episoded("convert", source, "--to", "v3.0")
        assert done.code == 0, done.err
        assert f"{TOP}_depth: entered as a depth camera" in " ".join(done.out.split())
        assert inspect_dataset(output, deep=True).findings == ()

    def test_in_the_dataset_itself(self, source: Path) -> None:
        assert cameras(source) == [TOP, WRIST]

    def test_where_an_episode_has_none(self, source: Path) -> None:
        (source / f"depth/chunk-000/{TOP}/episode_000001_lerobot.m4v").unlink()
        output, result = to_v30(source)
        assert cameras(output) == [TOP, WRIST, f"{WRIST}_depth"]
        assert [note for note in result.notes if "the first is episode_000001" in note and TOP in note]
        assert inspect_dataset(output).findings == ()

    @pytest.mark.parametrize("exports", [{}, None, {"lerobot": {"file": "../a.m4v", "feature": {"shape": []}}}])
    def test_where_the_description_does_not_name_one(self, source: Path, exports: Any) -> None:
        """A video that it does not name may be older than the depth beside it."""
        for path in (source / f"depth/chunk-000/{WRIST}").glob("*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"exports": exports}))
        output, _ = to_v30(source)
        assert cameras(output) == [TOP, WRIST, f"{TOP}_depth"]

    def test_where_the_codes_differ(self, source: Path) -> None:
        path = source / f"depth/chunk-000/{TOP}/episode_000001.json"
        about = json.loads(path.read_text())
        about["exports"]["lerobot"]["feature"]["info"]["video.depth_max"] = 5.0
        path.write_text(json.dumps(about))
        output, result = to_v30(source)
        assert cameras(output) == [TOP, WRIST, f"{WRIST}_depth"]
        assert [note for note in result.notes if "other codes" in note]

    def test_where_a_feature_has_that_name(self, source: Path) -> None:
        def rename(info: dict[str, Any]) -> None:
            info["features"][f"{TOP}_depth"] = {"dtype": "string", "shape": [1], "names": None}

        change_info(source, rename)
        output = source.with_name("fold_v30")
        result = convert(source, output, "v3.0")
        assert [note for note in result.notes if "a feature of that name" in note]
        assert f"{WRIST}_depth" in cameras(output)
        assert f"{TOP}_depth" not in cameras(output)
