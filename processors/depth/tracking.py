"""Points tracked in a video gain a position in space, from the depth of the video.

A track file is JSON, `contact_track*.json` beside the video:

    {
      "intrinsics": {"fx": 812.0, "fy": 812.0, "cx": 423.5, "cy": 238.5},   optional; pixels of the video
      "metadata": {...},                                                    optional
      "tracks": [
        {"frame": 17, "contact_2d": [412.5, 97.0], "detected": true, ...},  "frame" may be "frame_000017" too
        {"frame": 18, "contact_2d": null, "detected": false, ...}
      ]
    }

Pixel (0, 0) is the centre of the upper left one; frame 0 the first of the video. The enriched copy has, in each track
that could be placed, `vda_position_3d`: {"x", "y", "z"} in metres in the camera's frame (x right, y down, z along the
optical axis), and in each other one `vda_skipped` with the reason. Its `metadata.vda` counts both and says what was
used. Every other key is kept; the input file is never changed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, from_os_error
from ..formats.names import is_video
from .reader import read_depth

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DEFAULT_FIELD_OF_VIEW_DEG = 55.0  # horizontal, where nobody knows better: most phones and webcams have 50 to 70
_ENRICHED = "_vda"
_REACH = 2  # pixels around a point whose median depth it gets: a square of 5
_NUMBER = re.compile(r"(\d+)$")
_SCHEMA_HINT = "docs/depth.md, 'Points tracked in a video', has the schema"


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Of a pinhole camera, in pixels of the video. `source`: where they come from."""

    fx: float
    fy: float
    cx: float
    cy: float
    source: str

    @classmethod
    def assumed(cls, height: int, width: int) -> Intrinsics:
        """Those of a horizontal field of view of 55 degrees, the optical axis in the middle."""
        focal = width / (2 * math.tan(math.radians(DEFAULT_FIELD_OF_VIEW_DEG) / 2))
        source = f"assumed: {DEFAULT_FIELD_OF_VIEW_DEG:.0f} degrees across"
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2, source)

    def point(self, x: float, y: float, z: float) -> dict[str, float]:
        """What lies at pixel (x, y), z metres along the optical axis, in the camera's frame in metres."""
        values = {"x": (x - self.cx) * z / self.fx, "y": (y - self.cy) * z / self.fy, "z": z}
        return {name: round(value, 6) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Enriched:
    """How many tracks got a position, and how many did not for each reason.

    The reasons: `not_detected`, `no_point` (no contact_2d), `outside_image`, `beyond_video` (no such frame), `no_depth`
    (nowhere within 2 pixels).
    """

    enriched: int
    skipped: dict[str, int]


def enrich(
    tracks: Path,
    depth: Path,
    output: Path,
    *,
    intrinsics: Intrinsics | None = None,
    otherwise: Intrinsics | None = None,
    first_frame: int = 0,
) -> Enriched:
    """Write a copy of a track file with positions from a metric depth video.

    `intrinsics` go before those of the file, these before `otherwise`, and these before `Intrinsics.assumed`.
    `first_frame`: the number that the file gives to the first frame of the video.
    Raises InputError: `tracks_schema` naming the track and what is wrong with it, `tracks_in_place` when `output` is
    the input, `depth_relative` for depth without a unit; and as `read_depth`.
    """
    if output.resolve() == tracks.resolve():
        raise InputError("tracks_in_place", f"{tracks} would be overwritten", "give the output another name")
    content = _read(tracks)
    wanted = [_wanted(track, number, tracks) for number, track in enumerate(content["tracks"])]
    known = intrinsics or _intrinsics(content, tracks) or otherwise
    places, used = _places(depth, wanted, first_frame, known)
    for track, place in zip(content["tracks"], places, strict=True):
        for key in ("vda_position_3d", "vda_skipped"):
            track.pop(key, None)
        track.update({"vda_skipped": place} if isinstance(place, str) else {"vda_position_3d": place})
    skipped = dict(sorted(Counter(place for place in places if isinstance(place, str)).items()))
    result = Enriched(len(places) - sum(skipped.values()), skipped)
    metadata = content.setdefault("metadata", {})
    metadata["vda"] = {**asdict(result), "unit": "m", "depth": depth.name, "intrinsics": asdict(used)}
    _write(output, content)
    return result


def enrich_beside(
    video: Path, depth: Path, folder: Path, calibrated: Intrinsics | None = None
) -> tuple[list[Path], dict[str, Any]]:
    """Enrich each `contact_track*.json` beside a video into `folder` as `..._vda.json`.

    Gives the files written and, for each that was found, what became of it: its counts, or why it was left alone. Only
    for a video that lies there alone: with others nothing would say which one was tracked. A file that is refused does
    not cost the video its depth. `calibrated`: for files without intrinsics of their own.
    """
    found = sorted(path for path in video.parent.glob("contact_track*.json") if not path.stem.endswith(_ENRICHED))
    alone = sum(is_video(path.name) for path in video.parent.iterdir()) == 1 if found else True
    written: list[Path] = []
    told: dict[str, Any] = {}
    for tracks in found:
        output = folder / f"{tracks.stem}{_ENRICHED}.json"
        try:
            told[tracks.name] = (
                asdict(enrich(tracks, depth, output, otherwise=calibrated))
                if alone
                else {"refused": "several videos lie here"}
            )
        except InputError as error:
            told[tracks.name] = {"refused": error.message, "code": error.code}
        else:
            written += [output] if alone else []
    return written, told


@dataclass(frozen=True, slots=True)
class _Wanted:
    frame: int
    point: tuple[float, float] | None
    detected: bool


def _places(
    depth: Path, wanted: list[_Wanted], first_frame: int, known: Intrinsics | None
) -> tuple[list[dict[str, float] | str], Intrinsics]:
    """For each track its position, or the reason why it has none; and the intrinsics that were used."""
    places: list[dict[str, float] | str] = ["beyond_video"] * len(wanted)
    by_frame: dict[int, list[int]] = {}
    for number, track in enumerate(wanted):
        if not track.detected or track.point is None:
            places[number] = "no_point" if track.detected else "not_detected"
        else:
            by_frame.setdefault(track.frame - first_frame, []).append(number)
    used = known
    for frame, metres in enumerate(read_depth(depth, "m")):
        used = used or Intrinsics.assumed(*metres.shape[:2])
        for number in by_frame.get(frame, ()):
            point = wanted[number].point
            assert point is not None
            places[number] = _place(metres, point, used)
    return places, used or Intrinsics.assumed(1, 1)


def _place(metres: NDArray[Any], point: tuple[float, float], camera: Intrinsics) -> dict[str, float] | str:
    """The position of a point, from the median depth of what is known around it."""
    height, width = metres.shape
    x, y = (math.floor(value + 0.5) for value in point)
    if not (0 <= x < width and 0 <= y < height):
        return "outside_image"
    around = metres[max(0, y - _REACH) : y + _REACH + 1, max(0, x - _REACH) : x + _REACH + 1]
    known = around[np.isfinite(around)]
    return camera.point(*point, float(np.median(known))) if known.size else "no_depth"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise from_os_error(error) from error
    except ValueError as error:
        raise _refused(path, f"it is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("tracks"), list):
        raise _refused(path, "it is no object with a list `tracks`")
    if not isinstance(content.get("metadata", {}), dict):
        raise _refused(path, "`metadata` is no object")
    return content


def _wanted(track: Any, number: int, path: Path) -> _Wanted:
    if not isinstance(track, dict):
        raise _refused(path, f"tracks[{number}] is no object")
    frame, point = track.get("frame"), track.get("contact_2d")
    found = _NUMBER.search(frame) if isinstance(frame, str) else None
    if found is None and (not isinstance(frame, int) or isinstance(frame, bool)):
        raise _refused(path, f"tracks[{number}].frame is {frame!r}, no number and no name that ends in one")
    if point is not None and not _numbers(point, 2):
        raise _refused(path, f"tracks[{number}].contact_2d is {point!r}, not [x, y] in pixels")
    detected = bool(track.get("detected", True))
    return _Wanted(int(found[1]) if found else int(frame), tuple(point) if point else None, detected)  # type: ignore[arg-type]


def _intrinsics(content: dict[str, Any], path: Path) -> Intrinsics | None:
    if (given := content.get("intrinsics")) is None:
        return None
    values: Any = [given.get(name) for name in ("fx", "fy", "cx", "cy")] if isinstance(given, dict) else []
    if not _numbers(values, 4) or min(values[:2]) <= 0:
        raise _refused(path, "`intrinsics` are not fx, fy, cx, cy in pixels, fx and fy positive")
    fx, fy, cx, cy = map(float, values)
    return Intrinsics(fx, fy, cx, cy, "the track file")


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise from_os_error(error) from error


def _refused(path: Path, why: str) -> InputError:
    return InputError("tracks_schema", f"{path} is no track file: {why}", _SCHEMA_HINT)
