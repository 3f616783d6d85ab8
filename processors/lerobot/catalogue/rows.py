"""Findings about the tables: the rows of the episodes."""

from __future__ import annotations

from typing import Final

from .kind import HUB, REPAIR, RESTORE, Kind

_WRONG_ROWS = "opens, and rows are taken for rows of another episode or another frame"

ROWS: Final = {
    "table_missing": Kind("error", HUB, HUB, RESTORE),
    "table_unreadable": Kind(
        "error", "opening fails with DatasetGenerationError", "opening fails with DatasetGenerationError", RESTORE
    ),
    "rows_mismatch": Kind(
        "error",
        "opening fails, or every index after this episode is off",
        "every index after this episode is off",
        "episoded repair takes the rows for the truth where all videos of the episode agree with them",
        repairable=True,
    ),
    "column_missing": Kind(
        "error",
        "opening fails with DatasetGenerationError where other tables have the column, else KeyError at the first row",
        "opening fails with CastError",
        "episoded repair makes the counters that can be reckoned; measured columns must be restored",
        repairable=True,
    ),
    "column_type": Kind(
        "warning",
        "opening fails where tables differ; else the values are taken as they are",
        "values are converted, or opening fails where that is impossible",
        "convert the column to what info.json declares, or correct info.json",
    ),
    "column_shape": Kind(
        "error",
        "opens; policies are built for another number of values than they are given",
        "opening fails with CastError or TypeError",
        "episoded repair declares it, where all tables agree",
        repairable=True,
    ),
    "column_dangling": Kind(
        "error",
        "opens, and gives what the column holds, paths, instead of the pictures of the video",
        "opening fails: the column is no feature of the dataset",
        "episoded repair takes it out",
        repairable=True,
    ),
    "frame_index": Kind("error", _WRONG_ROWS, _WRONG_ROWS, REPAIR, repairable=True),
    "episode_index": Kind("error", _WRONG_ROWS, _WRONG_ROWS, REPAIR, repairable=True),
    "row_index": Kind("error", _WRONG_ROWS, _WRONG_ROWS, REPAIR, repairable=True),
    "row_order": Kind(
        "error",
        _WRONG_ROWS,
        "opens; rows of one episode lie apart: samplers and windows read rows of others",
        "write the rows of an episode one after another; LeRobot's converter can read them only so",
    ),
    "timestamps": Kind(
        "error",
        "opening fails: 'One or several timestamps unexpectedly violate the tolerance'",
        "opens, and fails at the first such row, in the middle of training",
        "episoded repair sets them to frame / fps where the frames are in order: the videos are constant rate",
        repairable=True,
    ),
    "values_not_finite": Kind(
        "warning",
        "nothing is noticed; the loss of a training becomes NaN at this row",
        "nothing is noticed; the loss of a training becomes NaN at this row",
        "leave the episode out, or correct the values: only who recorded them knows what they should be",
    ),
}
