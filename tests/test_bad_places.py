"""Where recordings come to lie in real life: read-only, forbidden, renamed under our hands, with names nobody tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conftest import TESTS
from episoded.daemon import config, service_file
from episoded.daemon.chain import Hooks, Work, work_on
from episoded.daemon.control import CONTROL
from episoded.daemon.dispatch import Dispatcher
from episoded.daemon.errors import ConfigError
from episoded.daemon.guard import Guard
from episoded.daemon.scan import DropView, Scanner
from episoded.daemon.state import State
from episoded.daemon.worker import StopRequests, perform
from recordings import EPISODE, Originals, broken_laws, leftovers, snapshot, tiny, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from episoded.daemon.jobs import Job


class Station:
    """A drop folder for what is renamed in, and the daemon's deciding part; jobs are done at once, in this process."""

    def __init__(self, drop: Path, **settings: Any) -> None:
        self.drop = drop
        self.drop.mkdir(parents=True, exist_ok=True)
        loaded = config.Config.model_validate({"drop": [{"path": drop, "complete": "rename"} | settings]})
        self.scanner = Scanner(loaded.drops)
        self.dispatcher = Dispatcher(loaded, Guard(loaded.guard, lambda _: 1 << 50, lambda: 1 << 40))

    def scan(self) -> DropView:
        (view,) = self.scanner.scan()
        return view

    def offers(self) -> list[Job]:
        while self.dispatcher.take_in([self.scan()]):
            pass
        return self.dispatcher.next_jobs([], 99)

    def run(self) -> list[str]:
        """Do all that is to be done; how it ended."""
        return [perform(job, StopRequests())[0] for job in self.offers()]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path / "drop")


class TestReadOnly:
    def test_a_dataset_without_an_output_is_a_problem_that_is_told_not_a_failure(
        self, station: Station, read_only: Callable[[Path], None]
    ) -> None:
        dataset, good = tiny(station.drop / "archive"), tiny(station.drop / "good")
        read_only(dataset)
        (job,) = station.offers()
        assert job.work.root == good
        assert "Read-only" in station.dispatcher.problems[str(dataset)]
        assert not (dataset / CONTROL).exists()

    def test_one_with_an_output_is_finished_there(self, tmp_path: Path, read_only: Callable[[Path], None]) -> None:
        station = Station(tmp_path / "drop", output=tmp_path / "output")
        (tmp_path / "output").mkdir()
        dataset = tiny(station.drop / "archive")
        originals, before = Originals.of(dataset), snapshot(dataset)
        read_only(station.drop)
        assert station.run() == ["ready"]
        assert originals.missing_from(tmp_path / "output" / "archive") == []
        assert snapshot(dataset) == before


