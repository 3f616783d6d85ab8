"""Findings about files: what is not what it seems, and what does not belong there."""

from __future__ import annotations

from typing import Final

from .kind import Kind

_POINTER = "the file cannot be read: opening, or reading the first picture, fails with an unrelated message"

FILES: Final = {
    "repair_unfinished": Kind(
        "error",
        "files of the repair are not all in their places",
        "files of the repair are not all in their places",
        "episoded repair PATH again: it goes on where it was",
        repairable=True,
    ),
    "lfs_pointer": Kind("error", _POINTER, _POINTER, "run `git lfs pull` in the dataset"),
    "data_stray": Kind(
        "error",
        "opening fails with DatasetGenerationError: every file below data/ is taken for a table",
        "",
        "episoded repair moves it out of data/",
        repairable=True,
    ),
    "table_stray": Kind(
        "error",
        "opening fails or has rows that belong to no episode; resuming a recording fails: 0.3.3 counts *.parquet files",
        "its rows are read with the others: every index after them is off (a warning where it comes last by its name)",
        "episoded repair moves it out of the dataset's folders",
        repairable=True,
    ),
    "video_stray": Kind(
        "warning",
        "reading is fine; resuming a recording fails: 0.3.3 counts the *.mp4 files. Its converter to v3.0 joins it to "
        "its neighbours and shifts every later episode",
        "reading is fine",
        "episoded repair moves it out of the dataset's folders",
        repairable=True,
    ),
    "parquet_stray": Kind(
        "warning",
        "reading is fine; resuming a recording fails: 0.3.3 counts the *.parquet files",
        "reading is fine",
        "episoded repair moves it out of the dataset's folders",
        repairable=True,
    ),
    "unfinished_copy": Kind(
        "warning",
        "reading is fine, unless it lies below data/",
        "reading is fine",
        "wait for the copy to end, or remove what it left behind",
    ),
    "symlink_outside": Kind(
        "warning",
        "reading is fine here; a copy or an upload of the dataset lacks the file",
        "reading is fine here; a copy or an upload of the dataset lacks the file",
        "replace the symlink by the file itself",
    ),
    "tag_missing": Kind(
        "warning",
        "loading it from the Hub by name fails: LeRobot looks for a tag called like the version",
        "loading it from the Hub by name fails: LeRobot looks for a tag called like the version",
        "git tag VERSION && git push --tags",
    ),
    "frames_unencoded": Kind(
        "error",
        "its video is not there: opening falls through to the Hub",
        "its video is not there: opening falls through to the Hub, or KeyError 'videos/…/chunk_index'",
        "episoded process PATH",
    ),
    "frames_orphaned": Kind(
        "warning",
        "never read; a recorder that resumes may take them for the frames of its next episode",
        "never read; a recorder that resumes may take them for the frames of its next episode",
        "record the episode again, or remove the frames by hand once you are sure",
    ),
    "frames_left": Kind(
        "note",
        "never read",
        "never read",
        "remove them once you are sure that nobody wants them; `remove_inputs` of the pipeline does it by itself",
    ),
}
