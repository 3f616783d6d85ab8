"""The rows of one episode, as they stream by: counters, time stamps, values that are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..findings import Severity
from .moments import Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ..dataset import Dataset, EpisodeEntry
    from ..findings import Problems

#: Seconds by which a row's time may differ from its picture's: LeRobot's tolerance_s.
TOLERANCE_S: Final = 1e-4


class EpisodeRows:
    """Checks the rows of one episode; the first row that is wrong in each way is reported, and how many are."""

    def __init__(self, dataset: Dataset, entry: EpisodeEntry, start: int) -> None:
        """`start`: the index of its first row in the whole dataset."""
        self.entry = entry
        self.rows = 0
        self.moments: dict[str, Moments] = {}
        self.tasks: set[int] = set()
        self._dataset = dataset
        self._start = start
        self._wrong: dict[str, list[Any]] = {}

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Check the next rows: key -> (rows,) or (rows, d)."""
        count = len(next(iter(columns.values()))) if columns else 0
        numbers = np.arange(self.rows, self.rows + count)
        rate = float(self._dataset.fps)
        self._compare("frame_index", columns.get("frame_index"), numbers)
        self._compare("episode_index", columns.get("episode_index"), np.full(count, self.entry.index))
        self._compare("row_index", columns.get("index"), numbers + self._start)
        self._compare("timestamps", columns.get("timestamp"), numbers / rate, TOLERANCE_S)
        for key, values in columns.items():
            self._measure(key, values)
        if (tasks := columns.get("task_index")) is not None:
            self.tasks |= set(np.unique(tasks).tolist())
        self.rows += count

    def report(self, report: Problems) -> None:
        """Say what was wrong."""
        v2 = self._dataset.version < (3, 0)
        for code, (row, found, due, count) in self._wrong.items():
            more = f", and {count - 1} more rows" if count > 1 else ""
            message = _WORDS[code](row, found, due) + more
            # 0.3.3 never reads the column `index`: it counts the rows itself.
            mild = Severity.WARNING if code == "row_index" and v2 else None
            report.add(code, message, self.entry.table, episode=self.entry.index, severity=mild)
        if self._dataset.tasks and (strange := self.tasks - set(self._dataset.tasks)):
            message = f"rows with task_index {min(strange)}, of which the list of tasks knows nothing"
            report.add("task_unknown", message, self.entry.table, episode=self.entry.index)
        self._check_texts(report)

    def _check_texts(self, report: Problems) -> None:
        known = self._dataset.tasks
        texts = {known[task] for task in self.tasks if task in known}
        if texts and self.tasks <= set(known) and set(self.entry.tasks) <= {*known.values()}:
            unnamed = texts - set(self.entry.tasks)
            if unnamed:
                message = f"its rows have the task {min(unnamed)!r}, which its entry does not list"
                report.add("episode_tasks", message, episode=self.entry.index)

    def _measure(self, key: str, values: NDArray[Any]) -> None:
        if values.dtype.kind not in "fiub":
            return
        if values.dtype.kind == "f" and (bad := ~np.isfinite(values)).any():
            row = int(np.argwhere(bad)[0][0])
            self._note(f"values_not_finite:{key}", self.rows + row, values[row], key, int(bad.sum()))
            return
        flat = values.reshape(len(values), -1)
        self.moments.setdefault(key, Moments()).add(flat)

    def _compare(
        self, code: str, values: NDArray[Any] | None, due: NDArray[Any], tolerance: float | None = None
    ) -> None:
        if values is None or values.size != len(due) or values.dtype.kind not in "fiub":
            return
        values = values.ravel()  # some writers make lists of one
        with np.errstate(invalid="ignore"):
            # NaN is never within the tolerance.
            good = values == due if tolerance is None else np.abs(values.astype(np.float64) - due) < tolerance
        if not good.all():
            row = int(np.argmin(good))
            self._note(code, self.rows + row, values[row], due[row], int((~good).sum()))

    def _note(self, code: str, row: int, found: Any, due: Any, count: int) -> None:
        key = code.partition(":")[0]
        noted = self._wrong.setdefault(key, [row, found, due, 0])
        noted[3] += count


_WORDS: Final[dict[str, Callable[[int, Any, Any], str]]] = {
    "frame_index": lambda row, found, due: f"row {row} has frame_index {found} instead of {due}",
    "episode_index": lambda row, found, due: f"row {row} has episode_index {found} instead of {due}",
    "row_index": lambda row, found, due: f"row {row} has index {found} instead of {due}",
    "timestamps": lambda row, found, due: f"row {row} is at {float(found):.6g} s instead of {float(due):.6g} s",
    "values_not_finite": lambda row, found, due: f"row {row} of `{due}` is {found}",
}
