"""Findings about what `meta/` says."""

from __future__ import annotations

from typing import Final

from .kind import HUB, REPAIR, RESTORE, Kind

_COUNT = "nothing is noticed; what is shown about the dataset is wrong"

META: Final = {
    "meta_missing": Kind("error", HUB, HUB, "episoded repair makes one from what the files hold", repairable=True),
    "meta_invalid": Kind(
        "error",
        "opening fails, or what the damaged part says is missing",
        "opening fails, or what the damaged part says is missing",
        RESTORE,
    ),
    "meta_byte_order": Kind(
        "error",
        "opening fails with JSONDecodeError",
        "opening fails with JSONDecodeError",
        "save the file as UTF-8 without a byte order mark",
    ),
    "version_unsupported": Kind(
        "error", "refused", "refused", "convert the dataset with the LeRobot release that knows this version"
    ),
    "info_key": Kind("error", "opening fails with KeyError", "opening fails with KeyError", REPAIR, repairable=True),
    "fps_wrong": Kind(
        "error",
        "opening fails: 'One or several timestamps unexpectedly violate the tolerance'",
        "opens, and gives rows other times than their pictures have: windows (delta_timestamps) have a wrong length",
        "episoded repair writes the rate of the time stamps and videos to info.json",
        repairable=True,
    ),
    "tasks_missing": Kind("error", HUB, HUB, REPAIR, repairable=True),
    "task_double": Kind(
        "error",
        "one of the two texts is taken for the rows of both",
        "one of the two texts is taken for the rows of both",
        "decide which text is right and remove the other",
    ),
    "task_order": Kind(
        "error",
        "",
        "opens, and gives rows the text of another task: it looks tasks up by the position of their line",
        REPAIR,
        repairable=True,
    ),
    "tasks_index": Kind(
        "error",
        "",
        "opens, and gives every row a number instead of the text of its task",
        REPAIR,
        repairable=True,
    ),
    "task_unknown": Kind(
        "error",
        "KeyError at the first row of that task, in the middle of training",
        "IndexError at the first row of that task, in the middle of training",
        "add the text of the task to the list of tasks: only who recorded it knows it",
    ),
    "episode_tasks": Kind(
        "warning",
        "nothing is noticed; the list of episodes is wrong about their tasks",
        "nothing is noticed; the list of episodes is wrong about their tasks",
        REPAIR,
        repairable=True,
    ),
    "episodes_missing": Kind("error", HUB, HUB, REPAIR, repairable=True),
    "episode_double": Kind(
        "error",
        "the later line is taken",
        "rows are found by their position: every later episode is read from another one's files",
        REPAIR,
        repairable=True,
    ),
    "episode_gap": Kind(
        "error",
        HUB,
        "rows are found by their position: IndexError, or another episode's video",
        REPAIR,
        repairable=True,
    ),
    "episode_order": Kind(
        "error",
        "",
        "opens, and silently returns another episode's video: rows are found by their position",
        REPAIR,
        repairable=True,
    ),
    "episode_empty": Kind(
        "error",
        "its statistics and index ranges break",
        "its index ranges break",
        "record it again, or take it out: its line in the list of episodes and its files",
    ),
    "total_episodes": Kind(
        "error",
        f"too many: {HUB}; too few: the last episodes are not seen",
        f"too many: {HUB}; too few: the last episodes are not seen",
        REPAIR,
        repairable=True,
    ),
    "total_frames": Kind(
        "error",
        "the length of the dataset is wrong: IndexError in the middle of an epoch, or rows that are never read",
        "the length of the dataset is wrong: IndexError in the middle of an epoch, or rows that are never read",
        REPAIR,
        repairable=True,
    ),
    "total_wrong": Kind("warning", _COUNT, _COUNT, REPAIR, repairable=True),
    "splits_wrong": Kind("warning", _COUNT, _COUNT, REPAIR, repairable=True),
    "range_wrong": Kind(
        "error",
        "",
        "windows over several frames (delta_timestamps) reach into other episodes, and so do samplers by episode",
        REPAIR,
        repairable=True,
    ),
    "column_undeclared": Kind(
        "warning",
        "the column is read but belongs to no feature: policies never see it",
        "opening fails with CastError: a table must hold the features of info.json and nothing else",
        "episoded repair declares it",
        repairable=True,
    ),
}
