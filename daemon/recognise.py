"""An episode that its destinations have already, made of the same and with the same: its receipts instead of its chain.

The order of durable steps: manifests and receipts, `found`, `ready`, `published`. Killed before `ready`, the episode is
pending as before, and whoever claims it next takes the receipts out of force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import structlog

from episoded.processors import formats

from . import finish
from .claim import take
from .errors import EpisodedError
from .origin import origin_of
from .publisher import receipts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .origin import Origin
    from .publisher.jobs import Answer
    from .work import Work

log = structlog.get_logger()


def recognise(work: Work, answers: Sequence[Answer]) -> Literal["found", "other"]:
    """Mark an episode published that all its destinations have; "other", with nothing done, when that is another one.

    Reads its inputs, writes nothing but markers. Raises NotAvailableError when it cannot be claimed.
    """
    origin = _origin(work)
    if origin is None or any((answer.manifest or {}).get("origin") != origin for answer in answers):
        return "other"
    claim = take(work.control, lapsed=work.lapsed, pipeline=work.pipeline.name)
    try:
        receipts.withdraw(work.control)
        for answer in answers:
            claim.check()
            receipts.note_found(work.control, answer)
        finish.make_ready_elsewhere(claim, work.pipeline, origin)
        receipts.seal(work.control, work.pipeline.destinations)
        finish.tidy(work.control, work.root, work.output)
    finally:
        claim.close()
    places = sorted(answer.destination for answer in answers)
    log.info("found", dataset=str(work.root), episode=work.episode_id, destinations=places)
    return "found"


def _origin(work: Work) -> Origin | None:
    """None for an episode that cannot be read: its chain says why."""
    try:
        episode = formats.by_name(work.format).load(work.root, work.episode_id, work.output)
        return origin_of(episode, work.pipeline)
    except (EpisodedError, OSError):
        return None
