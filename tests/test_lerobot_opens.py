"""Finished datasets judged by LeRobot itself: it opens them, reads the right frames, records on, converts to v3.0.

Needs its own environments, once: `python tests/lerobot_judge.py build` (see there).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

import lerobot_judge
from lerobot_data import DATA, TOP, WRIST, change_info, finish, frame, info_of, lines_of, real, recording

LEAST_PSNR_DB: Final = 30.0  # of RGB

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

Verdicts = dict[tuple[str, str], dict[str, Any]]


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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every dataset, finished by the real chain."""
    if not lerobot_judge.is_built("v21"):
        pytest.skip("needs LeRobot 0.3.3: python tests/lerobot_judge.py build v21")
    folder = tmp_path_factory.mktemp("finished")
    made = {}
    for name, prepare in DATASETS.items():
        if name != "Unitree G1" or (DATA / "pending/g1_v21").is_dir():
            made[name] = prepare(folder / name / "dataset")
    return made


@pytest.fixture(scope="module")
def sources(finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {name: source_of(name, folder / name) for name in finished}


@pytest.fixture(scope="module")
def verdicts(finished: dict[str, Path], sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """One process judges everything: LeRobot takes seconds to import. Recording on happens to copies."""
    jobs = []
    for name, root in finished.items():
        common = {"root": str(root), "source": str(sources[name]), "name": name}
        jobs += [{"do": do, **common} for do in ("open", "stats", "probe")]
        if name in RESUMED:
            copy = tmp_path_factory.mktemp("resumed") / "dataset"
            shutil.copytree(root, copy)
            jobs.append({"do": "resume", **common, "root": str(copy)})
    answers = lerobot_judge.ask("v21", jobs)
    return {(str(job["do"]), str(job["name"])): answer for job, answer in zip(jobs, answers, strict=True)}


def verdict(verdicts: Verdicts, do: str, name: str) -> dict[str, Any]:
    if (do, name) not in verdicts:
        pytest.skip(f"needs the real recordings ({DATA})")
    answer = verdicts[do, name]
    assert answer["ok"], answer.get("trace")
    return answer


@pytest.mark.parametrize("name", DATASETS)
class TestLeRobot033:
    def test_opens_it_and_reads_the_right_frames(self, verdicts: Verdicts, name: str) -> None:
        opened = verdict(verdicts, "open", name)
        episodes, cameras = (3, 1) if name == "Unitree G1" else (2, 2)
        assert (opened["episodes"], len(opened["cameras"])) == (episodes, cameras)
        bounds = 1 if name == "one frame" else 2
        assert len(opened["psnr"]) == episodes * cameras * bounds * 2  # two backends
        assert_right_frames(opened)
        assert set(opened["cameras"]) <= set(opened["stats"])

    def test_describes_the_videos_as_we_do(self, verdicts: Verdicts, finished: dict[str, Path], name: str) -> None:
        described = verdict(verdicts, "probe", name)["info"]
        features = info_of(finished[name])["features"]
        for key, info in described.items():
            assert json.dumps(features[key]["info"]) == json.dumps(info)

    def test_computes_the_statistics_that_we_wrote(
        self, verdicts: Verdicts, finished: dict[str, Path], name: str
    ) -> None:
        computed = verdict(verdicts, "stats", name)["stats"]
        if name == "v2.0":
            pytest.skip("v2.0 keeps no statistics of episodes")
        if name == "Unitree G1":
            pytest.skip("its statistics were valid and are kept: another tool computed them, in another precision")
        for line in lines_of(finished[name] / "meta/episodes_stats.jsonl"):
            theirs = computed[str(line["episode_index"])]
            assert list(line["stats"]) == list(theirs)
            for key, entry in theirs.items():
                assert_same(line["stats"][key], entry, exact=key not in (TOP, WRIST))


def test_lerobot_records_what_the_simulation_leaves(finished: dict[str, Path]) -> None:
    """Played to LeRobot's own recorder, the simulated session comes out the same: file by file, table by table."""
    theirs = finished["recorded by LeRobot"].with_name("as recorded")
    ours = theirs.with_name("played")
    names = [{path.relative_to(root) for path in root.rglob("*") if path.is_file()} for root in (ours, theirs)]
    assert names[0] == names[1]
    for name in ("info.json", "tasks.jsonl", "episodes.jsonl"):
        assert (ours / "meta" / name).read_bytes() == (theirs / "meta" / name).read_bytes()
    for name in sorted(name for name in names[0] if name.suffix == ".parquet"):
        one, other = pq.read_table(ours / name), pq.read_table(theirs / name)
        assert one.equals(other)
        assert one.schema.equals(other.schema, check_metadata=True)
    stats = [lines_of(root / "meta/episodes_stats.jsonl") for root in (ours, theirs)]
    for one, other in zip(*stats, strict=True):
        assert list(one["stats"]) == list(other["stats"])
        for key, entry in one["stats"].items():
            assert_same(entry, other["stats"][key], exact=key not in (TOP, WRIST))


@pytest.mark.parametrize("name", RESUMED)
def test_lerobot_records_on(verdicts: Verdicts, name: str) -> None:
    resumed = verdict(verdicts, "resume", name)
    assert resumed["episodes"] == resumed["before"] + 1
    assert (resumed["last_frame"], resumed["task"]) == (2, "Carry on.")


@pytest.fixture(scope="module")
def converted(
    finished: dict[str, Path], sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    if not lerobot_judge.is_built("v30"):
        pytest.skip("needs LeRobot 0.4.4: python tests/lerobot_judge.py build v30")
    names = [name for name in CONVERTED if name in finished]
    jobs = [
        {
            "do": "convert",
            "root": str(finished[name]),
            "source": str(sources[name]),
            "work": str(tmp_path_factory.mktemp("converted")),
        }
        for name in names
    ]
    return dict(zip(names, lerobot_judge.ask("v30", jobs), strict=True))


@pytest.mark.parametrize("name", CONVERTED)
def test_lerobot_converts_it_to_v30_and_reads_the_right_frames(converted: dict[str, dict[str, Any]], name: str) -> None:
    if name not in converted:
        pytest.skip(f"needs the real recordings ({DATA})")
    opened = converted[name]
    assert opened["ok"], opened.get("trace")
    assert_right_frames(opened)


def assert_right_frames(opened: dict[str, Any]) -> None:
    """Each picture is like its own PNG, and more so than like a neighbour's (the G1 also rests: then equally)."""
    for which, (own, neighbour) in opened["psnr"].items():
        assert own > LEAST_PSNR_DB, which
        assert own >= neighbour, which


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], *, exact: bool) -> None:
    """Vectors to the bit; pictures to the rounding of sums over 100,000 pixels."""
    assert list(ours) == list(theirs)
    for name, values in ours.items():
        if exact:
            assert values == theirs[name]
        for one, other in zip(flat(values), flat(theirs[name]), strict=True):
            assert math.isclose(one, other, rel_tol=1e-12)


def flat(value: Any) -> list[float]:
    return [number for part in value for number in flat(part)] if isinstance(value, list) else [value]
