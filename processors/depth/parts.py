"""Keeping pieces of the work where no daemon does it: in the scratch folder, as long as that lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FolderParts:
    """The `Parts` of the use as a library: a folder of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path | None:
        """Where the piece lies; None when it is not kept."""
        path = self._folder / name
        return path if path.is_file() else None

    def keep(self, file: Path, name: str) -> Path:
        """Move the file into the folder."""
        return file.rename(self._folder / name)
