"""The pipelines that exist even when they are not written down, and what is written of them on top."""

from __future__ import annotations

from typing import Any, Final

from .stages import STAGES

#: A stage passes over the episodes that are not its own.
BUILT_IN: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "metadata-only": {"stages": ["metadata", "tracks"]},
    "depth": {"stages": ["depth"]},
    "full": {"stages": ["encode", "metadata", "tracks", "depth"], "depth": {"ways": ["stereo", "video", "none"]}},
}


def built_upon(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """What is written of a pipeline, over the built-in one of that name: key by key, also in the tables of its stages.

    A stage that its own list leaves out takes the built-in settings of that stage along.
    """
    base = BUILT_IN.get(name, {})
    stages = table.get("stages", base.get("stages"))
    taken = stages if isinstance(stages, (list, tuple)) else ()
    kept = {key: value for key, value in base.items() if key not in STAGES or key in taken}
    settings = {key: {**kept[key], **value} for key, value in table.items() if key in kept and isinstance(value, dict)}
    return kept | table | settings
