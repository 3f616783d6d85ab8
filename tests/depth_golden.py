"""Numbers that the network must give, and how they were made: `python tests/depth_golden.py` writes them anew.

The weights come from the names and shapes of the parameters, the pictures from integers: both are the same on every
machine. The implementation that wrote depth_golden.json was compared with the authors' own code at larger sizes; all
modes agreed to 4e-6 of the largest value.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from episoded.processors.depth.net import VideoDepthNet

FILE = Path(__file__).with_suffix(".json")
SEED = 7
_PROBES = 24


def pictures(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """A pattern that moves, in integers only: (count, height, width, 3) RGB."""
    y, x = np.mgrid[0:height, 0:width]
    frames = [
        np.stack([x * 5 + y * 3 + t * 7, (x - 2 * t) ** 2 // 9 + y, (x + t) * (y + 3) // 4], axis=2) % 256
        for t in range(count)
    ]
    return np.stack(frames).astype(np.uint8)


def weights(net: VideoDepthNet) -> dict[str, torch.Tensor]:
    """Parameters under which every layer matters and no ReLU closes; the position tables stay as computed."""
    return {
        name: value if name.endswith(".pe") else _values(name, tuple(value.shape))
        for name, value in net.state_dict().items()
    }


def _values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    seed = int.from_bytes(hashlib.sha256(f"{SEED} {name}".encode()).digest()[:4], "little")
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    if name.endswith("output_conv2.2.weight"):
        values = np.abs(values) / math.sqrt(shape[1])
    elif name.endswith("output_conv2.2.bias"):
        values = values * 0 + 0.5
    elif name.endswith("gamma"):
        values = 0.5 + 0.1 * values
    elif any("norm" in part for part in name.split(".")[-3:-1]):
        values = 1 + 0.1 * values if name.endswith("weight") else 0.05 * values
    elif name.endswith(("pos_embed", "cls_token", "mask_token")):
        values = 0.3 * values
    elif name.endswith("bias"):
        values = 0.05 * values
    else:
        values = values * np.float32(1.3 / math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy(values)


def loaded(encoder: str = "vits") -> VideoDepthNet:
    from episoded.processors.depth.net import build

    net = build(encoder=encoder)
    net.load_state_dict(weights(net), strict=True)
    return net


def runs(net: VideoDepthNet) -> dict[str, NDArray[np.float32]]:
    """Each mode at a size that is quick: (frames, H, W), or (1, 3, h, w) for the preprocessing."""
    import torch

    def forward(count: int, height: int, width: int) -> NDArray[np.float32]:
        prepared = torch.stack([net.preprocess(frame, height) for frame in pictures(count, height, width)])
        with torch.inference_mode():
            return net(prepared.unsqueeze(0))[0].numpy()

    def prepared(height: int, width: int, size: int) -> NDArray[np.float32]:
        return net.preprocess(pictures(1, height, width)[0], size).numpy()[None]

    return {
        "forward of 5": forward(5, 42, 56),
        "forward of 1": forward(1, 28, 42),
        "preprocess": prepared(30, 40, 42),
        "preprocess, tall": prepared(40, 30, 42),
        "preprocess, wide": prepared(20, 61, 70),
        "window": np.stack(list(net.infer_video(pictures(50, 24, 32), 28))),
        "stream": np.stack(list(net.stream(iter(pictures(46, 24, 32)), 28))),
    }


def digest(values: NDArray[np.float32]) -> dict[str, Any]:
    """What is kept of a run: shape, means, largest values, and some values of each frame."""
    flat = values.reshape(len(values), -1)
    probes = np.random.default_rng(SEED).integers(0, flat.shape[1], _PROBES)
    chosen = sorted({*range(0, len(flat), 9), len(flat) - 1})
    return {
        "shape": list(values.shape),
        "frames": chosen,
        "peak": [_rounded(np.abs(flat[k]).max()) for k in chosen],
        "mean": [_rounded(flat[k].mean()) for k in chosen],
        "values": [[_rounded(value) for value in flat[k][probes]] for k in chosen],
    }


def difference(ours: dict[str, Any], golden: dict[str, Any]) -> float:
    """The largest difference of a mean or value, relative to the largest value of its frame."""
    if ours["shape"] != golden["shape"]:
        return math.inf
    mine, theirs = (np.column_stack([run["mean"], run["values"]]) for run in (ours, golden))
    return float((np.abs(mine - theirs).max(axis=1) / np.array(golden["peak"])).max())


def _rounded(value: np.floating[Any]) -> float:
    return float(f"{value:.7g}")


if __name__ == "__main__":
    golden = {name: digest(values) for name, values in runs(loaded()).items()}
    FILE.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
