"""Recordings for tests of the LeRobot format: small simulated ones, real ones, and ways to spoil them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors import formats
from episoded.processors.errors import InputError
from episoded.processors.simulation import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from episoded.processors.episode import Episode

DATA = Path(os.environ.get("EPISODED_TEST_DATA") or Path(__file__).parents[1] / "../shared/data").resolve()
TOP, WRIST = "observation.images.top", "observation.images.wrist"
LEROBOT = formats.by_name("lerobot")
FIRST, SECOND = "episode_000000", "episode_000001"

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"f2" * 32 + b"\nsize 1890\n"


def recording(root: Path, **settings: Any) -> Path:
    """Two episodes of five frames of two small cameras, unless told otherwise."""
    record(root, **{"episodes": 2, "frames": 5, "size": (48, 64), **settings})
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The recording that most tests begin with."""
    return recording(tmp_path / "dataset")


def real(name: str, root: Path) -> Path:
    """A writable copy of a real recording."""
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the real recordings ({DATA / name})")
    shutil.copytree(DATA / name, root, copy_function=shutil.copyfile)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    return root


def frame(root: Path, number: int, key: str = TOP, episode: int = 0) -> Path:
    return root / "images" / key / f"episode_{episode:06d}" / f"frame_{number:06d}.png"


def table(root: Path, episode: int = 0) -> Path:
    return root / "data/chunk-000" / f"episode_{episode:06d}.parquet"


def video(root: Path, key: str = TOP, episode: int = 0) -> Path:
    return root / "videos/chunk-000" / key / f"episode_{episode:06d}.mp4"


def info_of(root: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / "meta/info.json").read_bytes())
    return value


def change_info(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = info_of(root)
    change(info)
    (root / "meta/info.json").write_text(json.dumps(info, indent=4))


def load(root: Path, episode: str = FIRST) -> Episode:
    """An episode that is finished in place."""
    return LEROBOT.load(root, episode, root)


def refused(root: Path, episode: str = FIRST) -> InputError:
    """Why an episode cannot be read."""
    with pytest.raises(InputError) as caught:
        load(root, episode)
    assert caught.value.hint
    return caught.value


def stats_lines(root: Path) -> dict[int, dict[str, Any]]:
    """The statistics of each episode, by its index."""
    return {line["episode_index"]: line["stats"] for line in lines_of(root / "meta/episodes_stats.jsonl")}


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def embedded(root: Path) -> Path:
    """LeRobot's own dtype `image`: PNG bytes in the table, and the folder left behind."""
    recording(root, version="dorobot-images")
    for index in range(2):
        rows = pq.read_table(table(root, index))
        for key in (TOP, WRIST):
            pngs = [frame(root, number, key, index) for number in range(5)]
            pictures = [{"bytes": png.read_bytes(), "path": png.name} for png in pngs]
            column = pa.array(pictures, rows.schema.field(key).type)
            rows = rows.set_column(rows.schema.get_field_index(key), key, column)
        pq.write_table(rows, table(root, index))
    return root


def finish(root: Path, output: Path | None = None, **pipeline: Any) -> Path:
    """Run the real chain over every episode that is not ready; all must become so."""
    output = output or root
    output.mkdir(exist_ok=True)
    settings = Pipeline.model_validate({"name": "test", **pipeline})
    for episode in LEROBOT.listing(root).episodes:
        if (output / ".episoded" / episode / "ready").exists():
            continue
        assert work_on(Work(root, output, episode, "lerobot", settings)) == "ready"
    return output
