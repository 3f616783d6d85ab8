"""Depth by models of the transformers library that see one frame at a time: no consistency over time.

What the numbers of such a model mean is in no field of its configuration. It is known here for each architecture, and
what is not known is refused:

    depth_anything   by `depth_estimation_type`: "metric" gives metres, "relative" disparity
    depth_pro        inverse depth; metres with the field of view that it estimates itself
    dpt              disparity (MiDaS, DPT)
    glpn, zoedepth   metres
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import EpisodedError
from . import weights
from .source import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .codes import Kind
    from .source import Frames, State

    Picture = NDArray[np.uint8]

PIECE = 8  # frames

_KINDS: dict[str, Kind] = {
    "depth_pro": "metric_m",
    "dpt": "disparity_relative",
    "glpn": "metric_m",
    "zoedepth": "metric_m",
}
_RESEARCH_ONLY = "not for commercial use"

#: Licences of the weights, as named on the pages of the models: (SPDX id or name, what a person must know).
LICENCES: Mapping[str, tuple[str, str]] = {
    "apple/DepthPro-hf": ("apple-amlr", "for research only"),
    "depth-anything/Depth-Anything-V2-Base-hf": ("CC-BY-NC-4.0", _RESEARCH_ONLY),
    "depth-anything/Depth-Anything-V2-Large-hf": ("CC-BY-NC-4.0", _RESEARCH_ONLY),
    "depth-anything/Depth-Anything-V2-Small-hf": ("Apache-2.0", ""),
    **{
        f"depth-anything/Depth-Anything-V2-Metric-{place}-{size}-hf": (
            "Apache-2.0" if size == "Small" else "CC-BY-NC-4.0",
            "taken to be that of the relative model of this size: ask the authors",
        )
        for place in ("Indoor", "Outdoor")
        for size in ("Small", "Base", "Large")
    },
    "Intel/dpt-hybrid-midas": ("Apache-2.0", ""),
    "Intel/dpt-large": ("Apache-2.0", ""),
    "Intel/zoedepth-kitti": ("MIT", ""),
    "Intel/zoedepth-nyu": ("MIT", ""),
    "Intel/zoedepth-nyu-kitti": ("MIT", ""),
}


def per_frame_model(model: str) -> PerFrameSource:
    """A model by its id on the Hub, or a folder that `save_pretrained` wrote.

    Raises `EpisodedError`: `unknown_depth_kind` for an architecture whose numbers have no known meaning, and as
    `weights.from_hub`.
    """
    folder = _folder(model)
    config = _config(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _refused("model_missing", f"{folder} holds no .safetensors file", f"hf download {model}")
    licence, note = LICENCES.get(model, ("unknown", "see the page of the model"))
    facts = {
        "method": "transformers",
        "model": model,
        "architecture": config["model_type"],
        "weights_commit": folder.name if folder.parent.name == "snapshots" else None,
        "weights_sha256": {file.name: weights.sha256(file) for file in files},
        "weights_licence": licence,
        "weights_licence_note": note or None,
    }
    return PerFrameSource(folder, kind_of(config, model), facts)


def kind_of(config: Mapping[str, Any], model: str) -> Kind:
    """What the numbers of a model with this configuration are."""
    architecture = str(config.get("model_type"))
    if architecture == "depth_anything":
        return "metric_m" if config.get("depth_estimation_type") == "metric" else "disparity_relative"
    if architecture == "depth_pro" and not config.get("use_fov_model"):
        raise _refused("unknown_depth_kind", f"{model} estimates no field of view, so its depth has no unit")
    if architecture not in _KINDS:
        raise _refused("unknown_depth_kind", f"{model} is a {architecture!r}: what its numbers mean is not known")
    return _KINDS[architecture]


@dataclass(frozen=True)
class PerFrameSource:
    """A source of depth: one frame at a time, in float32, on the first device. Conforms to `DepthSource`."""

    folder: Path
    kind: Kind
    facts: Mapping[str, Any]
    name: str = "frame"

    def maps(
        self,
        frames: Frames,
        state: State | None = None,
        devices: Sequence[str] = ("cpu",),
        check_cancelled: Callable[[], None] = lambda: None,
        threads: int = 1,
    ) -> Iterator[Piece]:
        """See `DepthSource.maps`. Raises `EpisodedError` (`depth_not_finite`)."""
        from .threads import Threads, in_turn

        start = int(state["next"][0]) if state is not None else 0
        if start == frames.count:
            return
        model, pictures = _loaded(self.folder, devices[0]), frames.read(start)
        each = in_turn if devices[0].startswith("cuda") else Threads(threads).map
        while batch := list(islice(pictures, PIECE)):
            maps = [np.maximum(depth, np.float32(0)) for depth in each(model, batch, check_cancelled)]
            for number, depth in enumerate(maps, start):
                if not np.isfinite(depth).all():
                    raise _not_finite(number)
            start += len(maps)
            yield Piece(maps, partial(_state, start))


class _Model(Protocol):
    def __call__(self, picture: Picture) -> NDArray[np.float32]: ...


class _Processed:
    """A model with its image processor, and its output at the size of the picture."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoImageProcessor

        processors: Any = AutoImageProcessor
        self._net = _network(folder, device)
        # The one that needs no torchvision; the other rounds differently.
        self._processor = processors.from_pretrained(folder, backend="pil", local_files_only=True)
        self._padded = self._net.config.model_type == "zoedepth" and bool(self._processor.do_pad)

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        import torch

        (height, width), channels_last = picture.shape[:2], np.ascontiguousarray(picture)
        given = self._processor(images=channels_last, input_data_format="channels_last", return_tensors="pt")
        down, right = (self._padding(side) for side in (height, width))
        with torch.inference_mode():
            depth = self._net(**given.to(self._net.device)).predicted_depth[None].float()
            padded = (height + 2 * down, width + 2 * right)
            resized = torch.nn.functional.interpolate(depth, padded, mode="bicubic", align_corners=False)
            values: NDArray[np.float32] = resized[0, 0].cpu().numpy()
        return values[down : down + height, right : right + width]

    def _padding(self, side: int) -> int:
        """What ZoeDepth's processor adds at each end of a side, against artefacts at the border."""
        return int(math.sqrt(side / 2) * 3) if self._padded else 0