class TestPermissions:
    @staticmethod
    def without_privileges(role: str, *args: object) -> dict[str, Any]:
        """What an actor says as JSON that permissions do stop, also where we are root."""
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        if drop and shutil.which("setpriv") is None:
            pytest.skip("root is stopped by no permission, and there is no setpriv to make it so")
        command = [*drop, sys.executable, str(TESTS / "actors.py"), role, *map(str, args)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
        return told

    def test_a_folder_that_may_not_be_written_is_told(self, station: Station) -> None:
        dataset = tiny(station.drop / "theirs")
        dataset.chmod(0o555)
        told = self.without_privileges("look", station.drop)
        assert "Permission denied" in told["problems"][str(dataset)]
        assert told["offers"] == []

    def test_one_that_may_not_be_read_costs_the_others_nothing(self, station: Station) -> None:
        secret, meta, control, good = (tiny(station.drop / name) for name in ("a", "b", "c", "good"))
        (control / CONTROL).mkdir()
        locked = [secret, meta / "meta", control / CONTROL]
        for path in locked:
            path.chmod(0)
        told = self.without_privileges("look", station.drop)
        assert told["offers"] == [str(good)]
        assert told["error"] is None
        for path in locked:
            path.chmod(0o755)

    def test_a_frame_that_may_not_be_read_fails_its_episode_with_the_remedy(self, station: Station) -> None:
        dataset = tiny(station.drop / "arm", episodes=2)
        frame = next(iter(dataset.glob(f"images/*/{EPISODE}/frame_000002.png")))
        frame.chmod(0)
        told = self.without_privileges("try_work", dataset, EPISODE)
        assert told["code"] == "no_permission"
        assert frame.name in told["message"]
        assert "read and write access" in told["hint"]
        assert self.without_privileges("try_work", dataset, "episode_000001") == {"ended": "ready"}

    def test_a_drop_folder_that_may_not_be_read_is_an_error_of_its_own(self, station: Station) -> None:
        station.drop.chmod(0)
        assert "Permission denied" in self.without_privileges("look", station.drop)["error"]
        station.drop.chmod(0o755)


class TestGoneMeanwhile:
    @pytest.fixture
    def dataset(self, station: Station) -> Path:
        return tiny(station.drop / "arm")

    @pytest.mark.parametrize("stage", ["encode", "metadata"])
    def test_a_renamed_dataset_is_not_brought_back_under_the_old_name(
        self, station: Station, dataset: Path, stage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        originals, renamed = Originals.of(dataset), station.drop / "left arm"
        assert _work_and(lambda: dataset.rename(renamed), dataset, stage, monkeypatch) in ("vanished", "lost")
        assert not dataset.exists()
        assert broken_laws(renamed) == []
        (view,) = station.scan().datasets
        assert view.episodes[0].state is State.PENDING
        assert station.run() == ["ready"]
        assert leftovers(renamed) + originals.missing_from(renamed) == []
        assert not dataset.exists()

    @pytest.mark.parametrize("stage", ["encode", "metadata"])
    def test_a_deleted_one_stays_deleted(
        self, station: Station, dataset: Path, stage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = _work_and(lambda: shutil.rmtree(dataset), dataset, stage, monkeypatch)
        assert ended in ("vanished", "lost")
        assert not dataset.exists()
        assert station.offers() == []

    def test_one_that_was_uploaded_anew_meanwhile_is_not_touched(
        self, station: Station, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def upload_anew() -> None:
            shutil.rmtree(dataset)
            tiny(dataset, seed=1)

        anew = tiny(tmp_path / "the same", seed=1)
        assert _work_and(upload_anew, dataset, "encode", monkeypatch) in ("vanished", "lost")
        assert set(snapshot(dataset)) == set(snapshot(anew))
        originals = Originals.of(dataset)
        assert station.run() == ["ready"]
        assert originals.missing_from(dataset) == []

    def test_one_that_goes_between_scan_and_work(self, station: Station, dataset: Path) -> None:
        (job,) = station.offers()
        shutil.rmtree(dataset)
        assert perform(job, StopRequests())[0] == "error"
        assert not dataset.exists()

    def test_one_that_goes_while_it_is_looked_at(
        self, station: Station, dataset: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = tiny(station.drop / "good")
        real = Scanner.scan_dataset

        def vanishing(scanner: Scanner, drop: Any, root: Path) -> Any:
            if root == dataset and dataset.exists():
                shutil.rmtree(dataset)
            return real(scanner, drop, root)

        monkeypatch.setattr(Scanner, "scan_dataset", vanishing)
        assert [job.work.root for job in station.offers()] == [good]


def _work_and(act: Callable[[], object], root: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Work on the episode; something happens to the dataset while a stage runs. Returns how it ended."""
    from episoded.processors.encode.stage import EncodeProcessor
    from episoded.processors.metadata.stage import MetadataProcessor

    processor: Any = {"encode": EncodeProcessor, "metadata": MetadataProcessor}[stage]
    real, acted = processor.run, []

    def run(self: Any, unit: Any, ctx: Any) -> Any:
        results = real(self, unit, ctx)
        if not acted:
            acted.append(act())
        return results

    with monkeypatch.context() as patch:
        patch.setattr(processor, "run", run)
        return work_on(work(root))


class TestNamedPipes:
    """Whoever opens one waits for its other end: the loop would, and all other datasets with it."""

    @pytest.mark.parametrize(
        "name",
        [
            "meta/info.json",
            "meta/episodes.jsonl",
            f"data/chunk-000/{EPISODE}.parquet",
            f"images/observation.images.top/{EPISODE}/frame_000001.png",
        ],
    )
    def test_one_costs_its_own_dataset_only(self, station: Station, name: str) -> None:
        broken, healthy = tiny(station.drop / "broken"), tiny(station.drop / "healthy")
        (broken / name).unlink()
        os.mkfifo(broken / name)
        jobs = station.offers()
        assert [job.work.root for job in jobs] == [healthy]
        assert [perform(job, StopRequests())[0] for job in jobs] == ["ready"]

    def test_a_frame_that_is_one_fails_the_episode(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "arm")
        frame = root / "images/observation.images.top" / EPISODE / "frame_000001.png"
        frame.unlink()
        os.mkfifo(frame)
        assert self.failure(root, "png_empty").startswith(f"frame 1 ({frame})")

    def test_a_table_that_is_one_does_not_hang_the_worker(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "arm")
        table = root / f"data/chunk-000/{EPISODE}.parquet"
        table.unlink()
        os.mkfifo(table)
        assert self.failure(root, "table_unreadable").startswith(f"{table} is a named pipe")

    def failure(self, root: Path, code: str) -> str:
        """What the failed episode says."""
        assert work_on(work(root)) == "failed"
        said = json.loads((root / CONTROL / EPISODE / "failed").read_text())
        assert said["code"] == code
        return str(said["message"])


class TestSymlinks:
    def test_a_linked_dataset_is_reported_and_not_followed(self, station: Station, tmp_path: Path) -> None:
        outside = tiny(tmp_path / "outside")
        before = snapshot(outside)
        (station.drop / "link").symlink_to(outside)
        (station.drop / "loop").symlink_to(station.drop)
        (station.drop / "dangling").symlink_to(tmp_path / "nowhere")
        view = station.scan()
        assert view.datasets == ()
        assert sorted(path.name for path, reason in view.strangers if "symlink" in reason) == [
            "dangling",
            "link",
            "loop",
        ]
        assert station.run() == []
        assert snapshot(outside) == before

    @pytest.mark.parametrize("name", [CONTROL, f"{CONTROL}/{EPISODE}"])
    def test_markers_are_not_written_through_one(self, station: Station, tmp_path: Path, name: str) -> None:
        dataset = tiny(station.drop / "arm")
        (outside := tmp_path / "outside").mkdir()
        (dataset / name).parent.mkdir(exist_ok=True)
        (dataset / name).symlink_to(outside)
        assert station.offers() == []
        assert "symlink" in station.dispatcher.problems[str(dataset)]
        assert list(outside.iterdir()) == []

    @pytest.mark.parametrize(("folder", "name"), [("../outside", "file"), (".", "../outside/file"), ("{out}", "file")])
    def test_an_uploaded_marker_removes_nothing_outside(self, station: Station, folder: str, name: str) -> None:
        dataset, outside = tiny(station.drop / "arm"), station.drop / "outside"
        outside.mkdir()
        (outside / "file").touch()
        status = (outside / "file").stat()
        control = work(dataset).control
        control.create()
        listed = {folder.format(out=outside): [[name, status.st_size, status.st_mtime_ns]]}
        (control.path / "ready").write_text(json.dumps({"stages": [], "inputs": listed}))
        assert "tidied" in station.run()
        assert (outside / "file").exists()

    def test_frames_that_lie_outside_are_refused_and_stay(self, station: Station, tmp_path: Path) -> None:
        dataset = tiny(station.drop / "arm")
        outside = (dataset / "images").rename(tmp_path / "images")
        (dataset / "images").symlink_to(outside)
        before = snapshot(outside)
        station.run()
        assert not (dataset / CONTROL / EPISODE / "ready").exists()
        assert snapshot(outside) == before

    def test_videos_that_would_go_outside_are_refused(self, station: Station, tmp_path: Path) -> None:
        dataset = tiny(station.drop / "arm")
        (outside := tmp_path / "videos").mkdir()
        (dataset / "videos").symlink_to(outside)
        station.run()
        assert list(outside.iterdir()) == []


NAMES = ["my data", "données ☃", "new\nline", "quote'\"$(touch x)", "-rf", "a" * 200, "*?[x]", "{brace}"]
NO_TEXT = "\udcff\udcfe"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_that_a_filesystem_takes(station: Station, name: str) -> None:
    dataset = tiny(station.drop / name)
    originals = Originals.of(dataset)
    assert station.run() == ["ready"]
    assert leftovers(dataset) + broken_laws(dataset) + originals.missing_from(dataset) == []
    assert [path.name for path in station.drop.iterdir()] == [name]


def test_a_name_that_is_no_text_is_reported_and_left_alone(station: Station) -> None:
    """Neither Arrow nor libav can open it."""
    (station.drop / NO_TEXT / "meta").mkdir(parents=True)
    (station.drop / NO_TEXT / "meta" / "info.json").touch()
    good = tiny(station.drop / "good")
    assert [job.work.root for job in station.offers()] == [good]
    ((path, reason),) = station.scan().strangers
    assert path.name == NO_TEXT
    assert "rename it" in reason


@pytest.mark.parametrize("name", [*NAMES, NO_TEXT], ids=ascii)
def test_the_service_can_speak_of_it(tmp_path: Path, name: str) -> None:
    report = service_file.ServiceReport(1, "1", 0.0, "config", held={f"/drop/{name}": f"waits for {name}"})
    with service_file.only_one(tmp_path):
        service_file.tell(tmp_path, report)
        heard = service_file.hear(tmp_path)
    assert heard is not None
    assert heard.held == report.held


class TestNesting:
    @pytest.mark.parametrize(
        "drops",
        [
            [{"path": "/a"}, {"path": "/a/b"}],
            [{"path": "/a/b"}, {"path": "/a"}],
            [{"path": "/a"}, {"path": "/a"}],
            [{"path": "/a", "output": "/a/out"}],
            [{"path": "/a/in", "output": "/a"}],
            [{"path": "/a", "output": "/o"}, {"path": "/b", "output": "/o/b"}],
            [{"path": "/a"}, {"path": "/x/../a/b"}],
        ],
    )
    def test_of_two_folders_is_refused(self, tmp_path: Path, drops: list[dict[str, str]]) -> None:
        path = tmp_path / "config.toml"
        path.write_text(
            "".join("[[drop]]\n" + "".join(f"{key} = '{value}'\n" for key, value in drop.items()) for drop in drops)
        )
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert "/a" in caught.value.message or "/o" in caught.value.message

    def test_hidden_behind_a_symlink_too(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        path = tmp_path / "config.toml"
        path.write_text(f"[[drop]]\npath = '{tmp_path}/real'\n[[drop]]\npath = '{tmp_path}/link'\n")
        with pytest.raises(ConfigError):
            config.load(path)


class TestClockJumps:
    """Only the pause after a failure knows a wall clock."""

    @pytest.fixture
    def waiting(self, station: Station) -> Work:
        task = work(tiny(station.drop / "arm"))
        frame = next(iter(station.drop.rglob("*.png")))
        hooks = Hooks(progress=lambda *_: os.utime(frame))
        assert work_on(task, hooks) == "waiting"
        return task

    @pytest.mark.parametrize("jump_s", [-10 * 365 * 86400, -3600, 3600, 10 * 365 * 86400])
    def test_an_episode_that_waits_is_not_forgotten(
        self, station: Station, waiting: Work, jump_s: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (view,) = station.scan().datasets
        assert view.episodes[0].state is State.WAITING
        assert station.offers() == []
        now = json.loads(waiting.control.outcome(1, "failed").read_text())["at"]
        monkeypatch.setattr("episoded.daemon.scan.is_waiting", _with_clock(now + jump_s))
        assert station.run() == ["ready"]


def _with_clock(now: float) -> Callable[..., bool]:
    from episoded.daemon.attempts import is_waiting

    return lambda control, generation: is_waiting(control, generation, lambda: now)
