"""What an inspection found, as data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..findings import Severity

if TYPE_CHECKING:
    from pathlib import Path

    from ..findings import Finding


@dataclass(frozen=True, slots=True)
class Report:
    """The findings about one dataset, the worst first. `version` is None where not even that could be read.

    `pictures` were decoded; `deep`: all there are.
    """

    root: Path
    version: str | None
    episodes: int
    frames: int
    cameras: int
    pictures: int
    deep: bool
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[Severity, int]:
        """How many findings of each severity."""
        counted = Counter(finding.severity for finding in self.findings)
        return {severity: counted[severity] for severity in Severity}

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return self.counts[Severity.ERROR]

    @property
    def warnings(self) -> int:
        """How many are warnings."""
        return self.counts[Severity.WARNING]

    @property
    def ok(self) -> bool:
        """Whether LeRobot will open the dataset and read from it what was recorded: nothing found is an error."""
        return not self.errors

    def groups(self) -> list[list[Finding]]:
        """The findings with the same code together, in the order of their severity."""
        together: dict[tuple[Severity, str], list[Finding]] = {}
        for finding in self.findings:
            together.setdefault((finding.severity, finding.code), []).append(finding)
        return [*together.values()]

    def as_json(self) -> dict[str, Any]:
        """The report as docs/verify.md describes it."""
        return {
            "dataset": str(self.root),
            "version": self.version,
            "ok": self.ok,
            "deep": self.deep,
            "episodes": self.episodes,
            "frames": self.frames,
            "cameras": self.cameras,
            "pictures_decoded": self.pictures,
            "counts": {str(severity): count for severity, count in self.counts.items()},
            "findings": [self._finding(finding) for finding in self.findings],
        }

    def consequence(self, finding: Finding) -> str:
        """What LeRobot makes of it, in the release that reads this version."""
        kind = finding.kind
        return kind.v3 if (self.version or "").startswith("v3") else kind.v2

    def _finding(self, finding: Finding) -> dict[str, Any]:
        return {
            "code": finding.code,
            "severity": str(finding.severity),
            "message": finding.message,
            "file": str(finding.file) if finding.file is not None else None,
            "episode": finding.episode,
            "camera": finding.camera,
            "in_lerobot": self.consequence(finding),
            "what_to_do": finding.remedy,
            "repairable": finding.repairable,
        }


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """The worst first, otherwise in the order in which they were found; what two readers met is said once."""
    rank = {severity: position for position, severity in enumerate(Severity)}
    once: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        once.setdefault(_place(finding), finding)
    return tuple(sorted(once.values(), key=lambda finding: rank[finding.severity]))


def _place(finding: Finding) -> tuple[object, ...]:
    """What makes two findings the same one: a pointer is one, whatever it was taken for."""
    message = "" if finding.code == "lfs_pointer" else finding.message
    return finding.code, finding.file, finding.episode, finding.camera, message
