"""What the parts of a plan share: the findings, which of them are refused, and how episodes and rows will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .numbering import Numbering
from .rows import Rewriting

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from ..dataset import Dataset
    from ..findings import Finding


class Mending:
    """One dataset on its way to a plan: a finding is mended by a change, or refused with the reason."""

    def __init__(self, dataset: Dataset, findings: tuple[Finding, ...]) -> None:
        self.dataset = dataset
        self.findings = findings
        self.refusals: dict[Finding, str] = {}
        self.numbering = Numbering(dataset, findings, self.refusals)
        self.how: dict[PurePosixPath, Rewriting] = {}
        #: Findings about files whose whole content is made anew, whatever the catalogue says of such findings.
        self.made_anew: set[Finding] = set()

    def finds(self, *codes: str) -> list[Finding]:
        """The findings of these kinds that have not been refused."""
        return [finding for finding in self.findings if finding.code in codes and finding not in self.refusals]

    def refuse(self, finding: Finding, reason: str) -> None:
        """Leave a finding alone."""
        self.refusals.setdefault(finding, reason)

    def rewriting(self, table: PurePosixPath) -> Rewriting:
        """How the rows of a table change; not at all unless something was found."""
        return self.how.get(table, Rewriting())
