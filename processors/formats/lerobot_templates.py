"""The path templates of `meta/info.json`: where the files of an episode are, by the dataset's own word."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from string import Formatter
from typing import Final

DEFAULT_TEMPLATES: Final = {
    "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
}
#: What a template must tell apart, or two files would have one path.
_NEEDED: Final = {"data_path": ("episode",), "video_path": ("episode", "camera"), "image_path": ("episode", "camera")}
#: Placeholders that v3.0 uses for the same things: real v2.1 datasets carry them.
_V3_PLACEHOLDERS: Final = {"chunk_index": "episode_chunk", "file_index": "episode_index"}
_NUMBERS: Final = ("episode_chunk", "episode_index", "frame_index", *_V3_PLACEHOLDERS)
_KEYS: Final = ("video_key", "image_key", "audio_key")
_NUMBER_SPEC: Final = re.compile(r"(0?[1-9]\d?)?d?")


def what_is_wrong(key: str, template: object) -> str:
    """Why `template` cannot be the path template called `key`, in words; empty when it can.

    A template from a dataset is somebody else's text: nothing but plain numbers and keys is ever filled in, and the
    path must stay inside the dataset.
    """
    if not isinstance(template, str):
        return "is not a path template"
    try:
        fields = [(name, spec or "", conversion) for _, name, spec, conversion in Formatter().parse(template)]
    except ValueError as error:
        return f"is not a path template: {error}"
    for name, spec, conversion in fields:
        number = name in _NUMBERS and _NUMBER_SPEC.fullmatch(spec)
        if name is not None and (conversion or not (number or (name in _KEYS and not spec))):
            return f"has an unknown placeholder {{{name}{':' if spec else ''}{spec}}}"
    if PurePosixPath(template).is_absolute() or ".." in PurePosixPath(template).parts:
        return "leads out of the dataset"
    names = {name for name, _, _ in fields}
    told = {"episode": names & {"episode_index", "file_index"}, "camera": names & set(_KEYS)}
    lacking = [what for what in _NEEDED.get(key, ()) if not told[what]]
    return f"is the same for every {lacking[0]}" if lacking else ""


def fill(template: str, index: int, chunk: int, key: str) -> PurePosixPath:
    """The path of a file of episode `index` in `chunk`, of the camera or microphone `key`."""
    numbers = {"episode_chunk": chunk, "chunk_index": chunk, "episode_index": index, "file_index": index}
    return PurePosixPath(template.format(**numbers, **dict.fromkeys(_KEYS, key), frame_index=0))


def as_lerobot_fills_it(template: str) -> str:
    """The template with the placeholder names that LeRobot v2.x knows; it gives the same paths."""
    for theirs, ours in _V3_PLACEHOLDERS.items():
        template = re.sub(rf"\{{{theirs}(?=[:}}])", f"{{{ours}", template)
    return template
