"""What its destinations have already is not made again: by a second machine, or by one that lost what it knew."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from commandline import configure, episoded
from conftest import eventually
from droid_data import change_state, episode_folder, tree, write_video
from episoded.daemon import batch, origin, target
from episoded.daemon.chain import work_on
from episoded.daemon.control import CONTROL, ControlDir, read_json
from episoded.daemon.origin import origin_of
from episoded.daemon.publisher import inquiry, shards
from episoded.daemon.publisher.ask import ask
from episoded.daemon.publisher.inquiry import ASKED_AT_ONCE, KEPT_S, PATIENCE_S, Inquiry
from episoded.daemon.publisher.jobs import Answer
from episoded.daemon.publisher.lookup import Lookup
from episoded.daemon.publisher.manifest import Item, item_of
from episoded.daemon.publisher.now import Listener
from episoded.daemon.publisher.now import Sender as Publisher
from episoded.daemon.publisher.publisher import dataset_of
from episoded.daemon.recognise import recognise
from episoded.daemon.state import State
from episoded.daemon.work import work_for
from episoded.daemon.worker import StopRequests, perform
from episoded.processors import formats
from episoded.processors.tracks.stage import TracksProcessor
from hub_server import HubServer
from moto_server import moto_server  # noqa: F401 - a fixture
from publishing import loaded, table
from sites import FolderSite, HubSite, RsyncSite, S3Site, Site, without_xet
from sshd import sshd  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Actor
    from daemons import Daemon
    from episoded.daemon.config import Config
    from episoded.daemon.scan import DropView

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/status-schema.json").read_text())
PIPELINE = '[pipelines.metadata-only]\ndestinations = ["there"]\n'


@dataclass
class Machine:
    """A machine with its own copy of the recordings, its own outputs and its own memory."""

    folder: Path
    raw: Path
    out: Path
    config: Path

    @classmethod
    def new(cls, folder: Path, raw: Path, *tables: str) -> Machine:
        folder.mkdir()
        copied = shutil.copytree(raw, folder / "towel")
        for path in copied.rglob("*"):
            os.utime(path, (1, 1))  # as a download leaves them: with other times than elsewhere
        return cls(folder, copied, folder / "out", configure(folder, more="\n".join([PIPELINE, *tables])))

    @property
    def settings(self) -> Config:
        return loaded(self.config.read_text(), self.folder)

    def view(self) -> DropView:
        return target.find(self.raw, self.settings, pipeline="metadata-only", output=self.out).view()

    def items(self) -> list[Item]:
        return [item_of(dataset, episode) for dataset in self.view().datasets for episode in dataset.episodes]

    def process(self, *words: object) -> Any:
        common = ("--pipeline", "metadata-only", "--output", self.out)
        return episoded("process", self.raw, *common, *words, config=self.config)

    def make(self) -> None:
        """The chain, in this process."""
        self.out.mkdir(exist_ok=True)
        pipeline = self.settings.pipelines["metadata-only"]
        for dataset in self.view().datasets:
            for episode in dataset.episodes:
                if not episode.markers.ready:
                    assert work_on(work_for(dataset, episode.id, pipeline, self.settings.workers.policy)) == "ready"

    def publish(self) -> None:
        view = self.view()
        for destination in self.settings.destinations_of("metadata-only"):
            sender = Publisher(destination, self.folder / "state", Listener())
            (dataset,) = view.datasets
            sent = [(item_of(dataset, episode), dataset_of(dataset)) for episode in dataset.episodes]
            assert len(sender.send(sent).proven) == len(sent)
            sender._places.forget()

    def ask(self, **more: Any) -> dict[str, tuple[Answer, ...]]:
        found = ask([self.view()], self.settings, **more)
        return {path.name: answers for path, answers in found.items()}

    def recognise(self) -> list[str]:
        """Ask, and compare what was found; how each ended."""
        view, config = self.view(), self.settings
        batch.prepare(view)
        jobs = batch.recognitions(view, config, ask([view], config))
        return [perform(job, StopRequests())[0] for job in jobs]

    def states(self) -> list[State]:
        return [episode.state for dataset in self.view().datasets for episode in dataset.episodes]

    def made(self) -> list[str]:
        """The episodes of which there are outputs here."""
        return sorted(path.name for path in self.out.iterdir() if path.name != CONTROL) if self.out.exists() else []


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("found") / "towel", episodes=4, rows=6)


def there(site: Site, **more: object) -> str:
    return table("there", site.kind, site.settings, **more)


@pytest.fixture
def nas(tmp_path: Path) -> FolderSite:
    return FolderSite(tmp_path / "nas")


@pytest.fixture
def machines(nas: FolderSite, raw: Path, tmp_path: Path) -> tuple[Machine, Machine]:
    """One that has made and published everything, and one that knows nothing."""
    first, second = (Machine.new(tmp_path / name, raw, there(nas)) for name in ("first", "second"))
    first.make()
    first.publish()
    return first, second


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    without_xet(monkeypatch, tmp_path, wanted=True)
    with HubServer(tmp_path / "hub") as server:
        yield server


class TestEveryKind:
    """The same at every kind of destination."""

    @pytest.fixture(params=["folder", "hub", "rsync", "s3"])
    def site(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
        match request.param:
            case "folder":
                yield FolderSite(tmp_path / "site")
            case "rsync":
                yield RsyncSite(request.getfixturevalue("sshd"), tmp_path / "site")
            case "s3":
                yield S3Site(request.getfixturevalue("moto_server"), f"bucket-{uuid.uuid4().hex}")
            case _:
                yield HubSite(request.getfixturevalue("hub"), tmp_path, repo="me/towel")

    def test_what_is_there_whole_is_found_and_nothing_else(self, site: Site, raw: Path, tmp_path: Path) -> None:
        first, second = (Machine.new(tmp_path / name, raw, there(site)) for name in ("first", "second"))
        (destination,) = second.settings.destinations.values()
        lookup = Lookup(destination)
        assert [answer.manifest for answer in lookup.look(second.items())] == [None] * 4, "before anything is there"
        assert site.names() == set(), "asking made something there"
        first.make()
        first.publish()
        names = site.names()
        changed, cut, gone, whole = [item.episode for item in second.items()]
        prefix = next(name for name in names if name.endswith(f"{whole}/quality.json")).removesuffix(
            f"{whole}/quality.json"
        )
        data = bytearray(site.read(f"{prefix}{changed}/quality.json") or b"")
        data[20] ^= 1
        site.overwrite(f"{prefix}{changed}/quality.json", bytes(data))
        site.overwrite(f"{prefix}.episoded/{cut}/manifest.json", b'{"origin": ')
        site.remove(f"{prefix}{gone}/tracks.npz")
        found = {answer.control.name: answer.manifest for answer in lookup.look(second.items())}
        lookup.forget()
        assert [name for name, manifest in found.items() if manifest] == [whole]
        assert second.recognise() == ["found"]
        assert second.states() == [State.ARRIVING] * 3 + [State.PUBLISHED]
        assert second.made() == [], "nothing was made, and nothing was fetched"
        assert site.names() == names - {f"{prefix}{gone}/tracks.npz"}


class TestTheSame:
    def test_receipts_say_what_is_there(self, machines: tuple[Machine, Machine]) -> None:
        first, second = machines
        assert second.recognise() == ["found"] * 4
        assert second.states() == [State.PUBLISHED] * 4
        for item in second.items():
            markers = item.control.markers()
            assert markers.found
            assert markers.stages_done == frozenset()
            ours, theirs = (
                read_json(ControlDir.of(one.out, item.episode).path / "published.there") for one in (second, first)
            )
            assert ours
            assert theirs
            assert [ours[key] for key in ("place", "files")] == [theirs[key] for key in ("place", "files")]
            assert ours["commit"] == "found there"

    def test_wherever_it_was_dropped(self, machines: tuple[Machine, Machine]) -> None:
        """Its folder is a clock, with colons here and underscores there."""
        _, second = machines
        folder = episode_folder(second.raw)
        folder.rename(folder.with_name(folder.name.replace(":", "_")))
        assert second.recognise() == ["found"] * 4

    def test_of_another_recording_it_is_another_one(self, machines: tuple[Machine, Machine]) -> None:
        _, second = machines
        change_state(episode_folder(second.raw), gripper_position=[0.5] * 6)
        assert sorted(second.recognise()) == ["found"] * 3 + ["other"]
        assert second.states().count(State.PUBLISHED) == 3

    def test_with_a_recording_more_it_is_another_one(self, machines: tuple[Machine, Machine]) -> None:
        _, second = machines
        mp4 = episode_folder(second.raw) / "recordings" / "MP4"
        mp4.mkdir(parents=True)
        (mp4 / "22008760.mp4").write_bytes(b"a video that the first machine had not")
        assert sorted(second.recognise()) == ["found"] * 3 + ["other"]

    def test_with_other_settings_it_is_another_one(self, machines: tuple[Machine, Machine]) -> None:
        _, second = machines
        second.config.write_text(
            second.config.read_text() + "[pipelines.metadata-only.tracks]\npoints_per_finger = 4\n"
        )
        assert second.recognise() == ["other"] * 4
        assert State.PUBLISHED not in second.states()

    def test_of_another_version_it_is_another_one(
        self, machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(TracksProcessor, "version", 2)
        assert machines[1].recognise() == ["other"] * 4

    def test_what_cannot_be_read_is_left_to_its_chain(self, machines: tuple[Machine, Machine]) -> None:
        _, second = machines
        (episode_folder(second.raw) / "trajectory.h5").write_bytes(b"no HDF5 file")
        assert sorted(second.recognise()) == ["found"] * 3 + ["other"]

    def test_where_other_files_are_wanted_it_is_not_found(
        self, machines: tuple[Machine, Machine], nas: FolderSite
    ) -> None:
        """What was published with other patterns is not all of what this destination is to have."""
        _, second = machines
        second.config = configure(second.folder, more=PIPELINE + there(nas, include=["*.npz"]))
        assert second.ask() == {}

    def test_it_has_to_be_at_every_destination(
        self, machines: tuple[Machine, Machine], nas: FolderSite, tmp_path: Path
    ) -> None:
        _, second = machines
        other = FolderSite(tmp_path / "other")
        two = PIPELINE.replace('["there"]', '["there", "other"]')
        other_table = table("other", other.kind, other.settings, include=["*.json"])
        second.config = configure(second.folder, more="\n".join([two, there(nas), other_table]))
        assert second.ask() == {}
        third = Machine(second.folder, second.raw, tmp_path / "third out", second.config)
        third.make()
        third.publish()
        assert second.recognise() == ["found"] * 4
        assert all(item.control.markers().receipts == {"there", "other"} for item in second.items())

    def test_what_was_begun_here_or_shall_be_made_here_is_not_asked_about(
        self, machines: tuple[Machine, Machine]
    ) -> None:
        _, second = machines
        begun, again, *others = second.items()
        for item in (begun, again):
            item.control.path.mkdir(parents=True)
        (begun.control.path / "tracks.done").touch()
        (again.control.path / "failed.000001").touch()
        assert second.ask().keys() == {item.episode for item in others}

    def test_made_again_elsewhere_there_is_nothing_to_commit(
        self, machines: tuple[Machine, Machine], nas: FolderSite
    ) -> None:
        _, second = machines
        before = {name: (nas.root / name).stat().st_ino for name in nas.names()}
        second.make()
        second.publish()
        assert {name: (nas.root / name).stat().st_ino for name in nas.names()} == before


class TestOrigin:
    def test_of_a_large_film_its_ends_and_its_middle_count(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(origin, "LARGE", 1000)
        monkeypatch.setattr(origin, "SAMPLE", 100)
        data, seen = bytes(2000), set()
        for number, at in enumerate((0, 1000, 1999)):
            film = tmp_path / str(number) / "1.mp4"
            film.parent.mkdir()
            film.write_bytes(data[:at] + b"x" + data[at + 1 :])
            seen.add(origin._digest([film]))
        assert len(seen) == 3
        (tmp_path / "1.mp4").write_bytes(data + b"x")
        assert origin._digest([tmp_path / "1.mp4"]) not in seen

    def test_of_anything_else_every_byte_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(origin, "LARGE", 1000)
        monkeypatch.setattr(origin, "SAMPLE", 100)
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "calibration.sqlite").write_bytes(bytes(300) + name.encode() + bytes(1700))
        a, b = (origin._digest([tmp_path / name / "calibration.sqlite"]) for name in ("a", "b"))
        assert a != b

    def test_what_the_pipeline_makes_is_no_input_of_it(self, machines: tuple[Machine, Machine]) -> None:
        """The depth stage reads the intrinsics that the tracks stage has made, once they are there."""
        full = machines[0].settings.pipelines["full"]
        first, second = (formats.by_name("droid").load(one.raw, one.items()[0].episode, one.out) for one in machines)
        assert origin_of(first, full) == origin_of(second, full)

    def test_none_where_an_input_is_gone(self, machines: tuple[Machine, Machine]) -> None:
        first, _ = machines
        episode = formats.by_name("droid").load(first.raw, first.items()[0].episode, first.out)
        gone = replace(episode, state=episode.state.with_name("gone.h5"))
        assert origin_of(gone, first.settings.pipelines["metadata-only"]) is None


class TestProcess:
    """The command, thirty episodes, and a Hub that counts what it is asked."""

    EPISODES = 30

    @pytest.fixture(scope="class")
    def many(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tree(tmp_path_factory.mktemp("many") / "towel", episodes=self.EPISODES, rows=2)

    def test_a_second_machine_asks_little_and_makes_what_differs(
        self, hub: HubServer, many: Path, tmp_path: Path
    ) -> None:
        site = HubSite(hub, tmp_path, repo="me/towel")
        first, second = (Machine.new(tmp_path / name, many, there(site)) for name in ("first", "second"))
        first.make()
        first.publish()
        change_state(episode_folder(second.raw, 3), gripper_position=[0.5] * 2)
        head, asked = hub.repositories["me/towel"].head, len(hub.log)
        done = second.process("--limit", 1)
        assert done.code == 0, done.out + done.err
        assert "29 episodes at there: not processed" in done.out
        assert "1 episode there made of or with something else: processed" in done.out
        assert len(second.made()) == 1
        log = [one.request for one in hub.log[asked:]]
        # a question for all manifests, each of these once, a question for all files of thirty episodes
        assert sum("/resolve/" in request for request in log) == self.EPISODES
        assert len(log) <= self.EPISODES + 3, log
        assert hub.repositories["me/towel"].head == head
        asked = len(hub.log)
        assert second.process().code == 0
        assert len(hub.log) == asked, "all is known here: nothing is asked"
        reported = episoded("report", second.raw, "--output", second.out, config=second.config).out
        assert "29 episodes found at their destinations, not made here" in reported
        assert "tracks          1" in reported
        rows = episoded("report", second.raw, "--csv", "--output", second.out, config=second.config).out.splitlines()
        assert sum(row.endswith(",there") for row in rows) == 29
        found = next(item for item in second.items() if item.control.markers().found)
        shown = episoded("show", second.raw / found.episode, "--output", second.out, config=second.config).out
        assert "found at there" in shown

    def test_in_whichever_repo_and_chunk_it_lies(
        self, hub: HubServer, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which one an episode has, only manifests that were lost know."""
        monkeypatch.setattr(shards, "EPISODES_PER_CHUNK", 1)
        site = HubSite(hub, tmp_path, repo="me/droid-{shard}")
        spread = there(site, folder="{dataset}/{chunk}", max_files_per_shard=12)
        first, second = (Machine.new(tmp_path / name, raw, spread) for name in ("first", "second"))
        first.make()
        first.publish()
        folders = {
            f"{repo}/{name.split('/')[1]}"
            for repo, repository in hub.repositories.items()
            for name in repository.files
            if name.endswith("tracks.npz")
        }
        assert folders == {f"me/droid-00{shard}/00{chunk}" for shard in (0, 1) for chunk in (0, 1)}
        assert second.recognise() == ["found"] * 4
        assert second.states() == [State.PUBLISHED] * 4
        assert set(hub.repositories) == {"me/droid-000", "me/droid-001"}, "looking for the next one made it"

    def test_who_trusts_what_is_known_here_asks_nothing(self, hub: HubServer, raw: Path, tmp_path: Path) -> None:
        site = HubSite(hub, tmp_path, repo="me/towel")
        first, second = (Machine.new(tmp_path / name, raw, there(site)) for name in ("first", "second"))
        first.make()
        first.publish()
        asked = len(hub.log)
        done = second.process("--no-remote-check", "--limit", 1)
        assert (done.code, len(second.made())) == (0, 1)
        second.config = configure(second.folder, more=PIPELINE + there(site, remote_check=False))
        done = second.process("--limit", 1)
        assert (done.code, len(second.made())) == (0, 2)
        assert len(hub.log) == asked

    def test_a_hub_that_is_away_costs_work_and_nothing_else(self, hub: HubServer, raw: Path, tmp_path: Path) -> None:
        site = HubSite(hub, tmp_path, repo="me/towel")
        first, second = (Machine.new(tmp_path / name, raw, there(site)) for name in ("first", "second"))
        first.make()
        first.publish()
        hub.stop()
        done = second.process()
        assert done.code == 0
        assert "there does not say what it has, so all is processed" in done.out
        assert len(second.made()) == 4
        hub.start()
        head = hub.repositories["me/towel"].head
        second.publish()
        assert hub.repositories["me/towel"].head == head, "the same bytes were found there"

    def test_a_hub_that_never_answers_is_not_waited_for(self, hub: HubServer, raw: Path, tmp_path: Path) -> None:
        second = Machine.new(tmp_path / "second", raw, there(HubSite(hub, tmp_path, repo="me/towel")))
        hub.fail("paths-info", hang=True)
        troubles = []
        assert second.ask(troubled=lambda name, trouble: troubles.append((name, trouble.code)), patience_s=2) == {}
        assert troubles == [("there", "silent")]


