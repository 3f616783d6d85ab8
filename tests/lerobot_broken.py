"""Ways in which LeRobot datasets are broken in the wild, each with what `episoded verify` must say of it.

A variant spoils a finished dataset of three episodes of six frames of two cameras: of v2.1, or the same as v3.0 with
the episodes of a camera joined into one file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lerobot_data import POINTER, TOP, WRIST, change_info, lines_of, table, video
from lerobot_v30 import data_table, read_episodes, video_file, write_episodes

Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Variant:
    """`codes`: exactly what must be found. `deep`: only with every picture decoded."""

    version: str
    spoil: Spoil
    codes: frozenset[str]
    deep: bool = False


def variant(version: str, spoil: Spoil, *codes: str, deep: bool = False) -> Variant:
    return Variant(version, spoil, frozenset(codes), deep)


def change_lines(path: Path, change: Callable[[list[Any]], object]) -> None:
    lines = lines_of(path)
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def change_table(path: Path, **columns: Callable[[np.ndarray[Any, Any]], Any] | None) -> None:
    """Replace columns by what is made of them; None: drop the column."""
    rows = pq.read_table(path)
    for key, change in columns.items():
        place = rows.schema.get_field_index(key)
        if change is None:
            rows = rows.remove_column(place)
        else:
            field = rows.schema.field(key)
            values = change(rows.column(key).to_numpy())
            rows = rows.set_column(place, field.name, pa.array(values).cast(field.type))
    pq.write_table(rows, path)


def change_episodes(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = read_episodes(root)
    change(rows)
    write_episodes(root, rows)


def refilm(path: Path, *, size: tuple[int, int] | None = None, codec: str = "libx264", frozen: bool = False) -> None:
    """Encode a video anew, smaller, in another codec, or as one picture all the time."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(f"{path}.new", "w", format="mp4") as out:
        stream: Any = out.add_stream(
            codec, rate=30, options={"g": "2", "bf": "0", "crf": "18"} if codec == "libx264" else {}
        )
        stream.width, stream.height = size or (pictures[0].shape[1], pictures[0].shape[0])
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pictures[0] if frozen else picture, format="rgb24")
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    Path(f"{path}.new").replace(path)


def remux(path: Path, at: Callable[[int], Fraction], picks: Sequence[int] | None = None) -> None:
    """The same coded pictures (or `picks` of them), the k-th shown at `at(k)` seconds."""
    clock = Fraction(1, 90_000)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
    with av.open(str(path)) as container, av.open(f"{path}.new", "w", format="mp4") as out:
        copy = out.add_stream_from_template(container.streams.video[0])
        copy.time_base = clock
        for number, pick in enumerate(picks if picks is not None else range(len(packets))):
            packet = av.Packet(bytes(packets[pick]))
            packet.is_keyframe, packet.stream, packet.time_base = packets[pick].is_keyframe, copy, clock
            packet.pts = packet.dts = round(at(number) / clock)
            out.mux(packet)
    Path(f"{path}.new").replace(path)


def steady(rate: Fraction | int = 30, start: Fraction | int = 0) -> Callable[[int], Fraction]:
    return lambda number: start + number / Fraction(rate)


def uneven(number: int) -> Fraction:
    """One picture in the middle is shown 10 ms late."""
    return Fraction(number, 30) + (Fraction(1, 100) if number == 3 else 0)


def drifting(number: int) -> Fraction:
    """As Debian's ffmpeg concat leaves it: each episode begins where the last one ended in whole milliseconds."""
    return Fraction(number, 30) + number // 6 * Fraction(2, 3000)


