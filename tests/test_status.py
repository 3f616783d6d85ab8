"""`episoded status`: what it says in every state, with and without a service, and what it costs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from commandline import begin, configure, episoded, on_terminal, plain
from episoded.daemon import attempts, config, service_file, status
from episoded.daemon.claim import take
from episoded.daemon.control import CONTROL, ControlDir, submit_dataset, to_json
from episoded.daemon.errors import InputError, RetryableError
from episoded.daemon.scan import Scanner
from episoded.daemon.service_file import ServiceReport
from episoded.daemon.state import State
from episoded.daemon.worker import ProgressFile
from recordings import claim_dead, snapshot, tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from episoded.daemon.snapshot import Dataset, Snapshot

SCHEMA = json.loads((Path(__file__).parent.parent / "docs" / "status-schema.json").read_text())
POLICY = attempts.AttemptPolicy(limit=3, delay_s=3000)
TRUNCATED = InputError("png_truncated", "frame_000002.png ends in the middle", "copy it again")
NO_SPACE = RetryableError("io_error", "the disk is slow", "wait")


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


def look(tmp_path: Path, *drops: Path | str, **more: Any) -> Snapshot:
    """The snapshot of now."""
    chosen = config.load(configure(tmp_path, *drops, **more))
    return status.take(chosen, Scanner(chosen.drops).scan())


def only(picture: Snapshot) -> Dataset:
    """The one dataset in it."""
    ((dataset,),) = [drop.datasets for drop in picture.drops]
    return dataset


def fail(root: Path, episode: str, error: Exception, stage: str = "encode") -> None:
    control = claim_dead(root, episode)
    attempts.record_failure(control, control.markers().generation, error, stage, POLICY)


def finish(root: Path, episode: str) -> None:
    control = claim_dead(root, episode)
    (control.path / "ready").write_bytes(to_json({"schema": 1, "stages": [], "inputs": {}}))


@pytest.fixture
def every_state(drop: Path) -> Iterator[Path]:
    """A dataset with an episode in each state but published."""
    root = tiny(drop / "all states", episodes=6)
    ControlDir.of(root, "episode_000001").submit()
    claim = take(ControlDir.of(root, "episode_000002"))
    fail(root, "episode_000003", NO_SPACE)
    finish(root, "episode_000004")
    fail(root, "episode_000005", TRUNCATED)
    yield root
    claim.close()


class TestStates:
    def test_each_episode_is_counted_in_its_state(self, tmp_path: Path, drop: Path, every_state: Path) -> None:
        dataset = only(look(tmp_path, drop))
        assert dataset.path == str(every_state)
        expected = dict.fromkeys(State, 1) | {State.PUBLISHED: 0}
        assert (dataset.counts, dataset.episodes) == (expected, 6)

    def test_who_works_on_what_and_how_far(self, tmp_path: Path, drop: Path, every_state: Path) -> None:
        control = ControlDir.of(every_state, "episode_000002")
        control.scratch(1).mkdir()
        said = {"stage": "encode", "unit": "observation.images.top", "done": 40, "total": 100, "since": 10, "at": 18}
        control.progress(1).write_bytes(to_json(said))
        (running,) = only(look(tmp_path, drop)).running
        assert (running.episode, running.pid, running.generation) == ("episode_000002", os.getpid(), 1)
        assert (running.stage, running.unit, running.done, running.total) == ("encode", said["unit"], 40, 100)
        assert running.eta_s == 12.0  # 60 frames left at 5 frames per second
        assert running.rate == 5.0
        assert running.stages == ("encode", "metadata")

    def test_what_an_earlier_attempt_had_done_does_not_make_it_look_faster(
        self, tmp_path: Path, drop: Path, every_state: Path
    ) -> None:
        control = ControlDir.of(every_state, "episode_000002")
        control.scratch(1).mkdir()
        said = {"stage": "depth", "unit": "top", "done": 480, "total": 500, "done_before": 440, "since": 10, "at": 18}
        control.progress(1).write_bytes(to_json(said))
        (running,) = only(look(tmp_path, drop)).running
        assert (running.rate, running.eta_s) == (5.0, 4.0)
        done = episoded("status", config=configure(tmp_path, drop))
        assert "5.0 frames/s, 4 s left" in done.out

    def test_a_worker_tells_where_it_took_over(self, tmp_path: Path) -> None:
        control = ControlDir.of(tmp_path, "episode_000000")
        claim = take(control)
        control.scratch(1).mkdir()
        tell = ProgressFile(control)
        tell("depth", "top", 440, 500)
        before = json.loads(control.progress(1).read_bytes())
        tell("depth", "top", 500, 500)
        after = json.loads(control.progress(1).read_bytes())
        assert (before["done_before"], after["done_before"], after["done"]) == (440, 440, 500)
        claim.close()

    @pytest.mark.usefixtures("every_state")
    def test_a_worker_that_has_said_nothing_yet_is_shown(self, tmp_path: Path, drop: Path) -> None:
        (running,) = only(look(tmp_path, drop)).running
        assert (running.stage, running.done, running.eta_s) == (None, None, None)
        assert running.since is not None

    @pytest.mark.usefixtures("every_state")
    def test_failures_carry_code_message_and_remedy(self, tmp_path: Path, drop: Path) -> None:
        failed, waiting = only(look(tmp_path, drop)).failures
        assert (failed.episode, failed.state, failed.code) == ("episode_000005", State.FAILED, "png_truncated")
        assert (failed.message, failed.hint) == (TRUNCATED.message, TRUNCATED.hint)
        assert (waiting.episode, waiting.state, waiting.attempt) == ("episode_000003", State.WAITING, 1)
        assert waiting.not_before is not None
        assert waiting.not_before > time.time()

    def test_an_episode_whose_worker_died_is_pending(self, tmp_path: Path, drop: Path) -> None:
        claim_dead(tiny(drop / "one"))
        assert only(look(tmp_path, drop)).counts[State.PENDING] == 1


class TestWhyNothingHappens:
    def held(self, picture: Snapshot) -> dict[str, int]:
        return {held.reason: held.count for held in only(picture).held}

    def test_without_a_marker(self, tmp_path: Path, drop: Path) -> None:
        tiny(drop / "one", episodes=2)
        assert self.held(look(tmp_path, drop)) == {"waiting for the uploader's marker": 2}

    def test_without_a_service(self, tmp_path: Path, drop: Path) -> None:
        submit_dataset(tiny(drop / "one"))
        assert self.held(look(tmp_path, drop)) == {"no service is running": 1}

    def test_what_the_service_holds_back_and_why(self, tmp_path: Path, drop: Path) -> None:
        root = tiny(drop / "one", episodes=3)
        submit_dataset(root)
        ControlDir.of(root, "episode_000001").submit()
        held = {str(ControlDir.of(root, "episode_000000").path): "not whole yet: frame_000005.png of top"}
        with running_service(tmp_path, held=held):
            picture = look(tmp_path, drop)
        assert self.held(picture) == {
            "not whole yet: frame_000005.png of top": 1,
            "waiting for a free worker": 1,
            "not looked at yet": 1,
        }

    def test_a_pause(self, tmp_path: Path, drop: Path) -> None:
        root = tiny(drop / "one")
        ControlDir.of(root, "episode_000000").submit()
        with running_service(tmp_path, paused={str(root): "disk: 1.0 GB free"}):
            assert self.held(look(tmp_path, drop)) == {"paused: disk: 1.0 GB free": 1}

    def test_a_folder_that_the_service_cannot_use(self, tmp_path: Path, drop: Path) -> None:
        root = tiny(drop / "one")
        with running_service(tmp_path, problems={str(root): "no permission"}):
            picture = look(tmp_path, drop)
        assert self.held(picture) == {"no permission": 1}
        assert picture.failed

    def test_many_for_one_reason_are_counted_and_a_few_named(self, tmp_path: Path, drop: Path) -> None:
        tiny(drop / "one", episodes=8, frames=1)
        (held,) = only(look(tmp_path, drop)).held
        assert held.count == 8
        assert held.episodes == tuple(f"episode_{index:06d}" for index in range(5))


class running_service:  # noqa: N801 - reads as a condition
    """The state directory as a running service keeps it."""

    def __init__(self, tmp_path: Path, **said: Any) -> None:
        self.state_dir = tmp_path / "state"
        self.report = ServiceReport(pid=os.getpid(), version="1", since=time.time(), config="/c.toml", slots=2, **said)

    def __enter__(self) -> None:
        self.holding = service_file.only_one(self.state_dir)
        self.holding.__enter__()
        service_file.tell(self.state_dir, self.report)

    def __exit__(self, *_: object) -> None:
        self.holding.__exit__(None, None, None)


class TestService:
    def test_none(self, tmp_path: Path) -> None:
        assert look(tmp_path).service.running is False

    def test_one_that_runs(self, tmp_path: Path) -> None:
        with running_service(tmp_path, busy=1, watches=3, complaints=("no events on nfs",)):
            service = look(tmp_path).service
        assert (service.running, service.pid, service.busy, service.slots) == (True, os.getpid(), 1, 2)
        assert (service.watches, service.complaints) == (3, ("no events on nfs",))

    def test_one_that_is_gone_has_no_say_any_more(self, tmp_path: Path) -> None:
        with running_service(tmp_path):
            pass
        assert (tmp_path / "state" / "service.json").exists()
        assert look(tmp_path).service.running is False

    def test_a_newer_one_may_say_more_than_we_understand(self, tmp_path: Path) -> None:
        with running_service(tmp_path):
            told = json.loads((tmp_path / "state" / "service.json").read_bytes())
            (tmp_path / "state" / "service.json").write_bytes(to_json({**told, "mood": "good"}))
            assert look(tmp_path).service.running is True


class TestDrops:
    def test_one_that_is_not_there_is_an_error_of_its_own(self, tmp_path: Path, drop: Path) -> None:
        tiny(drop / "one")
        picture = look(tmp_path, drop, tmp_path / "gone")
        assert [bool(one.error) for one in picture.drops] == [False, True]
        assert picture.failed

    def test_room_below_the_low_mark_is_said(self, tmp_path: Path, drop: Path) -> None:
        chosen = config.load(configure(tmp_path, drop))
        full = chosen.model_copy(update={"guard": config.GuardConfig(disk_low=1 << 60, disk_high=1 << 60)})
        assert [one.low_disk for one in status.take(chosen, Scanner(chosen.drops).scan()).drops] == [False]
        assert [one.low_disk for one in status.take(full, Scanner(full.drops).scan()).drops] == [True]

    def test_what_is_no_dataset_is_listed(self, tmp_path: Path, drop: Path) -> None:
        (drop / "notes").mkdir()
        (drop / "away").symlink_to(tmp_path)
        (one,) = look(tmp_path, drop).drops
        assert {Path(stranger["path"]).name for stranger in one.strangers} == {"notes", "away"}

    def test_a_broken_dataset_needs_a_person_and_one_that_is_arriving_does_not(
        self, tmp_path: Path, drop: Path
    ) -> None:
        info = tiny(drop / "one") / "meta" / "info.json"
        whole = info.read_text()
        info.write_text(whole.replace('"v2.1"', '"v9.9"'))
        broken = look(tmp_path, drop)
        info.write_text(whole[: len(whole) // 2])
        arriving = look(tmp_path, drop)
        assert [only(picture).refusal.passing for picture in (broken, arriving)] == [False, True]  # type: ignore[union-attr]
        assert [picture.failed for picture in (broken, arriving)] == [True, False]

    def test_orphans_are_listed_with_their_reason(self, tmp_path: Path, drop: Path) -> None:
        root = tiny(drop / "one")
        (root / "images/observation.images.top/episode_000000").rename(
            root / "images/observation.images.top/episode_000007"
        )
        (orphan,) = only(look(tmp_path, drop)).orphans
        assert orphan["episode"] == "episode_000007"
        assert "observation.images.top" in orphan["reason"]


class TestTheCommand:
    def test_exit_code_says_whether_something_failed(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "one", episodes=2), configure(tmp_path, drop)
        assert episoded("status", config=chosen).code == 0
        fail(root, "episode_000001", TRUNCATED)
        done = episoded("status", config=chosen)
        assert done.code == 3
        assert "one/episode_000001  png_truncated at encode" in done.out
        assert TRUNCATED.message in done.out
        assert "what to do: copy it again" in done.out

    def test_it_can_be_asked_for_one_dataset_or_episode(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "one", episodes=2), configure(tmp_path, drop)
        tiny(drop / "two")
        fail(root, "episode_000001", TRUNCATED)
        assert episoded("status", drop / "two", config=chosen).code == 0
        assert episoded("status", root / "episode_000000", config=chosen).code == 0
        assert episoded("status", root / "episode_000001", config=chosen).code == 3
        assert episoded("status", drop / "three", config=chosen).code == 4

    def test_it_changes_nothing(self, tmp_path: Path, drop: Path, every_state: Path) -> None:
        chosen, before = configure(tmp_path, drop), snapshot(tmp_path)
        episoded("status", config=chosen)
        episoded("status", every_state, "--json", config=chosen)
        assert snapshot(drop) == {name[5:]: value for name, value in before.items() if name.startswith("drop/")}

    @pytest.mark.parametrize("columns", [80, 120])
    @pytest.mark.usefixtures("every_state")
    def test_nothing_leaves_the_terminal(self, tmp_path: Path, drop: Path, columns: int) -> None:
        tiny(drop / ("a dataset with a name as long as " + "nobody " * 8))
        code, said = on_terminal("status", columns=columns, config=configure(tmp_path, drop))
        lines = plain(said).splitlines()
        assert code == 3
        assert max(map(len, lines)) <= columns
        assert any("all states/episode_000002" in line for line in lines)

    def test_foreign_names_cannot_play_with_the_terminal(self, tmp_path: Path, drop: Path) -> None:
        tiny(drop / "red \x1b[31m [bold] \n line")
        os.mkdir(os.fsencode(drop) + b"/no \xff utf-8")  # noqa: PTH102 - a name that is no text
        done = episoded("status", config=configure(tmp_path, drop))
        assert done.code == 0
        assert "red \\x1b[31m [bold] \\n line" in done.out
        assert "no \\udcff utf-8" in done.out
        assert "\x1b" not in done.out

    def test_watching_goes_on_until_it_is_interrupted(self, tmp_path: Path, drop: Path) -> None:
        tiny(drop / "one")
        watching = begin("status", "--watch", "--json", config=configure(tmp_path, drop))
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        assert first["at"] < second["at"]
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=30)
        assert watching.returncode == 0


class TestJson:
    def test_the_schema_is_one(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    def test_what_is_printed_is_as_the_schema_says(self, tmp_path: Path, drop: Path, every_state: Path) -> None:
        (tiny(drop / "old") / "meta" / "info.json").write_text('{"codebase_version": "v1.6", "features": {}}')
        (drop / "notes").mkdir()
        control = ControlDir.of(every_state, "episode_000002")
        control.scratch(1).mkdir()
        control.progress(1).write_bytes(
            to_json({"stage": "encode", "unit": "top", "done": 1, "total": 2, "since": 1.0, "at": 2.0})
        )
        with running_service(tmp_path, paused={"/a": "disk"}, problems={"/b": "no permission"}):
            done = episoded("status", "--json", config=configure(tmp_path, drop, tmp_path / "gone"))
        Draft202012Validator(SCHEMA).validate(done.json)
        datasets = {dataset["name"]: dataset for dataset in done.json["drops"][0]["datasets"]}
        assert datasets["all states"]["running"][0]["eta_s"] == 1.0
        assert datasets["old"]["refusal"]["code"] == "version_unsupported"

    @pytest.mark.usefixtures("every_state")
    def test_nothing_is_in_the_schema_that_is_never_printed(self, tmp_path: Path, drop: Path) -> None:
        printed = episoded("status", "--json", config=configure(tmp_path, drop)).json
        definitions = SCHEMA["$defs"]
        dataset = printed["drops"][0]["datasets"][0]
        for name, example in (
            ("service", printed["service"]),
            ("drop", printed["drops"][0]),
            ("dataset", dataset),
            ("running", dataset["running"][0]),
            ("held", dataset["held"][0]),
            ("failure", dataset["failures"][0]),
        ):
            assert set(definitions[name]["properties"]) == set(example), name


@pytest.mark.usefixtures("every_state")
def test_it_loads_nothing_heavy(tmp_path: Path, drop: Path, loaded: Callable[..., set[str]]) -> None:
    """What makes it start in a quarter of a second; any of these would double that."""
    heavy = {"av", "numpy", "pyarrow", "structlog", "watchdog", "psutil", "multiprocessing", "asyncio"}
    assert not heavy & loaded("status", config=configure(tmp_path, drop))
    assert not (heavy | {"rich"}) & loaded("status", "--json", config=configure(tmp_path, drop))


@pytest.fixture
def loaded() -> Callable[..., set[str]]:
    """The top-level modules that a command loads."""

    def run(*args: str, config: Path) -> set[str]:
        done = episoded(*args, config=config, env={"PYTHONPROFILEIMPORTTIME": "1"})
        return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.err.splitlines()}

    return run


def test_control_directories_of_other_outputs_are_found(tmp_path: Path, drop: Path) -> None:
    tiny(drop / "one")
    table = f"[[drop]]\npath = '{drop}'\noutput = '{tmp_path}/out'\n"
    finish_at = tmp_path / "out" / "one" / CONTROL / "episode_000000"
    finish_at.mkdir(parents=True)
    (finish_at / "ready").write_bytes(to_json({"schema": 1}))
    dataset = only(look(tmp_path, table))
    assert dataset.output == str(tmp_path / "out" / "one")
    assert dataset.counts[State.READY] == 1
