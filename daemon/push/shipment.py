"""What goes over in one piece: a finished episode, or a dataset whose episodes share their files.

An episode of a LeRobot v2.x dataset is every file with its number in the path, and its lines in the files of `meta/`
that grow with each episode; one of DROID is a folder. Anything else is sent as a dataset, when all of it is whole.
Of what was encoded here already the videos go, in place of their frames.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from episoded.processors.errors import InputError
from episoded.processors.formats.names import is_ignored

from .encoded import encoded, is_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from episoded.processors.formats.base import Format

#: The layout whose datasets have a line for each episode.
LINED: Final = "lerobot"
_NUMBERED: Final = re.compile(r"episode[_-](\d+)")
#: Files of a dataset that grow by lines. The one that makes an episode known is `EPISODES`.
EPISODES: Final = "meta/episodes.jsonl"
STATISTICS: Final = "meta/episodes_stats.jsonl"
TASKS: Final = "meta/tasks.jsonl"
INFO: Final = "meta/info.json"
#: Rewritten by a v2.0 recorder after each episode.
AGGREGATE: Final = "meta/stats.json"
#: Files that belong to no episode go along with each, up to this size in bytes.
SHARED_UP_TO: Final = 16 << 20
#: What `meta/info.json` counts. Of the rest of it the server's word stands: it describes the videos made there.
_TOTALS: Final = ("total_episodes", "total_frames", "total_tasks", "total_chunks", "splits")


@dataclass(frozen=True)
class Sent:
    """One file of a shipment: its path in the dataset, size in bytes and mtime in ns when it was looked at."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Shipment:
    """`id`: of the episode, empty for a whole dataset. `files`: sorted by path.

    `grows`: files of the dataset (`meta/`) grow with the episode. `instead_of`: frames that are not sent, because
    videos among the files hold them; `verified`: path of such a video -> its sha256 when it was compared with them.
    """

    root: Path
    id: str
    files: tuple[Sent, ...]
    grows: bool = False
    instead_of: tuple[Sent, ...] = ()
    verified: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """For people and for folders."""
        return self.id or "dataset"

    @property
    def frames(self) -> bool:
        """Whether recorded pictures lie here, to be sent or held by what is sent."""
        return bool(self.instead_of) or any(is_frame(file.path) for file in self.files)

    def is_as_packed(self) -> bool:
        """Whether every file has the size and mtime that it had. Raises FileNotFoundError."""
        now = ((file, (self.root / file.path).stat()) for file in self.files)
        return all((file.size, file.mtime_ns) == (look.st_size, look.st_mtime_ns) for file, look in now)

    def manifest(self) -> bytes:
        """sha256 and path of every file, as sha256sum writes and checks them.

        Raises InputError (`video_damaged`) for a video that is not what was compared with the frames it stands for.
        """
        digests = {file.path: _digest(self.root / file.path) for file in self.files}
        damaged = [path for path, digest in self.verified.items() if digests[path] != digest.encode()]
        if damaged:
            raise InputError(
                "video_damaged",
                f"{self.root / damaged[0]} is not what was read back when it was encoded",
                f"its frames are still here: `episoded retry {self.root} --from encode`, then push again"
                if self.instead_of
                else "its frames are no longer here: put an undamaged copy of the video in its place",
            )
        return b"".join(b"%s  %s\n" % (digest, path.encode()) for path, digest in digests.items())


def is_by_episode(layout: Format, root: Path, episode: str) -> bool:
    """Whether the episodes of the dataset at `root`, this one among them, have files of their own."""
    return layout.name == LINED or layout.folder(root, episode) is not None


def pack(layout: Format, root: Path, episode: str, *, as_recorded: bool = False) -> Shipment:
    """Everything that belongs to an episode and to no other; the whole dataset for "".

    `as_recorded`: its frames, and nothing that was made of them here. Raises InputError (`name_unusable`, `symlink`).
    """
    if not episode:
        whole = Shipment(root, "", _looked_at(root, (path for _, path in _walk(root, lambda _: True))))
        return _without_frames(whole, layout.listing(root).episodes, as_recorded=as_recorded)
    if folder := layout.folder(root, episode):
        return Shipment(root, episode, _looked_at(root, (path for _, path in _walk(folder, lambda _: True))))
    index = _index(episode)
    packed = Shipment(root, episode, _looked_at(root, _files(root, lambda number: number == index)), grows=True)
    return _without_frames(packed, [episode], as_recorded=as_recorded)


def _without_frames(shipment: Shipment, episodes: Iterable[str], *, as_recorded: bool) -> Shipment:
    """Leave out the frames that videos made here hold; none, where one is not the one that its video was made of."""
    known = encoded(shipment.root, episodes)
    if as_recorded:
        return replace(shipment, files=tuple(file for file in shipment.files if file.path not in known.made))
    if not known.holds({file.path: (file.size, file.mtime_ns) for file in shipment.files}):
        return shipment
    kept = tuple(file for file in shipment.files if file.path not in known.frames)
    held = tuple(file for file in shipment.files if file.path in known.frames)
    return replace(shipment, files=kept, instead_of=held, verified=known.made)


