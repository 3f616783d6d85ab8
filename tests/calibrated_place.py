"""A simulated episode and calibrations beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from droid_data import (
    episode_folder,
    finish_one,
    tree,
    uuid_of,
)
from episoded.processors.calibration import index

if TYPE_CHECKING:
    from pathlib import Path

HERE = [0.5, 0.1, 0.3, -2.0, 0.1, 1.0]
THERE = [0.2, -0.4, 0.35, -2.1, 0.0, -1.0]


class Place:
    """A simulated episode and a folder of calibrations beside it."""

    def __init__(self, path: Path) -> None:
        self.path, self.root, self.released = path, tree(path / "droid"), path / "calibration"
        self.released.mkdir()
        self.folder = episode_folder(self.root)
        self.uuid = uuid_of(self.folder)
        self._runs = 0

    def release(self, name: str, content: Any) -> None:
        (self.released / name).write_text(json.dumps(content))

    def process(self, **params: Any) -> Path:
        """Finished into a new output each time."""
        self._runs += 1
        if any(self.released.glob("*.json")):
            index.build(self.released)
            params = {"calibration": self.released, **params}
        return finish_one(self.root, self.path / f"out{self._runs}", points_per_finger=4, **params)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fails_with_error(place: Place) -> dict[str, Any]:
    """An error of the settings is tried again; the record of the first attempt."""
    from episoded.daemon.chain import Work, work_on
    from episoded.daemon.config import Pipeline

    output = place.path / "errors"
    output.mkdir()
    table = {"name": "test", "stages": ["tracks"], "tracks": {"calibration": place.released}}
    assert work_on(Work(place.root, output, place.uuid, "droid", Pipeline.model_validate(table))) in (
        "waiting",
        "failed",
    )
    (path,) = (output / ".episoded" / place.uuid).glob("g000001.failed")
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


LEFT = "fx=700.1\nfy=700.2\ncx=640.5\ncy=361\nk1=-0.17\nk2=0.026\np1=0\np2=0\nk3=0\n"
CONF = (
    f"[LEFT_CAM_HD]\n{LEFT}[RIGHT_CAM_HD]\n{LEFT.replace('640.5', '645')}"
    "[STEREO]\nBaseline=119.9\nTY=0.1\nTZ=-0.2\nCV_HD=0.004\nRX_HD=0.002\nRZ_HD=-0.001\n"
)
