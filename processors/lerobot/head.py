"""`meta/info.json` and `meta/stats.json`, which every version has in much the same form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import EpisodedError, InputError
from ..formats import lerobot_info as meta
from ..formats.lerobot_templates import DEFAULT_TEMPLATES, what_is_wrong
from .dataset import Dataset, Feature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .dataset import Stats
    from .findings import Problems

#: Versions that can be read here.
KNOWN: Final = ((2, 0), (2, 1), (3, 0))
#: The path templates of v3.0, where info.json has none.
V30_TEMPLATES: Final = {
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
_CHUNKS_SIZE: Final = 1000


def read_head(root: Path, report: Problems) -> Dataset:
    """The dataset by its info.json alone: without tasks and episodes.

    Raises InputError for what nothing can be made of: `meta_missing`, `meta_invalid`, `lfs_pointer`,
    `version_unsupported`. Anything less goes to `report`.
    """
    path = root / meta.INFO
    try:
        raw = meta.read_object(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "meta_missing", f"{path} is missing", "`episoded repair` makes one from what the files hold"
        ) from None
    except InputError:
        raise
    except EpisodedError as error:  # it ends in the middle; nobody waits for it here
        raise meta.invalid(path, "ends in the middle") from error
    version = _version(raw, path)
    return Dataset(
        root=root,
        version=version,
        info=raw,
        fps=meta.parse_fps(raw.get("fps"), path),
        chunks_size=_chunks_size(raw, report),
        templates=_templates(raw, version, report),
        features=_features(raw, path),
        tasks={},
        episodes=(),
    )


def read_stats_file(root: Path, report: Problems) -> Stats | None:
    """`meta/stats.json`, None where there is none or, for the lenient, nothing can be made of it."""
    try:
        return meta.read_object(root / meta.STATS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except EpisodedError as error:
        report.add_error(InputError("meta_invalid", error.message, error.hint), meta.STATS)
        return None


def _version(raw: Mapping[str, Any], path: Path) -> tuple[int, int]:
    text = raw.get("codebase_version")
    match = re.fullmatch(r"v?(\d+)\.(\d+)", text) if isinstance(text, str) else None
    if match is None:
        raise meta.invalid(path, f"key `codebase_version` is {text!r}, expected like 'v2.1'")
    version = (int(match[1]), int(match[2]))
    if version not in KNOWN:
        raise InputError(
            "version_unsupported",
            f"{path}: key `codebase_version` is {text!r}, known are v2.0, v2.1 and v3.0",
            "convert the dataset with LeRobot's own converter",
        )
    return version


def _chunks_size(raw: Mapping[str, Any], report: Problems) -> int:
    size = raw.get("chunks_size")
    if type(size) is int and size > 0:
        return size
    report.add("info_key", f"key `chunks_size` is {size!r}, expected a number of files", meta.INFO)
    return _CHUNKS_SIZE


def _templates(raw: Mapping[str, Any], version: tuple[int, int], report: Problems) -> dict[str, str]:
    """The templates, those of the version where info.json has none that can be used."""
    templates = {**(V30_TEMPLATES if version >= (3, 0) else DEFAULT_TEMPLATES)}
    for key in ("data_path", "video_path"):
        given = raw.get(key)
        if given is None:
            if key == "data_path" or any(_dtype(feature) == "video" for feature in _objects(raw.get("features"))):
                report.add("info_key", f"key `{key}` is missing", meta.INFO)
        elif wrong := what_is_wrong(key, given):
            report.add("info_key", f"key `{key}`: {given!r} {wrong}", meta.INFO)
        else:
            templates[key] = given
    return templates


def _features(raw: Mapping[str, Any], path: Path) -> dict[str, Feature]:
    features = raw.get("features")
    if not isinstance(features, dict):
        raise meta.invalid(path, f"key `features` is {type(features).__name__}, expected an object")
    return {key: _feature(key, feature, path) for key, feature in features.items()}


def _feature(key: str, raw: object, path: Path) -> Feature:
    if not isinstance(raw, dict):
        raise meta.invalid(path, f"key `features.{key}` is {type(raw).__name__}, expected an object")
    dtype, shape = raw.get("dtype"), raw.get("shape")
    if not isinstance(dtype, str):
        raise meta.invalid(path, f"key `features.{key}.dtype` is {dtype!r}, expected a name")
    if dtype in ("video", "image") and ("/" in key or "\0" in key or key in ("", ".", "..")):
        raise meta.invalid(path, f"key `features.{key}`: a camera's key must be a file name")
    whole = isinstance(shape, list) and all(type(size) is int for size in shape)
    return Feature(key, dtype, tuple(shape) if isinstance(shape, list) and whole else (), raw)


def _objects(features: object) -> list[dict[str, Any]]:
    return [one for one in features.values() if isinstance(one, dict)] if isinstance(features, dict) else []


def _dtype(feature: Mapping[str, Any]) -> object:
    return feature.get("dtype")
