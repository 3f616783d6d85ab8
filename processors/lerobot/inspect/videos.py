"""The videos: what each file holds, whether the rows find their pictures in it, and pictures decoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from ...errors import EpisodedError, InputError
from ...formats.lerobot_info import INFO
from ...formats.whole import mp4_ends
from ..findings import Severity
from .film import read as read_film
from .pictures import look_at_all, look_at_ends
from .reels import Viewed
from .timing import judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ...media.video import VideoInfo
    from ..dataset import Dataset, Feature
    from ..findings import Problems
    from .film import Film
    from .reels import Reel

#: Pictures from one key frame to the next above which reading at random is called slow.
_FAR_APART: Final = 60
#: What writers say in their own ways, and what a depth video has another word for.
_OPEN_TO_TASTE: Final = frozenset({"video.is_depth_map", "video.channels", "video.fps"})


def view_all(dataset: Dataset, wanted: Sequence[Reel], *, deep: bool, threads: int) -> Iterator[Viewed]:
    """View the reels in their order, a few at the same time."""
    with ThreadPoolExecutor(threads, thread_name_prefix="inspect") as pool:
        try:
            yield from pool.map(lambda reel: view(dataset, reel, deep=deep), wanted)
        finally:
            pool.shutdown(cancel_futures=True)


def view(dataset: Dataset, reel: Reel, *, deep: bool) -> Viewed:
    """Read the packets of a file, judge its times, decode the first and last picture of each episode, or all."""
    viewed = Viewed(reel)
    try:
        film = read_film(dataset.root / reel.file)
        if not mp4_ends(dataset.root / reel.file) and len(film.times) < sum(entry.length for entry, _ in reel.parts):
            message = f"ends in the middle: {len(film.times)} pictures can be read"
            viewed.add(dataset.root, "video_unreadable", message)
            return viewed
        viewed.about = film.about
        _judge(dataset, viewed, film)
        look = look_at_all if deep else look_at_ends
        viewed.pictures, viewed.stats = look(dataset, viewed, film)
    except InputError as error:
        code = error.code if error.code in ("video_empty", "lfs_pointer") else "video_unreadable"
        viewed.add(dataset.root, code, _words(error, dataset.root / reel.file))
    except EpisodedError as error:
        viewed.add(dataset.root, "video_unreadable", _words(error, dataset.root / reel.file))
    return viewed


def compare(dataset: Dataset, views: Sequence[Viewed], report: Problems) -> None:
    """What must be the same in all files of a camera: size, codec and settings, and what info.json says of them."""
    for camera in dataset.cameras:
        shown = [view for view in views if view.reel.camera.key == camera.key and view.about is not None]
        if shown:
            _compare_settings(camera, _compare_sizes(camera, shown, report), report)
            _compare_description(dataset, camera, shown[0], report)


def _judge(dataset: Dataset, viewed: Viewed, film: Film) -> None:
    times, parts = film.times, viewed.reel.parts
    for flaw in judge(times, parts, dataset.fps, shared=dataset.version >= (3, 0)):
        viewed.add(dataset.root, flaw.code, flaw.message, flaw.episode)
    keys = film.keys
    apart = max([*(later - earlier for earlier, later in zip(keys, [*keys[1:], len(times)], strict=False)), 0])
    if apart > _FAR_APART:
        viewed.add(dataset.root, "keyframes_rare", f"up to {apart} pictures from one key frame to the next")


def _compare_sizes(camera: Feature, views: Sequence[Viewed], report: Problems) -> list[Viewed]:
    """Report files of another size; returns those of the usual one."""
    sizes = {view.reel.file: (view.about.height, view.about.width) for view in views if view.about}
    usual = max(set(sizes.values()), key=[*sizes.values()].count)
    for file, size in sizes.items():
        if size != usual:
            message = f"{size[1]}x{size[0]}, most of this camera are {usual[1]}x{usual[0]}"
            report.add("video_size_mixed", message, file, camera=camera.key)
    if camera.size is not None and camera.size != usual:
        declared = f"{camera.size[1]}x{camera.size[0]}"
        message = f"info.json declares {declared}, the videos are {usual[1]}x{usual[0]}"
        report.add("video_size", message, camera=camera.key)
    return [view for view in views if sizes[view.reel.file] == usual]


def _compare_settings(camera: Feature, views: Sequence[Viewed], report: Problems) -> None:
    settings = {view.reel.file: _settings(view.about) for view in views if view.about}
    usual = max(set(settings.values()), key=[*settings.values()].count)
    for file, (codec, pix_fmt, headers) in settings.items():
        if (codec, pix_fmt) != usual[:2]:
            message = f"{codec} {pix_fmt}, most of this camera are {usual[0]} {usual[1]}"
            report.add("codec_mixed", message, file, camera=camera.key)
        elif headers != usual[2]:
            message = f"{codec} with other settings than most of this camera"
            report.add("codec_mixed", message, file, camera=camera.key)


def _settings(about: VideoInfo) -> tuple[str, str, bytes]:
    """What must be the same for two files to be joined without encoding."""
    return about.codec, about.pix_fmt, about.headers


def _compare_description(dataset: Dataset, camera: Feature, view: Viewed, report: Problems) -> None:
    """What info.json says of the camera's videos, which LeRobot takes from the first of them."""
    from ...metadata.info import video_info

    described = camera.raw.get("info") or camera.raw.get("video_info")
    if not isinstance(described, dict) or not described:
        message = "info.json does not describe its videos"
        report.add("video_info", message, INFO, camera=camera.key, severity=Severity.NOTE)
        return
    true = video_info(dataset.root / view.reel.file)
    for key, value in true.items():
        if key in described and described[key] != value and key not in _OPEN_TO_TASTE:
            message = f"info.json says {key} {described[key]!r}, the videos are {value!r}"
            report.add("video_info", message, INFO, camera=camera.key)


def _words(error: EpisodedError, path: Path) -> str:
    return error.message.replace(str(path), "").lstrip(": ").removeprefix("is ")
