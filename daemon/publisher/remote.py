"""Are the episodes that have receipts still there, as the receipts say: read back from every destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import EpisodedError
from .now import Listener, Sender, sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config
    from ..scan import DropView


@dataclass(frozen=True, slots=True)
class RemoteVerified:
    """What reading one episode back from one destination found; `wrong` empty: all as in the receipt.

    `error`: the destination could not be asked, so that nothing is known.
    """

    dataset: str
    episode: str
    destination: str
    wrong: tuple[str, ...] = ()
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all of it is proven to be there."""
        return not self.wrong and self.error is None


def verify_remote(view: DropView, config: Config) -> Iterator[RemoteVerified]:
    """Every episode at a place that has receipts, destination by destination. Changes nothing."""
    for name, destination in config.destinations.items():
        sender = Sender(destination, config.service.state_dir, Listener(), reading=True)
        for item in sent(view, name):
            about = str(item.root), item.episode, name
            try:
                found = sender.transfer.check([item])[item.control.path]
            except EpisodedError as error:
                yield RemoteVerified(*about, error=f"{error.message} [{error.code}]")
            else:
                yield RemoteVerified(*about, tuple(f"{target} {what}" for target, what in found.items()))
