"""What the publisher asks of a place where finished episodes go.

The order of one batch: `stat` what is there, `stage` the bytes of what is not, `commit` makes them visible, `verify`
reads them back. Each step may be repeated, by another process too: one that was killed is simply started again at
`stat`, and nothing that arrived is sent twice. A destination raises the four errors of `errors.py` and nothing else on
purpose. It does not retry whole steps, sleep for long, or know about markers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from .errors import MutatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

#: Of a file that git itself stores, a Hub tells no sha256 but git's own digest: sha1 of "blob SIZE\\0" and the content.
GIT: Final = "git:"
SHA256: Final = "sha256:"


@dataclass(frozen=True, slots=True)
class File:
    """One file on its way: where it lies, its path at the destination (with `/`), its size in bytes and sha256 (hex).

    Size and digest are those of its checkpoint. What lies at `source` is not trusted to be that still. `git`: git's
    digest of it (hex), as a manifest tells it, for a file that is not here: one that was found at a destination.
    """

    source: Path
    target: str
    size: int
    sha256: str
    git: str | None = None

    def digest(self, kind: str = SHA256) -> str:
        """Its digest in the words of a destination: `sha256:...` or `git:...`.

        Git's is computed from the source. Raises MutatedError when that is not the file of the checkpoint any more.
        """
        if kind == SHA256:
            return SHA256 + self.sha256
        if self.git and not self.source.exists():
            return GIT + self.git
        return GIT + git_digest(read_unchanged(self))


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as the destination has it: size in bytes, and `sha256:HEX` or `git:HEX`; None: it cannot tell."""

    size: int
    digest: str | None = None

    def holds(self, file: File) -> bool:
        """Whether it is proven to be `file`: the same size and the same digest."""
        if self.size != file.size or self.digest is None:
            return False
        return self.digest == file.digest(GIT if self.digest.startswith(GIT) else SHA256)


class Destination(Protocol):
    """One place: a repo, a bucket with a prefix, a folder. An instance serves one process at a time.

    `place`: what it is called in receipts, logs and status, and what the one writer of it holds locks on; no secret
    in it. `atomic_batch`: a commit appears whole or not at all. Where it is False, files appear in the order in which
    they are given, so that whoever sees the last one of an episode sees all of it. `strong_digest`: the digests that
    `stat` tells are of the bytes that are there. Where it is False they are what was said when they were sent, or
    missing: only `verify` knows.
    """

    place: str
    atomic_batch: bool
    strong_digest: bool

    def probe(self, *, create: bool = True) -> None:
        """Reach it and be let in; with `create`, make what is missing there (a repo, a folder).

        Cheap. Called at the start of each process, after a failure, and now and then while blocked. `create` is True
        the first time that a place is used, and when a person says so: what was there and is gone was perhaps deleted
        on purpose. Raises BlockedError, TransientError.
        """

    def stat(self, targets: Sequence[str]) -> Mapping[str, Remote]:
        """What lies there now of `targets`; what does not is left out. At the current head, not at an older state."""

    def read(self, targets: Sequence[str]) -> Mapping[str, bytes]:
        """The contents of small files that lie there now; what does not is left out.

        What is there at all is asked for many at once. Needs no `probe` before it, and changes nothing there.
        """

    def stage(self, files: Sequence[File], moved: Callable[[int], None]) -> None:
        """Bring the bytes there, without anybody seeing them yet. Bytes that have arrived before are not sent again.

        The digest is taken of the bytes that moved. Raises MutatedError when they are not those of the checkpoint.
        """

    def commit(self, files: Sequence[File], message: str) -> str:
        """Make staged files visible under their names, in this order; what had the name is replaced. Durable.

        Files that were not staged are staged first. Answers the id of the new state (a commit, a time): for people.
        """

    def verify(self, files: Sequence[File]) -> Mapping[str, str]:
        """Read back from there that size and digest are right: target -> what is wrong. Empty: all is proven."""

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class Catalogue(Protocol):
    """A place that shows its visitors a card, and has names for its states."""

    def card(self, name: str, info: Mapping[str, Any]) -> bytes | None:
        """The card of a dataset with this `meta/info.json` (empty: several datasets); None: a person wrote one."""

    def tag(self, name: str) -> None:
        """Have `name` stand for the current state; moved when it stood for an earlier one."""


@runtime_checkable
class Exclusive(Protocol):
    """A place that can be kept for one writer, whatever machine the others are on."""

    def hold(self) -> bool:
        """Keep it until `release`, or until this process dies. False: somebody else has it."""

    def release(self) -> None:
        """Let the others in."""


def git_digest(content: bytes) -> str:
    """Git's own digest of a file's content: what a Hub tells of a file that git itself stores."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def unproven(files: Iterable[File], there: Mapping[str, Remote]) -> dict[str, str]:
    """Target -> what is wrong with it, from what `stat` told: the `verify` of a destination with strong digests."""
    wrong = {}
    for file in files:
        remote = there.get(file.target)
        if remote is None:
            wrong[file.target] = "is not there"
        elif remote.size != file.size:
            wrong[file.target] = f"has {remote.size} bytes there, {file.size} here"
        elif remote.digest is None:
            wrong[file.target] = "the destination tells no digest of it"
        elif not remote.holds(file):
            wrong[file.target] = "has another content there"
    return wrong


def read_unchanged(file: File) -> bytes:
    """The content of a small file. Raises MutatedError when it is not what the checkpoint says."""
    try:
        content = file.source.read_bytes()
    except FileNotFoundError:
        raise MutatedError.of(file.target, "is gone") from None
    if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
        raise MutatedError.of(file.target, "its content is not what was recorded when it was made")
    return content


def check_sizes(files: Iterable[File]) -> None:
    """Stat every source, which costs next to nothing. Raises MutatedError for one that is gone or changed in size."""
    for file in files:
        try:
            size = file.source.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            raise MutatedError.of(file.target, "is gone") from None
        if size != file.size:
            raise MutatedError.of(file.target, f"has {size} bytes, {file.size} were recorded when it was made")
