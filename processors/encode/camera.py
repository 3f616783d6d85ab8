"""One camera: encode its frames, or adopt the video it has.

Facts of the artifact, all JSON:

    frames, width, height, fps ("30" or "33360/1411"), codec (as LeRobot names it), pix_fmt
    encoder        codec, preset, crf, gop, bf, tune, pix_fmt, options, threads, library, av, ffmpeg, hardware, notes
                   (null when the video was adopted)
    psnr_db        of the luma of the sampled frames: min, mean, frames (null when adopted)
    duplicates     frames equal to the one before them;  constant: all frames are the same picture (null when adopted)
    bytes_in       of the PNGs (null when adopted);      bytes_out: of the video
    seconds        for everything;                       seconds_verify: for reading the video back
    image_stats    min, max, mean, std (3, 1, 1) and count, of the PNGs, or of the video when adopted
    image_quantiles  q01, q10, q50, q90, q99 (3, 1, 1), of the same
    stale_frames   PNGs beyond the episode's length, left alone
    declared_shape [height, width] of the dataset where it is not the frames' (else null)
    alpha_dropped  some frame had transparency
    adopted        the video was there already
    sibling        an earlier video of the camera: file, codec, pix_fmt, size, joinable (same parameter sets); or null
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import av

from ..base import Artifact
from ..errors import InputError, RetryableError
from ..lerobot.picture_statistics import ImageStatistics, histogram
from ..media import png, video
from ..media.frames import FrameReader
from ..media.pixels import plane
from ..media.writer import VideoWriter
from .adopted import adopted
from .encoders import Plan, Sibling, plan, sibling
from .facts import common_facts, tick
from .ordered import ahead, one_by_one
from .params import EncodeParams
from .tally import FrameSampler, Tally
from .verify import Expectation, Verified, verify

if TYPE_CHECKING:
    from pathlib import Path

    from av.video.frame import VideoFrame

    from ..base import StageContext
    from ..episode import Camera


def encode(camera: Camera, ctx: StageContext, path: Path) -> Artifact:
    """Encode the camera's frames to `path` and read the result back; see `EncodeProcessor.run` for the errors."""
    started = time.perf_counter()
    params, paths = ctx.params, frames_of(camera, ctx)
    assert isinstance(params, EncodeParams)
    first = png.read(paths[0])
    size = (first.header.width, first.header.height)
    earlier = sibling(ctx.episode, camera) if params.match_existing else None
    planned = plan(params, size, ctx.threads, earlier)
    tally = Tally(first)
    ctx.log.debug("encoding", camera=camera.key, frames=len(paths), encoder=planned.encoding.codec)
    library = _write(paths, path, planned, tally, ctx)
    written = time.perf_counter()
    verified = _read_back(path, camera, ctx, tally, size, params.min_psnr_db)
    ended = time.perf_counter()
    facts = {
        **common_facts(path, camera, ctx, size),
        "encoder": _encoder_facts(planned, library),
        "psnr_db": _psnr_facts(verified),
        "duplicates": tally.duplicates,
        "constant": tally.constant and tally.frames > 1,
        "bytes_in": tally.bytes_in,
        "seconds": round(ended - started, 3),
        "seconds_verify": round(ended - written, 3),
        "image_stats": tally.image_stats(),
        "image_quantiles": tally.image_quantiles(),
        "alpha_dropped": tally.transparent,
        "adopted": False,
        "sibling": _sibling_facts(earlier, path, ctx),
    }
    return Artifact(path, camera.video, facts)


def adopt(camera: Camera, ctx: StageContext, existing: Path, scratch: Path) -> Artifact:
    """Take the video that lies there; as `adopted`."""
    from ..lerobot.statistics import picture_quantiles

    statistics = ImageStatistics()

    def look(frame: VideoFrame) -> None:
        statistics.add(histogram(plane(frame.reformat(format="rgb24"), channels=3)))

    def facts() -> dict[str, Any]:
        return {"image_stats": statistics.result(), "image_quantiles": picture_quantiles(statistics.counts)}

    return adopted(camera, ctx, existing, scratch, look, facts)


def frames_of(camera: Camera, ctx: StageContext) -> tuple[Path, ...]:
    """The paths of the camera's frames, one for each row of the episode. Raises InputError (`frame_count`)."""
    assert camera.frames is not None
    paths, length = camera.frames.paths, ctx.episode.length
    if len(paths) != length:
        what = f"camera {camera.key} of episode {ctx.episode.id} has {len(paths)} frames for {length} rows"
        raise InputError("frame_count", what, f"the frames of an episode lie in {camera.frames.directory}")
    return paths


def _write(paths: tuple[Path, ...], path: Path, planned: Plan, tally: Tally, ctx: StageContext) -> str:
    """Encode every frame in order; returns what the encoder says it is."""
    encoding, (width, height) = planned.encoding, tally.size
    reader = FrameReader(encoding.pix_fmt, full_range=encoding.full_range)
    sampler = FrameSampler(paths, reader, full_range=encoding.full_range)
    in_order = one_by_one if ctx.threads <= 1 else ahead
    writer = VideoWriter(path, encoding, width=width, height=height, rate=ctx.episode.fps)
    with closing(in_order(sampler.load, len(paths))) as frames, writer:
        for frame in frames:
            ctx.check_cancelled()
            tally.add(frame)
            writer.write(frame.video)
            ctx.progress(tally.frames, len(paths))
    return writer.library


def _read_back(
    path: Path, camera: Camera, ctx: StageContext, tally: Tally, size: tuple[int, int], min_psnr_db: float
) -> Verified:
    expected = Expectation(camera.key, tally.frames, ctx.episode.fps, size, tally.references, min_psnr_db)
    try:
        return verify(path, expected, threads=ctx.threads, on_frame=tick(ctx))
    except InputError as error:  # the file is ours: not the input is wrong but what became of it
        raise RetryableError(
            "verify_failed",
            f"{camera.key}: the video just written does not read back: {error.message}",
            "nothing was removed; if it happens again, check the disk and the memory of this machine",
        ) from error


def _encoder_facts(planned: Plan, library: str) -> dict[str, Any]:
    settings = planned.settings.model_dump()
    return {
        **settings,
        "codec": planned.encoding.codec,
        "options": dict(planned.encoding.options),
        "threads": planned.encoding.threads,
        "library": library,
        "av": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "hardware": planned.hardware,
        "notes": list(planned.notes),
    }


def _psnr_facts(verified: Verified) -> dict[str, Any]:
    values = verified.psnr_db
    return {
        "min": round(min(values.values()), 2),
        "mean": round(sum(values.values()) / len(values), 2),
        "frames": len(values),
    }


def _sibling_facts(earlier: Sibling | None, path: Path, ctx: StageContext) -> dict[str, Any] | None:
    if earlier is None:
        return None
    info = earlier.info
    return {
        "file": str(earlier.path.relative_to(ctx.episode.output)),
        "codec": info.codec,
        "pix_fmt": info.pix_fmt,
        "size": [info.width, info.height],
        "joinable": info.headers == video.probe(path).headers,
    }
