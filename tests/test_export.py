"""`lerobot_version`: the service keeps a conversion of each dataset up to date beside it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from commandline import PLAIN, episoded
from conftest import eventually
from daemons import Daemon
from episoded.daemon import batch, config
from episoded.daemon.chain import Work
from episoded.daemon.config import DropConfig, Pipeline
from episoded.daemon.convert.export import RETRY_S, Exports, export
from episoded.daemon.convert.records import Records
from episoded.daemon.errors import UsageError
from episoded.daemon.jobs import Job
from episoded.daemon.scan import Scanner
from episoded.daemon.supervisor import Ending
from episoded.processors.lerobot.reading import read_dataset
from lerobot_data import finish, recording
from recordings import contents, snapshot, tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Actor

V30 = "[pipelines.default]\nlerobot_version = 'v3.0'\n"


@pytest.fixture
def daemon(tmp_path: Path, actor: Callable[..., Actor]) -> Iterator[Daemon]:
    one = Daemon(tmp_path, actor)
    one.configure(V30, rescan_s=0.3)
    yield one
    one.kill()


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(PLAIN + V30)
    return path


def episodes_in(root: Path) -> int:
    return len(read_dataset(root).episodes) if (root / "meta/info.json").is_file() else 0


class TestService:
    def test_it_exports_what_is_ready(self, daemon: Daemon):
        daemon.start()
        dataset = daemon.upload("fold", episodes=2)
        daemon.wait_for(dataset, episode="episode_000001")
        exported = dataset.with_name("fold_v30")
        eventually(lambda: episodes_in(exported) == 2, what="the export")
        assert read_dataset(exported).version == (3, 0)
        assert read_dataset(dataset).version == (2, 1)

    def test_what_becomes_ready_later_is_appended(self, daemon: Daemon):
        daemon.start()
        dataset = daemon.upload("fold", episodes=1)
        exported = dataset.with_name("fold_v30")
        eventually(lambda: episodes_in(exported) == 1, what="the export")
        tiny(dataset, episodes=1)  # the next session of the recorder
        eventually(lambda: episodes_in(exported) == 2, what="the second episode in the export")

    def test_a_worker_killed_in_the_middle_costs_nothing(self, daemon: Daemon):
        """It kills itself when the first file of the export has its name."""
        daemon.start(EPISODED_CRASH_AT="replace_file:renamed")
        dataset = daemon.upload("fold", episodes=1)
        daemon.wait_for(dataset)
        exported = dataset.with_name("fold_v30")
        eventually((exported / "data").is_dir, what="a worker to die in the export")
        daemon.kill()
        assert episodes_in(exported) == 0
        daemon.start()
        eventually(lambda: episodes_in(exported) == 1, what="the export")

    def test_no_scan_takes_it_for_a_dataset_that_was_received(self, tmp_path: Path):
        dataset = finish(recording(tmp_path / "drop/fold"))
        export(Work(dataset, dataset, "episode_000000", "lerobot", Pipeline(name="p", lerobot_version="v3.0")))
        (view,) = Scanner((DropConfig(path=tmp_path / "drop"),)).scan()
        assert [found.root.name for found in view.datasets] == ["fold"]
        assert view.strangers == ()


class TestProcess:
    def test_it_exports_at_the_end(self, tmp_path: Path, settings: Path):
        dataset = recording(tmp_path / "fold")
        done = episoded("process", dataset, config=settings)
        assert done.code == 0, done.err
        assert "fold_v30: v3.0, 2 episodes" in done.out
        assert episodes_in(tmp_path / "fold_v30") == 2

    def test_with_an_output_it_lies_there(self, tmp_path: Path, settings: Path):
        dataset = recording(tmp_path / "fold")
        assert episoded("process", dataset, "--output", tmp_path / "out", config=settings).code == 0
        assert episodes_in(tmp_path / "out/fold_v30") == 2
        assert not (tmp_path / "fold_v30").exists()

    def test_the_version_that_was_received_needs_no_export(self, tmp_path: Path, settings: Path):
        settings.write_text(PLAIN + V30.replace("v3.0", "v2.1"))
        dataset = recording(tmp_path / "fold")
        assert episoded("process", dataset, config=settings).code == 0
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["fold"]

    def test_a_conversion_itself_is_left_alone(self, tmp_path: Path, settings: Path):
        dataset = finish(recording(tmp_path / "fold"))
        export(Work(dataset, dataset, "episode_000000", "lerobot", Pipeline(name="p", lerobot_version="v3.0")))
        before = snapshot(tmp_path / "fold_v30")
        done = episoded("process", tmp_path / "fold_v30", config=settings)
        assert "was converted from another dataset" in done.out
        assert snapshot(tmp_path / "fold_v30") == before


class TestSeen:
    """`status` and `show` tell how far the export is behind."""

    def exported(self, root: Path, settings: Path) -> dict[str, Any] | None:
        (drop,) = episoded("status", root, "--json", config=settings).json["drops"]
        found: dict[str, Any] | None = drop["datasets"][0]["export"]
        return found

    def test_up_to_date_and_behind(self, tmp_path: Path, settings: Path):
        dataset = recording(tmp_path / "fold")
        assert episoded("process", dataset, config=settings).code == 0
        place = {"version": "v3.0", "path": str(tmp_path / "fold_v30"), "said": None}
        assert self.exported(dataset, settings) == {**place, "episodes": 2, "behind": 0}
        finish(recording(dataset, episodes=1))  # not by a pipeline that exports
        assert self.exported(dataset, settings) == {**place, "episodes": 2, "behind": 1}
        assert "fold: v3.0, 2 episodes, 1 behind" in episoded("status", dataset, config=settings).out
        assert episoded("process", dataset, config=settings).code == 0
        assert "fold: v3.0, 3 episodes, up to date" in episoded("status", dataset, config=settings).out

    def test_an_episode_that_was_made_anew_is_not_in_it(self, tmp_path: Path, settings: Path):
        dataset = recording(tmp_path / "fold")
        assert episoded("process", dataset, config=settings).code == 0
        made = dataset / ".episoded/episode_000000/ready"
        again = made.read_bytes()
        made.rename(made.with_name("ready.000001"))
        made.write_bytes(again)
        assert (self.exported(dataset, settings) or {})["behind"] == 1
        shown = [episoded("show", dataset / name, config=settings).out for name in ("episode_000000", "episode_000001")]
        assert "v3.0: not in it yet" in shown[0]
        assert f"v3.0: in {tmp_path}" in shown[1].replace("\n", "")

    def test_none_begun_yet(self, tmp_path: Path, settings: Path):
        dataset = finish(recording(tmp_path / "fold"))
        assert (self.exported(dataset, settings) or {})["episodes"] == 0
        assert (self.exported(dataset, settings) or {})["behind"] == 2

    def test_none_wanted(self, tmp_path: Path, settings: Path):
        dataset = finish(recording(tmp_path / "fold"))
        settings.write_text(PLAIN + V30.replace("v3.0", "v2.1"))
        assert self.exported(dataset, settings) is None
        settings.write_text(PLAIN)
        assert self.exported(dataset, settings) is None

    def test_what_is_in_the_way_is_said(self, daemon: Daemon):
        daemon.start()
        blocked = daemon.drop / "fold_v30"
        blocked.mkdir(parents=True)
        (blocked / "notes.txt").write_text("mine")
        dataset = daemon.upload("fold", episodes=1)
        daemon.wait_for(dataset)

        def said() -> str:
            return str((self.exported(dataset, daemon.config) or {})["said"])

        eventually(lambda: "is no conversion of" in said(), what="the reason in status")


class TestWhen:
    """An export is due when more episodes are ready, from the first on, than it was made of."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Path:
        return finish(recording(tmp_path / "drop/fold", episodes=2))

    def wants(self, exports: Exports, dataset: Path) -> bool:
        (view,) = Scanner((DropConfig(path=dataset.parent),)).scan()
        return exports.wants(view.datasets[0])

    def exports(self, settings: Path, now: list[float] | None = None) -> Exports:
        return Exports(config.load(settings), lambda: now[0] if now else 0.0)

    def test_once_for_what_is_ready(self, dataset: Path, settings: Path):
        exports = self.exports(settings)
        assert self.wants(exports, dataset)
        assert not self.wants(exports, dataset)

    def test_again_when_more_is_ready(self, dataset: Path, settings: Path):
        exports = self.exports(settings)
        assert self.wants(exports, dataset)
        recording(dataset, episodes=1)
        assert not self.wants(exports, dataset)
        finish(dataset)
        assert self.wants(exports, dataset)

    def test_not_for_what_comes_after_one_that_is_not_ready(self, dataset: Path, settings: Path):
        exports = self.exports(settings)
        control = dataset / ".episoded/episode_000000"
        (control / "ready").rename(control / "ready.000001")
        assert not self.wants(exports, dataset)

    def test_not_without_the_setting(self, dataset: Path, settings: Path):
        settings.write_text(PLAIN)
        assert not self.wants(self.exports(settings), dataset)

    def test_after_a_failure_once_it_has_rested(self, dataset: Path, settings: Path):
        now = [100.0]
        exports = self.exports(settings, now)
        assert self.wants(exports, dataset)
        work = Work(dataset, dataset, "episode_000000", "lerobot", Pipeline(name="p", lerobot_version="v3.0"))
        exports.ended(Ending(Job("export", work), "error", "the disk is full"))
        assert not self.wants(exports, dataset)
        assert exports.due() == [100.0 + RETRY_S]
        now[0] += RETRY_S
        assert self.wants(exports, dataset)

    def test_an_episode_that_is_done_anew_takes_nothing_away(self, dataset: Path, settings: Path):
        """While it is worked on again, the export keeps what it has."""
        chosen = config.load(settings)
        view = Scanner((DropConfig(path=dataset.parent),)).scan_drop(DropConfig(path=dataset.parent))
        assert [well for well, _ in batch.export(view, chosen)] == [True]
        exported = dataset.with_name("fold_v30")
        before = contents(exported)
        control = dataset / ".episoded/episode_000001"
        (control / "ready").rename(control / "ready.000001")
        work = Work(dataset, dataset, "episode_000000", "lerobot", chosen.pipelines["default"])
        with pytest.raises(UsageError) as refused:
            export(work)
        assert refused.value.code == "source_shrunk"
        assert contents(exported) == before
        assert Records(exported).extent() == 2


def test_it_says_how_far_it_is(tmp_path: Path):
    dataset = finish(recording(tmp_path / "fold", frames=40))
    told: list[tuple[str, int, int]] = []
    work = Work(dataset, dataset, "episode_000000", "lerobot", Pipeline(name="p", lerobot_version="v3.0"))
    before = time.monotonic()
    export(work, tell=lambda *how_far: told.append(how_far))
    assert told[0][0] == "examine"
    assert len(told) <= 1 + (time.monotonic() - before) / 0.5
