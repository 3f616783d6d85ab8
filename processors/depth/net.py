"""Video-Depth-Anything, in plain torch: 32 frames in, 32 depth maps out.

Names and shapes of the parameters are those of the published checkpoints, so that they load strictly. Source: Chen et
al., "Video Depth Anything: Consistent Depth Estimation for Super-Long Videos" (CVPR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .encoder import Encoder
from .fold import Fold
from .head import Head
from .preprocess import prepare
from .temporal import Past
from .threads import in_turn
from .windows import window_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .threads import Each

HEAD_BATCH = 4  # frames of a window in the finest part of the head at once


@dataclass(frozen=True, slots=True)
class Architecture:
    """What tells the three sizes apart: the encoder's, and the head's."""

    dim: int
    depth: int
    heads: int
    taken: tuple[int, int, int, int]
    features: int
    channels: tuple[int, int, int, int]


ARCHITECTURES = {
    "vits": Architecture(384, 12, 6, (2, 5, 8, 11), 64, (48, 96, 192, 384)),
    "vitb": Architecture(768, 12, 12, (2, 5, 8, 11), 128, (96, 192, 384, 768)),
    "vitl": Architecture(1024, 24, 16, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
}


class VideoDepthNet(nn.Module):
    """The network, and (for checks and small uses) whole videos in memory.

    `metric`: the output is depth in metres; else disparity up to scale and shift. The network is the same.
    """

    def __init__(self, architecture: Architecture, *, metric: bool = False) -> None:
        super().__init__()
        self.metric = metric
        a = architecture
        self.pretrained = Encoder(a.dim, a.depth, a.heads, a.taken)
        self.head = Head(a.dim, a.features, a.channels)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """(n, 3, h, w) normalised to the four levels of each frame, which depend on no other frame."""
        return self.head.per_frame(self.pretrained(pictures))

    def depth(
        self,
        levels: Sequence[Tensor],
        frames: int,
        past: Past | None = None,
        batch: int = HEAD_BATCH,
        check: Callable[[], None] = lambda: None,
        each: Each = in_turn,
        rows: int | None = None,
    ) -> Tensor:
        """The levels of whole windows of `frames` frames, (B frames, ...) each, to depth (B frames, h, w) float32.

        `batch`, `each`, `rows`: how the work is cut up (`Head.over_time`). `check` is called for each part of it, and
        may raise to stop.
        """
        return F.relu(self.head.over_time(levels, frames, past, batch, check, each, rows))

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, 3, h, w) normalised, T at most 32, to depth (B, T, h, w)."""
        frames = windows.shape[1]
        return self.depth(self.features(windows.flatten(0, 1)), frames).unflatten(0, (-1, frames))

    def preprocess(self, frame: NDArray[np.uint8], input_size: int) -> Tensor:
        """One RGB picture (H, W, 3) as the network takes it, (3, h, w), where the network is."""
        return prepare(frame, input_size, str(self.pretrained.pos_embed.device))

    @torch.inference_mode()
    def infer_video(self, frames: Sequence[NDArray[np.uint8]], input_size: int) -> Iterator[NDArray[np.float32]]:
        """Depth of each of `frames` (H, W, 3), at their size: the offline mode, every window computed whole."""
        fold = Fold(len(frames), frames[0].shape[:2], "none" if self.metric else "anchored")
        for window in range(fold.windows):
            pictures = [self.preprocess(frames[number], input_size) for number in window_frames(window, len(frames))]
            maps = self(torch.stack(pictures).unsqueeze(0))[0]
            yield from (values for _, values in fold.add(window, maps.cpu().numpy()))

    @torch.inference_mode()
    def stream(self, frames: Iterable[NDArray[np.uint8]], input_size: int) -> Iterator[NDArray[np.float32]]:
        """Depth of each frame before the next is looked at: the authors' experimental mode, less consistent.

        ScanNet delta 1 falls from 0.926 to 0.836 (their README). Scale and shift are not aligned.
        """
        past = Past()
        for frame in frames:
            levels = self.features(self.preprocess(frame, input_size).unsqueeze(0))
            depth = self.depth(levels, 1, past)
            past.end_frame()
            resized = F.interpolate(depth.unsqueeze(1), frame.shape[:2], mode="bilinear", align_corners=True)
            values: NDArray[np.float32] = resized[0, 0].cpu().numpy()
            yield values


def build(encoder: str = "vits", metric: bool = False) -> VideoDepthNet:
    """The network of one size ("vits", "vitb", "vitl") with random parameters."""
    return VideoDepthNet(ARCHITECTURES[encoder], metric=metric).eval()
