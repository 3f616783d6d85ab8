"""From a picture to what the encoder takes: the size rule, the interpolation and the normalisation of the authors.

Source: the transforms of Video-Depth-Anything, which go back to MiDaS. The interpolation is the cubic one of OpenCV
(a = -0.75, no smoothing, values may overshoot): torch's `bicubic` has the same kernel.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .encoder import PATCH

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, in RGB order
STD = (0.229, 0.224, 0.225)
_WIDE = 1.78  # pictures with a longer side ratio get a smaller short side, so that the work stays the same


def model_size(height: int, width: int, input_size: int) -> tuple[int, int]:
    """(height, width) at which the model sees a picture: the short side `input_size`, both multiples of 14.

    518: 480 x 640 becomes 518 x 686, 480 x 848 becomes 518 x 924.
    """
    ratio = max(height, width) / min(height, width)
    if ratio > _WIDE:
        input_size = round(int(input_size * 1.777 / ratio) / PATCH) * PATCH
    scale = max(input_size / height, input_size / width)
    return _side(scale * height, input_size), _side(scale * width, input_size)


def _side(length: float, least: int) -> int:
    nearest = round(length / PATCH) * PATCH
    return nearest if nearest >= least else math.ceil(length / PATCH) * PATCH


def prepare(picture: NDArray[np.uint8], input_size: int, device: str = "cpu") -> Tensor:
    """One picture (H, W, 3) uint8 RGB as (3, h, w) float32, resized and normalised, on `device`."""
    import torch

    size = model_size(picture.shape[0], picture.shape[1], input_size)
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(device, non_blocking=True)
    scaled = pixels.permute(2, 0, 1).unsqueeze(0).float() / 255
    resized = torch.nn.functional.interpolate(scaled, size, mode="bicubic", align_corners=False)
    mean, std = _statistics(device)
    prepared: Tensor = ((resized - mean) / std)[0]
    return prepared


@lru_cache
def _statistics(device: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation as (1, 3, 1, 1): on the device once, not copied there for every frame."""
    import torch

    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return mean, std
