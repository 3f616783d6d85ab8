"""Which encoder a camera gets, with which options: settings, what the dataset already holds, what the machine has."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from glob import escape
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import VideoFrame

from ..errors import EpisodedError, InputError
from ..media.video import VideoInfo, probe
from ..media.writer import Encoding
from .params import HARDWARE, CodecSettings, EncodeParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..episode import Camera, Episode

CANONICAL = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
_LIBAV_FULL_RANGE = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}
_TEST_SIZE = (320, 240)  # hardware encoders refuse less, e.g. NVENC below 145x49 for H.264
_SIBLINGS_TRIED = 3


@dataclass(frozen=True, slots=True)
class Sibling:
    """A finished video of the same camera that the dataset holds already."""

    path: Path
    info: VideoInfo


@dataclass(frozen=True, slots=True)
class Plan:
    """The encoder to open, the settings it came from, and why it differs from what was asked (empty: it does not)."""

    encoding: Encoding
    settings: CodecSettings
    notes: tuple[str, ...]

    @property
    def hardware(self) -> bool:
        """True when the encoder is not the software one that the settings name."""
        return self.encoding.codec != self.settings.codec


def sibling(episode: Episode, camera: Camera) -> Sibling | None:
    """The first readable video of this camera, of another episode, below `episode.output`; None without one.

    LeRobot's v2.1 to v3.0 converter joins the videos of a camera without encoding, exits with 0 and leaves a tail
    that cannot be decoded when they differ: so the first one that lies there decides.
    """
    own = episode.output / camera.video
    for path in _videos_beside(own, camera.key):
        if path == own:
            continue
        try:
            return Sibling(path, probe(path))
        except EpisodedError:
            continue  # a pointer or a damaged file: its own episode will report it
    return None


def _videos_beside(own: Path, key: str) -> Iterator[Path]:
    """A few videos of the same camera: of the same chunk, then of the others (`videos/chunk-NNN/{key}/`)."""
    folders = [own.parent]
    if own.parent.name == key:
        folders += sorted(own.parent.parent.parent.glob(f"*/{escape(key)}"))
    for folder in dict.fromkeys(folders):
        yield from sorted(folder.glob("*.mp4"))[:_SIBLINGS_TRIED]


def plan(params: EncodeParams, size: tuple[int, int], threads: int, existing: Sibling | None) -> Plan:
    """Decide the encoder for frames of `size` (width, height) and `threads` CPU threads.

    Raises `InputError` (`odd_dimensions`) when the codec cannot hold the size and the settings allow no way out.
    """
    settings, notes, full_range = params.settings, [], False
    if existing is not None:
        settings, full_range, why = _like(existing, params)
        notes += why
    if _too_odd(settings, size):
        settings, why = _even_out(settings, size, params)
        notes += why
    codec, why = _hardware(params.hardware, settings)
    encoding = Encoding(
        codec=codec,
        options=_options(settings, codec, threads),
        pix_fmt=settings.pix_fmt,
        # A worker among others keeps to itself; alone, x264 gains up to one thread more than there are cores.
        threads=1 if threads <= 1 else min(4, threads + 1),
        full_range=full_range,
    )
    return Plan(encoding, settings, (*notes, *why))


def _like(existing: Sibling, params: EncodeParams) -> tuple[CodecSettings, bool, list[str]]:
    """(settings, full range, notes) that continue the camera's videos, as far as they can be continued."""
    info, wanted = existing.info, params.settings
    codec, pix_fmt = CANONICAL.get(info.codec), _LIBAV_FULL_RANGE.get(info.pix_fmt, info.pix_fmt)
    possible = codec is not None and pix_fmt in ("yuv420p", "yuv422p", "yuv444p")
    if not possible or (codec == "libsvtav1" and pix_fmt != "yuv420p"):
        why = f"{existing.path.name} of this camera is {info.codec} {info.pix_fmt}, which is not written here"
        return wanted, False, [f"{why}: the dataset now mixes codecs"]
    assert codec is not None
    settings = params.settings_for(codec).model_copy(update={"pix_fmt": pix_fmt})
    same = (settings.codec, settings.pix_fmt) == (wanted.codec, wanted.pix_fmt) and not info.full_range
    return settings, info.full_range, [] if same else [f"like {existing.path.name}: {info.codec} {info.pix_fmt}"]


