"""Folders of released calibrations: indexed once, looked at by the doctor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from calibrated_place import (
    Place,
    fails_with_error,
    place,  # noqa: F401 - a fixture
)
from commandline import configure, episoded
from droid_data import (
    EXT1,
    EXT2,
)
from episoded.processors.calibration import index
from episoded.processors.errors import EpisodedError, InputError

if TYPE_CHECKING:
    from pathlib import Path


class TestIndex:
    def test_is_built_by_a_command(self, place: Place) -> None:
        place.release("intrinsics.json", {f"{place.uuid}{k}": {EXT1: [530, 640, 530, 360]} for k in range(3)})
        done = episoded("calibration", "index", place.released)
        assert done.code == 0, done.err
        assert "intrinsics.json: 3 episodes" in done.out
        found = index.CalibrationIndex(place.released)
        assert found.look_up("intrinsics", f"{place.uuid}2") == {EXT1: [530, 640, 530, 360]}
        assert found.look_up("intrinsics", place.uuid) is None
        assert found.look_up("superset", place.uuid) is None
        found.close()
        assert [path.name for path in place.released.iterdir() if path.name.startswith(".")] == []

    def test_without_files_there_is_nothing_to_index(self, tmp_path: Path) -> None:
        done = episoded("calibration", "index", tmp_path)
        assert done.code == 1
        assert "huggingface.co/KarlP/droid" in done.err

    @pytest.mark.parametrize("text", ['{"a": {}', '{"a": 1 "b": 2}', '["a"]', "", '{"a": {"b"}}', '{"a": 1,}'])
    def test_a_damaged_file_is_named_and_no_index_is_left(self, place: Place, text: str) -> None:
        (place.released / "intrinsics.json").write_text(text)
        with pytest.raises(InputError, match=r"intrinsics\.json") as caught:
            index.build(place.released)
        assert caught.value.code == "calibration_unreadable"
        assert [path.name for path in place.released.iterdir()] == ["intrinsics.json"]

    def test_entries_are_read_one_by_one(self, tmp_path: Path) -> None:
        value = {"a b": {"x": [1, "}"]}, "ü": [], 'q"': None, "n": {"deep": {"er": 1}}}
        for text in (json.dumps(value), json.dumps(value, indent=3, ensure_ascii=False)):
            found = {key: json.loads(entry) for key, entry, _ in index.entries_of(text, tmp_path)}
            assert found == value

    def test_a_file_newer_than_the_index_is_not_ignored(self, place: Place) -> None:
        place.release("intrinsics.json", {place.uuid: {EXT1: [530, 640, 530, 360]}})
        index.build(place.released)
        place.release("intrinsics.json", {place.uuid: {EXT1: [531, 640, 531, 360], EXT2: []}})
        record = fails_with_error(place)
        assert record["code"] == "calibration_index_old"
        assert "episoded calibration index" in record["hint"]
        (place.released / "intrinsics.json").unlink()  # removed to save space: the index is as good as it was
        assert index.CalibrationIndex(place.released).look_up("intrinsics", place.uuid)

    def test_no_index_says_how_to_build_it(self, place: Place) -> None:
        with pytest.raises(EpisodedError, match="no index") as caught:
            index.CalibrationIndex(place.released)
        assert caught.value.hint == f"build it: episoded calibration index {place.released}"

    def test_something_else_under_its_name(self, place: Place) -> None:
        (place.released / index.INDEX).write_bytes(b"not a database at all, but long enough to be looked at" * 30)
        with pytest.raises(EpisodedError) as caught:
            index.CalibrationIndex(place.released)
        assert caught.value.code == "calibration_index_old"


class TestDoctor:
    def findings(self, place: Place) -> list[str]:
        drop = f"[[drop]]\npath = '{place.root}'\noutput = '{place.path}/finished'\npipeline = 'mine'\n"
        table = f"[pipelines.mine]\nstages = ['tracks']\n[pipelines.mine.tracks]\ncalibration = '{place.released}'\n"
        (place.path / "finished").mkdir(exist_ok=True)
        found = episoded("doctor", "--json", config=configure(place.path, drop, more=table)).json["findings"]
        return [f"{one['level']}: {one['found']}" for one in found if one["what"] == "DROID"]

    def test_says_whether_the_calibrations_are_indexed(self, place: Place) -> None:
        place.release("intrinsics.json", {})
        (missing,) = self.findings(place)
        assert missing.startswith("fail")
        assert "no index" in missing
        index.build(place.released)
        assert self.findings(place) == [f"ok: the calibrations in {place.released} are indexed"]
