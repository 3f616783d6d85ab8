"""The depth head of Video-Depth-Anything: four feature maps fused from coarse to fine, with four temporal modules.

Parameter names are those of the published checkpoints. Source: Ranftl et al., "Vision transformers for dense
prediction" (ICCV 2021), and Chen et al., "Video Depth Anything" (CVPR 2025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .encoder import PATCH
from .temporal import MotionModule
from .threads import in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .temporal import Past
    from .threads import Each


class Head(nn.Module):
    """`dim`: channels of the encoder's tokens; `features`: of the fused maps; `channels`: of the four levels."""

    def __init__(self, dim: int, features: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(dim, width, 1) for width in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, 4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, 2, 1),
            ]
        )
        self.scratch = _Fusion(features, channels)
        self.motion_modules = nn.ModuleList(
            MotionModule(width) for width in (channels[2], channels[3], features, features)
        )

    def per_frame(self, taken: Sequence[Tensor]) -> list[Tensor]:
        """What no other frame has a part in, so that it need not be computed again for a frame that is repeated.

        The encoder's four (n, dim, gh, gw) to levels of (n, features, 4 gh, 4 gw), (n, features, 2 gh, 2 gw),
        (n, channels[2], gh, gw), (n, channels[3], gh / 2, gw / 2).
        """
        levels = [
            resize(project(tokens))
            for tokens, project, resize in zip(taken, self.projects, self.resize_layers, strict=True)
        ]
        return [self.scratch.layer1_rn(levels[0]), self.scratch.layer2_rn(levels[1]), levels[2], levels[3]]

    def over_time(
        self,
        levels: Sequence[Tensor],
        frames: int,
        past: Past | None,
        batch: int,
        check: Callable[[], None],
        each: Each = in_turn,
        rows: int | None = None,
    ) -> Tensor:
        """The levels of `frames` consecutive frames, (B frames, ...) each, to (B frames, 14 gh, 14 gw) float32.

        The finest part is computed `batch` frames at a time: the same values in less memory. The temporal modules take
        `rows` rows at a time (None: all). `each` does the parts, perhaps several at once; `check` is called before
        each of them.
        """
        fusion, motion = self.scratch, self.motion_modules
        first, second, third, fourth = levels
        grid = (third.shape[2], third.shape[3])

        def over_time(module: nn.Module, features: Tensor) -> Tensor:
            done: Tensor = module(features, frames, past, lambda do, parts: each(do, parts, check), rows)
            return done

        third = fusion.layer3_rn(over_time(motion[0], third))
        fourth = fusion.layer4_rn(over_time(motion[1], fourth))
        path = over_time(motion[2], fusion.refinenet4(fourth, None, grid))
        path = over_time(motion[3], fusion.refinenet3(path, third, _size(second)))
        parts = zip(path.split(batch), second.split(batch), first.split(batch), strict=True)
        return torch.cat(each(lambda part: fusion.finest(*part, grid), parts, check))


class _Fusion(nn.Module):
    def __init__(self, features: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(width, features, 3, 1, 1, bias=False) for width in channels
        )
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (_Refine(features) for _ in range(4))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, 1, 1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU()
        )

    def finest(self, path: Tensor, second: Tensor, first: Tensor, grid: tuple[int, int]) -> Tensor:
        path = self.refinenet2(path, second, _size(first))
        path = self.refinenet1(path, first, (2 * first.shape[2], 2 * first.shape[3]))
        path = _resized(self.output_conv1(path), (PATCH * grid[0], PATCH * grid[1]))
        # In half precision the last layers overflow, and so does a depth that is cast back to it: both stay float32.
        with torch.autocast(path.device.type, enabled=False):
            depth: Tensor = self.output_conv2(path.float())
        return depth[:, 0]


class _Refine(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.resConfUnit1 = _Residual(features)
        self.resConfUnit2 = _Residual(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, path: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """`path`, with `skip` of the same size added, refined and resized to `size`."""
        if skip is not None:
            path = path + self.resConfUnit1(skip)
        return self.out_conv(_resized(self.resConfUnit2(path), size))


class _Residual(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1)

    def forward(self, path: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(F.relu(path)))) + path


def _size(features: Tensor) -> tuple[int, int]:
    return features.shape[2], features.shape[3]


def _resized(features: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(features, size, mode="bilinear", align_corners=True)
