"""The real network on a device: the same numbers as the plain formula, however it is cut up; memory that runs out."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from depth_golden import loaded, pictures  # noqa: E402
from depth_scene import SceneFrames, picture  # noqa: E402
from episoded.processors.depth import engine, weights  # noqa: E402
from episoded.processors.depth.engine import Engine  # noqa: E402
from episoded.processors.depth.infer import Ahead, SpanRunner  # noqa: E402
from episoded.processors.depth.net import VideoDepthNet  # noqa: E402
from episoded.processors.depth.threads import Threads  # noqa: E402
from episoded.processors.depth.video_model import video_depth_anything  # noqa: E402
from episoded.processors.depth.windows import Span  # noqa: E402
from episoded.processors.errors import EpisodedError, RetryableError  # noqa: E402

FRAMES = SceneFrames(50)  # 3 windows


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> VideoDepthNet:
    return loaded()


@pytest.fixture(scope="module")
def file(net: VideoDepthNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "a.pth"
    torch.save(net.state_dict(), path)
    return path


def test_keeping_features_gives_what_computing_every_window_whole_gives(net: VideoDepthNet, file: Path) -> None:
    source = video_depth_anything("vits", file, input_size=28)
    kept = np.stack([values for piece in source.maps(FRAMES) for values in piece.maps])
    whole = np.stack(list(net.infer_video(list(FRAMES.read()), 28)))
    assert np.abs(kept - whole).max() < 1e-5 * whole.max()


def test_the_bytes_are_the_same_whatever_the_spans_and_processes(file: Path) -> None:
    source = video_depth_anything("vits", file, input_size=28)
    one, two = (
        b"".join(values.tobytes() for piece in source.maps(FRAMES, devices=["cpu"] * n) for values in piece.maps)
        for n in (1, 2)
    )
    assert one == two


class TestThreads:
    """Torch divides an operation among its threads, and the last bits of the sum follow their number: here not."""

    def run(self, file: Path, out: Path, omp: int, threads: int, then: str = "") -> bytes:
        child = str(Path(__file__).with_name("depth_threads.py"))
        command = [sys.executable, child, str(file), str(threads), str(out), *([then] if then else [])]
        environment = {**os.environ, "OMP_NUM_THREADS": str(omp), "MKL_NUM_THREADS": str(omp)}
        subprocess.run(command, check=True, env=environment)
        return out.read_bytes()

    def test_the_bytes_follow_neither_the_environment_nor_the_load_nor_a_resume_under_others(
        self, file: Path, tmp_path: Path
    ) -> None:
        whole = self.run(file, tmp_path / "whole", omp=3, threads=1)
        first = self.run(file, tmp_path / "first", omp=1, threads=2, then="stop")
        rest = self.run(file, tmp_path / "rest", omp=2, threads=3, then=f"{tmp_path / 'first'}.npz")
        assert (len(first), len(rest)) == (len(whole) * 24 // 33, len(whole) * 9 // 33)
        assert first + rest == whole

    def test_torch_has_its_own_number_again_afterwards(self, net: VideoDepthNet) -> None:
        torch.set_num_threads(3)
        try:
            model = Engine(net, "vits", "cpu", 28, threads=2)
            model.maps(0, model.features([picture(0)] * 32))
            seen: list[int] = []
            thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert (torch.get_num_threads(), seen) == (3, [3])
        finally:
            torch.set_num_threads(1)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_what_fails_in_one_of_them_is_the_callers(self, threads: int) -> None:
        done: list[int] = []

        def work(number: int) -> int:
            if number == 7:
                raise LookupError("seven")
            done.append(number)
            return number

        with pytest.raises(LookupError, match="seven"):
            Threads(threads).map(work, range(1000))
        assert len(done) < 20


def test_a_slow_machine_gives_signs_of_life_within_a_window(net: VideoDepthNet) -> None:
    model, signs = Engine(net, "vits", "cpu", 28), []
    features = model.features([picture(0)] * 32)
    model.maps(0, features, lambda: signs.append(None))
    assert len(signs) >= 32


def test_a_source_says_what_it_is(file: Path) -> None:
    source = video_depth_anything("metric-vits", file, input_size=28)
    assert (source.kind, source.alignment) == ("metric_m", "none")
    assert source.facts["weights_sha256"] == weights.sha256(file)
    assert source.facts["weights_licence"] == "Apache-2.0"
    assert source.facts["weights_licence_note"] is None
    relative = video_depth_anything("vits", file)
    assert (relative.kind, relative.alignment, relative.facts["input_size"]) == ("disparity_relative", "anchored", 518)


def test_weights_that_change_under_it_are_noticed(file: Path, net: VideoDepthNet, tmp_path: Path) -> None:
    path = tmp_path / "b.pth"
    path.write_bytes(file.read_bytes())
    source = video_depth_anything("vits", path, input_size=28)
    torch.save({name: value + 1 for name, value in net.state_dict().items()}, path)
    with pytest.raises(EpisodedError, match="is not the file that it was"):
        next(source.maps(FRAMES))


class Tight:
    """Makes the network run out of memory when it is given more than so many frames at once."""

    def __init__(self, net: VideoDepthNet, encoder: int = 99, head: int = 99, error: Exception | None = None) -> None:
        self._error = error or torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        self._hooks = [
            net.pretrained.register_forward_pre_hook(self._limit(encoder)),
            net.head.scratch.refinenet2.register_forward_pre_hook(self._limit(head)),
        ]

    def _limit(self, most: int) -> Any:
        def check(_: Any, inputs: Any) -> None:
            if len(inputs[0]) > most:
                raise self._error

        return check

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


class TestMemory:
    @pytest.mark.parametrize(
        ("limits", "events"),
        [
            ({"encoder": 2}, [("encoder_batch", 11), ("encoder_batch", 2)]),
            ({"encoder": 1}, [("encoder_batch", 11), ("encoder_batch", 2), ("encoder_batch", 1)]),
            ({"head": 2}, [("head_batch", 2)]),
        ],
    )
    def test_less_at_once_gives_the_same_depth_and_is_recorded(
        self, net: VideoDepthNet, limits: dict[str, int], events: list[tuple[str, int]]
    ) -> None:
        def depth() -> tuple[np.ndarray, list[dict[str, Any]]]:
            model = Engine(net, "vits", "cpu", 28)
            model._group, model._head_batch = 22, 4  # as on a GPU
            with Ahead(FRAMES) as ahead:
                (first, second) = SpanRunner(model, FRAMES, ahead).run(Span(0, 2))
            return np.stack([first.maps, second.maps]), [*first.events, *second.events]

        expected, nothing = depth()
        with Tight(net, **limits):
            found, happened = depth()
        assert nothing == []
        assert np.abs(found - expected).max() < 1e-5 * expected.max()
        told = [(what, event[what]) for event in happened for what in ("encoder_batch", "head_batch") if what in event]
        assert told == events
        assert {event["event"] for event in happened} == {"out_of_memory"}

    def test_not_even_one_frame_fits(self, net: VideoDepthNet) -> None:
        model = Engine(net, "vits", "cpu", 28)
        with Tight(net, encoder=0), pytest.raises(RetryableError, match="input_size 28") as caught:
            model.features([picture(0)])
        assert caught.value.code == "gpu_memory"
        assert "input_size = 14" in caught.value.hint

    @pytest.mark.parametrize(
        "error",
        [
            torch.AcceleratorError("CUDA error: out of memory"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        ],
    )
    def test_memory_that_a_library_below_did_not_get_is_the_same(self, net: VideoDepthNet, error: Exception) -> None:
        model = Engine(net, "vits", "cpu", 28)
        model._group, model._head_batch = 22, 4  # as on a GPU
        with Tight(net, encoder=11, head=2, error=error):
            model.maps(0, model.features([picture(0)] * 32))
        assert [event["event"] for event in model.take_events()] == ["out_of_memory"] * 2

    def test_the_model_itself_does_not_fit(self) -> None:
        error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        with pytest.raises(RetryableError, match="the model itself") as caught:
            Engine(Unmovable(error), "vitl", "cpu", 28)  # type: ignore[arg-type]
        assert caught.value.code == "gpu_memory"

    def test_groups_waste_nothing_on_22_frames(self) -> None:
        assert all(22 % group == 0 for group in engine.GROUPS)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure\nkernel errors might be ..."), "unspecified"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "illegal memory access"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "EXECUTION_FAILED"),
    ],
)
def test_a_lost_gpu_is_not_a_fault_of_the_data(net: VideoDepthNet, error: Exception, words: str) -> None:
    model = Engine(net, "vits", "cpu", 28)

    def lost(*_: Any) -> None:
        raise error

    for part in (net.pretrained, net.head.scratch.refinenet2):
        hook = part.register_forward_pre_hook(lost)
        with pytest.raises(RetryableError, match=words) as caught:
            model.maps(0, model.features([picture(0)] * 32))
        hook.remove()
        assert caught.value.code == "gpu_lost"
    with pytest.raises(RetryableError, match=words):  # while the model is brought there
        Engine(Unmovable(error), "vits", "cpu", 28)  # type: ignore[arg-type]


class Unmovable:
    """A network that no device takes."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def to(self, _: Any) -> None:
        raise self._error


