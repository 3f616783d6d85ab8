"""The nouns: dataset, episode, camera, and where its frames come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from pathlib import Path, PurePosixPath

    from .errors import EpisodedError


@dataclass(frozen=True, slots=True)
class FrameSource:
    """The numbered PNG files of one camera of one episode, as the recorder left them.

    `paths` are the frames that belong to the episode, in order: `paths[k]` is frame k, one for each row of its table.
    `stale` are frames beyond the episode's length (left over from a discarded take): never encoded, never removed.
    """

    directory: Path
    paths: tuple[Path, ...]
    stale: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Camera:
    """One image stream of an episode.

    `key` is the feature key of the dataset (`observation.images.top`). `frames` is None once the PNGs are gone.
    `video` is where the finished video lies or will lie, relative to `Episode.output`; `depth` where its depth video
    belongs, where the layout has a place of its own for it (None: the depth stage has a rule).
    `shape` is (height, width) as the dataset declares it, or None where it declares nothing usable.
    `rate` is its frames per second, where the word of the video itself is not to be believed. `stereo` is where a
    calibration of both eyes lies, relative to `Episode.output`, for a `video` that shows them side by side. `absent`
    says why there is no video, where the layout knows more than that.
    `start` is the frame of `video` that is frame 0 of this episode, where a video holds several episodes (LeRobot
    v3.0); None for a video of the episode's own. Who reads `video` must honour it. `depth_info` makes it a depth camera
    of LeRobot's: its frames are TIFF files, its video holds 12-bit codes of depth, by these settings. `left` is a video
    of this episode that its recorder had finished and not put into its place yet.
    """

    key: str
    frames: FrameSource | None
    video: PurePosixPath
    shape: tuple[int, int] | None = None
    depth: PurePosixPath | None = None
    start: int | None = None
    rate: Fraction | None = None
    stereo: PurePosixPath | None = None
    absent: EpisodedError | None = None
    depth_info: Mapping[str, Any] | None = None
    left: Path | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode, found and read: what processors work on.

    `root` is the dataset as it was received, `output` the root below which artifacts go (the same in place).
    `length` is the number of rows of its table = frames of each camera; `fps` the nominal rate in frames per second.
    `table` is the parquet file with its rows; `first_row` the first of them, where a file holds several episodes
    (LeRobot v3.0), None for a file of its own. `notes` are findings about its input that should be seen.
    """

    root: Path
    output: Path
    id: str
    index: int
    length: int
    fps: Fraction
    cameras: tuple[Camera, ...]
    table: Path | None = None
    notes: tuple[str, ...] = field(default=())
    first_row: int | None = None

    @property
    def in_place(self) -> bool:
        """True when artifacts go into the received dataset itself."""
        return self.root == self.output
