"""The depth video of one camera in the making: segments of a few hundred frames, each a checkpoint of its own.

A segment is two files: its frames, and what is needed to go on after it (the source's state, checksums, counts). The
second is kept last: where it is, the first is whole. What a killed attempt has kept is taken over if it was made by the
same source from the same frames, and as far as nothing of it is missing or damaged; the rest is made again, and comes
out the same.

Writing a segment is a row of threads beside the source, a few frames apart: samples are encoded; each packet is decoded
again and compared; what was found to be right is shown to whoever makes more of it (`exporting.py`). A segment is kept
when all of its packets were right and lie on the disk as they were.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from array import array
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import av
import numpy as np

from ..errors import RetryableError
from ..media import ffv1, video
from .codes import codes_of
from .files import sha256
from .in_order import InOrder, Signs
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from fractions import Fraction
    from pathlib import Path

    from numpy.typing import NDArray

    from ..base import Parts
    from .codes import Codes
    from .source import Piece, State

    Samples = NDArray[np.uint16]
    Check = Callable[[], None]

#: Frames that may wait between two of the threads: a source never waits for a slow disk longer than this many.
_WAITING: Final = 8
_STATE: Final = "state."


def nobody(_: Samples) -> None:
    """Nothing more is made of the frames."""


@dataclass(frozen=True)
class Segment:
    """One finished segment. `facts`: what the source said about its pieces.

    `digest`: sha256 of the file; `stream`: of its packets, by which they are known again in another file.
    """

    path: Path
    digest: str
    stream: str
    crc32: array[int]
    facts: tuple[dict[str, Any], ...]

    @property
    def frames(self) -> int:
        """How many it holds."""
        return len(self.crc32)


@dataclass
class Segments:
    """The segments of one camera: those that were kept, and those that are being made.

    `identity`: JSON text of everything that the result depends on besides the files' content. `length`: frames after
    which a segment ends with the next piece. `threads`: for the codec. `done`, `codes` (how depth is stored; None
    before the first piece) and `tally` are of the segments so far. `signs`: of life, of the threads that write.
    """

    parts: Parts
    scratch: Path
    identity: str
    size: tuple[int, int]
    rate: Fraction
    length: int
    threads: int = 1
    done: list[Segment] = field(default_factory=list)
    codes: Codes | None = None
    tally: Tally = field(default_factory=Tally)
    signs: Signs = field(default_factory=Signs)

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return sum(segment.frames for segment in self.done)

    @property
    def others_are_kept(self) -> bool:
        """Whether there is something that an attempt with another identity has kept, and no segment of ours."""
        return not self.done and self.parts.path("00000.npz") is not None

    def resume(self) -> State | None:
        """Take over what was kept; the state after it, or None to begin at the first frame."""
        state = None
        while (kept := self._kept(len(self.done))) is not None:
            segment, tally, codes, state = kept
            self.done.append(segment)
            self.tally.join(tally)
            self.codes = codes_of(codes)
        return state

    def make(
        self,
        pieces: Iterable[Piece],
        choose: Callable[[Piece], Codes],
        written: Callable[[int], None],
        show: Callable[[Samples], None] = nobody,
        check: Check = lambda: None,
    ) -> None:
        """Write all pieces. `choose(first piece)`: how to store depth; `written(frames so far)` after each frame.

        `show` is given each frame's samples once they were found to be right, in a thread. `check` is called while the
        threads are waited for, and may raise.
        """
        todo = iter(pieces)
        for piece in todo:
            self.codes = self.codes or choose(piece)
            made = _Making(self, self.codes, show)
            self._keep(made, *made.take(piece, todo, written, check))

    def _keep(self, made: _Making, facts: list[dict[str, Any]], state: Mapping[str, NDArray[Any]]) -> None:
        """Keep a segment, and then what is needed to go on after it."""
        assert self.codes is not None
        path, number, digest = made.path, len(self.done), sha256(made.path)
        segment = Segment(self.parts.keep(path, path.name), digest, made.stream, made.crc32, tuple(facts))
        about = {
            "identity": self.identity,
            "digest": digest,
            "stream": segment.stream,
            "crc32": list(segment.crc32),
            "tally": made.tally.to_json(),
            "facts": facts,
            "codes": self.codes.describe(),
        }
        path = self.scratch / f"{number:05d}.npz"
        arrays: dict[str, Any] = {f"{_STATE}{name}": value for name, value in state.items()}
        np.savez(path, about=np.array(json.dumps(about)), **arrays)
        self.parts.keep(path, path.name)
        self.done.append(segment)
        self.tally.join(made.tally)

    def _kept(self, number: int) -> tuple[Segment, Tally, dict[str, Any], State] | None:
        """A segment that was kept whole by an earlier attempt, its counts, its codes and the state after it."""
        kept, rest = self.parts.path(f"{number:05d}.mkv"), self.parts.path(f"{number:05d}.npz")
        if kept is None or rest is None:
            return None
        try:
            with rest.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # numpy leaves a bad file open
                about = json.loads(str(file["about"]))
                state = {name.removeprefix(_STATE): file[name] for name in file.files if name.startswith(_STATE)}
        except (ValueError, OSError, KeyError, zipfile.BadZipFile):
            return None
        if about["identity"] != self.identity or about["digest"] != sha256(kept) or "stream" not in about:
            return None
        segment = Segment(kept, about["digest"], about["stream"], array("I", about["crc32"]), tuple(about["facts"]))
        return segment, Tally(**about["tally"]), about["codes"], state

    def check_joined(self, path: Path, check: Check) -> None:
        """Compare the packets of the file that was joined from the segments with theirs, which decode to what was made.

        `check` is called for each, and may raise. Raises `RetryableError` (`verify_failed`).
        """
        packets = _checked(ffv1.packets(path, video.probe(self.done[0].path).headers), check)
        number = 0
        for segment in self.done:
            if _stream_digest(islice(packets, segment.frames)) != segment.stream:
                raise _not_as_made(path, f"frames {number} to {number + segment.frames - 1} do")
            number += segment.frames
        if next(packets, None) is not None:
            raise _not_as_made(path, f"frame {number} and what follows do")


class _Making:
    """One segment that is being written: its counts, its checksums, its packets' digest."""

    def __init__(self, of: Segments, codes: Codes, show: Callable[[Samples], None]) -> None:
        self.path, self.tally, self.crc32, self.stream = of.scratch / f"{len(of.done):05d}.mkv", Tally(), array("I"), ""
        self._of, self._codes, self._show = of, codes, show
        self._before = self._compared = of.frames

    def take(
        self, piece: Piece, more: Iterator[Piece], written: Callable[[int], None], check: Check
    ) -> tuple[list[dict[str, Any]], State]:
        """Write `piece` and as many more as a segment needs; what they said, and the state after them.

        Raises `RetryableError` (`verify_failed`) where a frame or a packet does not come back as it was made.
        """
        (height, width), facts, signs = self._of.size, [], self._of.signs
        with ffv1.DepthWriter(
            self.path, height=height, width=width, rate=self._of.rate, threads=self._of.threads
        ) as writer:
            self._decode = ffv1.Decoder(writer.headers, height=height, width=width, threads=self._of.threads)
            self._hash, self.crc32, headers = hashlib.sha256(), writer.crc32, writer.headers
            with (
                InOrder(self._compare, _WAITING, "check", signs) as checking,
                InOrder(partial(self._write, writer, checking), _WAITING, "write", signs) as writing,
            ):
                count, current = 0, piece
                while True:
                    for values in current.maps:
                        writing.put(values, check)
                        count += 1
                        written(self._before + count)
                    facts += [dict(current.facts)] if current.facts else []
                    if count >= self._of.length or (following := next(more, None)) is None:
                        break
                    current = following
                writing.finish(check)
                checking.finish(check)
        self.stream = self._hash.hexdigest()
        if _stream_digest(ffv1.packets(self.path, headers)) != self.stream:
            raise _not_as_made(self.path, "its packets do")
        return facts, dict(current.state())

    def _write(
        self, writer: ffv1.DepthWriter, checking: InOrder[tuple[Samples, bytes, int]], values: NDArray[np.float32]
    ) -> None:
        samples, too_large = self._codes.encode(values)
        checking.put((samples, writer.write(samples), too_large))

    def _compare(self, made: tuple[Samples, bytes, int]) -> None:
        samples, packet, too_large = made
        try:
            found = self._decode(packet)
        except (av.error.FFmpegError, ValueError) as error:
            raise _not_as_made(self.path, f"frame {self._compared} does ({error})") from error
        if not np.array_equal(found, samples):
            raise _not_as_made(self.path, f"frame {self._compared} does")
        self._compared += 1
        self._hash.update(_measured(packet))
        self.tally.add(samples, too_large)
        self._show(samples)


def _measured(packet: bytes) -> bytes:
    """With its length, so that it matters where one ends and the next begins."""
    return len(packet).to_bytes(4) + packet


def _stream_digest(packets: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for packet in packets:
        found.update(_measured(packet))
    return found.hexdigest()


def _checked(packets: Iterable[bytes], check: Check) -> Iterator[bytes]:
    for packet in packets:
        check()
        yield packet


def _not_as_made(path: Path, what: str) -> RetryableError:
    return RetryableError(
        "verify_failed",
        f"{path.name}: {what} not read back as it was made",
        "if it happens again, check the disk and the memory of this machine",
    )
