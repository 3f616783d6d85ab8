"""One camera: choose its way to depth, make it in segments, join, compare, describe.

The device is at work from the first window to the last, and what can be done meanwhile is: the frames are counted
(`counting.py`), what is written is decoded again and compared (`segments.py`), previews are encoded (`exporting.py`).
Before the first window the packets of the video are looked through; after the last one, segments are joined and the
packets of the whole file compared with theirs.

Facts of the depth video, all JSON: `frames`, `width`, `height`, `fps`, `codec`, `pix_fmt`, `kind`, `way`, `model`,
`licence`, `resumed` (frames that an earlier attempt had made), `seconds`, `bytes_out`, `statistics`, `seam_ratio`.
"""

from __future__ import annotations

import json
import time
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Artifact
from ..errors import EpisodedError
from ..media import ffv1
from . import meta
from .codes import DisparityCodes, MeasuredScale, MetricCodes, reference_disparity
from .counting import Counting, PromiseBroken, count
from .description import Result, describe, describe_source, tags, without_depth
from .exporting import Exporting
from .exports import exports_for, refuse_exports
from .files import inputs, sha256, target
from .frames import PngFrames
from .ladder import Case, choose
from .params import DepthParams
from .parts import FolderParts
from .progress import Written
from .segments import Segments, nobody
from .source import Piece
from .tracking import enrich_beside
from .video_export import Stored

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from ..base import StageContext
    from ..episode import Camera
    from .codes import Codes
    from .counting import CameraFrames
    from .exports import Export
    from .ladder import Choice
    from .source import DepthSource, Frames
    from .tracking import Intrinsics


def make_depth(camera: Camera, name: str, ctx: StageContext) -> list[Artifact]:
    """The artifacts of one camera, `name` being that of its unit; see `DepthProcessor.run` for the errors."""
    with Counting(camera, ctx) as counting:
        try:
            with counting.judging():
                return _Making(camera, name, ctx, counting).artifacts()
        except PromiseBroken:
            ctx.log.info("depth_begins_anew", camera=camera.key, frames=counting.frames.count)
        return _Making(camera, name, ctx, counting).artifacts()


def go_without(camera: Camera, name: str, ctx: StageContext) -> Artifact:
    """The description of a camera that has nothing which depth could be made from, and why not."""
    assert isinstance(ctx.params, DepthParams)
    try:
        inputs(ctx.episode, camera, ctx.params)
    except EpisodedError as error:
        why = f"{error.message} [{error.code}]; {error.hint}"
    folder = ctx.scratch / name
    folder.mkdir(exist_ok=True)
    ladder = [{"way": way, "taken": False, "why": why} for way in ctx.params.ways[:-1]]
    described = without_depth({"kind": "none"}, [*ladder, {"way": "none", "taken": True}])
    return _describe_at(folder, target(ctx.episode, camera), described, {"kind": "no_depth", "frames": 0})


def _describe_at(folder: Path, video: PurePosixPath, described: dict[str, Any], facts: dict[str, Any]) -> Artifact:
    path = folder / "depth_meta.json"
    path.write_bytes(meta.to_json(described))
    return Artifact(path, meta.beside(video), facts)


