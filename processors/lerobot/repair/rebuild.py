"""An info.json for a dataset that has lost its own: what tables and videos say of themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...formats.lerobot_info import INFO
from ...formats.lerobot_table import opened
from ...formats.lerobot_templates import DEFAULT_TEMPLATES
from ...metadata.info import video_info
from ..head import V30_TEMPLATES
from ..inspect.columns import huggingface_features
from ..inspect.rate import cannot_rebuild, recorded_rate
from .meta_info import column_feature
from .plan import Write

if TYPE_CHECKING:
    from pathlib import Path


def rebuilt_info(root: Path) -> Write:
    """The change that makes an info.json. What no file knows (the robot, the names of joints) stays empty in it.

    Raises InputError: `cannot_rebuild`, and what the reading of tables and videos raises.
    """
    tables = sorted((root / "data").rglob("*.parquet"))
    if not tables:
        raise cannot_rebuild(root, "there is no table")
    v3 = any(path.name.startswith("file-") for path in tables)
    videos = _videos(root, v3=v3)
    fps = recorded_rate(root, tables, [path for paths in videos.values() for path in paths])
    features = _features(tables[0], {key: paths[0] for key, paths in videos.items()})
    info: dict[str, Any] = {
        "codebase_version": "v3.0" if v3 else ("v2.0" if (root / "meta/stats.json").is_file() else "v2.1"),
        "robot_type": None,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        **({} if v3 else {"total_videos": 0, "total_chunks": 0}),
        "chunks_size": 1000,
        **({"data_files_size_in_mb": 100, "video_files_size_in_mb": 200} if v3 else {}),
        "fps": fps,
        "splits": {},
        **(V30_TEMPLATES if v3 else DEFAULT_TEMPLATES),
        "features": features,
    }
    if not videos:
        info["video_path"] = None
    content = json.dumps(info, indent=4, ensure_ascii=False).encode()
    why = (
        f"{info['codebase_version']}, {fps} fps, {len(features)} features, by the tables and videos; the robot's type "
        "and the names of joints are written nowhere else and stay empty"
    )
    return Write(INFO, lambda path: path.write_bytes(content), why)


def _videos(root: Path, *, v3: bool) -> dict[str, list[Path]]:
    """Camera key -> its files. The folders are videos/KEY/chunk-000 in v3.0 and videos/chunk-000/KEY before."""
    found: dict[str, list[Path]] = {}
    for path in sorted((root / "videos").glob("*/*/*.mp4")):
        found.setdefault(path.parent.parent.name if v3 else path.parent.name, []).append(path)
    return found


def _features(table: Path, cameras: dict[str, Path]) -> dict[str, Any]:
    with opened(table) as parquet:
        schema = parquet.schema_arrow
    noted = huggingface_features(schema)
    features: dict[str, Any] = {}
    for field in schema:
        if field.name in cameras:
            continue
        if noted.get(field.name, {}).get("_type") == "Image" or str(field.type).startswith("struct"):
            raise cannot_rebuild(table, f"column `{field.name}` holds pictures, and nothing says of which size")
        features[field.name] = column_feature(field.type)
    for key, path in cameras.items():
        about = video_info(path)
        size = [about["video.height"], about["video.width"], about["video.channels"]]
        names = ["height", "width", "channels"]
        features[key] = {"dtype": "video", "shape": size, "names": names, "info": about}
    return features
