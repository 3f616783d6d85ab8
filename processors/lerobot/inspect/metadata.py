"""What `meta/` says, against itself."""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ...formats.lerobot_info import EPISODES, INFO, STATS
from ..v30.reading import EPISODES_FOLDER, TASKS_TABLE

if TYPE_CHECKING:
    from pathlib import Path

    from ..dataset import Dataset
    from ..findings import Problems

_COUNTERS: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def check_metadata(dataset: Dataset, report: Problems, *, listed: bool) -> None:
    """Counts, the order and the completeness of the episodes, the tasks, the tag in a git repository.

    `listed`: the list of the episodes could be read; what could not is not held against the counts.
    """
    if listed:
        _check_counts(dataset, report)
    _check_episodes(dataset, report)
    _check_tasks(dataset, report)
    _check_features(dataset, report)
    _check_byte_order_marks(dataset, report)
    _check_tag(dataset, report)


def _check_counts(dataset: Dataset, report: Problems) -> None:
    info, episodes = dataset.info, len(dataset.episodes)
    for key, code, true in (("total_episodes", "total_episodes", episodes), ("total_frames", "total_frames", None)):
        count = dataset.frames if true is None else true
        if info.get(key) != count:
            report.add(code, f"`{key}` is {info.get(key)!r}, there are {count}", INFO)
    others = {"total_tasks": len(dataset.tasks)}
    if dataset.version < (3, 0):
        others |= {
            "total_videos": episodes * len(dataset.cameras),
            "total_chunks": len({episode.index // dataset.chunks_size for episode in dataset.episodes}),
        }
    for key, count in others.items():
        if info.get(key) != count and not (key == "total_tasks" and not dataset.tasks):
            report.add("total_wrong", f"`{key}` is {info.get(key)!r}, there are {count}", INFO)
    if (splits := info.get("splits")) and not _whole(splits, episodes):
        report.add("splits_wrong", f"`splits` is {splits!r}, there are {episodes} episodes", INFO)


def _whole(splits: Any, episodes: int) -> bool:
    """Whether the splits are ranges that end with the last episode."""
    if not isinstance(splits, dict) or not all(isinstance(value, str) for value in splits.values()):
        return False
    ends = [value.partition(":")[2] for value in splits.values()]
    return all(end.isdigit() for end in ends) and max(map(int, ends)) == episodes


def _check_byte_order_marks(dataset: Dataset, report: Problems) -> None:
    """Editors on Windows write one; Python's json takes it in bytes, as we read, but not in text, as LeRobot does."""
    for name in (INFO, STATS):
        path = dataset.root / name
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(BOM_UTF8)) == BOM_UTF8:
                    report.add("meta_byte_order", "begins with a byte order mark", name)


def _check_episodes(dataset: Dataset, report: Problems) -> None:
    v3 = dataset.version >= (3, 0)
    file = EPISODES_FOLDER if v3 else EPISODES
    indices = [episode.index for episode in dataset.episodes]
    for episode in dataset.episodes:
        if episode.length == 0:
            report.add("episode_empty", "has no frames", file, episode=episode.index)
    absent = sorted(set(range(max(indices, default=-1) + 1)) - set(indices))
    if absent:
        named = ", ".join(map(str, absent[:5])) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        report.add("episode_gap", f"no episode {named}; the last is {max(indices)}", file)
    if v3 and indices != (wanted := sorted(indices)):
        first = next(place for place, index in enumerate(indices) if index != wanted[place])
        report.add("episode_order", f"row {first} is episode {indices[first]}", file, episode=indices[first])
    if v3:
        _check_ranges(dataset, report)


def _check_ranges(dataset: Dataset, report: Problems) -> None:
    start = 0
    for episode in sorted(dataset.episodes, key=lambda episode: episode.index):
        due = (start, start + episode.length)
        start += episode.length
        if episode.dataset_range is None:
            report.add("range_wrong", "no `dataset_from_index` and `dataset_to_index`", EPISODES_FOLDER)
            return
        if episode.dataset_range != due:
            found, wanted = (f"{first} to {last}" for first, last in (episode.dataset_range, due))
            message = f"`dataset_from_index` to `dataset_to_index` is {found}, its rows are {wanted}"
            report.add("range_wrong", message, EPISODES_FOLDER, episode=episode.index)


def _check_tasks(dataset: Dataset, report: Problems) -> None:
    if dataset.version >= (3, 0) and [*dataset.tasks] != [*range(len(dataset.tasks))]:
        place = next(place for place, index in enumerate(dataset.tasks) if index != place)
        report.add("task_order", f"row {place} is task {[*dataset.tasks][place]}", TASKS_TABLE)
    known = set(dataset.tasks.values())
    for episode in dataset.episodes:
        if known and (strange := [task for task in episode.tasks if task not in known]):
            message = f"{strange[0]!r} is not in the list of tasks"
            report.add("episode_tasks", message, episode=episode.index)


def _check_features(dataset: Dataset, report: Problems) -> None:
    for key in _COUNTERS:
        if key not in dataset.features:
            report.add("info_key", f"key `features.{key}` is missing", INFO)
    for feature in dataset.features.values():
        if not feature.shape:
            report.add("info_key", f"key `features.{feature.key}.shape` is {feature.raw.get('shape')!r}", INFO)


def _check_tag(dataset: Dataset, report: Problems) -> None:
    """A clone of a dataset repository must have a tag called like its version, or LeRobot does not find it by name."""
    git = dataset.root / ".git"
    if git.is_dir() and dataset.version_name not in _tags(git):
        report.add("tag_missing", f"the git repository has no tag {dataset.version_name}", PurePosixPath(".git"))


def _tags(git: Path) -> set[str]:
    tags = {str(path.relative_to(git / "refs/tags")) for path in (git / "refs/tags").rglob("*") if path.is_file()}
    packed = git / "packed-refs"
    lines = packed.read_text(errors="replace").splitlines() if packed.is_file() else []
    return tags | {line.partition("refs/tags/")[2] for line in lines if "refs/tags/" in line}