def test_a_fault_of_ours_is_not_taken_for_one_of_the_gpu(net: VideoDepthNet) -> None:
    model = Engine(net, "vits", "cpu", 28)
    with pytest.raises(RuntimeError, match="num_groups"):
        model.maps(0, [tuple(torch.zeros(3, 1, 1) for _ in range(4))] * 32)


def test_half_precision_is_for_the_larger_models_on_gpus_only() -> None:
    assert engine.choose_precision("vitl", "cpu") == "fp32"


@pytest.mark.parametrize(("precision", "least", "most"), [("tf32", 0, 1e-5), ("fp16", 1e-6, 1e-2)])
def test_other_precisions_give_nearly_the_same(net: VideoDepthNet, precision: str, least: float, most: float) -> None:
    """What they do on a GPU is another matter; here it is seen that the layers go together."""
    frames = SceneFrames(32)

    def depth(precision: str) -> np.ndarray:
        model = Engine(net, "vits", "cpu", 28, precision)
        with Ahead(frames) as ahead:
            (window,) = SpanRunner(model, frames, ahead).run(Span(0, 1))
        assert (window.precision, window.maps.dtype) == (precision, np.float32)
        return window.maps

    exact = depth("fp32")
    difference = np.abs(depth(precision) - exact).max() / exact.max()
    assert least <= difference < most


def test_a_picture_is_prepared_as_the_network_prepares_it(net: VideoDepthNet) -> None:
    frames = pictures(3, 30, 40)
    model = Engine(net, "vits", "cpu", 42)
    with torch.inference_mode():
        expected = net.features(torch.stack([net.preprocess(frame, 42) for frame in frames]))
    for number, levels in enumerate(model.features(frames)):
        for level, theirs in zip(levels, expected, strict=True):
            assert torch.allclose(level, theirs[number], rtol=1e-4, atol=1e-4)
