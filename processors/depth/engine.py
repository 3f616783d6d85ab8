"""Video-Depth-Anything on one device: which precision, how many frames at once, what to do when memory runs out.

Half precision overflows in the temporal attention of some GPUs (all of GTX 16xx, now and then elsewhere), so the caller
checks every window and asks for float32 when one is not finite. On a GPU frames go through the encoder in groups of a
fixed size, the last one filled up: what becomes of a frame must not depend, not even in the last bit, on how many
others needed computing. On a CPU each frame goes by itself, several at once (`threads.py`).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ..errors import RetryableError
from .encoder import PATCH
from .net import HEAD_BATCH
from .preprocess import prepare
from .threads import Threads, in_turn, one_thread
from .windows import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .model import Precision
    from .net import VideoDepthNet
    from .threads import Each

    Item = TypeVar("Item")
    Result = TypeVar("Result")
    Levels = tuple[Tensor, ...]

#: Group sizes that waste nothing: 22 new frames are whole groups of each.
GROUPS = (22, 11, 2, 1)
_HEADROOM = 0.9  # of the free memory
_NO_HALF = (7, 0)  # GPUs of a lower compute capability are slower in half precision
_BAND = 4  # rows of a feature map that the temporal modules take at once on a CPU
#: What libraries below torch say when they get no memory, and torch passes on as an error of another kind.
_NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_LOST = ("CUDA error", "cuDNN error")


class Engine:
    """One model on one device.

    `name`: of the model. `precision`: "auto", or one to insist on. `threads`: of the CPU, for a model that is on it;
    they change nothing but the time.
    Raises `RetryableError`: `gpu_memory`, `gpu_lost`, here and from every method.
    """

    def __init__(
        self,
        net: VideoDepthNet,
        name: str,
        device: str,
        input_size: int,
        precision: Precision | str = "auto",
        threads: int = 1,
    ) -> None:
        self._device = torch.device(device)
        self._input_size = input_size
        self._device_name = device_name(device)
        try:
            with self._faults():
                self._net = net.to(self._device).eval()
        except torch.cuda.OutOfMemoryError as error:
            raise self._too_little("the model itself", "end what else runs on this GPU") from error
        self._group = 0  # chosen when the size of the pictures is known
        self._head_batch = HEAD_BATCH if self._on_gpu else 1  # as for the encoder
        self._threads = Threads(threads)
        self._events: list[dict[str, Any]] = []
        self._precision: Precision = choose_precision(name, device) if precision == "auto" else precision  # type: ignore[assignment]

    @property
    def precision(self) -> Precision:
        """What it computes in unless told otherwise: a function of the model and the device."""
        return self._precision

    def use_threads(self, count: int) -> None:
        """Compute with so many threads from now on."""
        if count != self._threads.count:
            self._threads = Threads(count)

    def take_events(self) -> list[dict[str, Any]]:
        """What had to be done since the last call: JSON values."""
        events, self._events = self._events, []
        return events

    def features(
        self, pictures: Iterable[NDArray[np.uint8]], precision: Precision | None = None
    ) -> list[tuple[Tensor, ...]]:
        """The four levels of each picture on its own."""
        wanted = precision or self.precision
        encoded = self._each(lambda group: self._encode(group, wanted), self._grouped(pictures))
        return [levels for group in encoded for levels in group]

    def maps(
        self,
        window: int,  # noqa: ARG002 - what is computed depends on the features alone
        features: Sequence[tuple[Tensor, ...]],
        check: Callable[[], None] = lambda: None,
        precision: Precision | None = None,
    ) -> NDArray[np.float32]:
        """The depth of a window from the levels of its 32 frames; `check` is called for each batch of the head."""
        wanted = precision or self.precision

        def each(
            do: Callable[[Item], Result], items: Iterable[Item], check: Callable[[], None] = lambda: None
        ) -> list[Result]:
            def one(item: Item) -> Result:
                with self._arithmetic(wanted):  # inference mode and the like are each thread's own
                    return do(item)

            return self._each(one, items, check)

        def compute() -> NDArray[np.float32]:
            with self._arithmetic(wanted):
                levels = [torch.stack(level) for level in zip(*features, strict=True)]
                rows = None if self._on_gpu else _BAND
                depth = self._net.depth(levels, WINDOW, batch=self._head_batch, check=check, each=each, rows=rows)
                maps: NDArray[np.float32] = depth.float().cpu().numpy()
                return maps

        while True:
            try:
                return compute()
            except torch.cuda.OutOfMemoryError:
                pass  # until this block is left, the error keeps what was computed in memory
            self._head_batch = self._less("head_batch", self._head_batch, self._head_batch // 2)

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    @property
    def _each(self) -> Each:
        """How pieces of the work are done: a GPU takes one after another."""
        return in_turn if self._on_gpu else self._threads.map

    def _grouped(self, pictures: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
        waiting: list[NDArray[np.uint8]] = []
        for picture in pictures:
            waiting.append(picture)
            self._group = self._group or self._choose_group(picture)
            if len(waiting) >= self._group:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _encode(self, pictures: list[NDArray[np.uint8]], precision: Precision) -> list[Levels]:
        """The levels of pictures, in groups; smaller ones when memory runs out."""
        while True:
            size = self._group
            try:
                groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
                return [levels for group in groups for levels in self._encode_group(group, size, precision)]
            except torch.cuda.OutOfMemoryError:
                pass
            smaller = next((group for group in GROUPS if group < size), 0)
            self._group = self._less("encoder_batch", size, smaller)

    def _encode_group(self, pictures: list[NDArray[np.uint8]], size: int, precision: Precision) -> list[Levels]:
        with self._arithmetic(precision):
            prepared = [self._prepare(picture) for picture in pictures]
            filled = prepared + [prepared[-1]] * (size - len(prepared))
            levels = self._net.features(torch.stack(filled))
            # Copies: a view of one frame would keep the whole group in memory.
            return [tuple(level[number].clone() for level in levels) for number in range(len(pictures))]

    def _prepare(self, picture: NDArray[np.uint8]) -> Tensor:
        return prepare(picture, self._input_size, str(self._device))

    def _less(self, what: str, now: int, smaller: int) -> int:
        """Go on with a smaller batch, or give up. The size at which the model sees pictures is never changed."""
        torch.cuda.empty_cache()
        if smaller < 1:
            fits = max(PATCH, int(self._input_size * 0.7) // PATCH * PATCH)
            hint = f"end what else runs on this GPU; or set input_size = {fits}, which needs about half as much"
            raise self._too_little(f"input_size {self._input_size}, one frame at a time", hint)
        self._events.append({"event": "out_of_memory", what: smaller, "before": now, "device": self._device_name})
        return smaller

    def _too_little(self, what: str, hint: str) -> RetryableError:
        return RetryableError("gpu_memory", f"{self._device_name} has too little free memory for {what}", hint)

    def _choose_group(self, picture: NDArray[np.uint8]) -> int:
        """The largest group that fits beside a window's features, by what one and two pictures take."""
        if not self._on_gpu:
            return 1  # more at once are slower on a CPU: its caches are too small
        try:
            with self._arithmetic(self.precision):
                prepared = self._prepare(picture)
                peaks = [self._peak([prepared] * count) for count in (1, 2)]
                levels = self._net.features(prepared.unsqueeze(0))
        except torch.cuda.OutOfMemoryError:
            return 1
        each = max(1, peaks[1] - peaks[0])
        kept = sum(level.nbytes for level in levels) * 2 * WINDOW  # cached, and stacked
        free = _HEADROOM * torch.cuda.mem_get_info(self._device)[0] - kept - (peaks[0] - each)
        return next((group for group in GROUPS if group * each <= free), 1)

    def _peak(self, pictures: list[Tensor]) -> int:
        """Bytes that encoding these at once takes beyond what is allocated already."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self._net.features(torch.stack(pictures))
        return torch.cuda.max_memory_allocated(self._device) - before

    @contextmanager
    def _arithmetic(self, precision: Precision) -> Iterator[None]:
        """The precision that is in force, and the same bits every time."""
        tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32  # torch's default rounds float32 convolutions to 10 bits
        torch.backends.cudnn.deterministic = True
        half = torch.autocast(self._device.type, torch.float16, enabled=precision == "fp16")
        with self._faults(), nullcontext() if self._on_gpu else one_thread(), torch.inference_mode(), half:
            yield

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Too little memory as one kind of error, whoever noticed; anything else of the GPU's as `gpu_lost`."""
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            said = str(error)
            if not isinstance(error, torch.AcceleratorError) and not any(words in said for words in _LOST):
                raise
            if any(words in said for words in _NO_MEMORY):
                raise torch.cuda.OutOfMemoryError(said) from error
            what = f"{self._device_name} ({self._device}) is lost: {said.splitlines()[0]}"
            raise RetryableError("gpu_lost", what, "see nvidia-smi and the kernel log (Xid); then retry") from error


def choose_precision(model: str, device: str) -> Precision:
    """The precision of a model on a device, unless somebody says otherwise.

    The small model is float32 (half precision saves it a fifth of the time only). The others are fp16, but for GPUs on
    which that is known to fail. It is a function of both alone, never of what happened before in this process.
    """
    if not device.startswith("cuda") or model.endswith("vits"):
        return "fp32"
    old = torch.cuda.get_device_capability(device) < _NO_HALF
    return "fp32" if old or "GTX 16" in device_name(device) else "fp16"


def device_name(device: str) -> str:
    """What a person calls it: "NVIDIA H100", or "cpu"."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
