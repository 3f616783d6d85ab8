"""`meta/info.json` as the files say it should be."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...errors import EpisodedError, InputError
from ...formats.lerobot_info import picture_size
from ...formats.lerobot_table import opened
from ...metadata.info import video_info
from ..inspect.columns import leaf_type
from ..inspect.film import read as read_film
from .rows import COUNTERS

if TYPE_CHECKING:
    from ..dataset import Dataset
    from .mending import Mending

_DTYPES = {"float": "float32", "double": "float64", "halffloat": "float16"}


def mended_info(mending: Mending) -> bytes:
    """The new content: counts, splits, features and the description of the videos; everything else stays."""
    dataset, episodes = mending.dataset, mending.numbering.episodes
    info: dict[str, Any] = copy.deepcopy(dict(dataset.info))
    _complete(dataset, info)
    info["total_episodes"] = len(episodes)
    info["total_frames"] = sum(episode.entry.length for episode in episodes)
    if dataset.tasks:
        info["total_tasks"] = len(dataset.tasks)
    if dataset.version < (3, 0):
        info["total_videos"] = len(episodes) * len(dataset.cameras)
        info["total_chunks"] = len({episode.index // dataset.chunks_size for episode in episodes})
    if mending.finds("splits_wrong") or mending.numbering.is_new or not info.get("splits"):
        info["splits"] = {"train": f"0:{len(episodes)}"}
    for finding in mending.finds("column_undeclared", "column_shape"):
        _declare(mending, info["features"], finding.message.split("`")[1])
    for finding in mending.finds("video_size", "video_info"):
        _describe(mending, info["features"], finding.camera)
    return json.dumps(info, indent=4, ensure_ascii=False).encode()


def column_feature(kind: Any) -> dict[str, Any]:
    """How info.json declares a column of this arrow type."""
    import pyarrow as pa

    leaf = str(leaf_type(kind))
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else 1
    return {"dtype": _DTYPES.get(leaf, leaf), "shape": [size], "names": None}


def _complete(dataset: Dataset, info: dict[str, Any]) -> None:
    """Keys that are missing, with the values by which everything has been found."""
    info.setdefault("chunks_size", dataset.chunks_size)
    if not isinstance(info["chunks_size"], int) or info["chunks_size"] < 1:
        info["chunks_size"] = dataset.chunks_size
    for key in ("data_path", "video_path"):
        if key == "data_path" or dataset.cameras:
            info[key] = dataset.templates[key]
    if dataset.version >= (3, 0):
        info.setdefault("data_files_size_in_mb", 100)
        info.setdefault("video_files_size_in_mb", 200)
    for key in COUNTERS:
        dtype = "float32" if key == "timestamp" else "int64"
        info["features"].setdefault(key, {"dtype": dtype, "shape": [1], "names": None})


def _declare(mending: Mending, features: dict[str, Any], key: str) -> None:
    """Declare a column as all tables have it."""
    for table in mending.numbering.tables():
        with suppress(InputError), opened(mending.dataset.root / table) as parquet:
            if key in parquet.schema_arrow.names:
                found = column_feature(parquet.schema_arrow.field(key).type)
                names = features.get(key, {}).get("names")
                fits = isinstance(names, list) and len(names) == found["shape"][0]
                features[key] = {**features.get(key, {}), **found, "names": names if fits else None}
                return


def _describe(mending: Mending, features: dict[str, Any], camera: str | None) -> None:
    """Describe a camera's videos as its first one is."""
    if camera is None or camera not in features:
        return
    dataset, feature = mending.dataset, features[camera]
    for episode in mending.numbering.episodes:
        path = dataset.root / episode.entry.videos[camera].file if camera in episode.entry.videos else None
        if path is not None and path.is_file():
            try:
                about = read_film(path).about
            except EpisodedError:
                continue  # the next one will do
            known = feature.get("info")
            found = video_info(path)
            if dataset.features[camera].is_depth:
                found = {key: value for key, value in found.items() if key != "video.is_depth_map"}
            feature["info"] = {**known, **found} if isinstance(known, dict) else found
            if picture_size(feature) != (about.height, about.width):
                channels = dataset.features[camera].shape[-1:] or (3,)
                feature["shape"] = [about.height, about.width, channels[0] if channels[0] in (1, 3, 4) else 3]
                feature["names"] = ["height", "width", "channels"]
            return
