"""The metadata of v3.0: many episodes in a file of rows and in a file of video, `meta/` as parquet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ...errors import InputError
from ...formats.lerobot_table import opened
from ..dataset import EpisodeEntry, VideoSpan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..dataset import Dataset, Stats
    from ..findings import Problems

EPISODES_FOLDER: Final = PurePosixPath("meta/episodes")
TASKS_TABLE: Final = PurePosixPath("meta/tasks.parquet")
_BATCH: Final = 256
#: What LeRobot needs of a row of meta/episodes.
_NEEDED: Final = ("episode_index", "length", "data/chunk_index", "data/file_index")
_RANGE: Final = ("dataset_from_index", "dataset_to_index")


def read(head: Dataset, report: Problems) -> Dataset:
    """The dataset with its tasks and episodes."""
    return replace(head, tasks=_tasks(head, report), episodes=tuple(_with_first_rows([*_episodes(head, report)])))


def episode_files(root: Path) -> list[PurePosixPath]:
    """The files of `meta/episodes`, in the order in which LeRobot puts their rows together."""
    return sorted(PurePosixPath(path.relative_to(root)) for path in (root / EPISODES_FOLDER).glob("*/*.parquet"))


def episode_rows(root: Path, report: Problems, *, stats: bool) -> Iterator[tuple[PurePosixPath, dict[str, Any]]]:
    """(file, row) of `meta/episodes`, a few at a time: without its statistics, or nothing but them."""
    for name in episode_files(root):
        try:
            with opened(root / name) as parquet:
                columns = [
                    column
                    for column in parquet.schema_arrow.names
                    if column == "episode_index" or column.startswith("stats/") == stats
                ]
                for batch in parquet.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False):
                    for row in batch.to_pylist():
                        yield name, row
        except InputError as error:
            report.add_error(error, name)


def episode_stats(dataset: Dataset, report: Problems) -> Iterator[tuple[int, Stats]]:
    """The columns `stats/{feature}/{statistic}` of `meta/episodes`, as nested as in v2.1."""
    for _, row in episode_rows(dataset.root, report, stats=True):
        stats: Stats = {}
        for column, value in row.items():
            if column.startswith("stats/") and value is not None:
                feature, _, statistic = column.removeprefix("stats/").rpartition("/")
                stats.setdefault(feature, {})[statistic] = value
        yield row.get("episode_index", -1), stats


def _tasks(head: Dataset, report: Problems) -> dict[int, str]:
    if not (head.root / TASKS_TABLE).is_file():
        report.add("tasks_missing", "there is no list of tasks", TASKS_TABLE)
        return {}
    tasks: dict[int, str] = {}
    try:
        with opened(head.root / TASKS_TABLE) as parquet:
            if not _texts_are_the_index(parquet.schema_arrow):
                report.add("tasks_index", "the texts are not noted as the index of a pandas frame", TASKS_TABLE)
            for row in parquet.read(use_threads=False).to_pylist():
                index = row.pop("task_index", None)
                # The text is the index of a pandas frame, its column is named by whoever wrote it.
                texts = [value for value in row.values() if isinstance(value, str)]
                if type(index) is not int or len(texts) != 1:
                    report.add("meta_invalid", "a row without `task_index` and the text of a task", TASKS_TABLE)
                elif tasks.setdefault(index, texts[0]) != texts[0]:
                    report.add("task_double", f"task {index} again, with another text", TASKS_TABLE)
    except InputError as error:
        report.add_error(error, TASKS_TABLE)
    return tasks


def _texts_are_the_index(schema: Any) -> bool:
    """Whether pandas makes the column of texts the index, as which LeRobot looks them up."""
    import pyarrow as pa

    noted = (schema.pandas_metadata or {}).get("index_columns", [])
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    return bool(noted == texts)


def _episodes(head: Dataset, report: Problems) -> Iterator[EpisodeEntry]:
    if not episode_files(head.root):
        report.add("episodes_missing", "there is no list of episodes", EPISODES_FOLDER)
        return
    seen: set[int] = set()
    for file, row in episode_rows(head.root, report, stats=False):
        wrong = [key for key in _NEEDED if type(row.get(key)) is not int or row[key] < 0]
        if wrong:
            report.add("meta_invalid", f"a row with `{wrong[0]}` {row.get(wrong[0])!r}, expected a number", file)
            continue
        index = row["episode_index"]
        if index in seen:
            report.add("episode_double", f"episode {index} again", file, episode=index)
            continue
        seen.add(index)
        table = head.table_path(row["data/file_index"], row["data/chunk_index"])
        yield _entry(row, table, _videos(head, row, file, report))


def _with_first_rows(episodes: list[EpisodeEntry]) -> Iterator[EpisodeEntry]:
    """Where the rows of each lie in its table: there they are in the order of the indices, whatever meta/ lists."""
    before: defaultdict[PurePosixPath, int] = defaultdict(int)
    first_rows = {}
    for episode in sorted(episodes, key=lambda episode: episode.index):
        first_rows[episode.index] = before[episode.table]
        before[episode.table] += episode.length
    return (replace(episode, first_row=first_rows[episode.index]) for episode in episodes)


def _entry(row: Mapping[str, Any], table: PurePosixPath, videos: Mapping[str, VideoSpan]) -> EpisodeEntry:
    return EpisodeEntry(
        index=row["episode_index"],
        length=row["length"],
        tasks=_texts(row.get("tasks")),
        table=table,
        first_row=0,
        videos=videos,
        dataset_range=(row[_RANGE[0]], row[_RANGE[1]]) if all(type(row.get(key)) is int for key in _RANGE) else None,
    )


def _videos(head: Dataset, row: Mapping[str, Any], file: PurePosixPath, report: Problems) -> dict[str, VideoSpan]:
    """The spans of the cameras; a camera without its four columns is reported and left out."""
    spans = {}
    for camera in head.cameras:
        chunk, number, start, end = (
            row.get(f"videos/{camera.key}/{name}")
            for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        )
        if type(chunk) is not int or type(number) is not int or not isinstance(start, int | float):
            report.add(
                "video_columns_missing",
                f"no place of the video of {camera.key}: the recording was never encoded, or never finalized",
                file,
                episode=row["episode_index"],
                camera=camera.key,
            )
            continue
        whole = float(end) if isinstance(end, int | float) else float(start + row["length"] / head.fps)
        spans[camera.key] = VideoSpan(head.video_path(camera.key, number, chunk), float(start), whole)
    return spans


def _texts(value: object) -> tuple[str, ...]:
    """The tasks of an episode: a list of texts, or, by some writers, one text."""
    if isinstance(value, str):
        return (value,)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
