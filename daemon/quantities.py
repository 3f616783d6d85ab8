"""Values as people write them in config.toml: sizes, times, absolute paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def _parse_size(value: object) -> object:
    """Bytes from a size as people write it: 20 GB, 512 MiB."""
    if not isinstance(value, str):
        return value
    number = value.strip().rstrip("BbKkMmGgTtIi ")
    unit = value.strip()[len(number) :].strip().upper() or "B"
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        raise ValueError('expected a size such as "20 GB" or "512 MiB"') from None


def _absolute(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_absolute():
        raise ValueError("expected an absolute path: a service has no working directory to start from")
    return Path(os.path.normpath(path))


def _auto_or_count(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError('expected "auto" or a whole number from 1 on')


def _gpus(value: object) -> object:
    if value in ("auto", 0) and not isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(one, (int, str)) for one in value):
        return tuple(value)
    raise ValueError('expected "auto", 0, or a list of GPUs such as [0, 1]')


Size = Annotated[int, BeforeValidator(_parse_size), Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Count = Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)]
Devices = Annotated[Literal["auto"] | Literal[0] | tuple[int | str, ...], BeforeValidator(_gpus)]
