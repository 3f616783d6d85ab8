"""In which video the frames of an episode lie, where `meta/episodes` does not say it.

A recorder that encodes as it goes puts one episode behind the other into a file, and is killed before it has written
where each of them begins. The rows say how long they are; when their frames and those of the files come out even, there
is only one way in which they can lie. When they do not, nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ..errors import InputError
from .lerobot_frames import folder_names, frame_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePosixPath

    from .lerobot_v3_recording import Entry, Recording


@dataclass(frozen=True, slots=True)
class Place:
    """The video file with the frames of one camera of one episode, and the frame of it with which they begin.

    `start` is None for a file of the episode's own. `counted`: it was found by counting, not by what is written.
    """

    file: PurePosixPath
    start: int | None = None
    counted: bool = False


def place_of(recording: Recording, key: str, index: int) -> Place:
    """Where the frames of a camera lie, or will lie once they are encoded.

    Raises InputError: `video_place_taken`, `videos_ambiguous`, `frames_ambiguous`, and what `media.video.probe` raises.
    """
    entry, own = recording.entries[index], recording.own_video(key, index)
    if span := entry.videos.get(key):
        start = round(Fraction(span.start_s) * recording.fps)
        return Place(span.file, None if (span.file, start) == (own, 0) and _is_alone(recording, key, entry) else start)
    if not _has_frames(recording, key, index) and (place := _counted(recording, key).get(index)):
        return place
    _check_free(recording, key, index, own)
    return Place(own)


def _is_alone(recording: Recording, key: str, entry: Entry) -> bool:
    """Whether no other episode lies in the same file."""
    own = entry.videos[key].file
    others = (other.videos.get(key) for other in recording.entries.values() if other.index != entry.index)
    return all(span is None or span.file != own for span in others)


def _check_free(recording: Recording, key: str, index: int, own: PurePosixPath) -> None:
    """LeRobot numbers on from the file of the last episode: files must be numbered in the order of the episodes."""
    for other in recording.entries.values():
        span = other.videos.get(key)
        if span and ((span.file >= own) if other.index < index else (span.file <= own)):
            raise InputError(
                "video_place_taken",
                f"{key} of episode {index} would become {own}, but episode {other.index} lies in {span.file} already",
                "convert the dataset with `episoded convert`, which numbers its videos anew",
            )


def _counted(recording: Recording, key: str) -> dict[int, Place]:
    """The places of those episodes that have neither frames nor a place, by the number of frames of the videos."""
    from ..media.video import probe

    places: dict[int, Place] = {}
    waiting = _homeless(recording, key)
    following = next(waiting, None)
    for file in _video_files(recording, key):
        if following is None:
            break
        at, frames = _claimed(recording, key, file), probe(recording.root / file).frames
        begun = at
        while following is not None and at + following.length <= frames:
            places[following.index] = Place(file, at, counted=True)
            at += following.length
            following = next(waiting, None)
        if at != frames and at != begun:
            raise InputError(
                "videos_ambiguous",
                f"{file} has {frames} frames; with the episodes before, {at} of them have rows: nobody can say which",
                "record these episodes again, or restore meta/episodes from where it was recorded, then retry",
            )
    return places


def _homeless(recording: Recording, key: str) -> Iterator[Entry]:
    for entry in recording.entries.values():
        if key not in entry.videos and not _has_frames(recording, key, entry.index):
            yield entry


def _claimed(recording: Recording, key: str, file: PurePosixPath) -> int:
    """The frames at the start of a video that belong to episodes whose place is written."""
    spans = (entry.videos.get(key) for entry in recording.entries.values())
    ends = [round(Fraction(span.end_s) * recording.fps) for span in spans if span and span.file == file]
    return max(ends, default=0)


def _video_files(recording: Recording, key: str) -> list[PurePosixPath]:
    """The videos of a camera in order, without those that are being made from the frames of an episode here."""
    own = {
        recording.own_video(key, index) for index in recording.entries if _has_frames(recording, key, index)
    }
    template = recording.head.video_path(key, 0, 0)
    found = (path.relative_to(recording.root) for path in (recording.root / template.parent.parent).glob("*/*.mp4"))
    return sorted(file for file in map(type(template), found) if file not in own)


def _has_frames(recording: Recording, key: str, index: int) -> bool:
    names = folder_names(key, [camera.key for camera in recording.cameras])
    return frame_folder(recording.root, names, index) is not None