def shared_files(root: Path) -> tuple[list[str], list[str]]:
    """Paths of what belongs to no episode (`meta/`, a card, a calibration), and of what is too large to go along.

    Without the files that grow by lines.
    """
    found = [path for number, path in _walk(root, lambda _: False) if number is None]
    paths = {str(path.relative_to(root)): path.stat().st_size for path in found}
    small = {path for path, size in paths.items() if size <= SHARED_UP_TO}
    return sorted(small - {EPISODES, STATISTICS, TASKS}), sorted(paths.keys() - small)


def new_lines(root: Path, episode: str) -> dict[str, bytes]:
    """What this episode adds to the files that grow by lines; of the tasks, all: which are new the server sees."""
    index, lines = _index(episode), {}
    for path in (EPISODES, STATISTICS):
        lines[path] = b"".join(line + b"\n" for line in _lines(root / path) if _says(line, index))
    lines[TASKS] = b"".join(line + b"\n" for line in _lines(root / TASKS))
    return {path: content for path, content in lines.items() if content}


def merged_info(ours: bytes, theirs: bytes | None, known: Iterable[Mapping[str, Any]]) -> bytes:
    """`meta/info.json` for the server: its own, or ours where it has none, with the totals of the `known` episodes.

    `known` are the lines of `meta/episodes.jsonl` that the server will have. Raises ValueError where one is no JSON.
    """
    value: dict[str, Any] = json.loads(theirs or ours)
    recorded: dict[str, Any] = json.loads(ours)
    episodes = list(known)
    counted = {
        "total_episodes": len(episodes),
        "total_frames": sum(int(line.get("length", 0)) for line in episodes),
        "total_chunks": -(-len(episodes) // int(recorded.get("chunks_size") or 1000)),
        "splits": {"train": f"0:{len(episodes)}"},
    }
    for key in _TOTALS:
        if key in recorded:
            value[key] = counted.get(key, recorded[key])
    return json.dumps(value, indent=4, ensure_ascii=False).encode()


def merged_statistics(ours: bytes, theirs: bytes | None, info: bytes) -> bytes:
    """`meta/stats.json` (v2.0) for the server: of cameras its own, made from the videos, of all else the recorder's.

    Raises ValueError where one is no JSON.
    """
    features = json.loads(info).get("features", {})
    cameras = {key for key, feature in features.items() if feature.get("dtype") in ("video", "image")}
    known: dict[str, Any] = json.loads(theirs or b"{}")
    value = json.loads(ours) | {key: known[key] for key in cameras & known.keys()}
    return json.dumps(value, indent=4, ensure_ascii=False).encode()


def episode_lines(root: Path) -> dict[str, dict[str, Any]]:
    """Episode id -> its line in `meta/episodes.jsonl`."""
    values = [json.loads(line) for line in _lines(root / EPISODES)]
    return {f"episode_{value['episode_index']:06d}": value for value in values}


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines; a last one that is still being written has no end, and does not count."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    *whole, rest = content.split(b"\n")
    if _is_json(rest):  # some writers leave the last line end out
        whole.append(rest)
    yield from (line for line in whole if line.strip())


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _says(line: bytes, index: int) -> bool:
    return bool(_is_json(line) and json.loads(line).get("episode_index") == index)


def _index(episode: str) -> int:
    match = _NUMBERED.fullmatch(episode)
    if match is None:
        raise ValueError(f"{episode!r} has no number")
    return int(match[1])


def _files(root: Path, wanted: Any) -> Iterator[Path]:
    return (path for number, path in _walk(root, wanted) if number is not None and wanted(number))


def _walk(root: Path, wanted: Any) -> Iterator[tuple[int | None, Path]]:
    """(episode number or None, path) of every file that is somebody's data; folders of unwanted episodes are left out.

    The number is the first in the path that names an episode: what lies in the folder of one is that one's.
    """
    for folder, names, files in os.walk(root):
        here = _number(Path(folder).relative_to(root).parts)
        names[:] = sorted(name for name in names if not is_ignored(name) and _may_hold(here, name, wanted))
        for name in sorted(files):
            if not is_ignored(name):
                yield (_number((name,)) if here is None else here), Path(folder, name)
        for name in names:
            if Path(folder, name).is_symlink():
                raise _symlink(Path(folder, name))


def _may_hold(here: int | None, name: str, wanted: Any) -> bool:
    number = _number((name,))
    return here is not None or number is None or bool(wanted(number))


def _number(parts: Iterable[str]) -> int | None:
    for part in parts:
        if match := _NUMBERED.match(part):
            return int(match[1])
    return None


def _looked_at(root: Path, paths: Iterable[Path]) -> tuple[Sent, ...]:
    found = []
    for path in paths:
        if path.is_symlink():
            raise _symlink(path)
        name, status = str(path.relative_to(root)), path.stat()
        if not name.isprintable() or "\\" in name:
            raise InputError("name_unusable", f"{name!r} cannot be sent under this name", "rename it, then push again")
        found.append(Sent(name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found, key=lambda file: file.path))


def _symlink(path: Path) -> InputError:
    return InputError("symlink", f"{path} is a symlink", "put the file itself in its place, then push again")


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()
