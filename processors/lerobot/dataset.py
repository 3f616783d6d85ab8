"""The nouns of a LeRobot dataset, the same for v2.0, v2.1 and v3.0: what `reading` gives and all others work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..formats import lerobot_info as meta
from ..formats.lerobot_templates import fill

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from pathlib import Path, PurePosixPath

#: Statistics of one episode, or of a dataset: feature key -> statistic -> nested lists.
Stats = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the rows, or a camera. `shape` is empty where none is declared; `raw` is its entry in info.json."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    raw: Mapping[str, Any]

    @property
    def is_video(self) -> bool:
        """A camera whose pictures lie in video files."""
        return self.dtype == "video"

    @property
    def is_picture(self) -> bool:
        """A camera, wherever its pictures lie."""
        return self.dtype in ("video", "image")

    @property
    def is_depth(self) -> bool:
        """A camera whose pictures are distances."""
        info = self.raw.get("info")
        about = info if isinstance(info, dict) else {}
        return bool(about.get("is_depth_map") or about.get("video.is_depth_map"))

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of a camera, None where its shape does not tell."""
        return meta.picture_size(self.raw)


@dataclass(frozen=True, slots=True)
class VideoSpan:
    """Where the pictures of one camera of one episode lie: from `start_s` to before `end_s` in `file`, in seconds."""

    file: PurePosixPath
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class EpisodeEntry:
    """What the metadata says of one episode.

    Its rows are `first_row` to before `first_row + length` of `table`. `videos`: camera key -> span, without the
    cameras of which nothing is said. `dataset_range` is where its rows lie among those of the whole dataset, as v3.0
    records it (None in v2.x).
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    table: PurePosixPath
    first_row: int
    videos: Mapping[str, VideoSpan]
    dataset_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by its metadata.

    `info` is the object in `meta/info.json`; `features` are in its order. `tasks`: task index -> text. `episodes` are
    in the order in which the metadata lists them, which is not always that of their indices. `templates` are the path
    templates by their key in info.json, with the defaults of the version for those that are not there.
    """

    root: Path
    version: tuple[int, int]
    info: Mapping[str, Any]
    fps: Fraction
    chunks_size: int
    templates: Mapping[str, str]
    features: Mapping[str, Feature]
    tasks: Mapping[int, str]
    episodes: tuple[EpisodeEntry, ...]

    @property
    def cameras(self) -> tuple[Feature, ...]:
        """The features whose pictures lie in video files."""
        return tuple(feature for feature in self.features.values() if feature.is_video)

    @property
    def version_name(self) -> str:
        """As info.json writes it: `v2.1`."""
        return f"v{self.version[0]}.{self.version[1]}"

    @property
    def frames(self) -> int:
        """Rows of the whole dataset, by the lengths of its episodes."""
        return sum(episode.length for episode in self.episodes)

    def table_path(self, index: int, chunk: int | None = None) -> PurePosixPath:
        """The parquet file number `index` of a chunk: of v2.x that of an episode, in its own chunk."""
        return self._path("data_path", index, chunk)

    def video_path(self, key: str, index: int, chunk: int | None = None) -> PurePosixPath:
        """The video file number `index` of a camera: of v2.x that of an episode, in its own chunk."""
        return self._path("video_path", index, chunk, key)

    def _path(self, template: str, index: int, chunk: int | None, key: str = "") -> PurePosixPath:
        return fill(self.templates[template], index, index // self.chunks_size if chunk is None else chunk, key)
