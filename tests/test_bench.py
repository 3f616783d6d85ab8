"""`episoded bench`: its results and what is said of them; frames are accounted for and no clock stops early."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from episoded.daemon.bench import analysis
from episoded.daemon.bench.benchmark import run
from episoded.daemon.bench.comparison import compare, describe
from episoded.daemon.bench.encoding import encoding
from episoded.daemon.bench.recording import record
from episoded.daemon.bench.results import MODES, EpisodeTimes, Machine, Mode, Result, Settings, load, save
from episoded.daemon.control import ControlDir
from episoded.daemon.errors import EpisodedError, InputError
from episoded.processors import simulation

if TYPE_CHECKING:
    from pathlib import Path

    from episoded.daemon.bench.encoding import Encoding


def _result(mode: Mode, *episodes: tuple[float, float, float], at: float = 1000.0) -> Result:
    """A run of 300 frames an episode; (saved, free, ready) of each."""
    times = [
        EpisodeTimes(
            started=saved - 10,
            recorded=saved - 0.5,
            saved=saved,
            free=free,
            ready=ready,
            encoding_s=4.0,
            late_frames=2,
            worst_lag_s=0.025,
            frames_recorded=300,
            frames_in_videos=300,
            bytes_recorded=60_000_000,
            bytes_in_videos=3_000_000,
        )
        for saved, free, ready in episodes
    ]
    machine = Machine(name="Linux x86_64", cores=2, python="3.11.7", episoded="0.1.0", load_before=0.1)
    settings = Settings(episodes=len(episodes), episode_time_s=10)
    return Result(mode=mode, at=at, settings=settings, machine=machine, episodes=tuple(times))


SYNC = _result("sync", (10, 14, 14), (24, 28, 28))
ASYNC = _result("async", (10, 10, 15), (20, 20, 26))
DAEMON = _result("daemon", (10, 10.01, 14), (20.01, 20.02, 24))


class TestResult:
    def test_blocked_time_of_sync_is_the_encoding_in_the_recording_thread(self) -> None:
        assert SYNC.blocked_s == 8
        assert SYNC.recording_s == SYNC.ready_s == 28
        assert SYNC.drain_s == 0

    def test_a_queue_that_is_not_empty_at_the_end_counts_until_it_is(self) -> None:
        assert (ASYNC.recording_s, ASYNC.ready_s, ASYNC.drain_s) == (20, 26, 6)

    def test_is_never_ready_before_the_recorder_is_done(self) -> None:
        cleaning_up_after_ready = _result("sync", (10, 14.2, 14.1))
        assert cleaning_up_after_ready.ready_s == cleaning_up_after_ready.recording_s

    def test_survives_the_file(self, tmp_path: Path) -> None:
        path = save(DAEMON, tmp_path / "results")
        assert path.name == "daemon_benchmark_1000.json"
        assert load(path) == DAEMON

    def test_is_never_written_over_an_earlier_one(self, tmp_path: Path) -> None:
        first, second = save(SYNC, tmp_path), save(SYNC, tmp_path)
        assert first != second
        assert load(first) == load(second)

    def test_an_absent_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"sync_benchmark_1\.json: No such file"):
            load(tmp_path / "sync_benchmark_1.json")

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"mode": "sync"}', b"\xff\xfe"])
    def test_a_file_that_is_no_result_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "sync_benchmark_1.json"
        path.write_bytes(content)
        with pytest.raises(InputError, match="sync_benchmark_1") as caught:
            load(path)
        assert caught.value.code == "result_invalid"


class TestComparison:
    def test_says_what_the_guide_says(self) -> None:
        text = compare([SYNC, ASYNC])
        for line in (
            "SYNCHRONOUS ENCODING",
            "  Total recording time: 28.00s",
            "  Video encoding time: 8.00s",
            "  Encoding percentage: 28.6%",
            "ASYNCHRONOUS ENCODING",
            "  Total recording time: 20.00s",
            "  Video encoding time (background): 8.00s",
            "  Task submission time: 0.00s",
            "  Submission percentage: 0.0%",
            "  Time saved: 8.00s",
            "  Speedup: 1.40x",
            "  Improvement: 28.6%",
            "  Sync encoding blocks recording for: 8.00s",
            "  Async encoding blocks recording for: 0.00s",
            "  Blocking time reduction (async): 100.0%",
        ):
            assert line in text

    def test_the_speedup_until_ready_is_the_smaller_one_and_has_its_bound(self) -> None:
        text = compare([SYNC, ASYNC, DAEMON])
        assert "SPEEDUP UNTIL READY: async 1.08x, daemon 1.17x" in text
        assert "At most 1.40x" in text
        assert "leave out what async and daemon had still to encode" in text

    def test_fits_a_terminal_of_80_columns(self) -> None:
        assert max(map(len, compare([SYNC, ASYNC, DAEMON]).splitlines())) == 80

    def test_one_run_is_described_alone(self) -> None:
        text = describe(DAEMON)
        assert "DAEMON ENCODING" in text
        assert "All is ready after" in text
        assert "Speedup" not in text


class TestAnalysis:
    def test_compares_runs_of_the_same_recording(self, tmp_path: Path) -> None:
        files = [save(result, tmp_path) for result in (DAEMON, ASYNC, SYNC)]
        text = analysis.report(analysis.read(files))
        assert text.count("PERFORMANCE COMPARISON RESULTS") == 1

    def test_does_not_compare_different_recordings(self) -> None:
        longer = _result("async", (10, 10, 15), (20, 20, 25), (30, 30, 35))
        assert "PERFORMANCE COMPARISON" not in analysis.report([SYNC, longer])

    def test_of_several_runs_the_last_is_compared_and_none_is_left_out(self) -> None:
        slow = _result("async", (10, 10, 40), (20, 20, 77))
        text = analysis.report([SYNC, slow, ASYNC])
        assert "async 1.08x" in text
        assert "77.00s" in text

    def test_draws_a_picture(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="needs the extra `bench`")
        target = tmp_path / "new" / "picture.png"
        analysis.plot([SYNC, ASYNC, DAEMON], target)
        assert target.read_bytes().startswith(b"\x89PNG")


def test_results_are_plain_json_for_other_tools(tmp_path: Path) -> None:
    table = json.loads(save(ASYNC, tmp_path).read_text())
    assert table["mode"] == "async"
    assert table["episodes"][0]["ready"] == 15


TINY = Settings(episodes=3, episode_time_s=0.2, fps=30, cameras=2, width=64, height=48, workers=1, queue_size=1)


@pytest.mark.parametrize("mode", MODES)
class TestEveryMode:
    def test_accounts_for_every_frame_and_stops_no_clock_early(self, mode: Mode, tmp_path: Path) -> None:
        result = run(mode, TINY, tmp_path)
        assert result.mode == mode
        assert len(result.episodes) == TINY.episodes
        assert result.frames_recorded == result.frames_in_videos == TINY.episodes * TINY.frames * TINY.cameras
        assert result.ready_s >= result.recording_s >= TINY.episodes * (TINY.frames - 1) / TINY.fps
        for episode in result.episodes:
            assert episode.started <= episode.recorded <= episode.saved <= episode.free <= result.ready_s
            assert 0 < episode.encoding_s < episode.ready - episode.saved
            assert min(episode.bytes_in_videos, episode.bytes_recorded) > 0
        assert list(tmp_path.iterdir()) == []

    def test_an_episode_that_fails_is_an_error_with_its_reason(self, mode: Mode, tmp_path: Path) -> None:
        with encoding(mode, tmp_path, TINY) as into:
            root = into.folder / "dataset"
            (name,) = simulation.record(root, episodes=1, frames=3, size=(48, 64))
            frame = next(root.glob(f"images/*/{name}/frame_000001.png"))
            content = frame.read_bytes()
            frame.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
            with pytest.raises(EpisodedError, match="frame 1") as caught:
                _hand_over_and_drain(into, root, name)
        assert caught.value.code == "png_bad_crc"

    def test_leaves_no_thread_behind_when_it_is_interrupted(self, mode: Mode, tmp_path: Path) -> None:
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            _interrupted(mode, tmp_path)
        assert threading.active_count() == before


def test_sync_encoding_blocks_the_recording_for_at_least_as_long_as_it_takes(tmp_path: Path) -> None:
    result = run("sync", TINY, tmp_path)
    assert all(episode.blocked_s >= episode.encoding_s and episode.ready <= episode.free for episode in result.episodes)


class TestRecording:
    def test_a_camera_loop_that_is_late_says_so_and_drops_nothing(self, tmp_path: Path) -> None:
        hopeless = Settings(episodes=1, episode_time_s=0.001, fps=20_000, cameras=1, width=64, height=48)
        ((taken, free),) = record(tmp_path / "dataset", hopeless, lambda *_: None)
        assert taken.frames == hopeless.frames == 20
        assert taken.late_frames > 0
        assert taken.worst_lag_s > 0.5 / hopeless.fps
        assert taken.started <= taken.recorded <= taken.saved <= free

    def test_everything_is_on_disk_when_the_episode_is_handed_over(self, tmp_path: Path) -> None:
        seen = []

        def look(root: Path, name: str) -> None:
            lengths = [json.loads(line)["length"] for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
            seen.append((name, lengths, len(list(root.glob(f"images/*/{name}/*.png")))))

        record(tmp_path / "dataset", TINY, look)
        frames = TINY.frames
        assert seen == [(f"episode_{n:06d}", [frames] * (n + 1), frames * TINY.cameras) for n in range(TINY.episodes)]

    def test_a_disk_that_cannot_hold_the_frames_is_noticed_before(self, tmp_path: Path) -> None:
        with pytest.raises(EpisodedError, match="are free") as caught:
            run("sync", Settings(episodes=10**6), tmp_path)
        assert caught.value.code == "no_room"
        assert list(tmp_path.iterdir()) == []

    def test_a_frame_that_cannot_be_written_ends_the_recording(self, tmp_path: Path) -> None:
        folder = tmp_path / "dataset/images/observation.images.camera0/episode_000000"
        (folder / "frame_000000.png").mkdir(parents=True)
        with pytest.raises(IsADirectoryError):
            record(tmp_path / "dataset", TINY, lambda *_: None)
        assert not ControlDir.of(tmp_path / "dataset", "episode_000000").path.exists()


class TestCommands:
    def test_compare_prints_the_comparison_and_saves_each_result(self, tmp_path: Path) -> None:
        done = _episoded(
            *("bench", "encode", "--compare", "--episodes", 1, "--episode-time", 0.2, "--fps", 20, "--cameras", 1),
            *("--video-encoding-workers", 1, "--video-encoding-queue-size", 3, "--output-dir", tmp_path / "results"),
        )
        assert done.returncode == 0, done.stderr
        assert "SPEEDUP UNTIL READY: async" in done.stdout
        results = analysis.read(list((tmp_path / "results").iterdir()))
        assert {result.mode for result in results} == set(MODES)
        assert {result.settings.queue_size for result in results} == {3}

    def test_async_encoding_runs_that_mode_alone(self, tmp_path: Path) -> None:
        done = _episoded("bench", "encode", "--async-encoding", "--episode-time", 0.1, "--output-dir", tmp_path)
        assert done.returncode == 0, done.stderr
        assert [load(path).mode for path in tmp_path.iterdir()] == ["async"]
        assert "ASYNCHRONOUS ENCODING" in done.stdout

    def test_analyze_reports_and_plots(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="needs the extra `bench`")
        files = [save(result, tmp_path) for result in (SYNC, ASYNC)]
        done = _episoded("bench", "analyze", *files)
        assert done.returncode == 0, done.stderr
        assert "PERFORMANCE COMPARISON RESULTS" in done.stdout
        assert (tmp_path / "recording_benchmark.png").stat().st_size > 0

    def test_analyze_without_matplotlib_names_the_remedy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(EpisodedError, match="needs matplotlib") as caught:
            analysis.plot([SYNC], tmp_path / "picture.png")
        assert "episoded[bench]" in caught.value.hint

    def test_analyze_names_a_file_that_is_no_result(self, tmp_path: Path) -> None:
        (tmp_path / "other.json").write_text("{}")
        done = _episoded("bench", "analyze", tmp_path / "other.json")
        assert done.returncode == 1
        assert "other.json" in done.stderr


def _hand_over_and_drain(into: Encoding, root: Path, name: str) -> None:
    into.hand_over(root, name)
    into.drain()


def _interrupted(mode: Mode, folder: Path) -> None:
    with encoding(mode, folder, TINY) as into:
        root = into.folder / "dataset"
        for name in simulation.record(root, episodes=2, frames=3, size=(48, 64)):
            into.hand_over(root, name)
        raise KeyboardInterrupt


def _episoded(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "episoded.daemon", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
