"""The end of the chain: verify everything once more, mark ready, and only then remove what the pipeline lets go."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import structlog

from . import checkpoint, fsio
from .control import SCHEMA, ControlDir, read_json, to_json
from .errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from episoded.processors.episode import Camera, Episode

    from .claim import Claim
    from .config import Pipeline
    from .origin import Origin

log = structlog.get_logger()


#: Folder (relative to the dataset) -> [name, size, mtime_ns] of the frames in it.
Frames = dict[str, list[list[Any]]]


def make_ready(
    claim: Claim, pipeline: Pipeline, episode: Episode, frames: Frames, origin: Origin | None = None
) -> None:
    """Publish `ready` once every listed output was read back and is as it was published.

    `origin`: what another machine may know the result by.

    `frames`: what `list_frames` said before the first stage looked at them. A frame that was uploaded anew since it was
    encoded is in no video. `ready` lists the inputs that the videos hold and says what becomes of them; it is the only
    thing that allows their removal.
    """
    control = claim.control
    records = dict(checkpoint.read_all(control, pipeline.stages))
    for stage, done in records.items():
        if broken := checkpoint.damage(done, episode.output):
            checkpoint.supersede_stage(control, stage, claim.generation)
            raise RetryableError("output_damaged", f"{stage}: {'; '.join(broken)}", "the stage is run again by itself")
    if list_frames(episode) != frames:
        raise RetryableError(
            "inputs_changed",
            "frames were replaced while the episode was being processed",
            "the upload was not complete; the episode is tried again by itself",
        )
    claim.check()
    published = {output.path for done in records.values() for output in done.outputs}
    record = {
        "schema": SCHEMA,
        "gen": claim.generation,
        "pipeline": pipeline.name,
        "stages": list(records),
        "at": time.time(),
        "inputs": _encoded(episode, frames, published),
        "remove": pipeline.remove_inputs,
    }
    record |= {"origin": origin} if origin else {}
    fsio.publish(control.path / "ready", to_json(record))


def make_ready_elsewhere(claim: Claim, pipeline: Pipeline, origin: Origin) -> None:
    """Publish `found` and `ready` for an episode whose receipts are here and whose outputs are not.

    No stage is said to be done, and no input may go: neither was its result read here.
    """
    control = claim.control
    claim.check()
    found = {"schema": SCHEMA, "at": time.time(), "destinations": pipeline.destinations}
    fsio.publish(control.path / "found", to_json(found))
    record = {
        "schema": SCHEMA,
        "gen": claim.generation,
        "pipeline": pipeline.name,
        "stages": [],
        "at": time.time(),
        "inputs": {},
        "remove": "keep",
        "origin": origin,
        "found": pipeline.destinations,
    }
    fsio.publish(control.path / "ready", to_json(record))


def may_tidy(control: ControlDir) -> bool:
    """Whether the inputs may go now: not before the last receipt, where the pipeline waits for it."""
    return control.markers().published or not waits_for_receipts(control)


def waits_for_receipts(control: ControlDir) -> bool:
    """Whether the inputs stay until the episode is published."""
    return (read_json(control.path / "ready") or {}).get("remove") == "after_published"


def tidy(control: ControlDir, root: Path, output: Path) -> bool:
    """Remove the inputs that `ready` lists, then our own scratch; `cleaned` says that it was done.

    Nothing is done while the inputs must stay. Safe to repeat, and after a kill at any point. The outputs are verified
    once more: when this is a second try, days may have gone by since. False when one is damaged: then the inputs stay.
    """
    ready = read_json(control.path / "ready")
    if ready is None or (control.path / "cleaned").exists() or not may_tidy(control):
        return True
    inputs = {} if ready.get("remove") == "keep" else listed_inputs(ready)
    if inputs and (broken := damaged_outputs(control, ready["stages"], output)):
        log.error("inputs_kept", episode=control.path.name, reason="an output is damaged", outputs=broken)
        return False
    removed = sum(_remove_listed(root, folder, files) for folder, files in inputs.items())
    for scratch in control.scratches():
        fsio.remove_tree(scratch)
    control.sweep()
    # By rename, not by link: nobody looks here again, so a kill must not leave a temporary name beside it.
    record = {"schema": SCHEMA, "removed": removed, "at": time.time()}
    fsio.replace(control.path / "cleaned", to_json(record), expected=None)
    return True


def damaged_outputs(control: ControlDir, stages: Iterable[str], output: Path) -> list[str]:
    """What of the artifacts that `stages` published is missing or differs, in words."""
    records = dict(checkpoint.read_all(control, stages))
    lost = [f"{stage}: its checkpoint is gone" for stage in stages if stage not in records]
    return lost + [line for done in records.values() for line in checkpoint.damage(done, output)]


def listed_inputs(ready: Mapping[str, Any]) -> Frames:
    """The frames that the videos of a ready episode hold, as its marker lists them."""
    inputs: Frames = ready.get("inputs", {})
    return inputs


def _encoded(episode: Episode, frames: Frames, published: Collection[str]) -> Frames:
    """The frames of those cameras whose video this pipeline published: one without an encode stage removes nothing."""
    encoded = [camera for camera in episode.cameras if camera.frames and str(camera.video) in published]
    folders = {_folder(camera, episode) for camera in encoded}
    return {folder: files for folder, files in frames.items() if folder in folders}


def _folder(camera: Camera, episode: Episode) -> str:
    assert camera.frames is not None
    return str(camera.frames.directory.relative_to(episode.root))


def list_frames(episode: Episode) -> Frames:
    """The frames of an episode as they are now."""
    folders = {}
    for camera in episode.cameras:
        if camera.frames is not None:
            stats = [(path.name, path.stat()) for path in camera.frames.paths]
            folders[_folder(camera, episode)] = [[name, status.st_size, status.st_mtime_ns] for name, status in stats]
    return folders


def _remove_listed(root: Path, folder: str, files: list[list[Any]]) -> int:
    """Remove the listed files as far as they are still the ones that were encoded; a new upload stays.

    A list that leads out of the dataset is none of ours: markers can be uploaded too.
    """
    removed = 0
    if ".." in PurePosixPath(folder).parts or PurePosixPath(folder).is_absolute():
        return removed
    for name, size, mtime_ns in files:
        path = root / folder / PurePosixPath(name).name
        try:
            status = path.lstat()
        except OSError:
            continue
        if (status.st_size, status.st_mtime_ns) == (size, mtime_ns):
            fsio.remove(path)
            removed += 1
    fsio.remove_empty_dirs(root / folder, stop=root)
    return removed
