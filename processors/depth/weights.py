"""The published checkpoints of Video-Depth-Anything: what each is, what its licence allows, and how it is loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EpisodedError, RetryableError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from .net import VideoDepthNet


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published set of weights: `name` is what it is called here, "vits" or "metric-vits".

    `encoder`: the size of the network. `metric`: it gives metres, else relative disparity. `licence`: SPDX id of the
    weights; `licence_note`: what a person must know before the weights are used for more than research.
    """

    name: str
    encoder: str
    metric: bool
    licence: str
    licence_note: str

    @property
    def repo(self) -> str:
        """The repository on the Hub."""
        return f"depth-anything/{'Metric-' if self.metric else ''}Video-Depth-Anything-{_SIZES[self.encoder]}"

    @property
    def file(self) -> str:
        """The file in that repository."""
        return f"{'metric_' if self.metric else ''}video_depth_anything_{self.encoder}.pth"


_SIZES = {"vits": "Small", "vitb": "Base", "vitl": "Large"}
_RESEARCH_ONLY = "not for commercial use"
_UNCHECKED = "not checked on the page of the metric weights: taken to be that of the relative ones, look there"


def _checkpoint(encoder: str, *, metric: bool) -> Checkpoint:
    free = encoder == "vits"
    notes = [] if free else [_RESEARCH_ONLY, *([_UNCHECKED] if metric else [])]
    name = f"metric-{encoder}" if metric else encoder
    return Checkpoint(name, encoder, metric, "Apache-2.0" if free else "CC-BY-NC-4.0", "; ".join(notes))


CHECKPOINTS: Mapping[str, Checkpoint] = {
    found.name: found
    for metric in (False, True)
    for encoder in _SIZES
    for found in [_checkpoint(encoder, metric=metric)]
}


def checkpoint(name: str) -> Checkpoint:
    """The checkpoint of this name. Raises `EpisodedError` (`unknown_model`) with those there are."""
    try:
        return CHECKPOINTS[name]
    except KeyError:
        raise EpisodedError(
            "unknown_model", f"there is no depth model {name!r}", f"one of: {', '.join(CHECKPOINTS)}"
        ) from None


def find(wanted: Checkpoint, path: Path | None = None) -> Path:
    """The file of the weights: `path`, or from the Hub through its cache.

    HF_HUB_OFFLINE and HF_HOME are respected. Raises `EpisodedError` (`model_missing`) with the command that fetches it,
    `RetryableError` (`model_download`) when the network was in the way.
    """
    if path is not None:
        if not path.is_file():
            raise _missing(wanted.name, f"{path} is not there", remedy_for(wanted))
        return path
    return from_hub(lambda hub: hub.hf_hub_download(wanted.repo, wanted.file), wanted.name, remedy_for(wanted))


def from_hub(fetch: Callable[[Any], str], model: str, remedy: str) -> Path:
    """What `fetch(huggingface_hub)` fetches, a file or a folder; its errors as ours, with `remedy`."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise _missing(
            model, "huggingface_hub is not installed (extra `depth`), and no path is given", remedy
        ) from error
    try:
        return Path(fetch(hub))
    except errors.LocalEntryNotFoundError as error:
        if hub.constants.HF_HUB_OFFLINE:
            raise _missing(model, "it is not in the cache, and HF_HUB_OFFLINE is set", remedy) from error
        raise RetryableError("model_download", f"the Hub cannot be reached for {model}: {error}", remedy) from error
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise _missing(model, f"the Hub does not give it: {error}", remedy) from error
    except OSError as error:
        raise from_os_error(error) from error


def load(wanted: Checkpoint, path: Path) -> tuple[VideoDepthNet, str]:
    """The network with its weights, float32 on the CPU, and the sha256 of the file.

    Nothing of the file is executed. Raises `EpisodedError` (`wrong_checkpoint`) when it is not this model's, whole and
    finite.
    """
    import torch

    from .net import build

    digest = sha256(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _wrong(wanted, path, f"it cannot be read: {error}") from error
    with torch.device("meta"):  # nothing to initialise: all of it is in the file, or the next lines say what is not
        net = build(wanted.encoder, wanted.metric)
    _check(wanted, path, state, net.state_dict())
    net.load_state_dict(state, strict=True, assign=True)
    return net.float(), digest


def sha256(path: Path) -> str:
    """The digest of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise from_os_error(error) from error


def _check(wanted: Checkpoint, path: Path, state: Any, expected: Mapping[str, Tensor]) -> None:
    if not isinstance(state, dict):
        raise _wrong(wanted, path, f"it holds a {type(state).__name__}, not a table of tensors")
    if different := sorted(expected.keys() ^ state.keys()):
        raise _wrong(wanted, path, f"{len(different)} names differ, the first is {different[0]}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise _wrong(wanted, path, f"{name} is {tuple(value.shape)}, not {tuple(expected[name].shape)}")
        if not bool(value.isfinite().all()):
            raise _wrong(wanted, path, f"{name} holds values that are not finite")


def _wrong(wanted: Checkpoint, path: Path, why: str) -> EpisodedError:
    return EpisodedError("wrong_checkpoint", f"{path} is not {wanted.file}: {why}", remedy_for(wanted))


def _missing(model: str, why: str, remedy: str) -> EpisodedError:
    return EpisodedError("model_missing", f"the weights of the depth model {model} are missing: {why}", remedy)


def remedy_for(wanted: Checkpoint) -> str:
    """What to do where its weights are missing, with the terms they come under."""
    terms = f" (licence {wanted.licence}" + (f": {wanted.licence_note})" if wanted.licence_note else ")")
    return f"fetch them once with `hf download {wanted.repo} {wanted.file}`{terms}, or set `weights` to a local file"
