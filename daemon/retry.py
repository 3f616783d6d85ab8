"""Try again: take a failure, or stages that are done, out of force. Nothing is deleted; the old names stay readable.

    failed -> failed.000002        its attempts count anew from generation 3 on
    ready, cleaned -> *.000002     only when stages are to be run again
    encode.done -> encode.done.g000003, with everything after it

Checkpoints are taken out of force under a claim: between the marker and them a worker may begin, and it would mark
ready what is about to be taken away. Killed at any point, the episode is tried again with what was in force then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from episoded.processors import formats

from . import checkpoint, fsio, stages
from .claim import take
from .control import SCHEMA, ControlDir, to_json
from .errors import EpisodedError, NotAvailableError
from .publisher import receipts
from .state import State

if TYPE_CHECKING:
    from .scan import DatasetView, EpisodeView


def retry(dataset: DatasetView, episode: EpisodeView, again: tuple[str, ...] = ()) -> bool:
    """Have an episode tried again, with the stages `again` run anew; False when there is nothing to try.

    Raises NotAvailableError when somebody is working on it, and EpisodedError (`frames_gone`) when a stage is to run
    again that would need frames which were removed.
    """
    control, state = episode.control, episode.state
    if state is State.CLAIMED:
        raise NotAvailableError("claimed", f"{episode.id} is being worked on", "wait until that has ended")
    if state in (State.ARRIVING, State.PENDING) or (state in (State.READY, State.PUBLISHED) and not again):
        return False
    if "encode" in again:
        _require_frames(dataset, episode)
    _clear(control, episode)
    if again:
        _supersede(control, again)
    return True


def _clear(control: ControlDir, episode: EpisodeView) -> None:
    """Make the episode pending. `cleaned` goes first: with it, a later `ready` would never be tidied up.

    Before it the receipts: with them, a later `ready` would pass for published.
    """
    number = f"{episode.markers.generation:06d}"
    if episode.state is State.WAITING:
        fsio.publish(control.path / f"failed.{number}", to_json({"schema": SCHEMA, "at": time.time()}))
        return
    receipts.withdraw(control)
    for name in ("cleaned", "ready", "failed"):
        if (control.path / name).exists():
            fsio.set_aside(control.path / name, control.path / f"{name}.{number}")


def _supersede(control: ControlDir, again: tuple[str, ...]) -> None:
    """The last stage first: killed in between, no stage is left that would keep what it made from older outputs."""
    claim = take(control)
    try:
        for stage in reversed(again):
            checkpoint.supersede_stage(control, stage, claim.generation)
        claim.end("released", {"reason": "retry", "stages": again, "at": time.time()})
    finally:
        claim.close()


def _require_frames(dataset: DatasetView, episode: EpisodeView) -> None:
    loaded = formats.by_name(dataset.format.name).load(dataset.root, episode.id, dataset.output)
    if not stages.processor("encode").applies(loaded):
        return
    gone = [camera.key for camera in loaded.cameras if camera.frames is None or not camera.frames.paths]
    if gone:
        raise EpisodedError(
            "frames_gone",
            f"{dataset.root}/{episode.id}: the frames of {', '.join(gone)} are no longer there, so that encode cannot "
            "run again: they were removed when the episode was ready",
            '`--from` a later stage; `remove_inputs = "keep"` in the pipeline keeps the frames of later episodes',
        )
