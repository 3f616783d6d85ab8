"""Names that are no data: what copying tools, desktops and file servers leave between the files of a recording."""

from __future__ import annotations

from typing import Final

_SUFFIXES: Final = (".part", ".partial", ".tmp", ".filepart", ".crdownload", "~")
_FOLDERS: Final = frozenset({"@eaDir", "__MACOSX", "lost+found"})
#: What is made of `clip.mp4` lies in `clip.mp4.out`.
OUTPUT_SUFFIX: Final = ".out"
VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".m4v", ".avi", ".webm")


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data.

    The leading dot covers rsync's temporary files (`.frame_000001.png.Xy12Zk`, `.~tmp~`), Syncthing's folders and our
    own control directory; the rest are partial downloads of browsers and SFTP clients, Synology's and macOS's, and what
    we made of a video that lies there by itself.
    """
    return name.startswith(".") or name.endswith(_SUFFIXES) or name in _FOLDERS or _is_output(name)


def is_video(name: str) -> bool:
    """Whether a file of this name is a video by itself."""
    return name.lower().endswith(VIDEO_SUFFIXES) and not is_ignored(name)


def _is_output(name: str) -> bool:
    return name.endswith(OUTPUT_SUFFIX) and name.removesuffix(OUTPUT_SUFFIX).lower().endswith(VIDEO_SUFFIXES)
