"""JSON lines, read one at a time: `meta/episodes.jsonl` and its siblings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import InputError, from_os_error
from ..media.lfs import refuse_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path, PurePosixPath

    from .findings import Problems


def objects(root: Path, name: PurePosixPath, report: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line of the file `name` below `root`.

    A line that is no object is reported (`meta_invalid`) and left out, so is a Git LFS pointer (`lfs_pointer`). Raises
    FileNotFoundError where there is no file.
    """
    path = root / name
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except OSError as error:
        raise from_os_error(error) from error
    with file:
        try:
            refuse_pointer(file.read(64), path)
        except InputError as error:
            report.add_error(error, name)
            return
        file.seek(0)
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError as error:
                    report.add("meta_invalid", f"line {number}: {error}", name)
                    continue
                if isinstance(value, dict):
                    yield number, value
                else:
                    report.add("meta_invalid", f"line {number}: not a JSON object", name)