def cut_off(path: Path, part: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def damage_inside(path: Path) -> None:
    """Zeros in place of the coded pictures of the second half: packets are there and cannot be decoded."""
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    length = int.from_bytes(content[start - 8 : start - 4])
    content[start + length // 3 : start + length - 8] = bytes(length - 8 - length // 3)
    path.write_bytes(content)


def noise_inside(path: Path) -> None:
    """Other bytes in the middle of a coded picture: it comes out of the decoder all the same, painted over."""
    with av.open(str(path)) as container:
        _, packet, *_ = [packet for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
        start, end = packet.pos + packet.size // 4, packet.pos + packet.size
    content = path.read_bytes()
    noise = np.random.RandomState(0).bytes(end - start)
    path.write_bytes(content[:start] + noise + content[end:])


def mark_byte_order(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def append(path: Path, value: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(value) + "\n")


def double(lines: list[Any]) -> None:
    lines.append(lines[1])


def without(root: Path, name: str) -> None:
    (root / name).unlink()


def put(root: Path, name: str, content: bytes = b"{}") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def gap_v21(root: Path) -> None:
    """Episodes 0, 1, 3, as a fixed bug of DoRobot left them."""
    for path in [*root.rglob("episode_000002.*")]:
        path.rename(path.with_name(path.name.replace("000002", "000003")))
    change_table(table(root, 3), episode_index=lambda column: column + 1)
    for name in ("episodes", "episodes_stats"):
        change_lines(root / f"meta/{name}.jsonl", lambda lines: lines[2].update(episode_index=3))
    shutil.rmtree(root / ".episoded")


def tasks_out_of_order(root: Path) -> None:
    """A second task before the one that all rows have."""
    rows = pq.read_table(root / "meta/tasks.parquet")
    more = pa.table({"task_index": [1], "__index_level_0__": ["Put it back."]}).cast(rows.schema)
    pq.write_table(pa.concat_tables([more, rows]), root / "meta/tasks.parquet")
    change_info(root, lambda info: info.update(total_tasks=2))


def tasks_without_index(root: Path) -> None:
    """As a tool writes them that does not know of pandas: the texts in a column like any other."""
    rows = pq.read_table(root / "meta/tasks.parquet")
    pq.write_table(
        rows.rename_columns(["task_index", "task"]).replace_schema_metadata(None), root / "meta/tasks.parquet"
    )


def overflow(entry: dict[str, Any]) -> None:
    entry["std"] = [[[0.0]]] * 3


def not_a_number(entry: dict[str, Any]) -> None:
    entry["std"][1] = float("nan")


def of_another(entry: dict[str, Any]) -> None:
    entry["mean"][1] += 3


def of_other_pictures(entry: dict[str, Any]) -> None:
    entry["mean"] = [[[0.5 * channel[0][0]]] for channel in entry["mean"]]
    entry["min"] = [[[0.0]]] * 3


def short_spans(rows: list[dict[str, Any]]) -> None:
    """As one writer does it: the end is the time of the last picture."""
    for row in rows:
        row[f"videos/{TOP}/to_timestamp"] = row[f"videos/{TOP}/from_timestamp"] + 5 / 30


def nan_in_the_rows(path: Path) -> None:
    rows = pq.read_table(path)
    kind, values = rows.schema.field("action").type, rows["action"].combine_chunks().flatten().to_numpy().copy()
    values[7] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), kind.list_size)
    pq.write_table(rows.set_column(rows.schema.get_field_index("action"), "action", column), path)


def as_doubles(path: Path) -> None:
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("timestamp")
    pq.write_table(rows.set_column(place, "timestamp", rows["timestamp"].cast(pa.float64())), path)


def forget(root: Path, start: str) -> None:
    """Take the columns that begin with `start` out of meta/episodes."""
    rows = [{key: value for key, value in row.items() if not key.startswith(start)} for row in read_episodes(root)]
    write_episodes(root, rows)


def another_codec(root: Path) -> None:
    change_info(root, lambda info: info["features"][TOP]["info"].update({"video.codec": "av1"}))


def every(root: Path, **how: Any) -> None:
    for index in range(3):
        refilm(video(root, TOP, index), **how)


def spoil_stats(change: Callable[[dict[str, Any]], object], key: str = TOP) -> Spoil:
    def spoil(root: Path) -> None:
        change_lines(root / "meta/episodes_stats.jsonl", lambda lines: change(lines[1]["stats"][key]))

    return spoil


def spoil_total(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(root: Path) -> None:
        stats = json.loads((root / "meta/stats.json").read_text())
        change(stats)
        (root / "meta/stats.json").write_text(json.dumps(stats))

    return spoil


def pngs(root: Path, episode: int, numbers: range, key: str = TOP) -> None:
    for number in numbers:
        put(root, f"images/{key}/episode_{episode:06d}/frame_{number:06d}.png", b"\x89PNG\r\n\x1a\n")


def info(**values: Any) -> Spoil:
    return lambda root: change_info(root, lambda info: info.update(values))


def feature(key: str, **values: Any) -> Spoil:
    return lambda root: change_info(root, lambda info: info["features"][key].update(values))


def swap(rows: list[Any], one: int, other: int) -> None:
    rows[one], rows[other] = rows[other], rows[one]


V21: Final = "v2.1"
V30: Final = "v3.0"

VARIANTS: Final[dict[str, Variant]] = {
    # files
    "a pointer for a video": variant(V21, lambda root: video(root).write_bytes(POINTER), "lfs_pointer"),
    "a pointer for a table": variant(V30, lambda root: data_table(root).write_bytes(POINTER), "lfs_pointer"),
    "json below data": variant(V21, lambda root: put(root, "data/chunk-000/quality.json"), "data_stray"),
    "json below data, v3.0": variant(V30, lambda root: put(root, "data/chunk-000/quality.json")),
    "a table too many": variant(
        V21, lambda root: shutil.copy(table(root), root / "data/chunk-000/extra.parquet"), "table_stray"
    ),
    "a table too many, v3.0": variant(
        V30, lambda root: shutil.copy(data_table(root), data_table(root, 7)), "table_stray"
    ),
    "a table before the others": variant(
        V30,
        lambda root: pq.write_table(pq.read_table(data_table(root))[12:], root / "data/chunk-000/copy.parquet"),
        "table_stray",
    ),
    "a table elsewhere": variant(V21, lambda root: shutil.copy(table(root), root / "copy.parquet"), "parquet_stray"),
    "a video too many": variant(V21, lambda root: shutil.copy(video(root), root / "preview.mp4"), "video_stray"),
    "a copy broken off": variant(V21, lambda root: put(root, "videos/x.mp4.part"), "unfinished_copy"),
    "no tag": variant(V21, lambda root: put(root, ".git/HEAD"), "tag_missing"),
    "another tag": variant(V21, lambda root: put(root, ".git/refs/tags/v1.0"), "tag_missing"),
    "the tag": variant(V21, lambda root: put(root, ".git/packed-refs", b"00 refs/tags/v2.1\n")),
    "frames not encoded": variant(
        V21, lambda root: (video(root).unlink(), pngs(root, 0, range(6))), "frames_unencoded"
    ),
    "frames of nobody": variant(V21, lambda root: pngs(root, 3, range(4)), "frames_orphaned"),
    "frames left": variant(V21, lambda root: pngs(root, 0, range(9)), "frames_left"),
    # meta
    "no tasks": variant(V21, lambda root: without(root, "meta/tasks.jsonl"), "tasks_missing"),
    "no tasks, v3.0": variant(V30, lambda root: without(root, "meta/tasks.parquet"), "tasks_missing"),
    "tasks out of order": variant(V30, tasks_out_of_order, "task_order"),
    "tasks without an index": variant(V30, tasks_without_index, "tasks_index"),
    "a task unknown": variant(
        V21, lambda root: change_table(table(root, 1), task_index=lambda column: column + 5), "task_unknown"
    ),
    "another task listed": variant(
        V21,
        lambda root: (
            put(
                root, "meta/tasks.jsonl", b'{"task_index":0,"task":"Fetch the red ball."}\n{"task_index":1,"task":"B"}'
            ),
            change_info(root, lambda info: info.update(total_tasks=2)),
            change_table(table(root, 1), task_index=lambda column: column + 1),
        ),
        "episode_tasks",
    ),
    "another rate": variant(V21, info(fps=25), "fps_wrong"),
    "another rate, v3.0": variant(V30, info(fps=25), "fps_wrong"),
    "no episodes": variant(V21, lambda root: without(root, "meta/episodes.jsonl"), "episodes_missing"),
    "no episodes, v3.0": variant(V30, lambda root: shutil.rmtree(root / "meta/episodes"), "episodes_missing"),
    "an episode twice": variant(
        V21,
        lambda root: change_lines(root / "meta/episodes.jsonl", lambda rows: rows.append(rows[1])),
        "episode_double",
    ),
    "a gap": variant(V21, gap_v21, "episode_gap"),
    "episodes out of order": variant(
        V30, lambda root: change_episodes(root, lambda rows: swap(rows, 0, 2)), "episode_order"
    ),
    "lines out of order, v2.1": variant(
        V21, lambda root: change_lines(root / "meta/episodes.jsonl", lambda rows: swap(rows, 0, 2))
    ),
    "too many episodes": variant(V21, info(total_episodes=4, splits={"train": "0:3"}), "total_episodes"),
    "too many episodes, v3.0": variant(V30, info(total_episodes=4), "total_episodes"),
    "too many frames": variant(V30, info(total_frames=99), "total_frames"),
    "no videos counted": variant(V21, info(total_videos=0), "total_wrong"),
    "splits of another": variant(V21, info(splits={"train": "0:50"}), "splits_wrong"),
    "ranges": variant(
        V30, lambda root: change_episodes(root, lambda rows: rows[1].update(dataset_from_index=5)), "range_wrong"
    ),
    "a feature undeclared": variant(
        V21, lambda root: change_info(root, lambda info: info["features"].pop("action")), "column_undeclared"
    ),
    "a torn line": variant(
        V21,
        lambda root: cut_off(root / "meta/episodes_stats.jsonl", 0.9),
        "meta_invalid",
        "stats_episode",
    ),
    # rows
    "no table": variant(V21, lambda root: table(root, 1).unlink(), "table_missing"),
    "no table, v3.0": variant(V30, lambda root: data_table(root).unlink(), "table_missing"),
    "no footer": variant(V30, lambda root: cut_off(data_table(root), 0.8), "table_unreadable"),
    "a row too few": variant(
        V21, lambda root: pq.write_table(pq.read_table(table(root, 1))[:5], table(root, 1)), "rows_mismatch"
    ),
    "no index": variant(V21, lambda root: change_table(table(root), index=None), "column_missing"),
    "a column of doubles": variant(V21, lambda root: as_doubles(table(root)), "column_type"),
    "another shape": variant(V21, feature("action", shape=[5]), "column_shape", "stats_shape"),
    "a dangling column": variant(
        V21,
        lambda root: pq.write_table(pq.read_table(table(root)).append_column(TOP, pa.array(["x"] * 6)), table(root)),
        "column_dangling",
    ),
    "frame numbers": variant(
        V21, lambda root: change_table(table(root), frame_index=lambda column: column[::-1]), "frame_index"
    ),
    "episode numbers": variant(
        V21, lambda root: change_table(table(root, 1), episode_index=lambda column: column + 1), "episode_index"
    ),
    "row numbers": variant(
        V30, lambda root: change_table(data_table(root), index=lambda column: column + 3), "row_index"
    ),
    "rows lie apart": variant(
        V30,
        lambda root: pq.write_table(
            pq.read_table(data_table(root)).take([0, 6, 1, 2, 3, 4, 5, *range(7, 18)]), data_table(root)
        ),
        "row_order",
    ),
    "wall clock stamps": variant(
        V21,
        lambda root: change_table(table(root), timestamp=lambda column: column * 1.7 + 0.05),
        "timestamps",
    ),
    "not a number": variant(V21, lambda root: nan_in_the_rows(table(root)), "values_not_finite"),
    # videos
    "no video": variant(V21, lambda root: video(root, WRIST, 2).unlink(), "video_missing"),
    "no video, v3.0": variant(V30, lambda root: video_file(root, WRIST).unlink(), "video_missing"),
    "never encoded": variant(
        V30,
        lambda root: (forget(root, f"videos/{TOP}"), video_file(root, TOP).unlink()),
        "video_columns_missing",
    ),
    "in video/": variant(V21, lambda root: (root / "videos").rename(root / "video"), "video_misplaced", "video_stray"),
    "a byte order mark": variant(V21, lambda root: mark_byte_order(root / "meta/info.json"), "meta_byte_order"),
    "a byte order mark, v3.0": variant(V30, lambda root: mark_byte_order(root / "meta/stats.json"), "meta_byte_order"),
    "an empty video": variant(V21, lambda root: video(root).write_bytes(b""), "video_empty"),
    "a truncated video": variant(V21, lambda root: cut_off(video(root)), "video_unreadable"),
    "damage inside": variant(V21, lambda root: damage_inside(video(root)), "video_undecodable"),
    "noise inside": variant(V21, lambda root: noise_inside(video(root)), "video_damaged", deep=True),
    "a picture short": variant(V21, lambda root: remux(video(root), steady(), range(5)), "video_short"),
    "pictures too many": variant(V21, lambda root: remux(video(root), steady(), [*range(6)] * 3), "video_long"),
    "25 fps": variant(V21, lambda root: remux(video(root), steady(25)), "video_rate"),
    "29.97 fps": variant(V21, lambda root: remux(video(root), steady(Fraction(30000, 1001))), "video_rate"),
    "starts late": variant(V21, lambda root: remux(video(root), steady(start=Fraction(1, 2))), "video_start"),
    "an uneven picture": variant(V21, lambda root: remux(video(root), uneven), "video_timing"),
    "drift": variant(V30, lambda root: remux(video_file(root, TOP), drifting), "video_drift"),
    "a span of another": variant(
        V30,
        lambda root: change_episodes(root, lambda rows: rows[1].update({f"videos/{TOP}/from_timestamp": 5 / 30})),
        "video_span",
        "video_end",
    ),
    "a span cut short": variant(V30, lambda root: change_episodes(root, short_spans), "video_end"),
    "a joined file short": variant(V30, lambda root: remux(video_file(root, TOP), steady(), range(16)), "video_short"),
    "another size": variant(V21, lambda root: every(root, size=(96, 64)), "video_size", "video_info"),
    "one of another size": variant(V21, lambda root: refilm(video(root, TOP, 2), size=(96, 64)), "video_size_mixed"),
    "another codec": variant(V21, lambda root: refilm(video(root, TOP, 2), codec="mpeg4"), "codec_mixed"),
    "a codec that is not there": variant(V21, another_codec, "video_info"),
    "no description": variant(V21, feature(TOP, info=None), "video_info"),
    "a dead camera": variant(V21, lambda root: every(root, frozen=True), "video_frozen", deep=True),
    # statistics
    "no statistics": variant(V21, lambda root: without(root, "meta/episodes_stats.jsonl"), "stats_missing"),
    "no statistics, v3.0": variant(V30, lambda root: without(root, "meta/stats.json"), "stats_missing"),
    "no columns of statistics": variant(V30, lambda root: forget(root, "stats/"), "stats_episode"),
    "none of one episode": variant(
        V21, lambda root: change_lines(root / "meta/episodes_stats.jsonl", lambda lines: lines.pop(1)), "stats_episode"
    ),
    "none of one feature": variant(
        V21,
        lambda root: change_lines(root / "meta/episodes_stats.jsonl", lambda lines: lines[1]["stats"].pop(TOP)),
        "stats_feature",
    ),
    "overflow": variant(V21, spoil_stats(overflow), "stats_overflow"),
    "overflow, v3.0": variant(V30, spoil_total(lambda stats: overflow(stats[TOP])), "stats_overflow"),
    "flat statistics": variant(V21, spoil_stats(lambda entry: entry.update(mean=[0.5, 0.5, 0.5])), "stats_shape"),
    "statistics in 0..255": variant(V21, spoil_stats(lambda entry: entry.update(max=[[[255]]] * 3)), "stats_invalid"),
    "statistics of NaN": variant(V21, spoil_stats(not_a_number, "action"), "stats_invalid"),
    "statistics of another": variant(
        V21,
        spoil_stats(of_another, "action"),
        "stats_wrong",
    ),
    "statistics of other pictures": variant(V21, spoil_stats(of_other_pictures), "stats_wrong", deep=True),
    "no quantiles": variant(V30, spoil_total(lambda stats: stats["action"].pop("q50")), "stats_quantiles"),
}
