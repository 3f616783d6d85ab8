"""Episodes of one camera whose PNGs lie on disk, and the encode stage run on them."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import structlog
from PIL import Image

from episoded.processors.base import Artifact, StageContext
from episoded.processors.encode.params import EncodeParams
from episoded.processors.encode.stage import EncodeProcessor
from episoded.processors.episode import Camera, Episode, FrameSource
from episoded.processors.errors import EpisodedError, InputError

DATA = Path(os.environ.get("EPISODED_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (EPISODED_TEST_DATA)")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command to compare with")
STAGE = EncodeProcessor()
KEY = "observation.images.top"
Recorded = Callable[..., Episode]


def scene(index: int, width: int = 96, height: int = 64) -> Image.Image:
    """A coloured slope with a bright square that moves: compresses well, no two frames equal."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y + 3 * index) % 256], axis=2).astype(np.uint8)
    picture[10:26, 2 * index : 2 * index + 16] = 240
    return Image.fromarray(picture)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """Makes an episode of one camera whose PNGs lie on disk."""

    def make(
        frames: int = 12, *, index: int = 0, fps: Fraction = Fraction(30), size: tuple[int, int] = (96, 64)
    ) -> Episode:
        root = tmp_path / "dataset"
        folder = root / "images" / KEY / f"episode_{index:06d}"
        folder.mkdir(parents=True)
        paths = tuple(folder / f"frame_{k:06d}.png" for k in range(frames))
        for k, path in enumerate(paths):
            scene(k, *size).save(path, compress_level=1)
        target = PurePosixPath(f"videos/chunk-000/{KEY}/episode_{index:06d}.mp4")
        camera = Camera(KEY, FrameSource(folder, paths), target, (size[1], size[0]))
        return Episode(root, root, str(index), index, frames, fps, (camera,))

    return make


def context(episode: Episode, threads: int = 1, settings: Mapping[str, Any] | None = None, **more: Any) -> StageContext:
    scratch = episode.output / ".episoded" / episode.id / "g000001"
    scratch.mkdir(parents=True, exist_ok=True)
    params = EncodeParams(**(settings or {}))
    return StageContext(episode, scratch, params, structlog.get_logger(), threads=threads, **more)


def run(episode: Episode, threads: int = 1, **settings: Any) -> Artifact:
    return run_in(context(episode, threads, settings))


def run_in(ctx: StageContext) -> Artifact:
    (unit,) = STAGE.units(ctx.episode, ctx.params)
    (artifact,) = STAGE.run(unit, ctx)
    json.dumps(artifact.facts)
    return artifact


def publish(artifact: Artifact, episode: Episode) -> Path:
    target = episode.output / artifact.target
    target.parent.mkdir(parents=True, exist_ok=True)
    return artifact.path.replace(target)


def without_frames(episode: Episode) -> Episode:
    return replace(episode, cameras=tuple(replace(camera, frames=None) for camera in episode.cameras))


def pngs(episode: Episode) -> tuple[Path, ...]:
    assert episode.cameras[0].frames is not None
    return episode.cameras[0].frames.paths


def failure(
    episode: Episode, kind: type[EpisodedError] = InputError, threads: int = 1, **settings: Any
) -> EpisodedError:
    ctx = context(episode, threads, settings)
    with pytest.raises(kind) as caught:
        run_in(ctx)
    assert list(ctx.scratch.iterdir()) == []
    assert caught.value.hint
    return caught.value


@pytest.fixture
def finished(recorded: Recorded) -> Episode:
    """An episode whose PNGs are gone and whose video lies at its target."""
    episode = recorded(12)
    publish(run(episode), episode)
    shutil.rmtree(pngs(episode)[0].parent)
    return without_frames(episode)
