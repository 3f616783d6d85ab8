"""Reading depth videos: `read_depth`, for whoever works with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..media import ffv1
from . import meta
from .codes import MetricCodes, codes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from .codes import Codes

Unit = Literal["mm", "m", "disparity", "sample"]

_AGAIN = "copy the file again from where it was made, or have it made again: `episoded retry --from depth`"


def read_depth(
    path: Path, unit: Unit = "mm", *, verify: bool = True, description: Path | None = None, threads: int = 1
) -> Iterator[NDArray[np.uint16] | NDArray[np.float32]]:
    """The depth maps of a depth video, one (H, W) array for each frame of its camera, holding one at a time.

    `unit`: "mm" gives uint16 millimetres with 0 = no depth, "m" float32 metres with NaN = no depth, both along the
    optical axis of the camera; "disparity" what a relative model says, float32, larger is nearer, NaN = none; "sample"
    the stored numbers. `description`: the depth_meta.json, where it does not lie beside the video.

    Each frame is compared with the CRC32 that was taken when it was made, and their number with the number made:
    libav conceals damage without an error. Also reads the byte-split FFV1 of older pipelines, which has no checksums.

    Raises InputError: `depth_damaged` (names the frame), `depth_count`, `depth_relative` (asked for metres that are
    not in the file), `depth_meta_missing`, `depth_meta_invalid`, `depth_format`, and as `media.video.frames`.
    """
    described = meta.beside(path) if description is None else description
    known = meta.read(described)
    codes = _codes(known, described)
    _check_unit(codes, unit, path)
    expected = meta.checksums(known, described) if verify else None
    number = -1
    for number, samples in enumerate(ffv1.read(path, threads)):
        if expected is not None:
            _check_frame(samples, number, expected, path)
        yield _in_unit(samples, codes, unit)
    count = known.get("frame_count")
    if verify and count is not None and number + 1 != count:
        raise InputError("depth_count", f"{path} ends after {number + 1} of {count} frames", _AGAIN)


def _codes(known: dict[str, Any], path: Path) -> Codes:
    try:
        return codes_of(known)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError("depth_meta_invalid", f"{path} does not say how samples become depth: {error}", "") from error


def _check_unit(codes: Codes, unit: Unit, path: Path) -> None:
    metric = isinstance(codes, MetricCodes)
    if metric and unit == "disparity":
        raise InputError("depth_relative", f"{path} holds metric depth, no disparity", 'read it with unit="m"')
    if not metric and unit in ("mm", "m"):
        raise InputError(
            "depth_relative",
            f"{path} holds relative disparity: its scale and shift are not known, it cannot be read in {unit}",
            'read it with unit="disparity", or make it with a metric model',
        )


def _check_frame(samples: NDArray[np.uint16], number: int, expected: list[int], path: Path) -> None:
    if number >= len(expected):
        raise InputError("depth_count", f"{path} has more than {len(expected)} frames", _AGAIN)
    if ffv1.crc32(samples) != expected[number]:
        raise InputError("depth_damaged", f"frame {number} of {path} is not as it was written", _AGAIN)


def _in_unit(samples: NDArray[np.uint16], codes: Codes, unit: Unit) -> NDArray[np.uint16] | NDArray[np.float32]:
    if unit == "sample":
        return samples
    if unit != "mm":
        return codes.decode(samples)
    assert isinstance(codes, MetricCodes)
    return codes.millimetres(samples)
