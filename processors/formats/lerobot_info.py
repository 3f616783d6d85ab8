"""`meta/info.json` and `meta/episodes.jsonl` of a LeRobot v2.x dataset, read and checked.

Real files differ from what LeRobot itself writes: fractional rates, channel-first shapes, placeholders of v3.0 in a
v2.1 template. What is unambiguous is understood; the rest is refused by file and key, or by file and line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import InputError, RetryableError, from_os_error
from ..media.lfs import refuse_pointer
from .lerobot_templates import DEFAULT_TEMPLATES, fill, what_is_wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

INFO: Final = PurePosixPath("meta/info.json")
EPISODES: Final = PurePosixPath("meta/episodes.jsonl")
EPISODES_STATS: Final = PurePosixPath("meta/episodes_stats.jsonl")
STATS: Final = PurePosixPath("meta/stats.json")
TASKS: Final = PurePosixPath("meta/tasks.jsonl")

_CHUNKS_SIZE: Final = 1000
_HIGHEST_FPS: Final = 10_000
_CHANNELS: Final = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class CameraFeature:
    """A feature of dtype `video` or `image`; `shape` is (height, width), None where nothing usable is declared.

    `depth_info` is the `info` of a depth camera of LeRobot's (v3.0), None of any other.
    """

    key: str
    dtype: str
    shape: tuple[int, int] | None
    depth_info: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What the daemon needs of `meta/info.json`. `fps` in frames per second; `templates` by their key in the file."""

    version: tuple[int, int]
    fps: Fraction
    chunks_size: int
    templates: Mapping[str, str]
    cameras: tuple[CameraFeature, ...]

    def table(self, index: int) -> PurePosixPath:
        """The parquet file of an episode."""
        return self._path("data_path", index)

    def video(self, key: str, index: int) -> PurePosixPath:
        """The video of a camera of an episode."""
        return self._path("video_path", index, key)

    def frame_folder(self, key: str, index: int) -> PurePosixPath | None:
        """The folder of a camera's frames by the dataset's own template (DoRobot), or None when it has none."""
        return self._path("image_path", index, key).parent if "image_path" in self.templates else None

    def audio(self, key: str, index: int) -> PurePosixPath | None:
        """The sound file of a microphone of an episode (DoRobot), or None when the dataset has no sound."""
        return self._path("audio_path", index, key) if "audio_path" in self.templates else None

    def _path(self, template: str, index: int, key: str = "") -> PurePosixPath:
        return fill(self.templates[template], index, index // self.chunks_size, key)


def own_files(output: Path, info: DatasetInfo, index: int) -> tuple[PurePosixPath, ...]:
    """The files of one episode outside of `meta/` that are there: table, videos, sounds."""
    names = [info.table(index), *(info.video(camera.key, index) for camera in info.cameras)]
    if (sound := info.audio("*", index)) is not None:
        names += sorted(PurePosixPath(path.relative_to(output)) for path in output.glob(str(sound)))
    return tuple(name for name in names if (output / name).is_file())


def shared_files(output: Path) -> tuple[PurePosixPath, ...]:
    """Everything in `meta/` but temporary files."""
    found = (path for path in (output / "meta").rglob("*") if path.is_file() and not path.name.startswith("."))
    return tuple(sorted(PurePosixPath(path.relative_to(output)) for path in found))


class Places(Protocol):
    """Where the files of a camera are, whatever the version."""

    @property
    def cameras(self) -> tuple[CameraFeature, ...]:
        """The features of dtype `video` or `image`."""

    def video(self, key: str, index: int) -> PurePosixPath:
        """The video of a camera of an episode."""

    def frame_folder(self, key: str, index: int) -> PurePosixPath | None:
        """The folder of its frames by the dataset's own template, or None when it has none."""


class Layout(Places, Protocol):
    """The same, and where the rows are."""

    def table(self, index: int) -> PurePosixPath:
        """The parquet file with the rows of an episode."""


def episode_id(index: int) -> str:
    """The id of an episode: stable for ever, and in index order when sorted by name."""
    return f"episode_{index:06d}"


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises InputError (`lfs_pointer`, `meta_invalid`); see also `parse_object`."""
    return parse_object(_read(path), path)


def parse_object(content: bytes, path: Path) -> dict[str, Any]:
    """A JSON object from the content of `path`.

    Raises RetryableError (`meta_unsettled`) for a file that ends in the middle: recorders rewrite info.json in place,
    so a reader can meet half of it. Raises InputError (`meta_invalid`) for anything else that is not a JSON object.
    """
    try:
        value = json.loads(content)
    except UnicodeDecodeError as error:
        raise invalid(path, f"is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
            raise RetryableError(
                "meta_unsettled",
                f"{path} ends in the middle (line {error.lineno})",
                "the recorder may be writing it; tried again by itself",
            ) from error
        raise invalid(path, f"line {error.lineno}: {error.msg}") from error
    if not isinstance(value, dict):
        raise invalid(path, f"is a JSON {type(value).__name__}, not an object")
    return value


def read_info(path: Path) -> DatasetInfo:
    """Read and check `meta/info.json`.

    Raises InputError: `lfs_pointer`, `meta_invalid` (naming the key), `version_unsupported`.
    """
    return parse_info(read_object(path), path)


def parse_info(raw: Mapping[str, Any], path: Path) -> DatasetInfo:
    """The same from the object that `path` holds."""
    return DatasetInfo(
        version=_version(raw, path),
        fps=parse_fps(raw.get("fps"), path),
        chunks_size=_chunks_size(raw, path),
        templates=_templates(raw, path),
        cameras=_cameras(raw, path),
    )


def read_lengths(path: Path) -> dict[int, int]:
    """Episode index -> number of frames, from `meta/episodes.jsonl`, in index order; empty when there is no file.

    A last line that is cut off is one that is being written: it does not count. Raises InputError (`lfs_pointer`,
    `meta_invalid` naming the line).
    """
    try:
        text = _read(path).decode()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise invalid(path, f"is not UTF-8 text ({error.reason} at byte {error.start})") from error
    lengths: dict[int, int] = {}
    # Not splitlines(): a task text may hold U+2028 and the like, which are no line ends in JSON lines.
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                continue
            raise invalid(path, f"line {number}: {error.msg}") from error
        index, length = _episode_line(value, number, path)
        if lengths.setdefault(index, length) != length:
            raise invalid(path, f"line {number}: episode {index} again, with {length} frames, not {lengths[index]}")
    return dict(sorted(lengths.items()))


def parse_fps(value: object, path: Path) -> Fraction:
    """The nominal rate as an exact fraction: 30, 29.97, "33360/1411" and 23.642806520198441 (= 33360/1411) alike.

    29.97 stays 2997/100 and does not become 30000/1001: LeRobot places row k at k / 29.97 and looks for the frame
    there, 0.1 ms at most away, which the broadcast rate would exceed after 3,000 frames.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        fps = Fraction(value).limit_denominator(100_000)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise invalid(path, f"key `fps` is {value!r}, not a number of frames per second") from error
    if not 0 < fps <= _HIGHEST_FPS:
        raise invalid(path, f"key `fps` is {value!r}, expected above 0 and at most {_HIGHEST_FPS}")
    return fps


def invalid(path: Path, what: str) -> InputError:
    """The error for a metadata file that cannot be used, naming file and place."""
    return InputError("meta_invalid", f"{path}: {what}", "mend or restore this file, then retry")


def _read(path: Path) -> bytes:
    try:
        if path.is_fifo():
            raise invalid(path, "a named pipe, which would be waited for without end")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise from_os_error(error) from error
    refuse_pointer(content[:64], path)
    return content


def _version(raw: Mapping[str, Any], path: Path) -> tuple[int, int]:
    text = raw.get("codebase_version")
    match = re.fullmatch(r"v?(\d+)\.(\d+)", text) if isinstance(text, str) else None
    if match is None:
        raise invalid(path, f"key `codebase_version` is {text!r}, expected like 'v2.1'")
    version = (int(match[1]), int(match[2]))
    if version not in ((2, 0), (2, 1)):
        raise InputError(
            "version_unsupported",
            f"{path}: key `codebase_version` is {text!r}",
            "convert the dataset to v2.1 with LeRobot's own converter, then retry",
        )
    return version


def _chunks_size(raw: Mapping[str, Any], path: Path) -> int:
    size = raw.get("chunks_size", _CHUNKS_SIZE)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise invalid(path, f"key `chunks_size` is {size!r}, expected a number of episodes")
    return size


def _templates(raw: Mapping[str, Any], path: Path) -> dict[str, str]:
    templates = {**DEFAULT_TEMPLATES}
    for key in ("data_path", "video_path", "image_path", "audio_path"):
        if (template := raw.get(key)) is not None:
            if wrong := what_is_wrong(key, template):
                raise invalid(path, f"key `{key}`: {template!r} {wrong}")
            templates[key] = template
    return templates


def _cameras(raw: Mapping[str, Any], path: Path) -> tuple[CameraFeature, ...]:
    features = raw.get("features")
    if not isinstance(features, dict):
        raise invalid(path, f"key `features` is {type(features).__name__}, expected an object")
    cameras = []
    for key, feature in features.items():
        if not isinstance(feature, dict):
            raise invalid(path, f"key `features.{key}` is {type(feature).__name__}, expected an object")
        if (dtype := feature.get("dtype")) in ("video", "image"):
            if "/" in key or "\0" in key or key in ("", ".", ".."):
                raise invalid(path, f"key `features.{key}`: a camera's key must be a file name")
            cameras.append(CameraFeature(key, dtype, picture_size(feature)))
    return tuple(cameras)


def picture_size(feature: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a camera feature, whichever way round its shape is written; None when that is unclear."""
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        return None
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) != 3:
        return None
    last, first = shape[2] in _CHANNELS, shape[0] in _CHANNELS
    if first and (not last or (isinstance(names, list) and str(names[:1]).startswith("['channel"))):
        return shape[1], shape[2]
    return (shape[0], shape[1]) if last else None


def _episode_line(value: object, number: int, path: Path) -> tuple[int, int]:
    if not isinstance(value, dict):
        raise invalid(path, f"line {number}: not a JSON object")
    for key in ("episode_index", "length"):
        if type(value.get(key)) is not int or value[key] < 0:
            raise invalid(path, f"line {number}: key `{key}` is {value.get(key)!r}, expected a number from 0")
    return value["episode_index"], value["length"]
