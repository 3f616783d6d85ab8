"""depth_meta.json: everything that is needed to read a depth video, to trust it, and to make it again.

`schema` is 1, and is raised when a key changes its meaning. docs/depth.md describes the keys; `describe` writes them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import InputError, from_os_error

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    AnyPath = TypeVar("AnyPath", Path, PurePosixPath)

SCHEMA: Final = 1


def beside(video: AnyPath) -> AnyPath:
    """Where the description of a depth video lies: `depth_meta.json` for `depth.mkv`, else its name with `.json`."""
    return video.with_name("depth_meta.json" if video.stem == "depth" else f"{video.stem}.json")


def to_json(meta: dict[str, Any]) -> bytes:
    """The file's content: a line for each key, so that people can read it although it lists every frame."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in meta.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read(path: Path) -> dict[str, Any]:
    """The description at `path`. Raises InputError: `depth_meta_missing`, `depth_meta_invalid`."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            "depth_meta_missing",
            f"{path} is not there: nothing says what the samples of the depth video mean, nor whether they are whole",
            "copy it from where the depth video came from",
        ) from error
    except OSError as error:
        raise from_os_error(error) from error
    except ValueError as error:
        raise _invalid(path, str(error)) from error
    if not isinstance(value, dict):
        raise _invalid(path, "it is no JSON object")
    return value


def checksums(meta: dict[str, Any], path: Path) -> list[int] | None:
    """CRC32 of each frame, or None where there are none (older pipelines). Raises InputError (`depth_meta_invalid`)."""
    if "crc32" not in meta:
        return None
    try:
        return [int(text, 16) for text in meta["crc32"]]
    except (TypeError, ValueError) as error:
        raise _invalid(path, f"crc32: {error}") from error


def _invalid(path: Path, why: str) -> InputError:
    return InputError("depth_meta_invalid", f"{path}: {why}", "copy it again from where the depth video came from")
