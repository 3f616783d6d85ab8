"""Whoever computes the windows, in whatever order, however often somebody is killed: the bytes are the same."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from depth_scene import SceneFrames, SceneSpec, picture
from episoded.processors.depth.frames import VideoFrames, look_at
from episoded.processors.depth.infer import Ahead, SpanRunner
from episoded.processors.depth.source import Piece
from episoded.processors.depth.video_model import VideoModelSource
from episoded.processors.depth.windows import Span, window_count
from episoded.processors.errors import Cancelled, EpisodedError, InputError, RetryableError
from episoded.processors.media.writer import Encoding, VideoWriter

FRAMES = SceneFrames(500)  # 23 windows: three spans
PLAIN = SceneSpec(noise=0.01)


def source(spec: SceneSpec) -> VideoModelSource:
    return VideoModelSource(spec, "disparity_relative", "anchored", {})


def digest(pieces: Iterator[Piece], frames: int = FRAMES.count) -> str:
    seen, hashed = 0, hashlib.sha256()
    for piece in pieces:
        for values in piece.maps:
            hashed.update(values.tobytes())
            seen += 1
    assert seen == frames
    return hashed.hexdigest()


@pytest.fixture(scope="module")
def expected() -> str:
    return digest(source(PLAIN).maps(FRAMES))


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert [
        child.cmdline() for child in psutil.Process().children() if "crew_member" in " ".join(child.cmdline())
    ] == []


class TestSameBytes:
    def test_with_three_processes_whose_windows_come_out_of_order(self, expected: str) -> None:
        spec = SceneSpec(noise=0.01, slow_s=0.02)
        assert digest(source(spec).maps(FRAMES, devices=["cpu"] * 3)) == expected

    def test_when_processes_are_killed_at_any_window(self, expected: str, tmp_path: Path) -> None:
        for window in random.Random(4).sample(range(0, window_count(FRAMES.count), 3), 5):
            (tmp_path / str(window)).touch()
        spec = SceneSpec(noise=0.01, kill=tmp_path)
        assert digest(source(spec).maps(FRAMES, devices=["cpu"] * 3)) == expected
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("stop", [1, 7, 22])
    def test_when_it_goes_on_from_a_state_with_other_devices(self, expected: str, stop: int) -> None:
        pieces = source(PLAIN).maps(FRAMES)
        maps: list[NDArray[np.float32]] = []
        for _ in range(stop):
            piece = next(pieces)
            maps += piece.maps
        state = piece.state()
        pieces.close()
        rest = source(PLAIN).maps(FRAMES, state, devices=["cpu", "cpu"])
        maps += [values for piece in rest for values in piece.maps]
        assert hashlib.sha256(b"".join(values.tobytes() for values in maps)).hexdigest() == expected

    def test_from_a_real_video(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        with VideoWriter(path, Encoding("libx264", {"g": "12"}), width=48, height=36, rate=Fraction(30)) as writer:
            for number in range(250):
                frame = VideoFrame.from_ndarray(picture(number), format="rgb24")
                writer.write(frame.reformat(format="yuv420p"))
        frames = look_at(path)
        one, three = (digest(source(PLAIN).maps(frames, devices=["cpu"] * n), 250) for n in (1, 3))
        assert one == three


class TestHalfPrecision:
    @pytest.mark.parametrize("devices", [["cpu"], ["cpu"] * 2])
    def test_a_window_that_is_not_finite_is_computed_in_float32(self, devices: list[str]) -> None:
        frames = SceneFrames(150)
        pieces = list(source(SceneSpec(half_fails={2, 3, 5})).maps(frames, devices=devices))
        found = [piece.facts["precision"] for piece in pieces]
        assert found == ["fp16", "fp16", "fp32", "fp32", "fp16", "fp32", "fp16"]
        assert [len(piece.facts["events"]) for piece in pieces] == [0, 0, 1, 1, 0, 1, 0]

    def test_every_window_in_float32_is_what_float32_gives(self) -> None:
        frames = SceneFrames(150)
        half = digest(source(SceneSpec(half_fails=range(9))).maps(frames), 150)
        assert half == digest(source(SceneSpec()).maps(frames), 150)
        assert half != digest(source(SceneSpec(half_fails=())).maps(frames), 150)

    def test_which_windows_have_it_depends_on_nobody_who_computes(self, tmp_path: Path) -> None:
        """Neither on how many processes there are, nor on who dies, nor on where it was interrupted."""
        failing = frozenset(random.Random(7).sample(range(window_count(FRAMES.count)), 9))
        spec = SceneSpec(noise=0.01, half_fails=failing)
        pieces = list(source(spec).maps(FRAMES))
        expected = digest(iter(pieces)), [dict(piece.facts) for piece in pieces]
        (tmp_path / "11").touch()
        for devices in (["cpu"] * 2, ["cpu"] * 3):
            unruly = SceneSpec(noise=0.01, half_fails=failing, slow_s=0.02, kill=tmp_path)
            again = list(source(unruly).maps(FRAMES, devices=devices))
            assert (digest(iter(again)), [dict(piece.facts) for piece in again]) == expected
        first = source(spec).maps(FRAMES)
        start = [next(first) for _ in range(9)]
        state = start[-1].state()
        first.close()
        rest = list(source(spec).maps(FRAMES, state))
        again = [*start, *rest]
        assert (digest(iter(again)), [dict(piece.facts) for piece in again]) == expected

    def test_a_model_that_fails_in_float32_too_fails_the_stage(self) -> None:
        with pytest.raises(EpisodedError, match="no finite depth for frames 2 to 31") as caught:
            list(source(SceneSpec(always_fails=True)).maps(SceneFrames(60)))
        assert caught.value.code == "depth_not_finite"
        assert not caught.value.retryable


class TestDevices:
    @pytest.mark.parametrize(
        ("visible", "seen"),
        [("5,GPU-8932f937", ["5", "GPU-8932f937"]), (None, ["0", "1"])],
    )
    def test_each_process_sees_its_own_gpu_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: list[str]
    ) -> None:
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        digest(source(SceneSpec(seen=tmp_path)).maps(FRAMES, devices=["cuda:0", "cuda:1"]))
        assert sorted(path.read_text() for path in tmp_path.iterdir()) == [f"cuda:0 of {gpu}" for gpu in seen]

    @pytest.mark.parametrize("trouble", ["lost", "deadly_on"])
    def test_without_one_that_fails_the_others_finish(self, expected: str, trouble: str) -> None:
        spec = SceneSpec(noise=0.01, **{trouble: "bad"})  # type: ignore[arg-type]
        assert digest(source(spec).maps(FRAMES, devices=["bad", "cpu"])) == expected

    def test_when_all_are_lost_that_is_what_is_said(self) -> None:
        with pytest.raises(RetryableError, match="bad is lost") as caught:
            list(source(SceneSpec(lost="bad")).maps(FRAMES, devices=["bad"] * 2))
        assert caught.value.code == "gpu_lost"

    def test_one_that_is_lost_in_this_process_leaves_no_thread(self) -> None:
        with pytest.raises(RetryableError, match="bad is lost") as caught:
            list(source(SceneSpec(lost="bad")).maps(FRAMES, devices=["bad"]))
        assert caught.value.code == "gpu_lost"
        assert {thread.name for thread in threading.enumerate()}.isdisjoint({"decode", "compute"})


class TestTrouble:
    def test_an_error_in_a_process_is_the_callers(self) -> None:
        with pytest.raises(EpisodedError, match="no finite depth"):
            list(source(SceneSpec(always_fails=True)).maps(SceneFrames(60), devices=["cpu"] * 2))

    def test_frames_that_cannot_be_read_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.write_bytes(b"no video")
        frames = VideoFrames(path, 60, 36, 48, Fraction(30))
        for devices in (["cpu"], ["cpu"] * 2):
            with pytest.raises(InputError, match=r"a\.mp4"):
                list(source(PLAIN).maps(frames, devices=devices))

    def test_a_source_that_ends_early_is_refused(self) -> None:
        class Short(SceneFrames):
            def read(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
                yield from SceneFrames(40).read(start)

        with pytest.raises(EpisodedError, match="frame 40 of 60") as caught:
            list(source(PLAIN).maps(Short(60)))
        assert caught.value.code == "frames_changed"

    def test_a_window_that_kills_every_process_is_given_up(self) -> None:
        with pytest.raises(RetryableError, match="signal 9") as caught:
            list(source(SceneSpec(deadly=3)).maps(SceneFrames(300), devices=["cpu"] * 2))
        assert caught.value.code == "depth_worker_died"

    @pytest.mark.parametrize("devices", [["cpu"], ["cpu"] * 2])
    def test_it_stops_when_it_is_asked_to(self, devices: list[str]) -> None:
        asked = iter([None, None, Cancelled()] + [None] * 999)

        def check() -> None:
            if error := next(asked):
                raise error

        with pytest.raises(Cancelled):
            list(source(SceneSpec(slow_s=0.1)).maps(FRAMES, devices=devices, check_cancelled=check))

    def test_closing_it_early_leaves_no_thread_and_no_process(self) -> None:
        for devices in (["cpu"], ["cpu"] * 2):
            pieces = source(PLAIN).maps(FRAMES, devices=devices)
            next(pieces)
            pieces.close()
        assert [thread.name for thread in threading.enumerate() if thread.name == "decode"] == []

    def test_processes_die_with_their_parent(self) -> None:
        code = (
            "import os, psutil, signal; from depth_scene import *; from episoded.processors.depth.crew import Crew\n"
            "with Crew(SceneSpec(), SceneFrames(900), ['cpu'] * 2) as crew:\n"
            "    next(crew.windows(0, 30))\n"
            "    print(*[child.pid for child in psutil.Process().children()], flush=True)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, check=False, cwd=Path(__file__).parent, capture_output=True, text=True)
        pids = [int(word) for word in done.stdout.split()]
        assert len(pids) == 2, done.stderr
        deadline = time.monotonic() + 20
        while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
            os.sched_yield()
        assert not any(psutil.pid_exists(pid) for pid in pids)


class TestFeatures:
    def test_a_frame_is_encoded_once_in_a_span(self) -> None:
        frames = SceneFrames(200)
        model = SceneSpec().load("cpu")
        with Ahead(frames) as ahead:
            list(SpanRunner(model, frames, ahead).run(Span(0, 9)))
        assert model.encoded == 200

    def test_a_later_span_encodes_its_repeated_frames_anew_but_for_the_first(self) -> None:
        frames = SceneFrames(1000)
        model = SceneSpec().load("cpu")
        with Ahead(frames) as ahead:
            runner = SpanRunner(model, frames, ahead)
            list(runner.run(Span(0, 1)))
            list(runner.run(Span(5, 6)))
            list(runner.run(Span(6, 7)))
        assert model.encoded == 32 + 31 + 22

    def test_going_back_reads_again(self) -> None:
        frames = SceneFrames(300)
        with Ahead(frames) as ahead:
            for number in (0, 200, 201, 3, 3):
                assert np.array_equal(ahead[number], picture(number))