class TestByHand:
    def test_reconcile_finds_what_was_never_known_here(self, machines: tuple[Machine, Machine]) -> None:
        _, second = machines
        common = ("--pipeline", "metadata-only", "--output", second.out)
        done = episoded("reconcile", second.raw, *common, config=second.config)
        assert done.code == 0, done.err
        assert "4 episodes found there that need not be processed" in done.out
        assert second.states() == [State.PUBLISHED] * 4
        verified = episoded("verify", second.raw, "--remote", "--output", second.out, config=second.config)
        assert verified.code == 0, verified.out + verified.err
        publish = episoded("publish", second.raw, *common, config=second.config)
        assert publish.code == 0, publish.err

    def test_retry_has_it_made_here(self, machines: tuple[Machine, Machine], nas: FolderSite) -> None:
        _, second = machines
        assert second.recognise() == ["found"] * 4
        episode = second.items()[0].episode
        common = ("--pipeline", "metadata-only", "--output", second.out)
        said = episoded("retry", second.raw / episode, *common, "--from", "tracks", config=second.config)
        assert "1 episode to be tried again" in said.out
        before = nas.names()
        done = second.process()
        assert done.code == 0, done.out
        assert second.made() == [episode]
        assert episoded("publish", second.raw, *common, config=second.config).code == 0
        assert second.states() == [State.PUBLISHED] * 4
        assert nas.names() == before

    def test_it_cannot_be_sent_from_here(self, machines: tuple[Machine, Machine], tmp_path: Path) -> None:
        """Its files are not here: to another destination, nothing would be sent and called everything."""
        _, second = machines
        assert second.recognise() == ["found"] * 4
        other = FolderSite(tmp_path / "other")
        second.config.write_text(second.config.read_text() + table("other", other.kind, other.settings))
        common = ("--pipeline", "metadata-only", "--output", second.out)
        done = episoded("publish", second.raw, *common, "--to", "other", config=second.config)
        assert done.code == 1
        assert "[not_here]" in done.err
        assert other.names() == set()


