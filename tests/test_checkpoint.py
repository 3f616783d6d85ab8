"""The durable record that something is done: what it says, when it is believed, how it goes out of force."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from episoded.daemon import checkpoint
from episoded.daemon.checkpoint import Output, Record
from episoded.daemon.control import ControlDir

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"a video, say"


class Params(BaseModel):
    crf: int = 23
    preset: str = "fast"


@pytest.fixture
def control(tmp_path: Path) -> ControlDir:
    control = ControlDir.of(tmp_path, "episode_000000")
    control.create()
    return control


def record(root: Path, **changes: Any) -> Record:
    (root / "videos").mkdir(exist_ok=True)
    video = root / "videos" / "top.mp4"
    video.write_bytes(CONTENT)
    output = Output("videos/top.mp4", len(CONTENT), checkpoint.sha256(video), {"frames": 12})
    known: dict[str, Any] = {"gen": 1, "processor": "encode", "version": 1, "params": "p", "inputs": "i"}
    return Record(**(known | {"outputs": (output,), "edits": ("meta/info.json",), "seconds": 1.5, "at": 2.0} | changes))


class TestRecords:
    def test_what_is_written_is_read(self, control: ControlDir, tmp_path: Path) -> None:
        written = record(tmp_path)
        path = checkpoint.unit_path(control, "encode", "observation.images.top")
        checkpoint.write(control, path, written)
        assert checkpoint.read(path) == written

    def test_the_first_word_stands(self, control: ControlDir, tmp_path: Path) -> None:
        path = checkpoint.stage_path(control, "encode")
        checkpoint.write(control, path, record(tmp_path))
        with pytest.raises(FileExistsError):
            checkpoint.write(control, path, record(tmp_path, gen=2))
        assert checkpoint.read(path) == record(tmp_path)

    def test_none_is_there_before_it_is_written(self, control: ControlDir) -> None:
        assert checkpoint.read(checkpoint.stage_path(control, "encode")) is None

    @pytest.mark.parametrize("content", [b"", b"{", b"null", b"[1]", b"\xff\xfe"])
    def test_what_is_not_ours_is_not_believed(self, control: ControlDir, content: bytes) -> None:
        path = checkpoint.stage_path(control, "encode")
        path.write_bytes(content)
        assert checkpoint.read(path) is None

    def test_it_is_not_written_for_a_dataset_that_is_gone(self, control: ControlDir, tmp_path: Path) -> None:
        made = record(tmp_path)
        tmp_path.rename(tmp_path.with_name("renamed"))
        with pytest.raises(FileNotFoundError):
            checkpoint.write(control, checkpoint.unit_path(control, "encode", "top"), made)
        assert not tmp_path.exists()
        tmp_path.with_name("renamed").rename(tmp_path)

    def test_a_superseded_one_stays_readable_and_none_is_lost(self, control: ControlDir, tmp_path: Path) -> None:
        path = checkpoint.unit_path(control, "encode", "top")
        made = [record(tmp_path, params=params) for params in "abc"]
        for one in made:
            checkpoint.write(control, path, one)
            checkpoint.supersede(path, generation=7)
        assert not path.exists()
        assert sorted(checkpoint.superseded(control, "encode"), key=lambda one: one.params) == made

    def test_a_stage_goes_out_of_force_with_its_units(self, control: ControlDir, tmp_path: Path) -> None:
        paths = [checkpoint.stage_path(control, "encode"), checkpoint.unit_path(control, "encode", "top")]
        other = checkpoint.stage_path(control, "metadata")
        for path in (*paths, other):
            checkpoint.write(control, path, record(tmp_path))
        checkpoint.supersede_stage(control, "encode", generation=2)
        assert [path.exists() for path in (*paths, other)] == [False, False, True]


class TestDamage:
    def test_none_when_all_is_as_published(self, tmp_path: Path) -> None:
        assert checkpoint.damage(record(tmp_path), tmp_path) == []

    def test_a_missing_output_is_named(self, tmp_path: Path) -> None:
        made = record(tmp_path)
        (tmp_path / "videos" / "top.mp4").unlink()
        assert checkpoint.damage(made, tmp_path) == ["videos/top.mp4: No such file or directory"]

    def test_so_is_a_truncated_one(self, tmp_path: Path) -> None:
        made = record(tmp_path)
        (tmp_path / "videos" / "top.mp4").write_bytes(CONTENT[:-1])
        assert checkpoint.damage(made, tmp_path) == ["videos/top.mp4: 11 bytes, 12 were published"]

    def test_so_is_a_single_changed_bit(self, tmp_path: Path) -> None:
        made = record(tmp_path)
        (tmp_path / "videos" / "top.mp4").write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
        assert checkpoint.damage(made, tmp_path) == ["videos/top.mp4: content differs from what was published"]


class TestDigests:
    def test_of_settings_do_not_depend_on_how_they_were_written(self) -> None:
        one, two = json.loads('{"crf": 20, "preset": "slow"}'), json.loads('{"preset": "slow", "crf": 20}')
        assert checkpoint.params_digest(Params(**one)) == checkpoint.params_digest(Params(**two))
        assert checkpoint.params_digest(Params()) != checkpoint.params_digest(Params(crf=24))

    def test_of_inputs_change_with_names_sizes_and_times(self, tmp_path: Path) -> None:
        frame = tmp_path / "frame_000000.png"
        frame.write_bytes(b"one")
        os.utime(frame, ns=(1, 1))
        first = checkpoint.inputs_digest([frame])
        frame.write_bytes(b"two!")
        os.utime(frame, ns=(1, 1))
        bigger = checkpoint.inputs_digest([frame])
        os.utime(frame, ns=(2, 2))
        later = checkpoint.inputs_digest([frame])
        renamed = checkpoint.inputs_digest([frame.rename(tmp_path / "frame_000001.png")])
        assert len({first, bigger, later, renamed}) == 4

    def test_of_inputs_that_are_gone_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "here").touch()
        assert checkpoint.inputs_digest([tmp_path / "here", tmp_path / "gone"]) is None
        assert checkpoint.inputs_digest([]) is not None

    def test_of_any_name_that_a_filesystem_takes(self, tmp_path: Path) -> None:
        strange = tmp_path / "new\nline \N{SNOWMAN} \udcff.png"
        strange.touch()
        assert checkpoint.inputs_digest([strange]) is not None
