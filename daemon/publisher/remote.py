"""Are finished episodes at their destinations, as they should be: read back, whatever receipts say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from episoded.processors.destinations.errors import TransientError

from ..errors import EpisodedError
from ..state import State as EpisodeState
from . import desk, receipts
from .manifest import item_of
from .now import Listener, Sender
from .publisher import dataset_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..config import Config
    from ..scan import DatasetView, DropView, EpisodeView
    from .manifest import Item
    from .settings import DestinationConfig

#: Episodes that are read back in one go: a Hub is asked for the paths of many at once.
AT_ONCE: Final = 50

State = Literal["there", "wrong", "waiting", "blocked", "unknown"]


@dataclass(frozen=True, slots=True)
class RemoteVerified:
    """One episode and one destination; `episode` "": what all episodes of the dataset share.

    `there`: read back, all as it should be. `wrong`: it is not, says `wrong`. `waiting`: still to be published.
    `blocked`: it will not be until somebody does what `hint` says. `unknown`: the destination could not be asked.
    """

    dataset: str
    episode: str
    destination: str
    state: State
    wrong: tuple[str, ...] = ()
    error: str | None = None
    hint: str | None = None

    @property
    def passes(self) -> bool:
        """Whether waiting, and asking again, may be all that it takes."""
        return self.state in ("waiting", "unknown")


def verify_remote(view: DropView, config: Config) -> Iterator[RemoteVerified]:
    """Every episode of a place, and every destination of its pipeline or that it has a receipt of.

    Changes nothing.
    """
    for destination in config.destinations.values():
        look = _Look(destination, config)
        for dataset in view.datasets:
            yield from look.at(dataset)


class _Look:
    """One destination, dataset by dataset."""

    def __init__(self, destination: DestinationConfig, config: Config) -> None:
        self._config, self._name = config, destination.name
        self._sender = Sender(destination, config.service.state_dir, Listener(), reading=True)
        self._blocked = desk.blocked(config.service.state_dir, destination.name)

    def at(self, dataset: DatasetView) -> Iterator[RemoteVerified]:
        """Its episodes, then what they share."""
        aims = self._config.pipelines[dataset.drop.pipeline].destinations
        sent = []
        for episode in dataset.episodes:
            if episode.markers.ready and self._name in episode.markers.receipts:
                sent.append(item_of(dataset, episode))
            elif self._name in aims:
                yield self._unsent(dataset, episode)
        for start in range(0, len(sent), AT_ONCE):
            yield from self._read_back(sent[start : start + AT_ONCE])
        if sent:
            yield self._shared(dataset)

    def _unsent(self, dataset: DatasetView, episode: EpisodeView) -> RemoteVerified:
        """An episode without a receipt: it waits, or something is in its way."""
        about = str(dataset.root), episode.id, self._name
        if episode.state is EpisodeState.FAILED:
            return RemoteVerified(*about, "blocked", (), "it failed to be processed", "see `episoded show`")
        if not episode.markers.ready:
            return RemoteVerified(*about, "waiting", (), f"it is {episode.state}, not ready")
        own = self._name in episode.markers.blocked
        told = receipts.read_block(episode.control, self._name) if own else self._blocked
        if told:
            return RemoteVerified(*about, "blocked", (), f"{told['message']} [{told['code']}]", told["hint"])
        return RemoteVerified(*about, "waiting")

    def _read_back(self, items: Sequence[Item]) -> Iterator[RemoteVerified]:
        """Together; where that fails for a reason that one of them may have, each alone."""
        try:
            found = self._sender.read_back(items)
        except EpisodedError as error:
            if len(items) > 1 and not isinstance(error, TransientError):
                for item in items:
                    yield from self._read_back([item])
                return
            for item in items:
                yield self._failed(str(item.root), item.episode, error)
            return
        for item in items:
            wrong = tuple(f"{target} {what}" for target, what in found.get(item.control.path, {}).items())
            yield RemoteVerified(str(item.root), item.episode, self._name, "wrong" if wrong else "there", wrong)

    def _shared(self, view: DatasetView) -> RemoteVerified:
        dataset = dataset_of(view)
        about = str(view.root), "", self._name
        try:
            wrong = self._sender.read_back_shared(dataset)
        except EpisodedError as error:
            return self._failed(*about[:2], error)
        if wrong is None:
            return RemoteVerified(*about, "waiting")
        lines = tuple(f"{target} {what}" for target, what in wrong.items())
        return RemoteVerified(*about, "wrong" if lines else "there", lines)

    def _failed(self, dataset: str, episode: str, error: EpisodedError) -> RemoteVerified:
        """Could not be asked: it may pass, or it needs a person."""
        state: State = "unknown" if isinstance(error, TransientError) else "blocked"
        said = f"{error.message} [{error.code}]"
        return RemoteVerified(dataset, episode, self._name, state, (), said, error.hint)