def _too_odd(settings: CodecSettings, size: tuple[int, int]) -> bool:
    """Whether subsampled chroma cannot cover the size: x264 and x265 refuse it, SVT-AV1 does not mind."""
    width, height = size
    subsampled = {"yuv420p": width % 2 or height % 2, "yuv422p": width % 2}
    return settings.codec != "libsvtav1" and bool(subsampled.get(settings.pix_fmt))


def _even_out(settings: CodecSettings, size: tuple[int, int], params: EncodeParams) -> tuple[CodecSettings, list[str]]:
    width, height = size
    if params.odd_dimensions == "fail":
        raise InputError(
            "odd_dimensions",
            f"{settings.codec} cannot write {width}x{height} as {settings.pix_fmt}: both sides must be even",
            'set `odd_dimensions = "yuv444p"` or `profile = "lerobot"` (AV1) for this pipeline, then retry',
        )
    return settings.model_copy(update={"pix_fmt": "yuv444p"}), [f"{width}x{height} is odd: yuv444p"]


def _options(settings: CodecSettings, codec: str, threads: int) -> dict[str, str]:
    """The options to open the encoder with."""
    if codec != settings.codec:
        return _hardware_options(settings, codec)
    options = {"preset": settings.preset, "crf": str(settings.crf), "g": str(settings.gop)}
    if settings.bf is not None:
        options["bf"] = str(settings.bf)
    if settings.tune is not None:
        options["tune"] = settings.tune
    options |= settings.options
    if codec == "libsvtav1":
        options["svtav1-params"] = _joined(options.get("svtav1-params"), f"lp={threads}")
    if codec == "libx265":
        options["x265-params"] = _joined(options.get("x265-params"), f"pools={threads}:log-level=error")
    return options


def _joined(given: str | None, ours: str) -> str:
    """Both parameter lists of an encoder in one; what was given comes last and wins."""
    return f"{ours}:{given}" if given else ours


def _hardware_options(settings: CodecSettings, codec: str) -> dict[str, str]:
    """The same quality target in the words of a hardware encoder."""
    quality = {"rc": "vbr", "cq": str(settings.crf), "preset": "p4"}
    if codec.endswith("_qsv"):
        quality = {"global_quality": str(settings.crf)}
    return {**quality, "g": str(settings.gop), "bf": str(settings.bf or 0)}


def _hardware(wanted: str, settings: CodecSettings) -> tuple[str, list[str]]:
    """The first hardware encoder that works, or the settings' own codec and why each was passed over."""
    family = HARDWARE[settings.codec]
    if wanted == "off" or (wanted != "auto" and wanted not in family):  # continuing a camera in another codec
        return settings.codec, []
    reasons = []
    for codec in family if wanted == "auto" else (wanted,):
        reason = refusal(codec, settings.pix_fmt)
        if reason is None:
            return codec, [f"encoded by {codec}"]
        reasons.append(f"{codec} does not work here: {reason}")
    return settings.codec, reasons


@lru_cache(maxsize=16)
def refusal(codec: str, pix_fmt: str = "yuv420p") -> str | None:
    """Why an encoder does not work on this machine, or None: a few frames are really encoded to find out.

    That libav was built with an encoder says nothing: LeRobot's "auto" picks NVENC on machines without a GPU.
    """
    width, height = _TEST_SIZE
    picture = np.linspace(0, 255, width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as container:
            stream: Any = container.add_stream(codec, rate=Fraction(30))
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            packets = []
            for index in range(5):
                frame.pts = index
                packets += stream.encode(frame)
            packets += stream.encode(None)
    except (av.error.FFmpegError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None if len(packets) == 5 else f"{len(packets)} of 5 test frames came out"
