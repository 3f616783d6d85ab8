"""The depth video of one camera in the making: segments of a few hundred frames, each a checkpoint of its own.

A segment is two files: its frames, and what is needed to go on after it (the source's state, checksums, counts). The
second is kept last: where it is, the first is whole. What a killed attempt has kept is taken over if it was made by the
same source from the same frames, and as far as nothing of it is missing or damaged; the rest is made again, and comes
out the same.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..media import ffv1
from .codes import codes_of
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from fractions import Fraction
    from pathlib import Path

    from numpy.typing import NDArray

    from ..base import Parts
    from .codes import Codes
    from .source import Piece, State

#: Maps that may wait for the thread that writes them: a source never waits for a slow disk longer than this many.
_WAITING: Final = 8
_STATE: Final = "state."


@dataclass(frozen=True)
class Segment:
    """One finished segment. `facts`: what the source said about its pieces. `digest`: sha256 of the file."""

    path: Path
    digest: str
    crc32: tuple[int, ...]
    tally: Tally
    facts: tuple[dict[str, Any], ...]
    codes: dict[str, Any]

    @property
    def frames(self) -> int:
        """How many it holds."""
        return len(self.crc32)


@dataclass
class Segments:
    """The segments of one camera: those that were kept, and those that are being made.

    `identity`: JSON text of everything that the result depends on besides the files' content. `length`: frames after
    which a segment ends with the next piece. `threads`: for the encoder.
    """

    parts: Parts
    scratch: Path
    identity: str
    size: tuple[int, int]
    rate: Fraction
    length: int
    threads: int = 1
    done: list[Segment] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return sum(segment.frames for segment in self.done)

    @property
    def codes(self) -> Codes | None:
        """How the first segment stores depth; None while there is none."""
        return codes_of(self.done[0].codes) if self.done else None

    def resume(self) -> State | None:
        """Take over what was kept; the state after it, or None to begin at the first frame."""
        state = None
        while (kept := self._kept(len(self.done))) is not None:
            segment, state = kept
            self.done.append(segment)
        return state

    def make(self, pieces: Iterable[Piece], choose: Callable[[Piece], Codes], written: Callable[[int], None]) -> None:
        """Write all pieces. `choose(first piece)`: how to store depth; `written(frames so far)` after each frame."""
        todo = iter(pieces)
        for piece in todo:
            codes = self.codes or choose(piece)
            self.done.append(self._make_one(piece, todo, codes, written))

    def _make_one(self, piece: Piece, more: Iterator[Piece], codes: Codes, written: Callable[[int], None]) -> Segment:
        """One segment, beginning with `piece`; takes as many more as it needs."""
        number, before = len(self.done), self.frames
        path = self.scratch / f"{number:05d}.mkv"
        tally, facts = Tally(), []
        height, width = self.size
        with (
            ffv1.DepthWriter(path, height=height, width=width, rate=self.rate, threads=self.threads) as writer,
            _InOrder(lambda values: _write(writer, tally, codes, values)) as thread,
        ):
            count, current = 0, piece
            while True:
                for values in current.maps:
                    thread.put(values)
                    count += 1
                    written(before + count)
                facts += [dict(current.facts)] if current.facts else []
                if count >= self.length or (following := next(more, None)) is None:
                    break
                current = following
        digest, state = _sha256(path), current.state()
        kept = self.parts.keep(path, path.name)
        segment = Segment(kept, digest, tuple(writer.crc32), tally, tuple(facts), codes.describe())
        self._keep(number, segment, state)
        return segment

    def _keep(self, number: int, segment: Segment, state: Mapping[str, NDArray[Any]]) -> None:
        """Keep what is needed to go on after a segment."""
        about = {
            "identity": self.identity,
            "digest": segment.digest,
            "crc32": segment.crc32,
            "tally": segment.tally.to_json(),
            "facts": segment.facts,
            "codes": segment.codes,
        }
        path = self.scratch / f"{number:05d}.npz"
        arrays: dict[str, Any] = {f"{_STATE}{name}": value for name, value in state.items()}
        np.savez(path, about=np.array(json.dumps(about)), **arrays)
        self.parts.keep(path, path.name)

    def _kept(self, number: int) -> tuple[Segment, State] | None:
        """A segment that was kept whole by an earlier attempt, and the state after it."""
        video, rest = self.parts.path(f"{number:05d}.mkv"), self.parts.path(f"{number:05d}.npz")
        if video is None or rest is None:
            return None
        try:
            with rest.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # numpy leaves a bad file open
                about = json.loads(str(file["about"]))
                state = {name.removeprefix(_STATE): file[name] for name in file.files if name.startswith(_STATE)}
        except (ValueError, OSError, KeyError, zipfile.BadZipFile):
            return None
        if about["identity"] != self.identity or about["digest"] != _sha256(video):
            return None
        tally = Tally(**about["tally"])
        crc32 = tuple(about["crc32"])
        return Segment(video, about["digest"], crc32, tally, tuple(about["facts"]), about["codes"]), state


class _InOrder:
    """Does one thing to each value in a thread of its own, in order, with a bounded number waiting."""

    def __init__(self, do: Callable[[NDArray[np.float32]], None]) -> None:
        self._do = do
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _InOrder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=kind is not None)
        while kind is None and self._waiting:
            self._waiting.popleft().result()

    def put(self, value: NDArray[np.float32]) -> None:
        """Queue a value; raises what an earlier one raised."""
        if len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._do, value))


def _write(writer: ffv1.DepthWriter, tally: Tally, codes: Codes, values: NDArray[np.float32]) -> None:
    samples, too_large = codes.encode(values)
    writer.write(samples)
    tally.add(samples, too_large)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
