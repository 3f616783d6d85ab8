"""`meta/tasks.parquet` of v3.0: the task texts, whose row is their `task_index`.

LeRobot keeps it as a pandas frame with the texts as its index, and looks a task up by its position. What pandas needs
to see an index in the file is a note in its metadata, which is written here without pandas.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: The column of an index without a name, as pandas calls it.
_INDEX: Final = "__index_level_0__"
_NUMBER: Final = "task_index"


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the texts; `tasks[k]` is the task with `task_index` k."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({_NUMBER: pa.array(range(len(tasks)), pa.int64()), _INDEX: pa.array(tasks, pa.string())})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(_as_pandas_notes_it())}), path)


def read_tasks(path: Path) -> list[str]:
    """The texts, by their position; the index may have a name, as newer versions of LeRobot give it one."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    texts = next(name for name in table.column_names if name != _NUMBER)
    return [str(text) for text in table.column(texts).to_pylist()]


def _as_pandas_notes_it() -> dict[str, Any]:
    text = {"pandas_type": "unicode", "numpy_type": "object"}
    number = {"pandas_type": "int64", "numpy_type": "int64"}
    return {
        "index_columns": [_INDEX],
        "column_indexes": [{"name": None, "field_name": None, **text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": _NUMBER, "field_name": _NUMBER, **number, "metadata": None},
            {"name": None, "field_name": _INDEX, **text, "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": "0"},
        "pandas_version": "2.2.0",
    }
