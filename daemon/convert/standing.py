"""How the export of a dataset stands, for whoever looks: from names, times and two small files, and light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..control import read_json
from ..snapshot import Export
from .place import FOLDER, beside, is_conversion

if TYPE_CHECKING:
    from pathlib import Path

    from ..control import ControlDir
    from ..scan import DatasetView

#: Below the result: since when the last pass that came to its end was at work. Unix seconds.
CONCLUDED: Final = f"{FOLDER}/concluded.json"
_EPISODE: Final = "episode_"


def standing(dataset: DatasetView, version: str | None, said: str | None = None) -> Export | None:
    """The export of a dataset whose pipeline wants `version`; None where it gets none.

    `said`: what the service says of it.
    """
    if version is None or not dataset.format.name.startswith("lerobot"):
        return None
    if (read_json(dataset.output / "meta/info.json") or {}).get("codebase_version") == version:
        return None  # it was received in this version
    result = beside(dataset.output, version)
    held = Held(result)
    ready = [episode for episode in dataset.episodes if episode.markers.ready]
    behind = sum(not held.has(episode.id, episode.control) for episode in ready)
    return Export(version, str(result), held.episodes, behind, said)


class Held:
    """What the export at `result` holds: so many `episodes`, the first of the dataset, as they were at one time."""

    def __init__(self, result: Path) -> None:
        self._since = (read_json(result / CONCLUDED) or {}).get("since")
        total = (read_json(result / "meta/info.json") or {}).get("total_episodes") if is_conversion(result) else 0
        self.episodes = total if isinstance(total, int) else 0

    def has(self, name: str, control: ControlDir) -> bool:
        """Whether it has an episode as this is now: one that was made anew since is not in there."""
        number = name.removeprefix(_EPISODE)
        if not number.isdecimal() or int(number) >= self.episodes or not isinstance(self._since, int | float):
            return False
        try:
            return (control.path / "ready").stat().st_mtime <= self._since
        except FileNotFoundError:
            return False
