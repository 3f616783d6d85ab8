"""Finished pieces of a long unit, kept so that a killed attempt need not be repeated from its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import fsio

if TYPE_CHECKING:
    from pathlib import Path

    from .claim import Claim


class KeptParts:
    """The `Parts` of one unit: `<stage>/<unit>.parts/<key>/` in the control directory.

    `key` stands for what they were made with. Pieces made with anything else are removed at the first look; all go when
    the unit has its checkpoint.
    """

    def __init__(self, claim: Claim, stage: str, unit: str, key: str) -> None:
        self._claim = claim
        self._all = claim.control.path / stage / f"{unit}.parts"
        self._folder = self._all / key
        if self._all.is_dir():
            for folder in self._all.iterdir():
                if folder != self._folder:
                    fsio.remove_tree(folder)

    def path(self, name: str) -> Path | None:
        """Where the piece lies; None when it is not kept."""
        path = self._folder / name
        return path if path.is_file() else None

    def keep(self, file: Path, name: str) -> Path:
        """Link a finished file into the folder, durably. Raises ClaimLostError when the work is no longer ours."""
        self._claim.check()
        fsio.make_dirs(self._folder, below=self._claim.control.path)
        path = self._folder / name
        if path.exists():  # made by a generation that died before it could say so: made again, it is the same
            fsio.remove(path)
        fsio.publish_file(file, path)
        fsio.remove(file)
        return path

    def discard(self) -> None:
        """Remove all of them, if there are any."""
        if self._all.exists():
            fsio.remove_tree(self._all)
