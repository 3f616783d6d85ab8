"""In which video the frames of an episode lie, where `meta/episodes` does not say it.

A recorder that encodes as it goes puts one episode behind the other into a file, and is killed before it has written
where each of them begins. The rows say how long they are; when their frames and those of the files come out even, there
is only one way in which they can lie. When they do not, nothing is guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from glob import escape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from ..lerobot.v30.layout import FileIndex
from .lerobot_frames import folder_names, frame_folder
from .whole import mp4_ends

if TYPE_CHECKING:
    from pathlib import Path

    from .lerobot_v3_recording import Entry, Recording

_NUMBERED: Final = re.compile(r"chunk-(\d+)/file-(\d+)\.\w+$")


@dataclass(frozen=True, slots=True)
class Place:
    """The video file with the frames of one camera of one episode, and the frame of it with which they begin.

    `at` is the number of the file. `start` is None for a file of the episode's own. `counted`: it was found by
    counting, not by what is written. `left`: the video itself, where its recorder was about to put it into its place.
    """

    file: PurePosixPath
    at: FileIndex
    start: int | None = None
    counted: bool = False
    left: Path | None = None


def place_of(recording: Recording, key: str, index: int) -> Place:
    """Where the frames of a camera lie, or will lie once they are encoded.

    Raises InputError: `video_place_taken`, `videos_ambiguous`, `frames_ambiguous`, and what `media.video.probe` raises.
    """
    entry, own = recording.entries[index], recording.own_video(key, index)
    size = recording.head.chunks_size
    at = FileIndex(index // size, index % size)
    if span := entry.videos.get(key):
        start = round(Fraction(span.start_s) * recording.fps)
        alone = (span.file, start) == (own, 0) and _is_alone(recording, key, entry)
        return Place(span.file, at if alone else number_of(span.file), None if alone else start)
    without_frames = not _has_frames(recording, key, index)
    if without_frames and (place := _counted(recording, key).get(index)):
        return place
    _check_free(recording, key, index, own)
    return Place(own, at, left=_left(recording, key, index) if without_frames else None)


def _left(recording: Recording, key: str, index: int) -> Path | None:
    """A video that LeRobot made in a temporary folder of the dataset, and whose frames it has removed."""
    found = [path for path in recording.root.glob(f"tmp*/{escape(key)}_{index:03d}.mp4") if mp4_ends(path)]
    return found[0] if len(found) == 1 else None


def shared_videos(recording: Recording) -> list[PurePosixPath]:
    """The files with the frames of several episodes, by what is written of their places."""
    uses = Counter(span.file for entry in recording.entries.values() for span in entry.videos.values())
    return sorted(file for file, times in uses.items() if times > 1)


def number_of(file: PurePosixPath) -> FileIndex:
    """The number in a file's name, `chunk-000/file-000.mp4`; (-1, -1) for another name."""
    match = _NUMBERED.search(str(file))
    return FileIndex(int(match[1]), int(match[2])) if match else FileIndex(-1, -1)


def _is_alone(recording: Recording, key: str, entry: Entry) -> bool:
    """Whether no other episode lies in the same file."""
    own = entry.videos[key].file
    others = (other.videos.get(key) for other in recording.entries.values() if other.index != entry.index)
    return all(span is None or span.file != own for span in others)


def _check_free(recording: Recording, key: str, index: int, own: PurePosixPath) -> None:
    """LeRobot numbers on from the file of the last episode: files must be numbered in the order of the episodes."""
    for other in recording.entries.values():
        span = other.videos.get(key)
        if span is None or other.index == index:
            continue
        theirs, ours = number_of(span.file), number_of(own)
        if (theirs >= ours) if other.index < index else (theirs <= ours):
            raise InputError(
                "video_place_taken",
                f"{key} of episode {index} would become {own}, but episode {other.index} lies in {span.file} already",
                "convert the dataset with `episoded convert`, which numbers its videos anew",
            )


def _counted(recording: Recording, key: str) -> dict[int, Place]:
    """The places of those episodes that have neither frames nor a place, by the number of frames of the videos.

    Episodes lie in files in the order of both. Those whose place is written are met on the way, so that it makes no
    difference how many of a session are finished already.
    """
    from ..media.video import probe

    places: dict[int, Place] = {}
    entries = [entry for entry in recording.entries.values() if not _has_frames(recording, key, entry.index)]
    for file in _video_files(recording, key):
        known = _known_in(recording, key, file)
        at, frames, found, even = 0, probe(recording.root / file).frames, len(places), True
        while entries and at < frames:
            entry = entries[0]
            if key in entry.videos:
                if entry.videos[key].file != file:
                    break
                begin, end = known[entry.index]
                even &= begin == at
                at = end
            elif any(begin < at + entry.length and at < end for begin, end in known.values()):
                break
            else:
                places[entry.index] = Place(file, number_of(file), at, counted=True)
                at += entry.length
            entries.pop(0)
        if len(places) > found and not (even and at == frames):
            raise InputError(
                "videos_ambiguous",
                f"{file} has {frames} frames, the episodes that must lie in it {at}: nobody can say which are whose",
                "restore meta/episodes from where it was recorded, or record these episodes again; then retry",
            )
    return places


def _known_in(recording: Recording, key: str, file: PurePosixPath) -> dict[int, tuple[int, int]]:
    """Episode index -> first frame and the one behind the last, of those whose place in a video is written."""
    spans = {entry.index: entry.videos[key] for entry in recording.entries.values() if key in entry.videos}
    return {
        index: (round(Fraction(span.start_s) * recording.fps), round(Fraction(span.end_s) * recording.fps))
        for index, span in spans.items()
        if span.file == file
    }


def _video_files(recording: Recording, key: str) -> list[PurePosixPath]:
    """The videos of a camera in order, without those that are being made from the frames of an episode here."""
    own = {recording.own_video(key, index) for index in recording.entries if _has_frames(recording, key, index)}
    template = recording.head.video_path(key, 0, 0)
    found = (path.relative_to(recording.root) for path in (recording.root / template.parent.parent).glob("*/*.mp4"))
    numbered = (file for file in map(PurePosixPath, found) if number_of(file).chunk >= 0)
    return sorted((file for file in numbered if file not in own), key=number_of)


def _has_frames(recording: Recording, key: str, index: int) -> bool:
    names = folder_names(key, [camera.key for camera in recording.cameras])
    return frame_folder(recording.root, names, index) is not None
