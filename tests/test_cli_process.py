"""`episoded process`: the whole chain on what lies at a path, without a service."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from commandline import COMMAND, begin, configure, episoded, finish, on_terminal, plain
from conftest import Actor, eventually
from episoded.daemon import attempts
from episoded.daemon.control import ControlDir, read_json
from episoded.daemon.errors import RetryableError
from episoded.daemon.state import State, state_of
from recordings import Originals, broken_laws, claim_dead, decode, leftovers, snapshot, tiny

if TYPE_CHECKING:
    from collections.abc import Callable

TOP = "observation.images.top"


@pytest.fixture
def plain_config(tmp_path: Path) -> Path:
    """No drop folders, no guard."""
    return configure(tmp_path)


def truncate(root: Path, episode: str = "episode_000001", frame: int = 2) -> bytes:
    """Damage a frame; returns what it was."""
    path = root / "images" / TOP / episode / f"frame_{frame:06d}.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


class TestTheJob:
    def test_a_dataset_becomes_ready_in_place(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds", episodes=3)
        originals = Originals.of(root)
        done = episoded("process", root, config=plain_config)
        assert done.code == 0, done.err
        assert "3 of 3 episodes ready" in done.out
        assert originals.missing_from(root) == []
        assert leftovers(root) == []

    def test_called_again_it_writes_nothing(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds")
        episoded("process", root, config=plain_config)
        before = snapshot(root)
        assert episoded("process", root, config=plain_config).code == 0
        assert snapshot(root) == before

    def test_one_episode_is_left_to_itself(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds", episodes=2)
        assert episoded("process", root / "episode_000001", config=plain_config).code == 0
        ready = [ControlDir.of(root, f"episode_00000{number}").markers().ready for number in (0, 1)]
        assert ready == [False, True]

    def test_a_folder_of_datasets(self, tmp_path: Path, plain_config: Path) -> None:
        for name in ("one", "owner/two", "with space, Ünïcode\nand a line"):
            tiny(tmp_path / "all" / name)
        (tmp_path / "all" / "notes").mkdir()
        done = episoded("process", tmp_path / "all", config=plain_config)
        assert done.code == 0, done.err
        assert "3 of 3 episodes ready" in done.out
        assert "notes: not a dataset" in done.out
        assert "with space, Ünïcode\\nand a line" in done.out

    def test_an_output_of_its_own_leaves_the_source_alone(self, tmp_path: Path) -> None:
        root, out = tiny(tmp_path / "ds", episodes=2), tmp_path / "out"
        before = snapshot(root)
        chosen = configure(tmp_path, more='[pipelines.default]\nremove_inputs = "keep"\n')
        done = episoded("process", root, "--output", out, config=chosen)
        assert done.code == 0, done.err
        assert snapshot(root) == before
        assert len(list((out / "ds").glob("videos/*/*/*.mp4"))) == 4
        assert str(out / "ds") in done.out

    def test_the_frames_can_be_kept_for_one_call(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds")
        recorded = snapshot(root / "images")
        assert episoded("process", root, "--keep-inputs", config=plain_config).code == 0
        assert episoded("process", root, config=plain_config).code == 0
        assert snapshot(root / "images") == recorded

    def test_what_another_pipeline_made_ready_is_told_with_the_command_that_does_the_rest(self, tmp_path: Path) -> None:
        more = '[pipelines.plain]\nstages = ["encode"]\nremove_inputs = "keep"\n'
        root, chosen = tiny(tmp_path / "ds"), configure(tmp_path, more=more)
        assert episoded("process", root, "--pipeline", "plain", config=chosen).code == 0
        done = episoded("process", root, config=chosen)
        assert (done.code, "ready by the pipeline 'plain', without metadata" in " ".join(done.out.split())) == (0, True)
        assert f"retry {root} --from metadata --pipeline default" in " ".join(done.out.split())
        assert episoded("retry", root, "--from", "metadata", "--pipeline", "default", config=chosen).code == 0
        done = episoded("process", root, config=chosen)
        assert (done.code, "plain" in done.out) == (0, False)

    def test_the_encoder_can_be_chosen_for_one_call(self, tmp_path: Path) -> None:
        table = '[pipelines.default.encode]\nprofile = "archive"\ncrf = 20\nmin_psnr_db = 5\n'
        chosen, root = configure(tmp_path, more=table), tiny(tmp_path / "ds")
        options = ("--profile", "brief", "--preset", "veryfast", "--gop", "3")
        assert episoded("process", root, *options, config=chosen).code == 0
        facts = episoded("show", root / "episode_000000", "--json", config=chosen).json["stages"][0]["units"][0][
            "facts"
        ]
        used = {key: facts["encoder"][key] for key in ("codec", "preset", "crf", "gop")}
        assert used == {"codec": "libx264", "preset": "veryfast", "crf": 23, "gop": 3}

    def test_on_a_terminal_it_shows_bars(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds", episodes=2, frames=40)
        code, said = on_terminal("process", root, config=plain_config)
        assert code == 0
        assert "━" in said
        assert "ready  ds/episode_000001" in plain(said)
        assert "2 of 2 episodes ready" in plain(said).splitlines()[-1]

    def test_elsewhere_it_writes_lines(self, tmp_path: Path, plain_config: Path) -> None:
        done = episoded("process", tiny(tmp_path / "ds"), config=plain_config)
        assert "━" not in done.out
        assert "\x1b" not in done.out
        assert done.err == ""


class TestFailures:
    def test_one_bad_episode_is_named_and_stops_no_other(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds", episodes=3)
        whole = truncate(root)
        done = episoded("process", root, config=plain_config)
        assert done.code == 1
        assert "failed  ds/episode_000001" in done.out
        assert "frame_000002.png" in done.out
        assert "what to do: " in done.out
        assert "2 of 3 episodes ready" in done.out
        assert broken_laws(root) == []
        assert self.mended(root, whole, plain_config) == 0

    def mended(self, root: Path, whole: bytes, plain_config: Path) -> int:
        """As the command told us to: mend, retry, call again."""
        (root / "images" / TOP / "episode_000001" / "frame_000002.png").write_bytes(whole)
        again = episoded("process", root, config=plain_config)
        assert again.code == 1
        assert "has failed before" in again.out
        assert episoded("retry", root, config=plain_config).code == 0
        return episoded("process", root, config=plain_config).code

    def test_what_may_pass_by_itself_is_tried_again_at_once(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds")
        control, policy = claim_dead(root), attempts.AttemptPolicy(delay_s=3000)
        attempts.record_failure(control, 1, RetryableError("io_error", "the disk was slow"), "encode", policy)
        assert "1 waiting" not in episoded("status", root, config=plain_config).out
        assert episoded("process", root, config=plain_config).code == 0

    def test_a_dataset_that_is_refused_is_named_with_its_reason(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "old")
        (root / "meta" / "info.json").write_text('{"codebase_version": "v1.6", "features": {}}')
        before = snapshot(root)
        done = episoded("process", root, config=plain_config)
        assert done.code == 1
        assert "old: " in done.out
        assert "v1.6" in done.out
        assert snapshot(root) == before

    def test_orphans_are_named_and_nothing_else(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds")
        orphans = root / "images" / TOP / "episode_000007"
        orphans.mkdir()
        (orphans / "frame_000000.png").write_bytes(b"whatever was recorded")
        done = episoded("process", root, config=plain_config)
        assert done.code == 0
        assert "ds/episode_000007: 1 frames of observation.images.top" in done.out
        assert (orphans / "frame_000000.png").read_bytes() == b"whatever was recorded"

    def test_nothing_known_is_nothing_ready(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds")
        (root / "meta" / "episodes.jsonl").write_text("")
        done = episoded("process", root, config=plain_config)
        assert done.code == 1
        assert "no episode here" in done.out

    def test_a_folder_that_cannot_be_written_is_said(
        self, tmp_path: Path, plain_config: Path, read_only: Callable[[Path], None]
    ) -> None:
        root = tiny(tmp_path / "ds")
        read_only(root)
        done = episoded("process", root, config=plain_config)
        assert done.code == 1
        assert "Read-only file system" in done.out
        assert "set `output`" in done.out
        assert len(list(root.glob("images/*/*/*.png"))) == 12

    def test_a_full_disk_keeps_it_from_beginning(self, tmp_path: Path) -> None:
        chosen, root = configure(tmp_path), tiny(tmp_path / "ds")
        full = (
            chosen.read_text()
            .replace("disk_high = 0", 'disk_high = "900 TB"')
            .replace("disk_low = 0", 'disk_low = "900 TB"')
        )
        chosen.write_text(full)
        before = snapshot(root)
        done = episoded("process", root, config=chosen)
        assert done.code == 1
        assert "disk: " in done.out
        assert "[guard]" in done.out
        assert snapshot(root) == before


class TestNextToOthers:
    def test_what_somebody_has_in_hand_is_left_to_them(
        self, tmp_path: Path, plain_config: Path, actor: Callable[..., Actor]
    ) -> None:
        root = tiny(tmp_path / "ds", episodes=2)
        control = ControlDir.of(root, "episode_000000")
        owner = actor("hold", control.path)
        assert owner.heard() == "claimed 1"
        done = episoded("process", root, config=plain_config)
        assert done.code == 1
        assert f"ds/episode_000000: is being worked on by process {owner.pid}" in done.out
        assert "episoded wait" in done.out
        assert ControlDir.of(root, "episode_000001").markers().ready
        assert control.markers().generation == 1

    def test_what_a_finisher_left_untidy_is_tidied_up(self, tmp_path: Path, plain_config: Path) -> None:
        root = tiny(tmp_path / "ds")
        episoded("process", root, config=plain_config)
        (ControlDir.of(root, "episode_000000").path / "cleaned").unlink()
        assert episoded("process", root, config=plain_config).code == 0
        assert leftovers(root) == []

    def test_metadata_that_a_recorder_wrote_over_is_brought_up_to_date(
        self, tmp_path: Path, plain_config: Path
    ) -> None:
        root = tiny(tmp_path / "ds")
        recorded = (root / "meta" / "info.json").read_bytes()
        episoded("process", root, config=plain_config)
        finished = (root / "meta" / "info.json").read_bytes()
        (root / "meta" / "info.json").write_bytes(recorded)
        assert episoded("process", root, config=plain_config).code == 0
        assert (root / "meta" / "info.json").read_bytes() == finished


class TestInterrupted:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tiny(tmp_path / "ds", episodes=2, frames=200)

    def encoding(self, root: Path) -> bool:
        """Whether some camera is being encoded."""
        return any((read_json(path) or {}).get("done") for path in root.glob(".episoded/*/g000001/progress.json"))

    def all_given_back(self, root: Path) -> None:
        """No claim is held, and every generation has an end."""
        for path in root.glob(".episoded/episode_*"):
            control = ControlDir(path)
            state = state_of(control.markers(), alive=lambda _: False, waiting=lambda _: False)
            assert state in (State.READY, State.PENDING)
            assert control.markers().ready or control.markers().outcome == "released"

    def begin_encoding(self, root: Path, config: Path):  # type: ignore[no-untyped-def]
        running = begin("process", root, "--workers", "1", config=config)
        eventually(lambda: self.encoding(root), what="a camera is being encoded")
        return running

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_once_it_stops_after_the_camera_in_hand(self, root: Path, plain_config: Path, number: int) -> None:
        running = self.begin_encoding(root, plain_config)
        running.send_signal(number)
        done = finish(running)
        assert done.code == 1
        assert "stopping  after the camera in hand" in done.out
        self.all_given_back(root)
        kept = list(root.glob(".episoded/episode_000000/encode/*.done"))
        assert len(kept) == 1, "the camera in hand is finished and kept"
        assert episoded("process", root, config=plain_config).code == 0
        assert [len(decode(video)) for video in root.glob("videos/*/*/*.mp4")] == [200] * 4
        assert leftovers(root) == []

    def test_twice_it_stops_at_once(self, root: Path, plain_config: Path) -> None:
        running = self.begin_encoding(root, plain_config)
        running.send_signal(signal.SIGINT)
        assert running.stdout is not None
        eventually(lambda: "stopping" in running.stdout.readline())
        running.send_signal(signal.SIGINT)
        assert finish(running).code == 1
        self.all_given_back(root)
        assert broken_laws(root) == []

    def test_killed_it_leaves_no_worker_behind(self, root: Path, plain_config: Path) -> None:
        running = self.begin_encoding(root, plain_config)
        processes = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        workers = [pid for pid in processes if parent_of(pid) == running.pid]
        running.kill()
        running.communicate()
        assert workers
        eventually(lambda: not any(is_python(pid) for pid in workers), what="the workers die with their parent")
        assert episoded("process", root, config=plain_config).code == 0


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def is_python(pid: int) -> bool:
    try:
        return COMMAND[0].encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class TestUsage:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--pipeline", "quick"), "there is no pipeline 'quick'; there are default"),
            (("--crf", "60"), "crf 60 is out of range"),
            (("--profile", "best"), "profile: must be 'training'"),
            (("--output", "{root}/out"), "lies inside"),
            (("--workers", "0"), "workers"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_begun(
        self, tmp_path: Path, plain_config: Path, options: tuple[str, ...], words: str
    ) -> None:
        root = tiny(tmp_path / "ds")
        before = snapshot(root)
        done = episoded("process", root, *(option.format(root=root) for option in options), config=plain_config)
        assert done.code == 2
        assert words in done.err
        assert snapshot(root) == before

    def test_a_path_with_nothing_at_it_is_4(self, tmp_path: Path, plain_config: Path) -> None:
        assert episoded("process", tmp_path / "nothing", config=plain_config).code == 4
        assert episoded("process", tmp_path, config=plain_config).code == 4
        assert episoded("process", config=plain_config).code == 2
