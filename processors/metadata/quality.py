"""The quality report of an episode: `.episoded/<episode>/quality.json`. `docs/formats.md` explains each key.

Written for people and for scripts that sort good episodes from bad: what was measured on the way, and in `notes` what
deserves a look.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..episode import Camera, Episode

#: Facts of the encode stage that are reported under the same name.
_SAME: Final = ("duplicates", "constant", "adopted", "width", "height", "codec", "pix_fmt", "psnr_db", "seconds")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Psnr(_Part):
    """Luma PSNR in dB of the sampled frames of the video against their PNGs; `frames` were sampled."""

    min: float
    mean: float
    frames: int


class CameraQuality(_Part):
    """One camera. Null: not known of a video that was there already, or there was no encode stage."""

    key: str
    frames_expected: int
    frames_found: int
    frames_stale: int
    duplicates: int | None = None
    constant: bool | None = None
    adopted: bool | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    pix_fmt: str | None = None
    psnr_db: Psnr | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    seconds: float | None = None


class Timestamps(_Part):
    """The time stamps of the table against the nominal rate; `clock.judge` has their meaning."""

    first_s: float
    measured_fps: float | None
    max_drift_s: float
    longest_step_s: float | None
    monotonic: bool
    dropped_estimate: int
    lerobot_accepts: bool


class Orphan(_Part):
    """An episode of this dataset of which there are frames only."""

    episode: str
    why: str


class Quality(_Part):
    """The whole report. The key `schema` is raised when another changes its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(default=1, alias="schema")
    episode: str
    index: int
    frames: int
    fps: str
    duration_s: float
    cameras: tuple[CameraQuality, ...]
    timestamps: Timestamps | None
    orphans: tuple[Orphan, ...]
    notes: tuple[str, ...]
    bytes_before: int
    bytes_after: int
    seconds: float

    def to_json(self) -> bytes:
        """Indented, for people."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def control_path(episode_id: str, name: str) -> PurePosixPath:
    """Where a file about an episode belongs that no dataset format knows: out of every loader's sight."""
    return PurePosixPath(".episoded") / episode_id / name


def report(
    episode: Episode,
    facts: Mapping[str, Mapping[str, Any]],
    timestamps: Mapping[str, Any] | None,
    orphans: Mapping[str, str],
    findings: tuple[str, ...] = (),
) -> Quality:
    """Put the report together from the facts of the encode stage by camera key, and `clock.judge` of the time stamps.

    `findings` are about the dataset, in words; what can be said of the episode is added.
    """
    cameras = tuple(_camera(camera, facts.get(camera.key, {}), episode.length) for camera in episode.cameras)
    stamps = Timestamps(**timestamps) if timestamps else None
    notes = [*episode.notes, *findings, *_about_time(stamps)]
    for camera in episode.cameras:
        notes += _about_camera(camera.key, facts.get(camera.key, {}), episode.length)
    return Quality(
        episode=episode.id,
        index=episode.index,
        frames=episode.length,
        fps=str(episode.fps),
        duration_s=round(float(episode.length / episode.fps), 6),
        cameras=cameras,
        timestamps=stamps,
        orphans=tuple(Orphan(episode=name, why=why) for name, why in orphans.items()),
        notes=tuple(notes),
        bytes_before=sum(camera.bytes_before or 0 for camera in cameras),
        bytes_after=sum(camera.bytes_after or 0 for camera in cameras),
        seconds=round(sum(camera.seconds or 0.0 for camera in cameras), 3),
    )


def _camera(camera: Camera, facts: Mapping[str, Any], length: int) -> CameraQuality:
    source = camera.frames
    stale = len(source.stale) if source else 0
    return CameraQuality(
        key=camera.key,
        frames_expected=length,
        frames_found=facts.get("frames", len(source.paths) if source else 0) + stale,
        frames_stale=stale,
        bytes_before=facts.get("bytes_in"),
        bytes_after=facts.get("bytes_out"),
        **{name: facts.get(name) for name in _SAME},
    )


def _about_camera(key: str, facts: Mapping[str, Any], length: int) -> Iterator[str]:
    if facts.get("constant") and length > 1:
        yield f"{key}: all {length} frames are the same picture: was the camera on?"
    if declared := facts.get("declared_shape"):
        height, width = facts["height"], facts["width"]
        yield f"{key}: the frames are {width}x{height}, meta/info.json says {declared[1]}x{declared[0]}"
    if facts.get("alpha_dropped"):
        yield f"{key}: the frames had transparency, which a video cannot hold; the colours were kept as they are"
    if (sibling := facts.get("sibling")) and not sibling["joinable"]:
        yield f"{key}: encoded unlike {sibling['file']}; LeRobot's converter to v3.0 joins videos without encoding"


def _about_time(stamps: Timestamps | None) -> Iterator[str]:
    if stamps is None:
        yield "the table has no time stamps, or some that are no numbers"
        return
    if not stamps.monotonic:
        yield "time stamps do not rise from row to row"
    if not stamps.lerobot_accepts:
        yield (
            f"time stamps are up to {stamps.max_drift_s:g} s off frame / fps: LeRobot's loader wants every step within "
            "0.0001 s (tolerance_s) and refuses the dataset; the frames are in order, the rows were left as recorded"
        )
