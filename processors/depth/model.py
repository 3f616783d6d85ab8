"""What computes windows: a model of video depth, loaded on one device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

Precision = Literal["fp32", "tf32", "fp16"]


@dataclass(frozen=True)
class Computed:
    """One window: 32 maps (32, h, w) float32 at the model's size, all finite, and what they were computed in.

    `events`: what the model had to do on the way (a smaller batch, another precision), as JSON values.
    """

    window: int
    maps: NDArray[np.float32]
    precision: Precision = "fp32"
    events: Sequence[Mapping[str, Any]] = field(default=())


class WindowModel(Protocol):
    """A model on its device.

    `precision`: what it computes in unless told otherwise. `take_events()`: what happened since it was last asked.
    """

    @property
    def precision(self) -> Precision:
        """A function of the model and the device."""

    def features(self, pictures: Iterable[NDArray[np.uint8]], precision: Precision) -> list[Any]:
        """What the model makes of each picture (H, W, 3) RGB on its own; the same whichever pictures come with it."""

    def maps(
        self, window: int, features: Sequence[Any], check: Callable[[], None], precision: Precision
    ) -> NDArray[np.float32]:
        """The depth of a window from the features of its 32 frames: (32, h, w) float32, perhaps not finite.

        `check` is called for every few frames, and may raise to stop: the whole window may take a CPU many minutes.
        """

    def take_events(self) -> list[dict[str, Any]]:
        """The events since the last call."""


class ModelSpec(Protocol):
    """How to load a model: small and picklable, because every process loads its own."""

    def load(self, device: str, threads: int = 1) -> WindowModel:
        """The model on `device`: "cpu" or "cuda:N". `threads`: of the CPU; they change nothing but the time."""