class _DepthPro:
    """Depth Pro, whose own image processor needs torchvision: pixels to -1..1, resized to a square, and back.

    inverse depth in 1/m = output * width / focal length in pixels, which follows from the field of view it estimates.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._net = _network(folder, device)
        config = self._net.config
        self._side = round(config.patch_size / min(config.scaled_images_ratios))

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(self._net.device)
        scaled = (pixels.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
        square = torch.nn.functional.interpolate(scaled, (self._side, self._side), mode="bilinear", align_corners=False)
        with torch.inference_mode():
            outputs = self._net(pixel_values=square)
            inverse = outputs.predicted_depth[None].float() * 2 * torch.tan(torch.deg2rad(outputs.field_of_view) / 2)
            resized = torch.nn.functional.interpolate(inverse, picture.shape[:2], mode="bilinear", align_corners=False)
            values: NDArray[np.float32] = (1 / resized.clamp(1e-4, 1e4))[0, 0].cpu().numpy()
        return values


@lru_cache(maxsize=1)
def _loaded(folder: Path, device: str) -> _Model:
    """The model; the last one of this process is at hand without loading."""
    return (_DepthPro if _config(folder)["model_type"] == "depth_pro" else _Processed)(folder, device)


def _network(folder: Path, device: str) -> Any:
    import torch
    from transformers import AutoModelForDepthEstimation
    from transformers.utils import logging

    quiet: Any = logging
    quiet.disable_progress_bar()
    net = AutoModelForDepthEstimation.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return net.to(device).eval()


def _folder(model: str) -> Path:
    from pathlib import Path

    try:
        import transformers  # noqa: F401 - better told now than after the download
    except ImportError as error:
        what = "per-frame depth models need transformers, which is not installed"
        raise _refused("no_transformers", what, "pip install 'episoded[depth-models]'") from error
    if (folder := Path(model)).is_dir():
        return folder.resolve()
    wanted = ["*.json", "*.safetensors"]
    remedy = f"fetch it once with `hf download {model}`, or give a folder that holds it"
    return weights.from_hub(lambda hub: hub.snapshot_download(model, allow_patterns=wanted), model, remedy)


def _config(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _refused(
            "model_missing", f"{folder} holds no model: {error}", "give a folder with config.json"
        ) from error
    return value if isinstance(value, dict) else {}


def _state(start: int) -> State:
    return {"next": np.array([start])}


def _not_finite(number: int) -> EpisodedError:
    what = f"the model gives no finite depth for frame {number}"
    return EpisodedError("depth_not_finite", what, "check its weights against the published ones, then retry")


def _refused(code: str, what: str, hint: str = "docs/depth.md lists the models that can be used") -> EpisodedError:
    return EpisodedError(code, what, hint)
