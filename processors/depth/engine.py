"""Video-Depth-Anything on one device: which precision, how many frames at once, what to do when memory runs out.

Half precision overflows in the temporal attention of some GPUs (all of GTX 16xx, now and then elsewhere), so the caller
checks every window and asks for float32 when one is not finite; that is remembered for the GPU and the model. Frames go
through the encoder in groups of a fixed size, the last one filled up: what becomes of a frame must not depend, not even
in the last bit, on how many others needed computing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ..errors import RetryableError
from .encoder import PATCH
from .net import HEAD_BATCH
from .preprocess import prepare
from .windows import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .model import Precision
    from .net import VideoDepthNet

    Result = TypeVar("Result")

#: Group sizes that waste nothing: 22 new frames are whole groups of each.
GROUPS = (22, 11, 2, 1)
_HEADROOM = 0.9  # of the free memory
_NO_HALF = (7, 0)  # GPUs of a lower compute capability are slower in half precision

#: (GPU, model) that half precision failed on, as long as this process lives.
_needs_fp32: set[tuple[str, str]] = set()


class Engine:
    """One model on one device.

    `name`: of the model, for the memory of what failed. `precision`: "auto", or one to insist on.
    """

    def __init__(
        self, net: VideoDepthNet, name: str, device: str, input_size: int, precision: Precision | str = "auto"
    ) -> None:
        self._device = torch.device(device)
        self._net = net.to(self._device).eval()
        self._input_size = input_size
        self._key = (device_name(device), name)
        self._group = 0  # chosen when the size of the pictures is known
        self._head_batch = HEAD_BATCH if self._device.type == "cuda" else 1  # as for the encoder
        self._events: list[dict[str, Any]] = []
        self.precision: Precision = choose_precision(name, device) if precision == "auto" else precision  # type: ignore[assignment]

    def take_events(self) -> list[dict[str, Any]]:
        """What had to be done since the last call: JSON values."""
        events, self._events = self._events, []
        return events

    def use_fp32(self) -> None:
        """Compute in float32 from now on, here and in every later engine of this process for the same GPU and model."""
        self._events.append({"event": "fp32_fallback", "from": self.precision, "device": self._key[0]})
        self.precision = "fp32"
        _needs_fp32.add(self._key)

    def features(self, pictures: Iterable[NDArray[np.uint8]]) -> list[tuple[Tensor, ...]]:
        """The four levels of each picture on its own."""
        found: list[tuple[Tensor, ...]] = []
        waiting: list[Tensor] = []
        for picture in pictures:
            waiting.append(prepare(picture, self._input_size, str(self._device)))
            self._group = self._group or self._choose_group(waiting[0])
            if len(waiting) >= self._group:
                found += self._encode(waiting)
                waiting = []
        return found + (self._encode(waiting) if waiting else [])

    def maps(
        self,
        window: int,  # noqa: ARG002 - what is computed depends on the features alone
        features: Sequence[tuple[Tensor, ...]],
        check: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float32]:
        """The depth of a window from the levels of its 32 frames; `check` is called for each batch of the head."""
        while True:
            try:
                with self._arithmetic():
                    levels = [torch.stack(level) for level in zip(*features, strict=True)]
                    depth = self._net.depth(levels, WINDOW, batch=self._head_batch, check=check)
                    maps: NDArray[np.float32] = depth.float().cpu().numpy()
                    return maps
            except torch.cuda.OutOfMemoryError as error:
                self._head_batch = self._less("head_batch", self._head_batch, self._head_batch // 2, error)

    def _encode(self, pictures: list[Tensor]) -> list[tuple[Tensor, ...]]:
        """The levels of prepared pictures, in groups; smaller ones when memory runs out."""
        while True:
            try:
                groups = [pictures[start : start + self._group] for start in range(0, len(pictures), self._group)]
                return [levels for group in groups for levels in self._encode_group(group)]
            except torch.cuda.OutOfMemoryError as error:
                smaller = next((group for group in GROUPS if group < self._group), 0)
                self._group = self._less("encoder_batch", self._group, smaller, error)

    def _encode_group(self, pictures: list[Tensor]) -> list[tuple[Tensor, ...]]:
        filled = pictures + [pictures[-1]] * (self._group - len(pictures))
        with self._arithmetic():
            levels = self._net.features(torch.stack(filled))
        # Copies: a view of one frame would keep the whole group in memory.
        return [tuple(level[number].clone() for level in levels) for number in range(len(pictures))]

    def _less(self, what: str, now: int, smaller: int, error: Exception) -> int:
        """Go on with a smaller batch, or give up. The size at which the model sees pictures is never changed."""
        torch.cuda.empty_cache()
        if smaller < 1:
            fits = max(PATCH, int(self._input_size * 0.7) // PATCH * PATCH)
            raise RetryableError(
                "gpu_memory",
                f"{self._key[0]} has too little free memory for input_size {self._input_size}, one frame at a time",
                f"end what else runs on this GPU; or set input_size = {fits}, which needs about half as much",
            ) from error
        self._events.append({"event": "out_of_memory", what: smaller, "before": now, "device": self._key[0]})
        return smaller

    def _choose_group(self, picture: Tensor) -> int:
        """The largest group that fits beside a window's features, by what one and two pictures take."""
        if self._device.type != "cuda":
            return 1  # more at once are slower on a CPU: its caches are too small
        try:
            peaks = [self._peak([picture] * count) for count in (1, 2)]
        except torch.cuda.OutOfMemoryError:
            return 1
        each = max(1, peaks[1] - peaks[0])
        kept = sum(level.nbytes for level in self._probe_levels(picture)) * 2 * WINDOW  # cached, and stacked
        free = _HEADROOM * torch.cuda.mem_get_info(self._device)[0] - kept - (peaks[0] - each)
        return next((group for group in GROUPS if group * each <= free), 1)

    def _probe_levels(self, picture: Tensor) -> list[Tensor]:
        with self._arithmetic():
            return self._net.features(picture.unsqueeze(0))

    def _peak(self, pictures: list[Tensor]) -> int:
        """Bytes that encoding these at once takes beyond what is allocated already."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        with self._arithmetic():
            self._net.features(torch.stack(pictures))
        return torch.cuda.max_memory_allocated(self._device) - before

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """The precision that is in force, and the same bits every time."""
        tf32 = self.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32  # torch's default rounds float32 convolutions to 10 bits
        torch.backends.cudnn.deterministic = True
        half = torch.autocast(self._device.type, torch.float16, enabled=self.precision == "fp16")
        try:
            with torch.inference_mode(), half:
                yield
        except RuntimeError as error:
            if isinstance(error, torch.cuda.OutOfMemoryError) or "CUDA error" not in str(error):
                raise
            what = f"{self._key[0]} ({self._device}) is lost: {str(error).splitlines()[0]}"
            raise RetryableError("gpu_lost", what, "see nvidia-smi and the kernel log (Xid); then retry") from error


def choose_precision(model: str, device: str) -> Precision:
    """The precision of a model on a device, unless somebody says otherwise.

    The small model is float32 (half precision saves it a fifth of the time only). The others are fp16, but for GPUs on
    which that is known to fail or has failed.
    """
    if not device.startswith("cuda") or model.endswith("vits"):
        return "fp32"
    name = device_name(device)
    old = torch.cuda.get_device_capability(device) < _NO_HALF
    return "fp32" if old or "GTX 16" in name or (name, model) in _needs_fp32 else "fp16"


def device_name(device: str) -> str:
    """What a person calls it: "NVIDIA H100", or "cpu"."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
