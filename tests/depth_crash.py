"""Kill the depth stage at every point between two durable steps: `python depth_crash.py FOLDER FIRST STEP`.

Says for each point what was wrong with what it left behind, or with what a second process made of it. A process is
forked for each try: everything is imported once, and nothing runs in this one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import recordings
from episoded.daemon import chain, checkpoint, config, logs
from episoded.daemon.chain import Work
from episoded.processors.depth import ladder
from forks import in_child, killed_at
from known_depth import KnownDepth

FRAMES, SEGMENT = 22, 8
TOP, WRIST = "observation.images.top", "observation.images.wrist"
SETTINGS = {"stages": ["encode", "metadata", "depth"], "depth": {"segment_frames": SEGMENT, "preview": False}}


def work(root: Path) -> Work:
    pipeline = config.Config.model_validate({"pipelines": {"default": SETTINGS}}).pipelines["default"]
    return Work(root, root, recordings.EPISODE, "lerobot", pipeline)


def outputs(root: Path) -> dict[str, str]:
    """Name -> sha256 of everything below depth/."""
    found = sorted(path for path in (root / "depth").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def finish(root: Path, source: KnownDepth) -> None:
    """Work on the episode, and leave a note of how many frames were computed."""
    ladder.WAYS["video"] = lambda case: ladder.Way(source, case.frames)
    if not work(root).control.markers().ready:
        assert chain.work_on(work(root)) == "ready"
    (root.parent / f"{root.name}.asked").write_text(json.dumps(source.asked))


def left(root: Path) -> int:
    """Frames of cameras without a checkpoint that lie in no segment that was kept whole."""
    control, count = work(root).control, 0
    for camera in (TOP, WRIST):
        if not checkpoint.unit_path(control, "depth", camera).exists():
            kept = SEGMENT * len(list(control.path.glob(f"depth/{camera}.parts/*/*.npz")))
            count += max(0, FRAMES - kept)
    return count


def verdict(root: Path, expected: dict[str, str]) -> list[str]:
    """What is wrong after the kill, and after another process has finished the work."""
    wrong = recordings.broken_laws(root)
    most = left(root)
    if in_child(lambda: finish(root, KnownDepth())):
        wrong.append("the resumed work failed")
    note = root.parent / f"{root.name}.asked"
    asked = len(json.loads(note.read_text())) if note.exists() else -1
    if asked > most:
        wrong.append(f"{asked} frames were computed, {most} were left")
    if outputs(root) != expected:
        wrong.append("the depth differs from that of an undisturbed run")
    return wrong + recordings.broken_laws(root)


def main(folder: Path, first: int, step: int) -> None:
    logs.configure("critical")
    source = recordings.tiny(folder / f"source{first}", frames=FRAMES)
    whole = recordings.copy(source, folder / f"whole{first}")
    assert in_child(lambda: finish(whole, KnownDepth())) == 0
    expected = outputs(whole)
    assert len(expected) == 4
    for number in range(first, 1 << 20, step):
        root = recordings.copy(source, folder / str(number))
        if not killed_at(number, root, lambda root: finish(root, KnownDepth())):
            break
        print(number, "; ".join(verdict(root, expected)) or "ok", flush=True)
        shutil.rmtree(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
