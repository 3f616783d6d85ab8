"""The whole daemon as a process: it finds, works, drains, reloads, and one that was killed is simply started again."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from conftest import eventually, process_state
from episoded.daemon import config
from episoded.daemon.claim import Leases
from episoded.daemon.control import CONTROL, ControlDir, read_json
from episoded.daemon.errors import ConfigError
from episoded.daemon.identity import pid_scope
from episoded.daemon.service import Service
from episoded.daemon.state import State
from recordings import EPISODE, Originals, broken_laws, leftovers, tiny, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Actor
    from daemons import Daemon

IN_FLIGHT = {"EPISODED_CRASH_AT": "publish_file:linked", "EPISODED_CRASH_SIGNAL": "STOP"}


class TestFinding:
    def test_a_dataset_that_is_renamed_in_is_finished(self, daemon: Daemon) -> None:
        daemon.start()
        dataset = daemon.upload("arm", episodes=2)
        daemon.wait_until_finished(dataset)
        assert daemon.terminate() == 0

    def test_so_is_one_that_was_there_before_the_daemon(self, daemon: Daemon) -> None:
        dataset = daemon.upload("arm")
        daemon.start()
        daemon.wait_until_finished(dataset)

    def test_without_a_single_event(self, daemon: Daemon) -> None:
        """Discovery stands on the rescan: here there is no observer at all."""
        daemon.configure(rescan_s=0.2)
        daemon.start(deaf=True)
        dataset = daemon.upload("arm")
        daemon.wait_until_finished(dataset)
        tiny(dataset)
        eventually(lambda: daemon.state(dataset, "episode_000001") is State.READY)
        report = daemon.report()
        assert report is not None
        assert report.watches == 0
        assert "rescans only" in report.complaints[0]

    def test_in_a_drop_folder_that_is_deleted_and_made_again(self, daemon: Daemon) -> None:
        daemon.configure(rescan_s=0.2)
        daemon.start()
        daemon.wait_until_finished(daemon.upload("first"))
        daemon.drop.rename(daemon.folder / "gone")
        eventually(lambda: (report := daemon.report()) and report.watches == 0)
        daemon.drop.mkdir()
        daemon.wait_until_finished(daemon.upload("second"))

    def test_episodes_that_a_recorder_adds_to_a_finished_dataset(self, daemon: Daemon) -> None:
        daemon.configure(rescan_s=0.2)
        daemon.start()
        dataset = daemon.upload("arm")
        daemon.wait_until_finished(dataset)
        tiny(dataset, episodes=2)
        eventually(lambda: daemon.state(dataset, "episode_000002") is State.READY)
        daemon.wait_until_finished(dataset)


class TestOthersGoOn:
    def test_beside_a_bad_episode(self, daemon: Daemon) -> None:
        bad = tiny(daemon.incoming / "bad", episodes=2)
        frame = next(iter(bad.glob("images/*/episode_000000/frame_000003.png")))
        content = frame.read_bytes()
        frame.write_bytes(content[:100] + bytes(40) + content[140:])
        daemon.start()
        bad = bad.rename(daemon.drop / "bad")
        good = daemon.upload("good")
        daemon.wait_until_finished(good)
        daemon.wait_for(bad, State.FAILED)
        eventually(lambda: daemon.state(bad, "episode_000001") is State.READY)
        assert daemon.terminate() == 0

    def test_beside_a_hung_worker(self, daemon: Daemon) -> None:
        daemon.start(**IN_FLIGHT)
        hung = daemon.upload("hung")
        worker = daemon.stopped_worker()
        other = daemon.upload("other")
        # Its worker stops there as well, and is told to go on.
        second = eventually(
            lambda: next((p for p in daemon.workers() if p != worker and process_state(p) == "T"), None)
        )
        os.kill(second, signal.SIGCONT)
        daemon.wait_until_finished(other)
        assert daemon.state(hung) is State.CLAIMED
        os.kill(worker, signal.SIGCONT)
        daemon.wait_until_finished(hung)

    def test_beside_a_worker_that_dies(self, daemon: Daemon) -> None:
        daemon.start(**IN_FLIGHT)
        victim = daemon.upload("victim")
        os.kill(daemon.stopped_worker(), signal.SIGKILL)
        eventually(lambda: ControlDir.of(victim, EPISODE).outcome(1, "failed").exists())
        # The next worker stops itself there too.
        os.kill(daemon.stopped_worker(), signal.SIGCONT)
        daemon.wait_until_finished(victim)
        assert read_json(ControlDir.of(victim, EPISODE).outcome(1, "failed"))["code"] == "worker_died"  # type: ignore[index]

    def test_beside_what_cannot_be_understood(self, daemon: Daemon) -> None:
        for name, content in (("empty", b""), ("torn", b'{"codebase_version": "v2.1", "fe'), ("other", b"[]")):
            (daemon.drop / name / "meta").mkdir(parents=True)
            (daemon.drop / name / "meta" / "info.json").write_bytes(content)
        (daemon.drop / "a file").touch()
        (daemon.drop / "loop").symlink_to(daemon.drop)
        daemon.start()
        daemon.wait_until_finished(daemon.upload("good"))
        assert daemon.terminate() == 0


class TestStopping:
    def test_with_an_episode_in_flight_gives_it_back_and_resumes_it(self, daemon: Daemon) -> None:
        originals = Originals.of(dataset := daemon.upload("arm"))
        daemon.start(**IN_FLIGHT)
        worker = daemon.stopped_worker()
        daemon.process.signal(signal.SIGTERM)
        eventually(lambda: (report := daemon.report()) and report.draining)
        os.kill(worker, signal.SIGCONT)
        assert daemon.process.process.wait(60) == 0
        control = ControlDir.of(dataset, EPISODE)
        assert (control.markers().outcome, daemon.state(dataset)) == ("released", State.PENDING)
        assert not Leases().alive(control.claim(1))
        (made,) = dataset.glob("videos/**/*.mp4")
        inode = made.stat().st_ino
        daemon.start()
        daemon.wait_until_finished(dataset)
        assert made.stat().st_ino == inode, "the unit that was done was done again"
        assert originals.missing_from(dataset) == []

    def test_a_second_signal_does_not_wait(self, daemon: Daemon) -> None:
        dataset = daemon.upload("arm")
        daemon.configure(drain_s=2)  # what a worker that is told to stop now may take
        daemon.start(**IN_FLIGHT)
        hung = daemon.stopped_worker()
        daemon.process.signal(signal.SIGTERM)
        eventually(lambda: (report := daemon.report()) and report.draining)
        daemon.process.signal(signal.SIGTERM)
        assert daemon.process.process.wait(60) == 0
        assert process_state(hung) is None
        assert not Leases().alive(ControlDir.of(dataset, EPISODE).claim(1))
        assert daemon.state(dataset) is State.PENDING

    def test_killed_it_leaves_no_worker_and_no_living_claim(self, daemon: Daemon) -> None:
        originals = Originals.of(dataset := daemon.upload("arm", episodes=2))
        daemon.start(**IN_FLIGHT)
        daemon.stopped_worker()
        daemon.kill()
        assert daemon.report() is None
        assert daemon.state(dataset) is State.PENDING
        assert broken_laws(dataset) == []
        daemon.start()
        daemon.wait_until_finished(dataset)
        assert originals.missing_from(dataset) == []

    def test_idle_it_stops_at_once(self, daemon: Daemon) -> None:
        daemon.start()
        assert daemon.terminate() == 0
        assert daemon.report() is None


class TestReload:
    def test_a_new_drop_folder_is_taken(self, daemon: Daemon) -> None:
        daemon.start()
        (other := daemon.folder / "other").mkdir()
        daemon.drops.append(other)
        daemon.configure()
        daemon.process.signal(signal.SIGHUP)
        dataset = tiny(daemon.incoming / "arm").rename(other / "arm")
        daemon.wait_until_finished(dataset)
        daemon.wait_until_finished(daemon.upload("in the old one"))

    @pytest.mark.parametrize(
        "mistake",
        [
            "[service\n",
            "[[drop]]\npath = '/x'\npipeline = 'none'\n",
            "[[drop]]\npath = '{folder}/y'\noutput = '/proc/nowhere'\n",
        ],
        ids=["syntax", "pipeline", "output"],
    )
    def test_a_mistake_is_refused_and_the_old_configuration_stays(self, daemon: Daemon, mistake: str) -> None:
        daemon.start()
        daemon.configure(mistake.format(folder=daemon.folder))
        daemon.process.signal(signal.SIGHUP)
        dataset = daemon.upload("arm")
        eventually(lambda: leftovers(dataset) == [])

    def test_with_an_episode_in_flight_it_is_given_back_and_taken_again(self, daemon: Daemon) -> None:
        dataset = daemon.upload("arm")
        daemon.start(**IN_FLIGHT)
        worker = daemon.stopped_worker()
        daemon.process.signal(signal.SIGHUP)
        os.kill(worker, signal.SIGCONT)
        os.kill(daemon.stopped_worker(), signal.SIGCONT)  # the next one stops there too
        daemon.wait_until_finished(dataset)
        assert ControlDir.of(dataset, EPISODE).outcome(1, "released").exists()


class TestGuard:
    def test_on_a_full_disk_nothing_is_claimed_and_it_says_so(self, daemon: Daemon) -> None:
        daemon.configure(disk_low="1000 TB")
        daemon.start()
        dataset = daemon.upload("arm")
        eventually(lambda: (report := daemon.report()) and report.paused)
        assert "disk" in daemon.report().paused[str(dataset)]  # type: ignore[union-attr]
        assert ControlDir.of(dataset, EPISODE).markers().generation == 0
        daemon.configure(disk_low="1 MB")
        daemon.process.signal(signal.SIGHUP)
        daemon.wait_until_finished(dataset)


class TestStarting:
    def test_one_per_state_dir(self, daemon: Daemon) -> None:
        daemon.start()
        with pytest.raises(ConfigError) as caught:
            Service(config.load(daemon.config)).run()
        assert caught.value.code == "already_running"

    def test_two_on_the_same_drop_folder_share_the_work(self, daemon: Daemon, actor: Callable[..., Actor]) -> None:
        originals = Originals.of(dataset := daemon.upload("arm", episodes=6))
        daemon.start()
        other = daemon.folder / "other.toml"
        other.write_text(daemon.config.read_text().replace("/state'", "/state2'"))
        actor("serve", other, "")
        daemon.wait_until_finished(dataset)
        assert originals.missing_from(dataset) == []
        assert {ControlDir(path).markers().generation for path in dataset.glob(f"{CONTROL}/episode_*")} == {1}

    def test_nested_drop_folders_are_refused(self, daemon: Daemon) -> None:
        (daemon.drop / "inner").mkdir()
        daemon.drops.append(daemon.drop / "inner")
        daemon.configure()
        with pytest.raises(ConfigError, match="inner lies inside"):
            config.load(daemon.config)

    def test_a_state_dir_that_cannot_be_written_is_a_mistake_in_the_configuration(self) -> None:
        settings = config.Config.model_validate({"service": {"state_dir": "/proc/episoded"}})
        with pytest.raises(ConfigError) as caught:
            Service(settings).run()
        assert caught.value.code == "state_dir_unusable"

    def test_temps_of_a_killed_service_are_swept(self, daemon: Daemon) -> None:
        daemon.start()
        daemon.kill()
        (dead := daemon.state_dir / f".t-{pid_scope()}-{daemon.process.pid}-1-00000000").touch()
        daemon.start()
        assert not dead.exists()


def test_a_finisher_that_died_is_tidied_up_after(daemon: Daemon) -> None:
    dataset = daemon.upload("arm")
    daemon.start(EPISODED_CRASH_AT="remove_tree:removed")
    daemon.wait_for(dataset)
    daemon.kill()
    daemon.start()
    daemon.wait_until_finished(dataset)
    assert work(dataset).control.markers().generation == 1
