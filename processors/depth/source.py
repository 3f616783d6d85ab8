"""The border between frames and depth: what the stage hands to a source of depth, and what it gets back.

A source may be a video model on several GPUs, a model that sees one frame at a time, or a stereo matcher. The stage
knows none of them: it gives frames that can be read from any place on, and takes finished maps in order, with a state
from which the rest can be made after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .codes import Kind

#: Arrays that `numpy.savez` keeps without pickling.
State = dict[str, "NDArray[Any]"]


class Frames(Protocol):
    """The frames of one camera. Small and picklable: processes of their own may read them again.

    `count`: as many as can be decoded. `height`, `width`: in pixels, as shown (rotation applied).
    """

    @property
    def count(self) -> int:
        """Frames."""

    @property
    def height(self) -> int:
        """Rows of a frame."""

    @property
    def width(self) -> int:
        """Columns of a frame."""

    def read(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames `start` to `count` - 1, each (H, W, 3) RGB. Raises InputError naming the file and the frame."""


@dataclass(frozen=True)
class Piece:
    """The next finished maps: (H, W) float32 of the frames' size, one a frame; nothing will change them any more.

    Metres along the optical axis, or disparity; NaN is "no depth here". `state()` gives what the source needs to go on
    after the last of them; it is only valid until the next piece. `facts`: JSON values for depth_meta.json.
    """

    maps: Sequence[NDArray[np.float32]]
    state: Callable[[], State] = dict
    facts: Mapping[str, Any] = field(default_factory=dict)


class DepthSource(Protocol):
    """One way to get depth.

    `facts` describe it (model, sha256 of its weights, licence, input size, alignment ...): JSON values that are the
    same for every run of the same source, because what was made with others is not continued.
    """

    @property
    def name(self) -> str:
        """In a word."""

    @property
    def kind(self) -> Kind:
        """What its numbers are."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it is made of."""

    def maps(
        self,
        frames: Frames,
        state: State | None,
        devices: Sequence[str],
        check_cancelled: Callable[[], None],
        threads: int,
    ) -> Iterator[Piece]:
        """The maps of all frames (`state` None), or of those after the piece that `state` was taken from.

        The same bytes whatever the number of devices ("cpu", "cuda:0", ...) and of `threads` of the CPU that it may
        keep busy, and wherever it was interrupted. Calls `check_cancelled` often; closing the iterator ends every
        process that it started.
        """
