"""From findings to a plan: which files are made anew, and which findings nothing in the dataset can mend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ...errors import EpisodedError
from ...formats.lerobot_info import INFO
from ..inspect import inspect_dataset
from ..reading import read_dataset
from .plan import Plan, Refusal, Write
from .rebuild import rebuilt_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..findings import Finding
    from ..inspect import Report
    from .mending import Mending

#: What is mended by the place of a row or picture in its episode.
_BY_LENGTH: Final = frozenset(
    {
        "frame_index",
        "episode_index",
        "row_index",
        "timestamps",
        "column_missing",
        "range_wrong",
        "video_span",
        "video_end",
        "video_drift",
        "episode_tasks",
    }
)
#: What keeps the pictures of a video from being seen.
_LOST: Final = frozenset({"lfs_pointer", "video_empty", "video_unreadable", "video_undecodable", "video_short"})
_INFO: Final = frozenset(
    {
        "info_key",
        "total_episodes",
        "total_frames",
        "total_wrong",
        "splits_wrong",
        "column_undeclared",
        "column_shape",
        "video_size",
        "video_info",
    }
)


def _unseen(done: int, total: int) -> None:
    """Progress that nobody watches."""


def plan_repair(root: Path, *, deep: bool = False, progress: Callable[[int, int], None] = _unseen) -> Plan:
    """What would mend the dataset at `root`, as far as its own files tell how; changes nothing.

    `deep`: what shows only when every picture is decoded, too. A dataset without a usable info.json, or with a wrong
    rate in it, gets a right one first: what else is wrong is mended in a second plan. Raises EpisodedError for what
    the system refuses.
    """
    report = inspect_dataset(root, deep=deep, progress=progress)
    if report.version is None:
        return _first(root, report)
    if (wrong := next((one for one in report.findings if one.code == "fps_wrong"), None)) is not None:
        return Plan(root, (_at_recorded_rate(root, wrong),), (wrong,), ())
    from .mending import Mending

    return _whole(Mending(read_dataset(root, []), report.findings))


def _first(root: Path, report: Report) -> Plan:
    """The plan for a dataset of which nothing can be read yet."""
    (finding,) = report.findings
    if finding.code not in ("meta_missing", "meta_invalid"):
        return Plan(root, (), (), (Refusal(finding, finding.remedy),))
    try:
        change = rebuilt_info(root)
    except EpisodedError as error:
        return Plan(root, (), (), (Refusal(finding, f"no info.json can be made: {error.message}"),))
    return Plan(root, (change,), (finding,), ())


def _at_recorded_rate(root: Path, wrong: Finding) -> Write:
    """info.json with the rate of the time stamps and videos, which the finding names last."""
    info = {**read_dataset(root, []).info, "fps": json.loads(wrong.message.split()[-1])}
    content = json.dumps(info, indent=4, ensure_ascii=False).encode()
    return Write(INFO, lambda path: path.write_bytes(content), wrong.message)


def _whole(mending: Mending) -> Plan:
    """The plan: each file that findings lead to is written anew once, from everything that is known."""
    from . import strays
    from .tables import mended_tables

    if mending.dataset.version >= (3, 0):
        from .meta_v30 import mended_meta
    else:
        from .meta_v21 import mended_meta
    _refuse_the_unseen(mending)
    if mending.dataset.version >= (3, 0):
        _refuse_other_lengths(mending)
    changes = [
        *mended_tables(mending),
        *mended_meta(mending),
        *strays.mended(mending),
        *_info(mending),
    ]
    for finding in mending.findings:
        if not finding.repairable and finding not in mending.made_anew:
            mending.refuse(finding, finding.remedy)
    mended = tuple(finding for finding in mending.findings if finding not in mending.refusals)
    refused = tuple(Refusal(finding, reason) for finding, reason in mending.refusals.items())
    return Plan(mending.dataset.root, tuple(changes), mended, refused)


def _refuse_the_unseen(mending: Mending) -> None:
    """Statistics of a camera are reckoned from its video, if that can be seen."""
    entries = {entry.index: entry for entry in mending.dataset.episodes}
    broken = {finding.file for finding in mending.findings if finding.code in _LOST}
    for finding in mending.findings:
        if finding.instead:
            mending.refuse(finding, finding.instead)
        if finding.code.startswith("stats_") and not mending.numbering.episodes:
            mending.refuse(finding, "nobody knows which episodes there are: mend the list of episodes first")
        entry = entries.get(finding.episode if finding.episode is not None else -1)
        if not finding.code.startswith("stats_") or finding.camera is None or entry is None:
            continue
        span = entry.videos.get(finding.camera)
        if span is None or span.file in broken or not (mending.dataset.root / span.file).is_file():
            mending.refuse(finding, "its pictures cannot be seen: mend its video first")


def _refuse_other_lengths(mending: Mending) -> None:
    """Where the rows say that an episode begins elsewhere than the list says, nothing that follows is known."""
    tables = [{one.file for one in mending.findings if one.code == code} for code in ("episode_index", "frame_index")]
    if not tables[0] & tables[1]:
        return
    for finding in mending.findings:
        if finding.code in _BY_LENGTH or finding.code.startswith("stats_"):
            mending.refuse(finding, "the rows and the list of episodes contradict each other about where each begins")


def _info(mending: Mending) -> Iterator[Write]:
    from .meta_info import mended_info

    found = mending.finds(*_INFO)
    if found or mending.numbering.is_new:
        reasons = [finding.message for finding in found] or ["the episodes have other numbers"]
        yield Write(INFO, lambda path: path.write_bytes(mended_info(mending)), "; ".join(dict.fromkeys(reasons)))