def test_a_video_by_itself_is_found_as_well(nas: FolderSite, tmp_path: Path) -> None:
    pipeline = '[pipelines.depth]\ndestinations = ["there"]\ndepth = { ways = ["none"] }\n'
    write_video(tmp_path / "clip.mp4", 5, (64, 48))
    for name, made in (("first", ["depth_meta.json"]), ("second", [])):
        (folder := tmp_path / name).mkdir()
        video = shutil.copy(tmp_path / "clip.mp4", folder)
        config = configure(folder, more=pipeline + there(nas))
        assert episoded("process", video, "--pipeline", "depth", config=config).code == 0
        assert episoded("publish", video, "--pipeline", "depth", config=config).code == 0
        assert [path.name for path in (folder / "clip.mp4.out").iterdir() if path.is_file()] == made
        assert ControlDir.of(folder / "clip.mp4.out", "clip").markers().published


class TestService:
    def serve(self, daemon: Daemon, raw: Path, *tables: str) -> Path:
        """The daemon with a drop folder of its own for raw episodes, that have arrived."""
        drop = f"[[drop]]\npath = '{daemon.folder}/droid'\noutput = '{daemon.folder}/out'\n"
        drop += "pipeline = 'metadata-only'\ncomplete = 'rename'\n"
        shutil.copytree(raw, daemon.folder / "droid" / "towel")
        daemon.configure(PIPELINE, *tables, drop, rescan_s=0.5)
        return daemon.folder / "droid" / "towel"

    def controls(self, daemon: Daemon) -> list[ControlDir]:
        folder = daemon.folder / "out" / CONTROL
        return [ControlDir(path) for path in folder.iterdir() if path.is_dir()] if folder.exists() else []

    def wait_for(self, daemon: Daemon, what: str, count: int) -> None:
        eventually(
            lambda: sum(getattr(one.markers(), what) for one in self.controls(daemon)) == count,
            what=f"{count} episodes to be {what}",
        )

    def test_makes_nothing_that_is_there(
        self,
        daemon: Daemon,
        machines: tuple[Machine, Machine],  # noqa: ARG002 - one of which has published
        nas: FolderSite,
        raw: Path,
    ) -> None:
        dropped = self.serve(daemon, raw, there(nas, interval_s=0))
        change_state(episode_folder(dropped), gripper_position=[0.5] * 6)
        daemon.start()
        self.wait_for(daemon, "found", 3)
        self.wait_for(daemon, "ready", 4)
        status = episoded("status", "--json", config=daemon.config)
        jsonschema.validate(status.json, SCHEMA)
        assert [one["found"] for one in status.json["destinations"]] == [3]
        assert "3 found" in episoded("status", config=daemon.config).out
        (made,) = (one for one in self.controls(daemon) if not one.markers().found)
        assert made.markers().stages_done == {"tracks"}
        eventually(lambda: made.markers().blocked == {"there"}, what="the other one not to be written over")
        found = next(one.path.name for one in self.controls(daemon) if one.markers().found)
        assert episoded("wait", dropped / found, "--for", "published", config=daemon.config).code == 0
        assert daemon.terminate() == 0

    def test_does_not_wait_for_who_is_away(self, daemon: Daemon, hub: HubServer, raw: Path, tmp_path: Path) -> None:
        self.serve(daemon, raw, there(HubSite(hub, tmp_path, repo="me/towel"), interval_s=0))
        hub.stop()
        daemon.start()
        self.wait_for(daemon, "ready", 4)
        assert not any(one.markers().found for one in self.controls(daemon))
        assert daemon.terminate() == 0


