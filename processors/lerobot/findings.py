"""What is wrong with a dataset: findings, each of a kind that the catalogue knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import InputError
from .catalogue import CATALOGUE, Kind

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath


class Severity(StrEnum):
    """`error`: LeRobot fails, now or in the middle of training, or reads something wrong. `note`: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where: `file` relative to the dataset, `episode` by index, `camera` by its key.

    `instead`: what to do about this one, where that is not what mends others with its code.
    """

    code: str
    severity: Severity
    message: str
    file: PurePosixPath | None = None
    episode: int | None = None
    camera: str | None = None
    instead: str = ""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.instead or self.kind.remedy

    @property
    def repairable(self) -> bool:
        """Whether `episoded repair` can do it."""
        return self.kind.repairable and not self.instead

    @property
    def kind(self) -> Kind:
        """What is known of all findings with this code."""
        return CATALOGUE[self.code]


class Problems:
    """Where a reader reports what it meets: collected, or, for the strict, raised at the first."""

    def __init__(self, root: Path, found: list[Finding] | None) -> None:
        self._root = root
        self._found = found

    def add(
        self,
        code: str,
        message: str,
        file: PurePosixPath | None = None,
        *,
        episode: int | None = None,
        camera: str | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Report a finding; raises it as InputError when nobody collects and it is an error.

        `severity`: where it is not what the catalogue says, because this version of the format bears it better.
        """
        finding = Finding(code, severity or Severity(CATALOGUE[code].severity), message, file, episode, camera)
        if self._found is not None:
            self._found.append(finding)
        elif finding.severity is Severity.ERROR:
            raise InputError(code, f"{self._root / file if file else self._root}: {message}", finding.remedy)

    def add_error(self, error: InputError, file: PurePosixPath, *, episode: int | None = None) -> None:
        """Report what a reader of one file raised; its code is one of the catalogue's, or `meta_invalid`."""
        if self._found is None:
            raise error
        code = error.code if error.code in CATALOGUE else "meta_invalid"
        message = error.message.replace(f"{self._root / file}", "").lstrip(": ").removeprefix("is ")
        self.add(code, message, file, episode=episode)
