"""Every kind of v2.x dataset that the chain finishes, for LeRobot to judge: as it is, and converted to v3.0."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lerobot_judge
from lerobot_data import DATA, change_info, finish, frame, real, recording

Prepare = Callable[[Path], Path]


def in_place(version: str, **settings: Any) -> Prepare:
    return lambda root: finish(recording(root, version=version, frames=8, size=(96, 128), **settings))


def without_statistics(root: Path) -> Path:
    recording(root, frames=8, size=(96, 128))
    (root / "meta/episodes_stats.jsonl").unlink()
    return finish(root)


def with_odd_templates(root: Path) -> Path:
    recording(root, frames=8, size=(96, 128))
    path = "videos/chunk-{chunk_index:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    change_info(root, lambda info: info.update(video_path=path, total_videos=0))
    return finish(root)


def with_hyphens(root: Path) -> Path:
    recording(root, frames=8, size=(96, 128))
    for folder in sorted((root / "images").glob("*/*")):
        for png in folder.iterdir():
            png.rename(folder / png.name.replace("_", "-"))
        folder.rename(folder.with_name(folder.name.replace("_", "-")))
    return finish(root)


def with_stale_frames(root: Path) -> Path:
    recording(root, frames=8, size=(96, 128))
    for number in (8, 9, 10):
        shutil.copy(frame(root, 0), frame(root, number))
    return finish(root)


def recorded_in_two_sessions(root: Path) -> Path:
    finish(recording(root, frames=8, size=(96, 128), episodes=1))
    return finish(recording(root, frames=8, size=(96, 128), episodes=1))


def elsewhere(root: Path) -> Path:
    received = root.with_name("received")
    recording(received, frames=8, size=(96, 128))
    return finish(received, root, remove_inputs="keep")


def as_lerobot_encodes(root: Path) -> Path:
    return finish(recording(root, frames=8, size=(96, 128)), encode={"profile": "lerobot"})


def recorded_by_lerobot(root: Path) -> Path:
    """LeRobot's own recorder, its encoding left to us."""
    played = recording(root.with_name("played"), frames=8, size=(96, 128))
    [recorded] = lerobot_judge.ask("v21", [{"do": "record", "source": str(played), "root": str(root)}])
    assert recorded["ok"], recorded.get("trace")
    shutil.copytree(root, root.with_name("as recorded"))
    return finish(root)


def from_the_real_robot(root: Path) -> Path:
    return finish(real("pending/g1_v21", root))


DATASETS: Final[dict[str, Prepare]] = {
    "v2.1": in_place("v2.1"),
    "v2.0": in_place("v2.0"),
    "DoRobot": in_place("dorobot"),
    "DoRobot images": in_place("dorobot-images"),
    "29.97 fps": in_place("v2.1", fps=29.97),
    "33360/1411 fps": in_place("v2.1", fps=33360 / 1411),
    "one frame": lambda root: finish(recording(root, frames=1, size=(96, 128))),
    "no statistics": without_statistics,
    "odd templates": with_odd_templates,
    "hyphens": with_hyphens,
    "stale frames": with_stale_frames,
    "two sessions": recorded_in_two_sessions,
    "output of its own": elsewhere,
    "profile lerobot": as_lerobot_encodes,
    "a name with späces": in_place("v2.1"),
    "recorded by LeRobot": recorded_by_lerobot,
    "Unitree G1": from_the_real_robot,
}
#: LeRobot reads fractional rates but cannot record at them: its encoder takes whole numbers only.
RESUMED: Final = [name for name in DATASETS if not name.endswith(" fps")]
CONVERTED: Final = ["v2.1", "DoRobot", "DoRobot images", "two sessions", "profile lerobot", "Unitree G1"]


def source_of(name: str, folder: Path) -> Path:
    """The PNGs to compare with: the same recording once more, because finishing removes them."""
    if name == "Unitree G1":
        return DATA / "pending/g1_v21"
    settings: dict[str, Any] = {"frames": 8, "size": (96, 128)}
    if name == "one frame":
        settings["frames"] = 1
    if name.endswith(" fps"):
        settings["fps"] = {"29.97 fps": 29.97, "33360/1411 fps": 33360 / 1411}[name]
    return recording(folder, **settings)


def finish_all(folder: Path) -> dict[str, Path]:
    """Every dataset, finished by the real chain below `folder`."""
    made = {}
    for name, prepare in DATASETS.items():
        if name != "Unitree G1" or (DATA / "pending/g1_v21").is_dir():
            made[name] = prepare(folder / name / "dataset")
    return made
