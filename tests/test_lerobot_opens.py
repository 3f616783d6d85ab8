"""Finished datasets judged by LeRobot itself: it opens them, reads the right frames, records on, converts to v3.0.

`make test-lerobot` builds the environments that it needs, once.
"""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
import pytest

import lerobot_judge
from lerobot_data import DATA, TOP, WRIST, info_of, lines_of
from lerobot_datasets import CONVERTED, DATASETS, RESUMED

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lerobot

LEAST_PSNR_DB: Final = 30.0  # of RGB

Verdicts = dict[tuple[str, str], dict[str, Any]]


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
        assert len(opened["psnr"]) == episodes * cameras * bounds * len(opened["backends"])
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
