"""Whether a folder may become, or go on being, the conversion of a dataset; and what of a dataset cannot be one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from episoded.processors.formats.lerobot_info import INFO, read_object
from episoded.processors.lerobot.convert.plan import MIB, Sizes
from episoded.processors.lerobot.v30.layout import DATA_FILE_MB, VIDEO_FILE_MB

from ..control import CONTROL
from ..errors import EpisodedError, InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from episoded.processors.lerobot.convert.examine import Examined

    from .records import Records

_ELSEWHERE: Final = "name another folder with --output, or move this one away"


def check_place(root: Path, records: Records) -> None:
    """A folder with anything else in it is left alone."""
    output = records.output
    if output.is_relative_to(root) or root.is_relative_to(output):
        raise UsageError("output_inside", f"{output} and {root} lie inside one another", "name a folder outside")
    if records.source() is None and output.exists():
        strangers = sorted(path.name for path in output.iterdir() if path.name != CONTROL)
        if strangers:
            what = f"{output} is there already, and is no conversion of {root}: it holds {strangers[0]}"
            raise UsageError("output_taken", what, _ELSEWHERE)


def introduce(records: Records, root: Path, before: str, version: str) -> None:
    """Say what is converted here, or find that it is this."""
    known = records.source()
    if known is not None:
        another = known.get("source") != str(root) and _is_dataset(known.get("source"))
        if another or known.get("to") != version:
            what = f"{records.output} is a conversion of {known.get('source')} to {known.get('to')}"
            raise UsageError("output_taken", what, _ELSEWHERE)
        _check_not_recorded_on(records)
    records.write("source.json", {"source": str(root), "from": before, "to": version})


def _is_dataset(path: object) -> bool:
    return isinstance(path, str) and (Path(path) / INFO).is_file()


def _check_not_recorded_on(records: Records) -> None:
    """Episodes that were recorded into the result are in no source: they must not be lost."""
    try:
        total = read_object(records.output / INFO).get("total_episodes")
    except FileNotFoundError:
        return
    except InputError:
        return
    if isinstance(total, int) and total > records.extent():
        what = f"{records.output} has {total} episodes, {records.extent()} were converted: it was recorded on"
        raise UsageError("output_recorded_on", what, "convert into another folder, and merge with LeRobot's own tools")


def check_extent(records: Records, count: int, left: Sequence[tuple[str, str]]) -> None:
    """Raise UsageError (`source_shrunk`) when the result would lose episodes that it has."""
    if count < (before := records.extent()):
        why = "; ".join(f"{name}: {reason}" for name, reason in left) or "they are gone"
        raise UsageError(
            "source_shrunk",
            f"{records.output} holds {before} episodes, only {count} can be converted now ({why})",
            "finish those of the source first, or convert into another folder",
        )


def check_sizes(root: Path, episodes: Sequence[Examined], cameras: Sequence[str]) -> None:
    """Raise InputError (`mixed_size`) where a camera's pictures change their size: no loader can batch them."""
    for key in cameras:
        first = episodes[0].parts[key]
        for one in episodes:
            part = one.parts[key]
            if part.kind.rpartition(" ")[2] != first.kind.rpartition(" ")[2]:
                raise InputError(
                    "mixed_size",
                    f"{root / part.path} is {part.kind}, while the camera's first video is {first.kind}",
                    "keep the episodes of one size in one dataset; LeRobot's own tools split one",
                )


def sizes_of(records: Records) -> Sizes:
    """As the result has them, or v3.0's own."""
    try:
        info = read_object(records.output / INFO)
    except (FileNotFoundError, EpisodedError):
        info = {}
    given = (info.get("data_files_size_in_mb"), info.get("video_files_size_in_mb"))
    data, video = (value if isinstance(value, int) and value > 0 else None for value in given)
    return Sizes((data or DATA_FILE_MB) * MIB, (video or VIDEO_FILE_MB) * MIB)
