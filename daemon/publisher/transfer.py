"""One batch on its way: what is there, what is missing, move it, commit it, read it back, write receipts.

Every step asks the destination, never a memory of ours. A transfer that was killed anywhere is done again from its
beginning: what arrived is found there and not sent twice, a commit whose answer was lost is found done.
"""

from __future__ import annotations

import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import structlog

from episoded.processors.destinations.base import SHA256, Remote, check_sizes
from episoded.processors.destinations.errors import MutatedError, RefusedError, TransientError

from ..errors import EpisodedError, InputError, RetryableError
from . import companions, manifest, receipts
from .batch import Batch
from .conflicts import foreign
from .jobs import Outcome, Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from episoded.processors.destinations.base import Destination, File

    from .jobs import Dataset
    from .manifest import Aim, Item, Manifest
    from .settings import DestinationConfig
    from .shards import Shards

#: Seconds between looks at what was just committed: a server's caches may lag behind its head.
LOOKS_S: Final = (0.0, 1.0, 5.0, 20.0)

log = structlog.get_logger()


class Transfer:
    """The steps for one destination. `open_at(place)` gives the client; `moved(bytes, total)` hears about progress."""

    def __init__(
        self,
        config: DestinationConfig,
        open_at: Callable[[str], Destination],
        shards: Shards,
        moved: Callable[[int, int], None] = lambda *_: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self._open_at = open_at
        self._shards = shards
        self._moved = moved
        self._sleep = sleep

    def stage(self, items: Sequence[Item]) -> Outcome:
        """Fix the manifests and move the bytes, so that a commit has little left to do."""
        staged, blocked = [], []
        for batch in self._batches(items):
            self._one_by_one(batch, self._stage)
            blocked += batch.blocked
            for path, (_, listed) in batch.entries.items():
                staged.append(Staged(path, listed.aim.place, len(listed.files), listed.bytes))
        return Outcome(staged=tuple(staged), blocked=tuple(blocked))

    def commit(self, items: Sequence[Item], datasets: Sequence[Dataset]) -> Outcome:
        """Bring whole episodes there, prove it, and write their receipts. One commit for each place."""
        proven, blocked, commit, place = [], [], "", ""
        for batch in self._batches(items):
            self._one_by_one(batch, lambda part: self._deliver(part, datasets))
            proven += batch.proven
            blocked += batch.blocked
            commit, place = batch.commit or commit, batch.destination.place
        return Outcome((), tuple(proven), tuple(blocked), commit, place)

    def shared(self, datasets: Sequence[Dataset]) -> Outcome:
        """Bring the shared files of datasets up to date whose episodes are all there."""
        commit, place = "", ""
        for dataset in datasets:
            for aim in companions.aims_of(dataset, self.config):
                destination = self._open_at(aim.place)
                files = self._taken(dataset, {aim}, destination)
                if files is None:
                    continue
                todo = _missing(files, self._look(destination, files))
                if todo:
                    commit = destination.commit(todo, f"Bring the metadata of {dataset.name} up to date")
                self._prove(destination, files)
                companions.settle(dataset, self.config, destination)
                place = aim.place
        return Outcome(commit=commit, place=place)

    def reconcile(self, items: Sequence[Item]) -> Outcome:
        """Write the receipts of episodes that are proven to be there already; moves nothing."""
        proven, place = [], ""
        for batch in self._batches(items):
            wrong = batch.destination.verify(batch.files) if batch.files else {}
            entries = batch.entries.values()
            right = [entry for entry in entries if not any(file.target in wrong for file in entry[1].files)]
            self._receive(batch, right, "found there")
            proven += batch.proven
            place = batch.destination.place
        return Outcome(proven=tuple(proven), place=place)

    def _batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        """The items by place; those that are not ready any more are left out, those that cannot be read are blocked."""
        by_place: dict[str, dict[Path, tuple[Item, Manifest]]] = {}
        with ThreadPoolExecutor(1 if self.config.sharded else receipts.WRITERS) as pool:  # shards fill up in order
            for item, listed in zip(items, pool.map(self._listed, items), strict=True):
                if listed:
                    by_place.setdefault(listed.aim.place, {})[item.control.path] = (item, listed)
        for place, entries in by_place.items():
            try:
                yield Batch(self._open_at(place), entries)
            except RefusedError as error:  # a place that cannot be, by the name of its dataset: the others go on
                for item, _ in entries.values():
                    receipts.block(item.control, self.config.name, error)

    def _listed(self, item: Item) -> Manifest | None:
        """What of an episode goes there, fixed from now on; None where that cannot be known."""
        try:
            return manifest.read(item, self.config) or self._freeze(item)
        except EpisodedError as error:
            log.warning("not_published", episode=item.episode, code=error.code, reason=error.message)
            if not (error.retryable or error.code == "not_ready"):
                receipts.block(item.control, self.config.name, error)
            return None

    def _freeze(self, item: Item) -> Manifest:
        listed = manifest.freeze(item, self.config, self._shards.choose)
        self._shards.add(listed.aim, len(listed.files))
        return listed

    def _one_by_one(self, batch: Batch, step: Callable[[Batch], None]) -> None:
        """A step for the whole batch; where something is refused, for each episode alone: to find out whose it is."""
        try:
            step(batch)
        except RefusedError as error:
            if len(batch.entries) == 1:
                self._block(batch, next(iter(batch.entries)), error)
                return
            singles = list(batch.singly())
            batch.entries.clear()
            for single in singles:
                self._one_by_one(single, step)
                batch.entries |= single.entries
                batch.proven += single.proven
                batch.blocked += single.blocked
                batch.commit = single.commit or batch.commit

    def _deliver(self, batch: Batch, datasets: Sequence[Dataset]) -> None:
        self._stage(batch)
        self._commit(batch, datasets)

    def _stage(self, batch: Batch) -> None:
        """Move what is missing. An episode with a file that changed since is blocked, and costs the others nothing."""
        while batch.entries:
            try:
                check_sizes(batch.files)
                there = self._look(batch.destination, batch.files)
                for path in foreign(batch, there, self.config):
                    self._block(batch, path, _conflict(*batch.entries[path], self.config))
                self._move(batch.destination, _missing(batch.files, there))
            except MutatedError as error:
                self._block(batch, batch.owner(error), error)
            else:
                return

    def _move(self, destination: Destination, todo: Sequence[File]) -> None:
        done, total = 0, sum(file.size for file in todo)

        def moved(count: int) -> None:
            nonlocal done
            done += count
            self._moved(done, total)

        self._moved(0, total)
        if todo:
            destination.stage(todo, moved)

    def _commit(self, batch: Batch, datasets: Sequence[Dataset]) -> None:
        """One commit of whole episodes with the shared files of their datasets; then the proof; then receipts."""
        if not batch.entries:
            return
        beside = self._beside(batch, datasets)
        files = [*batch.in_order, *_last_of_each_name(file for listed in beside.values() for file in listed)]
        try:
            self._bring(batch, files, batch.message([*beside]))
            self._prove(batch.destination, files)
        except MutatedError as error:
            self._block(batch, batch.owner(error), error)
            self._commit(batch, datasets)
            return
        self._receive(batch, [*batch.entries.values()], batch.commit or "found there")
        for dataset in beside:
            companions.settle(dataset, self.config, batch.destination)

    def _bring(self, batch: Batch, files: Sequence[File], message: str) -> None:
        """Commit what is missing. What it has by its own word may be damaged all the same: that is brought anew."""
        destination = batch.destination
        todo = _missing(files, self._look(destination, files))
        if todo:
            batch.commit = destination.commit(todo, message)
        believed = {file.target for file in files} - {file.target for file in todo}
        if believed and not destination.strong_digest:
            kept = [file for file in files if file.target in believed]
            damaged = destination.verify(kept)
            if lost := [file for file in kept if file.target in damaged]:
                batch.commit = destination.commit(lost, message)

    def _beside(self, batch: Batch, datasets: Sequence[Dataset]) -> dict[Dataset, list[File]]:
        """What goes along, by dataset."""
        taken = {
            dataset: self._taken(dataset, aims, batch.destination)
            for dataset in datasets
            if (aims := batch.aims_of(dataset))
        }
        return {dataset: files for dataset, files in taken.items() if files is not None}

    def _taken(self, dataset: Dataset, aims: Collection[Aim], destination: Destination) -> list[File] | None:
        """Shared files and card; None where they cannot be read now: that holds no episode up, they follow later."""
        try:
            return companions.taken(dataset, self.config, aims, destination)
        except TransientError:
            raise
        except (InputError, RetryableError) as error:
            log.warning("metadata_not_published", dataset=dataset.name, code=error.code, reason=error.message)
            return None

    def _look(self, destination: Destination, files: Sequence[File]) -> Mapping[str, Remote]:
        """What is there; nothing is asked where receipts are trusted instead. What tells no digest is read."""
        if not self.config.remote_check or not files:
            return {}
        there = dict(destination.stat([file.target for file in files]))
        silent = [file for file in files if there.get(file.target) == Remote(file.size)]
        wrong = destination.verify(silent) if silent else {}
        return there | {f.target: Remote(f.size, SHA256 + f.sha256) for f in silent if f.target not in wrong}

    def _prove(self, destination: Destination, files: Sequence[File]) -> None:
        """Read everything back. Raises TransientError (`not_proven`): the batch is not there, whoever said so."""
        wrong = {}
        for pause in LOOKS_S:
            self._sleep(pause)
            wrong = dict(destination.verify(files))
            if not wrong:
                return
        target, what = next(iter(wrong.items()))
        raise TransientError(
            "not_proven",
            f"{destination.place}: {len(wrong)} of {len(files)} files are not there as they were sent: {target} {what}",
            "somebody else may be writing there; the batch is tried again",
        )

    def _receive(self, batch: Batch, entries: Sequence[tuple[Item, Manifest]], commit: str) -> None:
        told = [(item.control, listed.aim.place, listed.files) for item, listed in entries]
        receipts.write_all(self.config.name, commit, told)
        for item, _ in entries:
            batch.proven.append(item.control.path)
            names = {"destination": self.config.name, "dataset": item.dataset, "episode": item.episode}
            log.info("published", **names, commit=commit)

    def _block(self, batch: Batch, path: Path, error: EpisodedError) -> None:
        item, _ = batch.entries.pop(path)
        receipts.block(item.control, self.config.name, error)
        batch.blocked.append(path)
        log.error(
            "episode_blocked",
            destination=self.config.name,
            dataset=item.dataset,
            episode=item.episode,
            code=error.code,
            message=error.message,
        )


def _missing(files: Iterable[File], there: Mapping[str, Remote]) -> list[File]:
    """The files that are not proven to be there."""
    return [file for file in files if not (file.target in there and there[file.target].holds(file))]


def _conflict(item: Item, listed: Manifest, config: DestinationConfig) -> EpisodedError:
    """What is said of an episode whose files have another content there, by somebody else."""
    path = shlex.quote(f"{item.root}/{item.episode}")
    return EpisodedError(
        "conflict",
        f"{listed.aim.place} holds other files under the names of this episode",
        f"if those here are right: `episoded publish --overwrite --to {config.name} {path}`; else name another place "
        f"in [destinations.{config.name}], reload the service, then `episoded resume {config.name}`",
    )


def _last_of_each_name(files: Iterable[File]) -> list[File]:
    """Two datasets of one repo have one card."""
    return list({file.target: file for file in files}.values())
