"""Can what finished episodes are sent to be reached, and are we let in. Nothing is made there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from episoded.processors.destinations.errors import BlockedError, TransientError

from ..errors import EpisodedError
from ..publisher import desk
from ..publisher.manifest import aim_at
from ..publisher.now import Listener, Sender
from ..scan import Scanner
from .finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config
    from ..publisher.settings import DestinationConfig

#: What stands for the dataset where none has been dropped yet.
EXAMPLE = "example"


def destinations(config: Config) -> Iterator[Finding]:
    """Each destination of the configuration, asked with the token that this user gets."""
    if not config.destinations:
        return
    known = [view.root.name for drop in Scanner(config.drops).scan() for view in drop.datasets]
    for one in config.destinations.values():
        yield _asked(one, config, known[0] if known else EXAMPLE)
        if told := desk.blocked(config.service.state_dir, one.name):
            yield Finding("fail", "destination", f"{one.name} is blocked: {told['message']}", told["hint"])


def _asked(one: DestinationConfig, config: Config, dataset: str) -> Finding:
    place = aim_at(one, dataset).place
    sender = Sender(one, config.service.state_dir, Listener(), reading=True)
    try:
        sender.reach(place)
    except BlockedError as error:
        made = error.code == "repo_missing" or (error.code == "folder_missing" and "{dataset}" in one.params.template)
        if made and not sender.was_reached(place):
            return Finding("ok", "destination", f"{one.name}: {place} is not there yet; it is made when it is needed")
        return Finding("fail", "destination", f"{one.name}: {error.message}", error.hint)
    except TransientError as error:
        return Finding("warn", "destination", f"{one.name}: {error.message}", error.hint)
    except EpisodedError as error:
        return Finding("fail", "destination", f"{one.name}: {error.message}", error.hint)
    return Finding("ok", "destination", f"{one.name}: {place} can be reached")
