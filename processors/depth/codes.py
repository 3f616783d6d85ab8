"""From depth to the 16-bit samples of a depth video, and back.

Sample 0 is "no depth here". Metric depth is counted in steps of 1 / scale m (1000: millimetres); what does not fit is
0 as well, never the largest value: a wall at 70 m must not become one at 65.535 m. Disparity of a relative model has no
unit (larger is nearer, known up to scale and shift): it is stored relative to a reference, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["metric_m", "disparity_relative"]

LARGEST: Final = 65535
#: The sample of the reference disparity, less one: twice the reference still fits.
_REFERENCE_STEPS: Final = 32767
_REFERENCE_PERCENTILE: Final = 99.9


class Codes(Protocol):
    """One way to store depth in 16 bits."""

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], int]:
        """The samples of a map, same shape, and how many values were too large."""

    def decode(self, samples: NDArray[np.uint16]) -> NDArray[np.float32]:
        """The values of samples; NaN where there is no depth."""

    def value(self, sample: float) -> float:
        """What one sample stands for, in the unit of the kind; linear in it."""

    def describe(self) -> dict[str, Any]:
        """What depth_meta.json says about it."""


@dataclass(frozen=True, slots=True)
class MetricCodes:
    """Depth along the optical axis in metres, as samples of 1 / `scale` m."""

    scale: int = 1000
    kind: Kind = field(default="metric_m", init=False)

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], int]:
        """Samples and how many were further than they reach; those, and what is no depth, are 0.

        Depth that rounds to 0 is sample 1: it is there, and near.
        """
        with np.errstate(invalid="ignore"):
            steps = np.rint(values * np.float32(self.scale))
            known = np.isfinite(steps) & (values > 0)
            far = known & (steps > LARGEST)
            samples = np.where(known & ~far, np.maximum(steps, 1), 0).astype(np.uint16)
        return samples, int(np.count_nonzero(far | (np.isinf(values) & (values > 0))))

    def decode(self, samples: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Metres; NaN where there is no depth."""
        depth = samples.astype(np.float32) / np.float32(self.scale)
        depth[samples == 0] = np.nan
        return depth

    def value(self, sample: float) -> float:
        """Metres."""
        return sample / self.scale

    def millimetres(self, samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Whole millimetres, 0 where there is no depth; what is known is never rounded to 0."""
        if self.scale == 1000:
            return samples
        steps = np.maximum(np.rint(samples * (1000 / self.scale)), 1)
        return np.where((samples > 0) & (steps <= LARGEST), steps, 0).astype(np.uint16)

    def describe(self) -> dict[str, Any]:
        """Kind, unit, scale and formula."""
        return {
            "kind": self.kind,
            "depth_unit": "mm" if self.scale == 1000 else f"1/{self.scale} m",
            "depth_scale": self.scale,
            "depth_max_mm": LARGEST * 1000 // self.scale,
            "decode_formula": f"depth in metres = sample / {self.scale} where sample > 0",
        }


@dataclass(frozen=True, slots=True)
class DisparityCodes:
    """Relative disparity (no unit, larger is nearer): sample = 1 + 32767 * disparity / `reference`."""

    reference: float
    kind: Kind = field(default="disparity_relative", init=False)

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], int]:
        """Samples and how many were beyond twice the reference; those are as near as can be: the largest sample.

        0 is a disparity like others (very far): only what is no number, or below 0, is sample 0.
        """
        with np.errstate(invalid="ignore"):
            steps = np.rint(values * np.float32(_REFERENCE_STEPS / self.reference)) + 1
            known = np.isfinite(steps) & (values >= 0)
            near = known & (steps > LARGEST)
            samples = np.where(known, np.minimum(steps, LARGEST), 0).astype(np.uint16)
        return samples, int(np.count_nonzero(near))

    def decode(self, samples: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Disparity in the model's own numbers; NaN where there is none."""
        disparity = (samples.astype(np.float32) - 1) * np.float32(self.reference / _REFERENCE_STEPS)
        disparity[samples == 0] = np.nan
        return disparity

    def value(self, sample: float) -> float:
        """Disparity in the model's own numbers."""
        return (sample - 1) * self.reference / _REFERENCE_STEPS

    def describe(self) -> dict[str, Any]:
        """Kind, unit, reference and formula."""
        return {
            "kind": self.kind,
            "depth_unit": "none: relative disparity, larger is nearer, up to scale and shift",
            "depth_scale": None,
            "depth_max_mm": None,
            "disparity_reference": self.reference,
            "decode_formula": f"disparity = (sample - 1) / {_REFERENCE_STEPS} * disparity_reference where sample > 0",
        }


@dataclass(frozen=True, slots=True)
class MeasuredScale:
    """What turns relative disparity into metres, measured by somebody: 1 / z = `a` * disparity + `b`, z in metres."""

    a: float
    b: float

    def metres(self, disparity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth in metres; NaN where the formula gives none."""
        inverse = disparity * np.float32(self.a) + np.float32(self.b)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(inverse > 0, 1 / inverse, np.float32(np.nan)).astype(np.float32)


def reference_disparity(maps: NDArray[np.float32]) -> float:
    """The disparity that becomes sample 32768: the 99.9th percentile of the first maps; 1 where they are all 0."""
    known = maps[np.isfinite(maps)]
    found = float(np.percentile(known, _REFERENCE_PERCENTILE)) if known.size else 0.0
    return found if found > 0 else 1.0


def codes_of(meta: dict[str, Any]) -> Codes:
    """The way in which a file with this depth_meta.json is stored. Raises KeyError or ValueError for one that is none.

    Files of older pipelines have no `kind`: they are metric, and some give the scale as metres for each step.
    """
    if meta.get("kind", "metric_m") == "disparity_relative":
        return DisparityCodes(float(meta["disparity_reference"]))
    scale = float(meta.get("depth_scale") or 1000)
    return MetricCodes(round(scale if scale >= 1 else 1 / scale))
