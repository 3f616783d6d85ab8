"""An episode that was finished here already: its verified videos are sent in place of its frames.

`ready` lists the frames that were read, with size and mtime, and the checkpoints have the sha256 of what was made of
them. Both together prove that a video holds these very frames; the digest goes to the server and is checked there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .. import checkpoint
from ..control import CONTROL, ControlDir, read_json
from ..finish import listed_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_FRAMES: Final = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Encoded:
    """`frames`: path in the dataset -> (size in bytes, mtime in ns) of what the videos hold. `made`: path -> sha256."""

    frames: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)

    def holds(self, files: Mapping[str, tuple[int, int]]) -> bool:
        """Whether the videos are there, and no frame among `files` is another than those they were made of."""
        folders = {path.rpartition("/")[0] for path in self.frames}
        now = {path: look for path, look in files.items() if is_frame(path) and path.rpartition("/")[0] in folders}
        return bool(self.frames) and self.made.keys() <= files.keys() and now.items() <= self.frames.items()


def is_frame(path: str) -> bool:
    """Whether a file of this name is a picture that was recorded."""
    return path.lower().endswith(_FRAMES)


def encoded(root: Path, episodes: Iterable[str]) -> Encoded:
    """What is known of these episodes of the dataset at `root`; nothing where one of them is not ready."""
    frames: dict[str, tuple[int, int]] = {}
    made: dict[str, str] = {}
    for episode in episodes:
        control = ControlDir.of(root, episode)
        ready = read_json(control.path / "ready")
        if not ready:
            return Encoded()
        frames |= _frames(ready)
        for _, record in checkpoint.read_all(control, ready.get("stages", ())):
            made |= {output.path: output.sha256 for output in record.outputs if _is_made(output)}
    return Encoded(frames, made)


def _is_made(output: checkpoint.Output) -> bool:
    """Whether it is data, and came into the dataset by a stage."""
    return not output.path.startswith(f"{CONTROL}/") and not output.facts.get("adopted")


def _frames(ready: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    folders = listed_inputs(ready).items()
    return {f"{folder}/{name}": (size, mtime) for folder, files in folders for name, size, mtime in files}
