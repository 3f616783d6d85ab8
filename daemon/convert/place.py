"""Where conversions lie, and how one is told from a dataset that was received. Imports next to nothing: scans ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..control import CONTROL

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = f"{CONTROL}/convert"


def beside(root: Path, version: str) -> Path:
    """Where the dataset at `root` lies in `version`: NAME_v30, NAME_v21 beside NAME."""
    return root.with_name(f"{root.name}_{version.replace('.', '')}")


def is_conversion(root: Path) -> bool:
    """Whether the dataset at `root` was made from another one by a conversion."""
    return (root / FOLDER / "source.json").is_file()
