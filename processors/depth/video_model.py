"""Depth of a video by a model that sees 32 frames at once: the whole way from frames to finished maps.

Windows are computed here when there is one device, by a crew of processes when there are several; one fold puts them
together. Its state after a window is all that is needed to go on from there.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import EpisodedError
from . import weights
from .background import Background
from .crew import Crew
from .fold import Fold
from .infer import Ahead, SpanRunner
from .source import Piece
from .windows import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .align import Alignment
    from .codes import Kind
    from .engine import Engine
    from .model import Computed, ModelSpec, WindowModel
    from .source import Frames, State

_COMPUTED_AHEAD = 1  # windows, while one is aligned and written: the device need not wait for that


@dataclass(frozen=True)
class VideoDepthAnything:
    """How to load one of its models. `path`, `sha256`: of the weights. `precision`: "auto", or one to insist on."""

    model: str
    path: Path
    sha256: str
    input_size: int = 518
    precision: str = "auto"

    def load(self, device: str, threads: int = 1) -> WindowModel:
        """The model on `device`; the last one that was loaded in this process is at hand without loading."""
        engine = _loaded(self, device)
        engine.use_threads(threads)
        return engine


@lru_cache(maxsize=1)
def _loaded(spec: VideoDepthAnything, device: str) -> Engine:
    from .engine import Engine

    net, digest = weights.load(weights.checkpoint(spec.model), spec.path)
    if digest != spec.sha256:
        raise EpisodedError(
            "weights_changed", f"{spec.path} is not the file that it was", "retry with one set of weights"
        )
    return Engine(net, spec.model, device, spec.input_size, spec.precision)


@dataclass(frozen=True)
class VideoModelSource:
    """A source of depth: any model of windows. Conforms to `DepthSource`.

    Each piece is one window; its facts are its `WindowRecord` and `events` (see `Computed`).
    """

    spec: ModelSpec
    kind: Kind
    alignment: Alignment
    facts: Mapping[str, Any]
    name: str = "video"

    def maps(
        self,
        frames: Frames,
        state: State | None = None,
        devices: Sequence[str] = ("cpu",),
        check_cancelled: Callable[[], None] = lambda: None,
        threads: int = 1,
    ) -> Iterator[Piece]:
        """See `DepthSource.maps`. More devices than one: a process for each; the same name may stand twice."""
        fold = Fold(frames.count, (frames.height, frames.width), self.alignment)
        if state is not None:
            fold.restore(state)
        if fold.done:
            return
        with self._computing(fold, frames, devices, check_cancelled, threads) as windows:
            for computed in windows:
                maps = [values for _, values in fold.add(computed.window, computed.maps, computed.precision)]
                yield Piece(maps, fold.state, _facts(fold, computed))
                del maps

    @contextmanager
    def _computing(
        self, fold: Fold, frames: Frames, devices: Sequence[str], check: Callable[[], None], threads: int
    ) -> Iterator[Iterator[Computed]]:
        if len(devices) == 1:
            model = self.spec.load(devices[0], threads)
            span = Span(fold.next, fold.windows)
            with Ahead(frames) as ahead:
                runner = SpanRunner(model, frames, ahead)
                with Background(partial(runner.run, span), _COMPUTED_AHEAD, "compute") as computing:
                    yield computing.take(check)
        else:
            with Crew(self.spec, frames, devices, check, threads) as crew:
                yield crew.windows(fold.next, fold.windows)


def video_depth_anything(
    model: str = "vits",
    path: Path | None = None,
    *,
    input_size: int = 518,
    precision: str = "auto",
    alignment: Alignment | None = None,
) -> VideoModelSource:
    """Video-Depth-Anything with the weights at `path`, or from the Hub.

    `model`: a name of `weights.CHECKPOINTS`. `input_size`: the short side at which the model sees a picture, a multiple
    of 14. `alignment`: None is "anchored" for relative models, "none" for metric ones.
    Raises as `weights.find`, and `EpisodedError` (`no_torch`).
    """
    if find_spec("torch") is None:
        raise EpisodedError(
            "no_torch", "depth models need torch, which is not installed", "pip install 'episoded[depth]'"
        )
    wanted = weights.checkpoint(model)
    found = weights.find(wanted, path)
    digest = weights.sha256(found)
    alignment = alignment or ("none" if wanted.metric else "anchored")
    facts = {
        "method": "video-depth-anything",
        "model": wanted.name,
        "weights_repo": wanted.repo,
        "weights_file": wanted.file,
        "weights_sha256": digest,
        "weights_licence": wanted.licence,
        "weights_licence_note": wanted.licence_note or None,
        "input_size": input_size,
        "precision_asked": precision,
        "alignment": alignment,
    }
    spec = VideoDepthAnything(model, found, digest, input_size, precision)
    return VideoModelSource(spec, "metric_m" if wanted.metric else "disparity_relative", alignment, facts)


def _facts(fold: Fold, computed: Computed) -> dict[str, Any]:
    assert fold.record is not None
    return {**fold.record.as_json(), "events": list(computed.events)}
