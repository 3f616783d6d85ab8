"""Datasets of any number of finished episodes, made by processing one and multiplying what came of it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors import formats

if TYPE_CHECKING:
    from pathlib import Path

_FIRST = "episode_000000"
_CHUNK = 1000


def process(root: Path) -> None:
    """Run the chain over every episode of a recording, in this process."""
    layout = formats.detect(root)
    assert layout
    for episode in layout.listing(root).episodes:
        ended = work_on(Work(root, root, episode, layout.name, Pipeline(name="default")))
        assert ended == "ready", f"{root} {episode}: {ended}"


def multiply(template: Path, target: Path, count: int) -> Path:
    """Make a dataset of `count` episodes, each as the first one of `template`: its files, markers and metadata.

    Control files are copied, because a scan meets them; tables and videos are links to the template's.
    """
    for source in sorted(template.rglob("*")):
        name = str(source.relative_to(template))
        if source.is_dir():
            continue
        copies = [_renamed(name, index) for index in range(count)] if _FIRST in name else [name]
        for copy in copies:
            path = target / copy
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.startswith(("data/", "videos/")):
                path.hardlink_to(source)
            else:
                shutil.copyfile(source, path)
    _multiply_metadata(target / "meta", count)
    return target


def _renamed(name: str, index: int) -> str:
    return name.replace(_FIRST, f"episode_{index:06d}").replace("chunk-000", f"chunk-{index // _CHUNK:03d}")


def _multiply_metadata(meta: Path, count: int) -> None:
    for file in (meta / "episodes.jsonl", meta / "episodes_stats.jsonl"):
        line = json.loads(file.read_text().splitlines()[0])
        file.write_text("".join(json.dumps({**line, "episode_index": index}) + "\n" for index in range(count)))
    info: dict[str, Any] = json.loads((meta / "info.json").read_text())
    for total in ("total_episodes", "total_frames", "total_videos"):
        info[total] *= count
    info["total_chunks"] = -(-count // _CHUNK)
    info["splits"] = {"train": f"0:{count}"}
    (meta / "info.json").write_text(json.dumps(info, indent=4))
