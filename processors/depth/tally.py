"""What is counted of the samples of a depth video, exactly, so that the parts of it can be added up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .codes import Codes

_BIN: Final = 64  # samples; 1024 of them make a histogram
_BINS: Final = 65536 // _BIN


@dataclass
class Tally:
    """Counts of samples: `unknown` are 0, `too_large` did not fit; sums and extremes are of the known ones."""

    known: int = 0
    unknown: int = 0
    too_large: int = 0
    total: int = 0
    squares: int = 0
    smallest: int = 65535
    largest: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * _BINS)

    def add(self, samples: NDArray[np.uint16], too_large: int) -> None:
        """Count one frame."""
        counts = np.bincount(samples.ravel(), minlength=65536)
        unknown = int(counts[0])
        counts[0] = 0
        values = np.flatnonzero(counts)
        of_them = counts[values]
        self.known += samples.size - unknown
        self.unknown += unknown
        self.too_large += too_large
        if values.size:
            self.total += int((values * of_them).sum())
            self.squares += int((values * values * of_them).sum())
            self.smallest = min(self.smallest, int(values[0]))
            self.largest = max(self.largest, int(values[-1]))
            bins = counts.reshape(_BINS, _BIN).sum(axis=1)
            self.histogram = [one + int(other) for one, other in zip(self.histogram, bins, strict=True)]

    def join(self, other: Tally) -> None:
        """Add what was counted elsewhere."""
        self.known += other.known
        self.unknown += other.unknown
        self.too_large += other.too_large
        self.total += other.total
        self.squares += other.squares
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
        self.histogram = [one + more for one, more in zip(self.histogram, other.histogram, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def percentile(self, share: float) -> float:
        """The sample below which `share` (0..1) of the known ones lie, to the width of a bin; 0 without any."""
        below = np.cumsum(self.histogram)
        if not self.known:
            return 0.0
        number = int(np.searchsorted(below, share * self.known))
        return float(np.clip((number + 0.5) * _BIN, self.smallest, self.largest))

    def statistics(self, codes: Codes) -> dict[str, Any]:
        """For depth_meta.json: counts of pixels, and values in the unit of the kind (metres, or relative disparity)."""
        counts = {"known_px": self.known, "invalid_px": self.unknown, "clipped_px": self.too_large}
        if not self.known:
            return {**counts, **dict.fromkeys(("min", "max", "mean", "std", "p01", "p50", "p99"))}
        mean = self.total / self.known
        variance = max(0.0, (self.squares * self.known - self.total**2) / self.known**2)
        shares = {"p01": 0.01, "p50": 0.5, "p99": 0.99}
        samples = {"min": self.smallest, "max": self.largest, "mean": mean}
        samples |= {name: self.percentile(share) for name, share in shares.items()}
        values = {name: round(codes.value(sample), 6) for name, sample in samples.items()}
        return {**counts, **values, "std": round(codes.value(variance**0.5) - codes.value(0), 6)}
