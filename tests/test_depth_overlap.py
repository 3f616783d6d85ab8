"""While the model is at work everything else is, too: counting before it, checking and exports behind it."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from episoded.processors.depth import counting, ladder
from episoded.processors.depth.in_order import InOrder
from episoded.processors.depth.parts import FolderParts
from episoded.processors.depth.source import Piece
from episoded.processors.episode import Episode
from episoded.processors.errors import InputError, RetryableError
from episoded.processors.media import ffv1
from known_depth import KnownDepth, episode, run

PATIENCE_S = 30.0  # far more than any of it takes: only a test that fails waits so long
COUNT = 50


@dataclass
class Watched(KnownDepth):
    """Tells when it begins, and waits before its last piece until `awaited()` holds."""

    began: threading.Event = field(default_factory=threading.Event)
    awaited: Callable[[], bool] = lambda: True
    in_time: bool = False

    def maps(self, frames: Any, *more: Any) -> Iterator[Piece]:
        self.began.set()
        pieces, made = super().maps(frames, *more), 0
        for piece in pieces:
            made += len(piece.maps)
            if made == frames.count:
                self.in_time = holds(self.awaited)
            yield piece
        pieces.close()  # type: ignore[attr-defined]


def holds(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    def put(**settings: Any) -> Watched:
        source = Watched(**settings)
        monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(source, case.frames))
        return source

    return put


@pytest.fixture
def of(tmp_path: Path) -> Episode:
    return episode(tmp_path / "data", COUNT)


def contents(artifacts: dict[str, Any]) -> dict[str, bytes]:
    return {name: artifact.path.read_bytes() for name, artifact in artifacts.items()}


class TestBeforeTheFirstWindow:
    def test_the_model_begins_before_the_video_is_counted(
        self, of: Episode, tmp_path: Path, use: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, look_at = use(), counting.look_at

        def look_later(*given: Any) -> Any:
            assert source.began.wait(PATIENCE_S)
            return look_at(*given)

        monkeypatch.setattr(counting, "look_at", look_later)
        assert run(of, tmp_path / "scratch")["episode_000000.mkv"].facts["frames"] == COUNT

    @pytest.mark.parametrize(
        "lie",
        [{"count": COUNT + 3}, {"count": COUNT - 3}, {"rate": Fraction(25)}, {"width": 62}, {"rotation_deg": 180}],
    )
    @pytest.mark.parametrize("early", [True, False])
    def test_a_video_that_promises_something_else_than_it_holds(
        self,
        of: Episode,
        tmp_path: Path,
        use: Callable[..., Watched],
        monkeypatch: pytest.MonkeyPatch,
        lie: dict[str, Any],
        early: bool,
    ) -> None:
        """Whether that is known at the first window or only after the last one."""
        use()
        expected = contents(run(of, tmp_path / "true", segment_frames=8))
        source, promised, look_at = use(), counting.promised, counting.look_at

        def look_later(*given: Any) -> Any:
            assert early or holds(lambda: source.closed)
            return look_at(*given)

        monkeypatch.setattr(counting, "promised", lambda *given: replace(promised(*given), **lie))
        monkeypatch.setattr(counting, "look_at", look_later)
        assert contents(run(of, tmp_path / "scratch", segment_frames=8)) == expected

    def test_what_a_killed_attempt_kept_is_not_written_over_because_of_a_lie(
        self, of: Episode, tmp_path: Path, use: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use()
        parts = FolderParts(tmp_path / "parts")
        expected = contents(run(of, tmp_path / "one", segment_frames=8, parts=parts))
        source, promised = use(), counting.promised
        monkeypatch.setattr(counting, "promised", lambda *given: replace(promised(*given), count=COUNT + 1))
        assert contents(run(of, tmp_path / "two", segment_frames=8, parts=parts)) == expected
        assert source.asked == []

    def test_a_damaged_video_is_named_as_such_whatever_the_model_made_of_it(
        self, of: Episode, tmp_path: Path, use: Callable[..., Watched]
    ) -> None:
        use()
        path = tmp_path / "data" / of.cameras[0].video
        path.write_bytes(path.read_bytes()[:-900])
        with pytest.raises(InputError) as refused:
            run(of, tmp_path / "scratch")
        assert refused.value.code in ("video_unreadable", "frame_count", "video_cut_off")
        assert [thread.name for thread in threading.enumerate() if thread.name == "count"] == []


class TestBehindTheLastWindow:
    def test_all_but_a_few_frames_are_exported_before_the_last_map_is_there(
        self, of: Episode, tmp_path: Path, use: Callable[..., Watched]
    ) -> None:
        def exported() -> bool:
            return len(list(tmp_path.rglob("depth_*.png"))) >= COUNT - 2  # the last piece is of two frames

        source = use(awaited=exported)
        artifacts = run(of, tmp_path / "scratch", export=("png16",), segment_frames=1000)
        assert source.in_time
        assert sum(name.endswith(".png") for name in artifacts) == COUNT

    def test_a_frame_that_does_not_decode_to_what_it_was_is_named(
        self, of: Episode, tmp_path: Path, use: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Wrong(ffv1.DepthWriter):
            def write(self, samples: Any) -> bytes:
                packet = super().write(samples)
                return self.before if len(self.crc32) == 12 else setattr(self, "before", packet) or packet

        use()
        monkeypatch.setattr(ffv1, "DepthWriter", Wrong)
        with pytest.raises(RetryableError, match="frame 11 does not read back") as refused:
            run(of, tmp_path / "scratch", segment_frames=20)
        assert refused.value.code == "verify_failed"

    def test_a_segment_that_the_disk_damaged_is_not_kept(
        self, of: Episode, tmp_path: Path, use: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Damaged(ffv1.DepthWriter):
            def __exit__(self, *what: Any) -> None:
                super().__exit__(*what)
                path: Path = self._writer.path
                content = bytearray(path.read_bytes())
                content[len(content) // 2] ^= 0x10
                path.write_bytes(content)

        use()
        monkeypatch.setattr(ffv1, "DepthWriter", Damaged)
        with pytest.raises(RetryableError, match="not read back") as refused:
            run(of, tmp_path / "scratch", segment_frames=20, parts=FolderParts(tmp_path / "parts"))
        assert refused.value.code == "verify_failed"
        assert list((tmp_path / "parts").iterdir()) == []


class TestInOrder:
    def test_no_more_than_asked_for_wait_and_all_is_done_in_order(self) -> None:
        made: list[int] = []
        with InOrder(made.append, 3, "in order") as thread:
            for number in range(50):
                thread.put(number)
                assert number - len(made) <= 4
        assert made == list(range(50))

    def test_an_error_is_the_callers(self) -> None:
        def refuse(number: int) -> None:
            raise LookupError(str(number))

        def put_all() -> None:
            with InOrder(refuse, 2, "in order") as thread:
                for number in range(9):
                    thread.put(number)

        with pytest.raises(LookupError, match="0"):
            put_all()

    def test_who_waits_is_asked_whether_to_stop_as_long_as_there_are_signs_of_life(self) -> None:
        go_on, asked = threading.Event(), []

        def work(_: int) -> None:
            deadline = time.monotonic() + PATIENCE_S
            while not go_on.is_set() and time.monotonic() < deadline:
                thread.signs.give()
                time.sleep(0.01)

        def check() -> None:
            asked.append(None)
            go_on.set()

        with InOrder(work, 1, "in order") as thread:
            thread.put(1)
            thread.put(2, check)
        assert asked

    def test_who_waits_for_something_that_hangs_does_not_look_busy(self) -> None:
        goes_on, asked = threading.Event(), []
        with InOrder(lambda _: goes_on.wait(), 1, "in order") as thread:
            thread.put(1)
            threading.Timer(0.9, goes_on.set).start()  # several looks long
            thread.put(2, lambda: asked.append(None))
        assert asked == []
