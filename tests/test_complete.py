"""When an upload is complete: nothing is begun while bytes still arrive, everything is begun in the end.

Real files and folders, real rsync; only the clock is ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from episoded.daemon import fsio
from episoded.daemon.chain import work_on
from episoded.daemon.claim import LEASE_S, take
from episoded.daemon.config import Config
from episoded.daemon.control import CONTROL
from episoded.daemon.dispatch import Dispatcher
from episoded.daemon.guard import Guard
from episoded.daemon.jobs import Job
from episoded.daemon.scan import Scanner
from episoded.daemon.state import State
from episoded.daemon.worker import StopRequests, perform
from recordings import EPISODE, snapshot, tiny, work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUIET_S, INCOMPLETE_S = 60.0, 600.0


class Station:
    """One drop folder with its rule, and the part of the daemon that decides what is begun."""

    def __init__(self, folder: Path, rule: str, output: Path | None = None) -> None:
        self.drop = folder
        self.drop.mkdir(exist_ok=True)
        self.now = 1000.0
        drop = {"path": folder, "complete": rule, "quiet_s": QUIET_S, "incomplete_s": INCOMPLETE_S, "output": output}
        config = Config.model_validate({"drop": [drop]})
        guard = Guard(config.guard, disk=lambda _: 1 << 50, memory=lambda: 1 << 40)
        self.scanner = Scanner(config.drops)
        self.dispatcher = Dispatcher(config, guard, lambda: self.now)

    def offers(self) -> list[str]:
        """What a free worker would be given now; scans until nothing changes, as the main loop does."""
        while self.dispatcher.take_in(self.scanner.scan()):
            pass
        return [f"{job.work.root.name}/{job.work.episode_id}" for job in self.dispatcher.next_jobs([], 99)]

    def jobs(self) -> list[tuple[str, str]]:
        """The same with what kind of job it is."""
        while self.dispatcher.take_in(self.scanner.scan()):
            pass
        return [(job.kind, job.work.episode_id) for job in self.dispatcher.next_jobs([], 99)]

    def state(self, dataset: str) -> State:
        (drop,) = self.scanner.scan()
        return next(view.episodes[0].state for view in drop.datasets if view.root.name == dataset)

    def why_held(self) -> str:
        (reason,) = self.dispatcher.held.values()
        return reason


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny(tmp_path / "arm", frames=8)


def mark(dataset: Path) -> None:
    (dataset / CONTROL).mkdir(exist_ok=True)
    (dataset / CONTROL / "pending").touch()


def mark_episode(dataset: Path) -> None:
    (dataset / CONTROL / EPISODE).mkdir(parents=True)
    (dataset / CONTROL / EPISODE / "pending").touch()


def upload(source: Path, target: Path, *, meta_first: bool = False) -> Iterator[str]:
    """Copy slowly, file by file, each in two halves; yields what was just written, as long as something is missing.

    `tasks.jsonl` goes first: it belongs to the dataset, no episode is made from it.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file())
    files.sort(key=lambda path: (path.name != "tasks.jsonl", meta_first and "meta" not in path.parts))
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        with place.open("wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            yield f"half of {path.name}"
            file.write(content[len(content) // 2 :])
        if path != files[-1]:
            yield path.name


class TestMarker:
    def test_nothing_is_begun_without_it(self, tmp_path: Path, source: Path) -> None:
        station = Station(tmp_path / "drop", "marker")
        source.rename(station.drop / "arm")
        assert station.offers() == []
        assert station.state("arm") is State.ARRIVING
        station.now += 10 * INCOMPLETE_S
        assert station.offers() == []

    @pytest.mark.parametrize("how", [mark, mark_episode])
    def test_of_the_dataset_or_of_the_episode_begins_at_once(self, tmp_path: Path, source: Path, how: object) -> None:
        station = Station(tmp_path / "drop", "marker")
        dataset = source.rename(station.drop / "arm")
        assert callable(how)
        how(dataset)
        assert station.offers() == [f"arm/{EPISODE}"]

    @pytest.mark.parametrize("how", [mark, mark_episode])
    def test_in_the_drop_folder_counts_where_the_output_is_elsewhere(
        self, tmp_path: Path, source: Path, how: object
    ) -> None:
        station = Station(tmp_path / "drop", "marker", output=tmp_path / "output")
        (tmp_path / "output").mkdir()
        dataset = source.rename(station.drop / "arm")
        assert station.offers() == []
        assert callable(how)
        how(dataset)
        assert station.offers() == [f"arm/{EPISODE}"]

    @pytest.mark.parametrize("meta_first", [False, True])
    def test_that_comes_first_is_believed_only_with_the_files(
        self, tmp_path: Path, source: Path, meta_first: bool
    ) -> None:
        """rsync sends `.episoded/` before `images/`."""
        station = Station(tmp_path / "drop", "marker")
        dataset = station.drop / "arm"
        dataset.mkdir()
        mark(dataset)
        begun = {written: station.offers() for written in upload(source, dataset, meta_first=meta_first)}
        assert {written for written, offered in begun.items() if offered} == set()
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_of_the_episode_that_comes_first_is_believed_only_with_the_files(
        self, tmp_path: Path, source: Path
    ) -> None:
        station = Station(tmp_path / "drop", "marker")
        dataset = station.drop / "arm"
        mark_episode(dataset)
        assert all(station.offers() == [] for _ in upload(source, dataset, meta_first=True))
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_a_marked_upload_that_never_becomes_whole_is_begun_after_a_while_to_say_what_is_missing(
        self, tmp_path: Path, source: Path
    ) -> None:
        station = Station(tmp_path / "drop", "marker")
        next(iter(source.rglob("frame_000003.png"))).unlink()
        mark(source.rename(station.drop / "arm"))
        assert station.offers() == []
        assert "frame_000003.png" in station.why_held()
        station.now += INCOMPLETE_S - 1
        assert station.offers() == []
        station.now += 1
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_episodes_that_follow_are_judged_one_by_one(self, tmp_path: Path, source: Path) -> None:
        station = Station(tmp_path / "drop", "marker")
        dataset = source.rename(station.drop / "arm")
        mark(dataset)
        assert station.offers() == [f"arm/{EPISODE}"]
        tiny(dataset, frames=8)
        (late := next(dataset.glob("images/*/episode_000001/frame_000007.png"))).rename(tmp_path / "late")
        assert station.offers() == [f"arm/{EPISODE}"]
        (tmp_path / "late").rename(late)
        assert station.offers() == [f"arm/{EPISODE}", "arm/episode_000001"]


class TestRename:
    @pytest.mark.parametrize("name", [".arm", "arm.part", "arm.tmp", ".arm.Xy12Zq", "lost+found"])
    def test_a_name_that_is_not_final_is_not_looked_into(self, tmp_path: Path, source: Path, name: str) -> None:
        station = Station(tmp_path / "drop", "rename")
        source.rename(station.drop / name)
        assert station.offers() == []
        (station.drop / name).rename(station.drop / "arm")
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_below_an_owner_too(self, tmp_path: Path, source: Path) -> None:
        station = Station(tmp_path / "drop", "rename")
        (station.drop / "lab").mkdir()
        source.rename(station.drop / "lab" / "arm")
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_files_still_have_to_be_whole(self, tmp_path: Path, source: Path) -> None:
        station = Station(tmp_path / "drop", "rename")
        assert all(station.offers() == [] for _ in upload(source, station.drop / "arm", meta_first=True))
        assert station.offers() == [f"arm/{EPISODE}"]


class TestQuiet:
    @pytest.fixture
    def station(self, tmp_path: Path, source: Path) -> Station:
        station = Station(tmp_path / "drop", "quiet")
        shutil.copytree(source, station.drop / "arm")
        return station

    def test_nothing_has_changed_for_a_minute_of_our_own_clock(self, station: Station) -> None:
        assert station.offers() == []
        station.now += QUIET_S - 1
        assert station.offers() == []
        assert station.why_held() == "quiet for 59 of 60 s"
        station.now += 1
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_it_is_looked_at_again_when_its_time_is_over(self, station: Station) -> None:
        """Not only at the next rescan: a short quiet time would be rounded up to its period."""
        station.offers()
        assert station.dispatcher.look_again_s() == QUIET_S
        station.now += QUIET_S - 1
        station.offers()
        assert station.dispatcher.look_again_s() == 1

    def test_a_write_with_a_preserved_mtime_is_seen(self, station: Station) -> None:
        """`rsync -t` and `cp -p` set the mtime back; same size, same mtime, other content."""
        frame = next(iter(station.drop.rglob("frame_000000.png")))
        before = frame.stat()
        station.offers()
        station.now += QUIET_S - 1
        frame.write_bytes(frame.read_bytes())
        os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert station.offers() == []
        station.now += QUIET_S - 1
        assert station.offers() == []
        station.now += 1
        assert station.offers() == [f"arm/{EPISODE}"]

    @pytest.mark.parametrize("year_s", [0, 4_000_000_000])
    def test_mtimes_of_any_year_mean_nothing(self, station: Station, year_s: int) -> None:
        for path in station.drop.rglob("*"):
            os.utime(path, (year_s, year_s))
        assert station.offers() == []
        station.now += QUIET_S
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_a_slow_writer_keeps_it_waiting(self, tmp_path: Path, source: Path) -> None:
        station = Station(tmp_path / "slow", "quiet")
        for _ in upload(source, station.drop / "arm", meta_first=True):
            station.now += QUIET_S - 1
            assert station.offers() == []
        station.offers()
        station.now += QUIET_S
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_a_marker_spares_the_wait(self, station: Station) -> None:
        assert station.offers() == []
        mark(station.drop / "arm")
        assert station.offers() == [f"arm/{EPISODE}"]

    def test_a_writer_that_stalls_longer_than_the_quiet_time_is_still_incomplete(
        self, tmp_path: Path, source: Path
    ) -> None:
        station = Station(tmp_path / "slow", "quiet")
        for _ in upload(source, station.drop / "arm", meta_first=True):
            station.offers()
            station.now += 2 * QUIET_S
            assert station.offers() == []


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
class TestRsync:
    """The real one, slowed down; the daemon looks all the time."""

    @pytest.mark.parametrize("rule", ["marker", "rename"])
    @pytest.mark.parametrize("options", [[], ["--inplace"], ["--delay-updates"]], ids=" ".join)
    def test_what_is_begun_has_arrived(self, tmp_path: Path, source: Path, rule: str, options: list[str]) -> None:
        station = Station(tmp_path / "drop", rule)
        mark(source)
        looks = 0
        for part in (["--include=/meta/***", "--include=/.episoded/***", "--exclude=*"], []):  # the worst order
            command = ["rsync", "-a", "--bwlimit=150", *options, *part, f"{source}/", f"{station.drop / 'arm'}/"]
            with subprocess.Popen(command) as rsync:
                while rsync.poll() is None:
                    looks += 1
                    if station.offers():
                        assert _missing(source, station.drop / "arm") == []
            assert rsync.returncode == 0
        assert station.offers() == [f"arm/{EPISODE}"]
        assert looks > 3


def _missing(source: Path, target: Path) -> list[str]:
    """Files of the recording that have not arrived, whole."""
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    return [str(name) for name in names if fsio.read_or_none(target / name) != (source / name).read_bytes()]


class TestSharedFiles:
    """A finished dataset whose shared files were written again is mended; one that is as it was is left alone."""

    @pytest.fixture
    def finished(self, tmp_path: Path, source: Path) -> Station:
        station = Station(tmp_path / "drop", "rename")
        assert work_on(work(source.rename(station.drop / "arm"))) == "ready"
        assert station.jobs() == [("mend", EPISODE)]  # once, as we see it for the first time
        assert station.jobs() == []
        return station

    def test_info_json_that_its_recorder_wrote_again(self, finished: Station) -> None:
        path = finished.drop / "arm" / "meta" / "info.json"
        path.write_bytes(path.read_bytes())
        assert finished.jobs() == [("mend", EPISODE)]
        assert finished.jobs() == []

    def test_what_arrives_late_of_a_dataset_with_another_output(self, tmp_path: Path, source: Path) -> None:
        """`tasks.jsonl` is the last in the alphabet, and no episode waits for it."""
        station, output = Station(tmp_path / "drop", "rename", output=tmp_path / "output"), tmp_path / "output" / "arm"
        output.mkdir(parents=True)
        dataset = source.rename(station.drop / "arm")
        (late := dataset / "meta" / "tasks.jsonl").rename(tmp_path / "late")
        task = work(dataset, output=output)
        assert work_on(task) == "ready"
        station.jobs()
        (tmp_path / "late").rename(late)
        assert station.jobs() == [("mend", EPISODE)]
        assert perform(Job("mend", task), StopRequests()) == ("mended", "meta/tasks.jsonl")
        assert (output / "meta" / "tasks.jsonl").read_bytes() == late.read_bytes()


class TestOtherMachines:
    def test_an_episode_whose_owner_there_fell_silent_is_taken_over_by_a_worker_here(
        self, tmp_path: Path, source: Path
    ) -> None:
        """The scan has watched for a lease; the worker that it sends has not."""
        station = Station(tmp_path / "drop", "rename")
        station.scanner.leases.clock = lambda: station.now
        task = work(source.rename(station.drop / "arm"))
        take(task.control).close()
        owner = json.loads(task.control.claim(1).read_text()) | {
            "boot_id": "other",
            "machine": "other",
            "host": "other",
        }
        task.control.claim(1).write_text(json.dumps(owner))
        assert station.offers() == []
        assert station.state("arm") is State.CLAIMED
        station.now += LEASE_S
        station.dispatcher.take_in(station.scanner.scan())
        (job,) = station.dispatcher.next_jobs([], 1)
        assert perform(job, StopRequests()) == ("ready", "")
        assert task.control.markers().generation == 2


class TestLooking:
    def test_writes_nothing_but_the_marker(self, tmp_path: Path, source: Path) -> None:
        station = Station(tmp_path / "drop", "marker")
        dataset = source.rename(station.drop / "arm")
        before = snapshot(dataset)
        station.offers()
        assert snapshot(dataset) == before
        mark(dataset)
        station.offers()
        new = {name for name in snapshot(dataset) if name not in before}
        assert new == {CONTROL, f"{CONTROL}/pending", f"{CONTROL}/{EPISODE}", f"{CONTROL}/{EPISODE}/pending"}

    def test_each_dataset_gets_its_turn(self, tmp_path: Path) -> None:
        """With one free worker at a time, a large dataset must not keep a small one waiting to its end."""
        station = Station(tmp_path / "drop", "rename")
        tiny(station.drop / "large", episodes=4)
        tiny(station.drop / "small", episodes=1)
        station.offers()
        served = []
        for _ in range(3):
            station.dispatcher.take_in(station.scanner.scan())
            (job,) = station.dispatcher.next_jobs([], 1)
            served.append(job.work.root.name)
        assert served[:2] in (["large", "small"], ["small", "large"])
