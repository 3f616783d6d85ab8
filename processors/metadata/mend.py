"""What a dataset whose episodes are finished needs again after its recorder, or an upload, wrote over a shared file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..formats import LEROBOT, LEROBOT_V3

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..base import Edit


def mending_edits(layout: str, root: Path, output: Path) -> Sequence[Edit]:
    """The edits, by the name of the dataset's layout; none for one whose episodes share no file."""
    if layout == LEROBOT.name:
        from .edits import dataset_edits

        return dataset_edits(root, output)
    if layout == LEROBOT_V3.name:
        from . import edits_v3

        return edits_v3.dataset_edits(root, output)
    return ()
