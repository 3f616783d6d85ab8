"""Tiny real recordings, and what must hold of them before, while and after they are processed."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import av
import numpy as np
from PIL import Image

from episoded.daemon import checkpoint, config
from episoded.daemon.chain import Work
from episoded.daemon.claim import take
from episoded.daemon.control import CONTROL, ControlDir
from episoded.processors import formats, simulation, simulation_v3
from episoded.processors.formats.lerobot_v3_recording import read_recording
from episoded.processors.lerobot.reading import read_dataset
from episoded.processors.media.video import probe
from episoded.processors.metadata.mend import mending_edits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from episoded.daemon.config import Pipeline
    from episoded.processors.formats.base import Format

EPISODE = "episode_000000"
STAGES = ("encode", "metadata")
VIDEO = re.compile(r"videos/chunk-\d{3}/([^/]+)/(episode_\d{6})\.mp4")


#: A version that the simulation can record, or how a session of v3.0 ended.
Version = simulation.Version | simulation_v3.End


def tiny(root: Path, episodes: int = 1, frames: int = 6, version: Version = "v2.1", seed: int = 0) -> Path:
    """A dataset of two cameras, 64 x 48, as its recorder left it: processed in 50 ms."""
    if version in get_args(simulation_v3.End):
        simulation_v3.record(root, episodes, frames, size=(48, 64), end=version, seed=seed)
    else:
        simulation.record(root, episodes, frames, size=(48, 64), version=version, seed=seed)
    return root


def pipeline(**settings: Any) -> Pipeline:
    """The default pipeline with these settings."""
    return config.Config.model_validate({"pipelines": {"default": settings}}).pipelines["default"]


def work(root: Path, episode: str = EPISODE, output: Path | None = None, **settings: Any) -> Work:
    """The work on one episode, in place unless there is an `output`."""
    return Work(root, output or root, episode, format_of(root).name, pipeline(**settings))


def format_of(root: Path) -> Format:
    """The layout of a recording."""
    found = formats.detect(root)
    assert found is not None
    return found


def claim_dead(root: Path, episode: str = EPISODE) -> ControlDir:
    """The control directory of an episode whose owner died without a word."""
    control = ControlDir.of(root, episode)
    take(control).close()
    return control


@dataclass(frozen=True)
class Originals:
    """The frames of a recording as they were before anybody touched them: (episode, camera) -> (N, H, W, 3) uint8."""

    frames: dict[tuple[str, str], NDArray[np.uint8]]

    @classmethod
    def of(cls, root: Path) -> Originals:
        folders = sorted({path.parent for path in root.glob("images/*/episode[_-]*/*.png")})
        return cls({(folder.name.replace("-", "_"), folder.parent.name): _read_frames(folder) for folder in folders})

    def missing_from(self, root: Path) -> list[str]:
        """Frames that are in no video below `root`, in words; empty = every frame is accounted for.

        A frame counts only where it belongs: a shifted or repeated frame is a lost one.
        """
        found = []
        for (episode, camera), originals in self.frames.items():
            video = video_of(root, camera, episode)
            if video is None:
                found.append(f"{episode} {camera}: no video")
                continue
            decoded = decode(video)
            if len(decoded) != len(originals):
                found.append(f"{episode} {camera}: {len(decoded)} frames of {len(originals)}")
                continue
            found += [f"{episode} {camera}: frame {k}: {why}" for k, why in _wrong_frames(decoded, originals)]
        return found


def video_of(root: Path, camera: str, episode: str) -> Path | None:
    """The video of one camera of one episode; of a v3.0 dataset by its own list of episodes."""
    if not (root / "meta/episodes").is_dir():
        return next(root.glob(f"videos/*/{camera}/{episode}.mp4"), None)
    span = read_recording(root).entries[_index(episode)].videos.get(camera)
    return root / span.file if span and span.start_s == 0 and (root / span.file).is_file() else None


def decode(video: Path) -> NDArray[np.uint8]:
    """All frames of a video as (N, H, W, 3) uint8."""
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _read_frames(folder: Path) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))])


def _wrong_frames(decoded: NDArray[np.uint8], originals: NDArray[np.uint8]) -> Iterator[tuple[int, str]]:
    """Frames that are damaged, or resemble a neighbour's original more than their own.

    Where hardly anything moves an encoder repeats a frame, which makes a difference of 18 % at most here; frames that
    are in the wrong place elsewhere are off by a third, and by a multiple where something moves.
    """
    sums = np.zeros(5)
    for k, frame in enumerate(decoded):
        near = originals[max(0, k - 8) : k + 9].astype(np.int16)
        errors = ((near - frame) ** 2).mean(axis=(1, 2, 3), dtype=np.float64)
        own = errors[place := min(k, 8)]
        quality = 10 * np.log10(255**2 / max(own, 1e-9))
        if quality < 24:
            yield k, f"{quality:.1f} dB"
        elif own > 1.25 * errors.min():
            yield k, "it shows another frame"
        if 2 <= place <= len(errors) - 3:
            sums += errors[place - 2 : place + 3]
    if len(decoded) > 4 and sums.argmin() != 2:
        yield 0, f"all frames are shifted by {sums.argmin() - 2}"


def broken_laws(root: Path, output: Path | None = None) -> list[str]:
    """What must hold at every instant, also right after a SIGKILL; in words, empty = all of it."""
    found: list[str] = []
    output = output or root
    for path in (*root.rglob("*.json"), *output.rglob("*.json"), *output.glob(f"{CONTROL}/**/*.done")):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            found.append(f"torn: {path}")
    for path in output.glob(f"{CONTROL}/**/*.done"):
        if record := checkpoint.read(path):
            found += [f"{path.name}: {damage}" for damage in checkpoint.damage(record, output)]
    for control in map(ControlDir, output.glob(f"{CONTROL}/episode_*")):
        found += _broken_laws_of(control, root, output)
    strays = [path for path in output.rglob("*") if path.suffix in (".mp4", ".parquet") and CONTROL in path.parts]
    return found + [f"counted by LeRobot's recorder: {path}" for path in strays]


def _broken_laws_of(control: ControlDir, root: Path, output: Path) -> Iterator[str]:
    markers, name = control.markers(), control.path.name
    claims = [number for number in range(1, markers.generation + 1) if control.claim(number).exists()]
    if claims != list(range(1, markers.generation + 1)):
        yield f"{name}: generations {claims}"
    if not markers.ready:
        folders = [*root.glob(f"images/*/{name}"), *root.glob(f"images/*/{name.replace('_', '-')}")]
        frames = [folder for folder in folders if len(list(folder.glob("*.png"))) < _rows(root, name)]
        yield from (f"{name}: a frame went before ready: {folder}" for folder in frames)
    elif not set(STAGES) <= markers.stages_done:
        yield f"{name}: ready after {sorted(markers.stages_done)} only"


def _rows(root: Path, name: str) -> int:
    if format_of(root).name == "lerobot-v3":
        return read_recording(root).entries[_index(name)].length
    lines = map(json.loads, (root / "meta" / "episodes.jsonl").read_text().splitlines())
    return next(int(line["length"]) for line in lines if line["episode_index"] == _index(name))


def _index(episode: str) -> int:
    return int(episode.removeprefix("episode_"))


def leftovers(root: Path) -> list[str]:
    """What a dataset whose episodes are all finished has no reason to hold, or to lack."""
    controls = [ControlDir.of(root, name) for name in format_of(root).listing(root).episodes]
    found = [f"not ready: {control.path.name}" for control in controls if not control.markers().ready]
    found += [f"not tidy: {control.path.name}" for control in controls if not control.markers().cleaned]
    for folder, folders, files in os.walk(root):  # unlike rglob it bears folders that go away meanwhile
        inside = CONTROL in Path(folder).parts
        for name in folders + files:
            if name.startswith(".t-") or (inside and re.fullmatch(r"g\d{6}|aside", name)):
                found.append(f"left over: {folder}/{name}")
    if (root / "images").exists():
        found.append("images/ is still there")
    return found or unsettled(root)


def unsettled(root: Path) -> list[str]:
    """Shared files that are not what probing the published files gives."""
    edits = [edit for edit in mending_edits(format_of(root).name, root, root) if edit.target.parts[0] == "meta"]
    assert edits, "there is always info.json"
    changed = []
    for edit in edits:
        current = (root / edit.target).read_bytes()
        if edit.derive(current) not in (None, current):
            changed.append(f"would change: {edit.target}")
    return changed


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every name below `root` with inode, size and ctime: equal snapshots mean that nothing was written."""
    names = {str(path.relative_to(root)): path.lstat() for path in root.rglob("*")}
    return {name: (status.st_ino, status.st_size, status.st_ctime_ns) for name, status in names.items()}


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a dataset but our own records."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if ".episoded" not in path.relative_to(root).parts
    }


def made_files(output: Path) -> dict[str, int]:
    """The files of a conversion that are on record with what lies there, and the inode of each."""
    made = {}
    for path in (output / ".episoded/convert/files").glob("[!.]*"):
        record = json.loads(path.read_bytes())
        status = (output / record["target"]).stat()
        if (status.st_size, status.st_mtime_ns) == (record["size"], record["mtime_ns"]):
            made[record["target"]] = status.st_ino
    return made


def half_converted(output: Path) -> list[str]:
    """What is wrong with a conversion whose process was killed: it is no dataset yet, or one that holds together."""
    if not (output / "meta/info.json").is_file():
        return []
    dataset = read_dataset(output)
    wrong = [f"{entry.table} is missing" for entry in dataset.episodes if not (output / entry.table).is_file()]
    for entry in dataset.episodes:
        for span in entry.videos.values():
            end = round(span.end_s * dataset.fps)
            found = probe(output / span.file).frames
            wrong += [f"{span.file} has {found} frames, episode {entry.index} ends at {end}"] * (found < end)
    return wrong