def test_a_kill_at_any_point_leaves_nothing_that_looks_done(
    machines: tuple[Machine, Machine], tmp_path: Path, actor: type[Actor]
) -> None:
    _, second = machines
    said = actor("crash_recognise", second.config, second.raw, tmp_path).rest()
    assert {line for line in said if not line.endswith(" ok")} == set()
    assert len(said) >= 20


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestInquiry:
    """Who is asked when, and who waits how long, by a clock of the test's own."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def second(self, machines: tuple[Machine, Machine]) -> Machine:
        for item in machines[1].items():
            item.control.path.mkdir(parents=True)
            item.control.submit()
        return machines[1]

    def inquiry(self, second: Machine, clock: Clock, troubled: bool = False) -> Inquiry:
        asked = Inquiry(second.settings, lambda _: troubled, clock)
        asked.take_in([second.view()])
        return asked

    def answers(self, items: tuple[Item, ...], manifest: dict[str, Any] | None) -> tuple[Answer, ...]:
        return tuple(Answer(item.control.path, "there", manifest, 0.0) for item in items)

    def test_nobody_waits_for_long(self, second: Machine, clock: Clock) -> None:
        asked = self.inquiry(second, clock)
        path = second.items()[0].control.path
        assert asked.waits(path) == "there"
        assert asked.look_again_s() == PATIENCE_S
        clock.now = PATIENCE_S
        assert asked.waits(path) == ""
        assert asked.found(path) == ()

    def test_each_answer_is_a_sign_of_life(
        self, second: Machine, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inquiry, "ASKED_AT_ONCE", 2)
        asked = self.inquiry(second, clock)
        clock.now = PATIENCE_S - 1
        first = asked.questions("there")
        assert len(first) == 2
        asked.heard("there", self.answers(first, {"origin": {}}))
        assert asked.found(first[0].control.path)
        clock.now = PATIENCE_S + 1
        assert [bool(asked.waits(item.control.path)) for item in second.items()] == [False, False, True, True]
        assert asked.questions("there") == tuple(second.items()[2:])

    def test_who_is_in_trouble_is_not_waited_for(self, second: Machine, clock: Clock) -> None:
        asked = self.inquiry(second, clock, troubled=True)
        assert not any(asked.waits(item.control.path) for item in second.items())

    def test_what_is_not_there_is_asked_again_in_time(self, second: Machine, clock: Clock) -> None:
        asked = self.inquiry(second, clock)
        asked.heard("there", self.answers(asked.questions("there"), None))
        assert asked.questions("there") == ()
        assert asked.waits(second.items()[0].control.path) == ""
        clock.now = KEPT_S + 1
        asked.take_in([second.view()])
        assert len(asked.questions("there")) == 4

    def test_what_was_another_one_is_not_asked_again(self, second: Machine, clock: Clock) -> None:
        asked = self.inquiry(second, clock)
        item = second.items()[0]
        asked.heard("there", self.answers(asked.questions("there"), {"origin": {}}))
        asked.other(item.control.path)
        clock.now = KEPT_S + 1
        asked.take_in([second.view()])
        assert asked.found(item.control.path) == ()
        assert asked.questions("there") == ()

    @pytest.mark.parametrize("more", [{"path": "/mnt/{shard}"}, {"remote_check": False}])
    def test_who_cannot_be_asked_is_not(
        self, second: Machine, nas: FolderSite, clock: Clock, more: dict[str, Any]
    ) -> None:
        second.config = configure(second.folder, more=PIPELINE + table("there", "folder", {**nas.settings, **more}))
        assert self.inquiry(second, clock).questions("there") == ()

    def test_a_hub_takes_as_many_names_as_are_asked_at_once(self) -> None:
        from episoded.processors.destinations.huggingface import PATHS_AT_ONCE

        assert ASKED_AT_ONCE <= PATHS_AT_ONCE


def test_recognising_takes_no_claim_for_what_is_another_one(machines: tuple[Machine, Machine]) -> None:
    _, second = machines
    (view,) = second.view().datasets
    pipeline = second.settings.pipelines["metadata-only"]
    for episode in view.episodes:
        answer = Answer(episode.control.path, "there", {"origin": {"tracks": {}}}, 0.0)
        assert recognise(work_for(view, episode.id, pipeline, second.settings.workers.policy), [answer]) == "other"
    assert not second.out.exists()
