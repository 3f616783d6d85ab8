"""Names that are no data: what copying tools, desktops and file servers leave between the files of a recording."""

from __future__ import annotations

from typing import Final

_SUFFIXES: Final = (".part", ".partial", ".tmp", ".filepart", ".crdownload", "~")
_FOLDERS: Final = frozenset({"@eaDir", "__MACOSX", "lost+found"})


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data.

    The leading dot covers rsync's temporary files (`.frame_000001.png.Xy12Zk`, `.~tmp~`), Syncthing's folders and our
    own control directory; the rest are partial downloads of browsers and SFTP clients, and Synology's and macOS's.
    """
    return name.startswith(".") or name.endswith(_SUFFIXES) or name in _FOLDERS