class _Making:
    """One camera on its way. `recorded`: its frames as they were recorded; `frames`: those that its maps belong to."""

    def __init__(self, camera: Camera, name: str, ctx: StageContext, counting: Counting) -> None:
        assert isinstance(ctx.params, DepthParams)
        self.camera, self.ctx, self.params, self.counting = camera, ctx, ctx.params, counting
        self.started = time.perf_counter()
        self.scratch = ctx.scratch / name
        self.scratch.mkdir(exist_ok=True)
        self.target = target(ctx.episode, camera)
        self.recorded = counting.frames
        self.frames: Frames = self.recorded
        self.read_from = describe_source(self.recorded, ctx)

    def artifacts(self) -> list[Artifact]:
        """Depth video, description and exports; only a description where no way was possible."""
        ctx = self.ctx
        choice = choose(Case(self.camera, self.recorded, self.params, ctx.episode, self._frames_of, ctx.devices))
        if choice.way is None:
            described = without_depth(self.read_from, choice.ladder)
            return [self._description(described, {"kind": "no_depth", "frames": 0})]
        source, self.frames = choice.way.source, choice.way.frames
        refuse_exports(self.params, metric=self._gives_metres(source))
        segments = self._segments(source)
        exports, resumed = self._make(source, segments)
        result = self._result(source, choice, segments)
        video = self._join(segments, result)
        described = describe(result, sha256(video), video.stat().st_size)
        facts = self._facts(described, choice, resumed)
        extra = [artifact for export in exports for artifact in export.artifacts()]
        described["exports"] = {key: value for export in exports for key, value in export.describe().items()}
        description = self._description(described)  # what follows reads it
        tracks, facts["tracks"] = self._tracks(video, choice.way.intrinsics)
        return [Artifact(video, self.target, facts), description, *extra, *tracks]

    def _join(self, segments: Segments, result: Result) -> Path:
        """The whole video, compared with its segments."""
        video, (height, width) = self.scratch / "depth.mkv", segments.size
        files = [segment.path for segment in segments.done]
        ffv1.join(files, video, height=height, width=width, rate=segments.rate, tags=tags(result))
        segments.check_joined(video, self._finishing)
        return video

    def _tracks(self, depth: Path, calibrated: Intrinsics | None) -> tuple[list[Artifact], dict[str, Any]]:
        """Points tracked in the video, with positions by its depth; and what became of each file of them."""
        if isinstance(self.recorded, PngFrames):
            return [], {}
        written, told = enrich_beside(self.recorded.path, depth, self.scratch, calibrated)
        for name, outcome in told.items():
            self.ctx.log.info("tracks", camera=self.camera.key, file=name, **outcome)
        return [Artifact(path, self.target.with_name(path.name)) for path in written], told

    def _frames_of(self, camera: Camera) -> CameraFrames:
        """Another camera of the episode; its video is decoded to know how many frames it has."""
        ctx, paths = self.ctx, inputs(self.ctx.episode, camera, self.params)
        if camera.frames is not None and paths == camera.frames.paths:
            return PngFrames.of(paths, ctx.episode.fps)

        def check() -> None:
            ctx.check_cancelled()
            ctx.progress(0, 0)

        return count(camera, ctx, paths[0], check)

    def _segments(self, source: DepthSource) -> Segments:
        frames, parts = self.frames, self.ctx.parts or FolderParts(self.scratch / "parts")
        identity: dict[str, Any] = {"source": source.name, "kind": source.kind, "facts": dict(source.facts)}
        identity["stored"] = self.params.model_dump(mode="json", include={"depth_scale", "measured_scale"})
        identity |= {"frames": frames.count, "size": [frames.height, frames.width], "from": self.read_from}
        identity |= {"rate": str(self.recorded.rate), "turned": self.recorded.rotation_deg}
        return Segments(
            parts,
            self.scratch,
            json.dumps(identity, sort_keys=True),
            (frames.height, frames.width),
            self.recorded.rate,
            self.params.segment_frames,
            self.ctx.threads,
        )

    def _make(self, source: DepthSource, segments: Segments) -> tuple[Sequence[Export], int]:
        """Make the segments that are missing, and the exports; how many frames were there already."""
        state, count = segments.resume(), self.frames.count
        resumed = segments.frames
        if resumed:
            self.ctx.log.info("depth_resumed", camera=self.camera.key, frames=resumed, of=count)
        elif segments.others_are_kept:
            self.counting.settle()  # were they made before a promise was broken? they are not written over before
        with self._exporting(segments) as exporting:
            if exporting:
                exporting.begin([segment.path for segment in segments.done])
            if resumed < count:
                written = Written(self.ctx, resumed, count)
                # Several devices are waited for in a loop: that it turns says nothing about them, so maps alone count.
                check = written.check if len(self.ctx.devices) == 1 else self.ctx.check_cancelled
                pieces = source.maps(self.frames, state, self.ctx.devices, check, self.ctx.threads)
                show = exporting.show if exporting else nobody
                with closing(self._checked(pieces, resumed)) as checked:
                    segments.make(checked, self._choose_codes(source), written, show, written.check)
            if segments.frames != count:
                raise EpisodedError(
                    "depth_frames",
                    f"{self.camera.key}: {source.name} gave {segments.frames} depth maps for {count} frames",
                    "nothing was published; this is a fault of the model or of its code: see the log",
                )
            if exporting:
                exporting.finish(self._finishing)
        return (exporting.exports if exporting else []), resumed

    def _exporting(self, segments: Segments) -> Exporting | nullcontext[None]:
        """What makes the exports, if there are any."""
        if not (self.params.preview or self.params.export):
            return nullcontext()

        def make() -> list[Export]:
            assert segments.codes is not None
            stored = Stored(segments.size, segments.rate, segments.codes)
            return exports_for(self.params, stored, self.target, self.scratch, self.ctx.threads)

        return Exporting(make, self.frames, self.ctx.threads, segments.signs)

    def _finishing(self) -> None:
        """A sign of life when all maps are there."""
        self.ctx.check_cancelled()
        self.ctx.progress(self.frames.count, self.frames.count)

    def _checked(self, pieces: Iterator[Piece], made: int) -> Generator[Piece]:
        """The pieces, in metres where a scale was measured; maps of a wrong size or too many of them are refused."""
        size, scale = (self.frames.height, self.frames.width), self._measured_scale()
        with closing(pieces):  # type: ignore[type-var]
            for piece in pieces:
                self.ctx.check_cancelled()
                self.counting.look()
                made += len(piece.maps)
                wrong = next((values.shape for values in piece.maps if values.shape != size), None)
                if wrong is not None or made > self.frames.count:
                    what = f"a map of {wrong}, the frames are {size}" if wrong else f"map {made} of {self.frames.count}"
                    message = f"{self.camera.key}: the source of depth gave {what}"
                    raise EpisodedError("depth_frames", message, "nothing was published; see the log")
                maps = [scale.metres(values) for values in piece.maps] if scale else piece.maps
                yield Piece(maps, piece.state, piece.facts)

    def _measured_scale(self) -> MeasuredScale | None:
        known = self.params.measured_scale
        found = known.get(self.camera.key) or known.get("*")
        return MeasuredScale(found.a, found.b) if found else None

    def _choose_codes(self, source: DepthSource) -> Any:
        """How depth is stored: relative disparity is never taken for metres."""
        metric = self._gives_metres(source)

        def choose_codes(first: Piece) -> Codes:
            if metric:
                return MetricCodes(self.params.depth_scale)
            return DisparityCodes(reference_disparity(np.stack([values[::4, ::4] for values in first.maps])))

        return choose_codes

    def _gives_metres(self, source: DepthSource) -> bool:
        return source.kind == "metric_m" or self._measured_scale() is not None

    def _result(self, source: DepthSource, choice: Choice, segments: Segments) -> Result:
        estimator: dict[str, Any] = {"name": source.name, "gives": source.kind, **source.facts}
        if source.kind == "disparity_relative" and (scale := self._measured_scale()):
            formula = "1 / depth in metres = a * disparity + b"
            estimator["measured_scale"] = {"a": scale.a, "b": scale.b, "formula": formula}
        ours = self.recorded
        assert segments.codes is not None
        return Result(
            segments.size,
            ours.rate,
            ours.rotation_deg,
            ours.times_s,
            self.read_from,
            estimator,
            choice.ladder,
            segments.done,
            segments.codes,
            segments.tally,
            self.camera.start or 0,
        )

    def _description(self, described: dict[str, Any], facts: dict[str, Any] | None = None) -> Artifact:
        return _describe_at(self.scratch, self.target, described, facts or {})

    def _facts(self, described: dict[str, Any], choice: Choice, resumed: int) -> dict[str, Any]:
        estimator = described["estimator"]
        return {
            "frames": described["frame_count"],
            **{key: described[key] for key in ("width", "height", "fps", "kind", "statistics", "seam_ratio")},
            "codec": described["format"],
            "pix_fmt": described["encoding"],
            "way": choice.ladder[-1]["way"],
            "model": estimator.get("model") or estimator.get("method") or estimator["name"],
            "licence": [words for key in ("weights_licence", "weights_licence_note") if (words := estimator.get(key))],
            "resumed": resumed,
            "devices": list(self.ctx.devices),
            "seconds": round(time.perf_counter() - self.started, 3),
            "bytes_out": described["bytes"],
        }
