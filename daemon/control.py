"""The control directory of one episode: the names in it, and reading its small immutable files."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import fsio
from .state import Markers, read_names

if TYPE_CHECKING:
    from pathlib import Path

CONTROL: Final = ".episoded"
SCHEMA: Final = 1
#: In the control folder of a dataset: its files are being repaired, or a repair died in the middle.
REPAIRING: Final = "repairing"


@dataclass(frozen=True, slots=True)
class ControlDir:
    """`<output>/.episoded/<episode>/`: everything the daemon knows about an episode."""

    path: Path

    @classmethod
    def of(cls, output: Path, episode_id: str) -> ControlDir:
        """The control directory of an episode whose artifacts go below `output`."""
        return cls(output / CONTROL / episode_id)

    def markers(self) -> Markers:
        """What its names say now; an absent directory says nothing."""
        with suppress(FileNotFoundError):
            return read_names(os.listdir(self.path))  # noqa: PTH208 - a third of the time of iterdir, in every scan
        return Markers()

    def claim(self, generation: int) -> Path:
        """The claim of a generation: owner as JSON, flock-ed while the owner lives."""
        return self.path / f"g{generation:06d}.claim"

    def scratch(self, generation: int) -> Path:
        """The private folder of a generation."""
        return self.path / f"g{generation:06d}"

    def scratches(self) -> list[Path]:
        """The private folders of all generations that still have one."""
        return [path for path in self.path.iterdir() if re.fullmatch(r"g\d{6}", path.name)]

    def sweep(self) -> None:
        """Remove what dead processes left half-published, here and in the folders of the stages."""
        fsio.sweep_temps(self.path)
        for path in self.path.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):
                fsio.sweep_temps(path)

    def progress(self, generation: int) -> Path:
        """Where the owner of a generation tells how far it is; atomic, not durable."""
        return self.scratch(generation) / "progress.json"

    def outcome(self, generation: int, kind: str) -> Path:
        """`failed` or `released` of a generation."""
        return self.path / f"g{generation:06d}.{kind}"

    def failure(self, markers: Markers) -> dict[str, Any] | None:
        """The last failure on record, or None."""
        if markers.failed:
            return read_json(self.path / "failed")
        if markers.outcome == "failed":
            return read_json(self.outcome(markers.generation, "failed"))
        return None

    def create(self) -> None:
        """Make the directory; raises FileNotFoundError where the dataset is gone."""
        fsio.make_dirs(self.path, below=self.path.parent.parent)

    def submit(self) -> bool:
        """Mark the episode pending; False when it was already."""
        self.create()
        return _mark_pending(self.path)


def submit_dataset(output: Path) -> bool:
    """Mark the whole dataset pending, episodes that join it later too; False when it was already."""
    fsio.make_dirs(output / CONTROL, below=output)
    return _mark_pending(output / CONTROL)


def _mark_pending(folder: Path) -> bool:
    try:
        fsio.publish(folder / "pending", to_json({"schema": SCHEMA}))
    except FileExistsError:
        return False
    return True


def is_being_repaired(output: Path) -> bool:
    """Whether the files of the dataset are half replaced, or about to be."""
    return (output / CONTROL / REPAIRING).exists()


def read_json(path: Path) -> dict[str, Any] | None:
    """A published JSON object, or None when it is not there. Ours are never torn, they appear whole."""
    try:
        value = json.loads(path.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}  # not ours: an uploader may touch its own names in here
    return value if isinstance(value, dict) else {}


def to_json(value: object) -> bytes:
    """One line of JSON."""
    try:
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8
        line = json.dumps(value, separators=(",", ":"), default=str).encode()
    return line + b"\n"
