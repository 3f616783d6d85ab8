"""From v2.x to v3.0 and back: every packet and every row arrives, nothing is made twice, the source is only read."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from commandline import episoded
from episoded.daemon.convert.conversion import convert
from episoded.daemon.convert.records import Records
from episoded.daemon.convert.result import Result
from episoded.daemon.errors import Cancelled, InputError, NotAvailableError, UsageError
from episoded.processors.lerobot import statistics
from episoded.processors.lerobot.convert.plan import Sizes
from episoded.processors.lerobot.episode_stats import QUANTILES
from episoded.processors.lerobot.reading import read_dataset
from episoded.processors.media.clip import Clip
from episoded.processors.media.concat import digest
from episoded.processors.media.video import frames, probe
from episoded.processors.metadata.table import read_columns
from lerobot_data import TOP, WRIST, change_info, embedded, finish, frame, info_of, lines_of, recording, table, video
from recordings import contents, made_files, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor

FPS = Fraction(30)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished episodes of two cameras."""
    return finish(recording(tmp_path_factory.mktemp("finished") / "fold", episodes=3, frames=8))


@pytest.fixture
def source(tmp_path: Path, finished: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "fold")


def to_v30(source: Path, **settings: Any) -> Path:
    output = source.with_name(f"{source.name}_v30")
    assert convert(source, output, "v3.0", **settings).left == []
    return output


def rows_of(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / "meta/episodes").to_pylist()
    return rows


def pixels(png: Path) -> Any:
    return np.asarray(Image.open(png).convert("RGB")).reshape(-1, 3)


def code(error: Any) -> str:
    return str(error.value.code)


class TestToV30:
    def test_every_packet_is_where_the_metadata_says(self, source: Path):
        output = to_v30(source)
        for entry in read_dataset(output).episodes:
            for key, span in entry.videos.items():
                here = Clip(output / span.file, round(span.start_s * 30), entry.length)
                assert digest(here, FPS) == digest(Clip(video(source, key, entry.index), 0, entry.length), FPS)
                assert span.end_s - span.start_s == pytest.approx(entry.length / 30, abs=1e-12)

    def test_every_row_arrives_in_a_row_group_of_its_own(self, source: Path):
        output = to_v30(source)
        file = pq.ParquetFile(output / "data/chunk-000/file-000.parquet")
        assert file.metadata.num_row_groups == 3
        for index in range(3):
            assert file.read_row_group(index).equals(pq.read_table(table(source, index)))

    def test_statistics_are_those_of_the_rows(self, source: Path):
        output = to_v30(source)
        columns = read_columns(table(source, 1), info_of(source)["features"])
        for key, entry in statistics.of_columns(columns, FPS).items():
            assert {name: rows_of(output)[1][f"stats/{key}/{name}"] for name in entry} == entry

    def test_pictures_keep_the_recorders_numbers_and_get_quantiles(self, source: Path):
        row, recorded = rows_of(to_v30(source))[2], lines_of(source / "meta/episodes_stats.jsonl")[2]["stats"][TOP]
        assert {name: row[f"stats/{TOP}/{name}"] for name in recorded} == recorded
        same = recording(source.with_name("same"), episodes=3, frames=8)  # its PNGs, which are gone from the source
        shown = np.concatenate([pixels(frame(same, number, TOP, 2)) for number in range(8)])
        for name, share in QUANTILES.items():
            found = np.reshape(row[f"stats/{TOP}/{name}"], 3)
            assert np.abs(found - np.quantile(shown / 255, share, axis=0)).max() < 1 / 255

    def test_a_dataset_that_was_not_encoded_here_gets_those_of_its_videos(self, source: Path):
        shutil.rmtree(source / ".episoded")
        row = rows_of(to_v30(source))[2]
        shown = np.concatenate([f.to_ndarray(format="rgb24").reshape(-1, 3) for f in frames(video(source, TOP, 2))])
        for name, share in QUANTILES.items():
            found = np.reshape(row[f"stats/{TOP}/{name}"], 3)
            assert np.abs(found - np.quantile(shown / 255, share, axis=0)).max() < 1 / 255

    def test_the_whole_has_statistics_too(self, source: Path):
        total = json.loads((to_v30(source) / "meta/stats.json").read_text())
        assert total["frame_index"]["count"] == [24]
        assert total[TOP]["q50"] != total[TOP]["mean"]

    def test_files_are_no_larger_than_they_may_be(self, source: Path):
        size = sum(video(source, TOP, index).stat().st_size for index in range(2))
        output = to_v30(source, sizes=Sizes(data=1, video=size))
        assert [row["data/file_index"] for row in rows_of(output)] == [0, 1, 2]
        assert [row[f"videos/{TOP}/file_index"] for row in rows_of(output)] == [0, 0, 1]
        assert rows_of(output)[2][f"videos/{TOP}/from_timestamp"] == 0.0

    def test_a_full_chunk_is_followed_by_another(self, source: Path):
        output = to_v30(source, sizes=Sizes(data=1, video=1, chunks_size=2))
        assert (output / f"videos/{TOP}/chunk-001/file-000.mp4").is_file()
        assert rows_of(output)[2]["data/chunk_index"] == 1

    def test_v20_has_its_statistics_made(self, tmp_path: Path):
        output = to_v30(finish(recording(tmp_path / "old", version="v2.0")))
        assert {f"stats/{key}/q99" for key in (TOP, WRIST, "action")} <= set(rows_of(output)[0])

    def test_what_the_recorder_got_wrong_is_made_right(self, source: Path):
        """lerobot 0.4.0 to 0.5.1 wrote a spread of zero for every picture; and some never counted the rows."""
        lines = lines_of(source / "meta/episodes_stats.jsonl")
        lines[0]["stats"][TOP]["std"] = [[[0.0]], [[0.0]], [[0.0]]]
        (source / "meta/episodes_stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows = pq.read_table(table(source, 1))
        place = rows.column_names.index("index")
        pq.write_table(rows.set_column(place, "index", rows.column("frame_index")), table(source, 1))
        output = to_v30(source)
        assert min(np.ravel(rows_of(output)[0][f"stats/{TOP}/std"])) > 0.01
        assert pq.read_table(output / "data").column("index").to_pylist() == list(range(24))

    def test_tasks_are_numbered_without_gaps(self, source: Path):
        (source / "meta/tasks.jsonl").write_text('{"task_index": 7, "task": "Fetch the red ball."}\n')
        for index in range(3):
            rows = pq.read_table(table(source, index))
            place = rows.column_names.index("task_index")
            seven = rows.column("task_index").to_numpy() + 7
            pq.write_table(rows.set_column(place, "task_index", [seven]), table(source, index))
        output = to_v30(source)
        assert set(pq.read_table(output / "data").column("task_index").to_pylist()) == {0}
        assert info_of(output)["total_tasks"] == 1

    def test_pictures_in_the_table_stay_there(self, tmp_path: Path):
        root = embedded(tmp_path / "images")
        change_info(root, lambda info: info.update(codebase_version="v2.1"))
        output = to_v30(root)
        assert pq.read_table(output / "data").column(TOP)[3].as_py()["bytes"].startswith(b"\x89PNG")

    def test_the_rest_of_the_dataset_comes_along(self, source: Path):
        for name in ("README.md", "meta/calibration.json", "depth/top/episode_000000.mkv", "audio/mic/000.wav"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(name)
        output = to_v30(source)
        assert (output / "depth/top/episode_000000.mkv").read_text() == "depth/top/episode_000000.mkv"
        assert {"README.md", "meta/calibration.json", "audio/mic/000.wav"} <= set(contents(output))
        assert not {"meta/tasks.jsonl", "meta/episodes.jsonl", "meta/episodes_stats.jsonl"} & set(contents(output))

    def test_the_source_is_only_read(self, source: Path):
        before = snapshot(source)
        to_v30(source)
        assert snapshot(source) == before


class TestMixedEncoders:
    def mixed(self, tmp_path: Path) -> Path:
        root = finish(recording(tmp_path / "mixed", episodes=2, frames=8))
        other = finish(recording(tmp_path / "other", episodes=2, frames=8), encode={"crf": 28})
        shutil.copyfile(video(other, TOP, 1), video(root, TOP, 1))
        return root

    def test_another_encoding_begins_another_file(self, tmp_path: Path):
        root = self.mixed(tmp_path)
        output = root.with_name("out")
        result = convert(root, output, "v3.0")
        assert [row[f"videos/{TOP}/file_index"] for row in rows_of(output)] == [0, 1]
        assert [row[f"videos/{WRIST}/file_index"] for row in rows_of(output)] == [0, 0]
        assert any("encoded unlike" in note and "episode_000001" in note for note in result.notes)
        for index in range(2):
            whole = frames(output / f"videos/{TOP}/chunk-000/file-{index:03d}.mp4")
            original = frames(video(root, TOP, index))
            assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in zip(whole, original, strict=True))

    def test_another_size_is_refused(self, tmp_path: Path):
        root = finish(recording(tmp_path / "mixed", episodes=2, frames=8))
        other = finish(recording(tmp_path / "other", episodes=2, frames=8, size=(64, 96)))
        shutil.copyfile(video(other, TOP, 1), video(root, TOP, 1))
        with pytest.raises(InputError) as refused:
            to_v30(root)
        assert code(refused) == "mixed_size"


class TestToV21:
    def test_there_and_back_is_the_same(self, source: Path):
        output = to_v30(source)
        back = source.with_name("back")
        result = convert(output, back, "v2.1")
        assert result.encoded == 0
        for index in range(3):
            assert pq.read_table(table(back, index)).equals(pq.read_table(table(source, index)))
            for key in (TOP, WRIST):
                clips = (Clip(video(root, key, index), 0, 8) for root in (back, source))
                assert len({digest(clip, FPS) for clip in clips}) == 1
        assert lines_of(back / "meta/episodes_stats.jsonl") == lines_of(source / "meta/episodes_stats.jsonl")
        assert lines_of(back / "meta/episodes.jsonl") == lines_of(source / "meta/episodes.jsonl")
        assert lines_of(back / "meta/tasks.jsonl") == lines_of(source / "meta/tasks.jsonl")
        assert info_of(back) == info_of(source)

    def test_what_begins_between_keyframes_is_encoded_anew(self, tmp_path: Path):
        """One video of all episodes with a single keyframe: some recorders write v3.0 like that."""
        long = finish(recording(tmp_path / "long", episodes=1, frames=16), encode={"profile": "brief", "bf": 0})
        source = to_v30(finish(recording(tmp_path / "fold", episodes=2, frames=8)))
        for key in (TOP, WRIST):
            shutil.copyfile(video(long, key, 0), source / f"videos/{key}/chunk-000/file-000.mp4")
        result = convert(source, tmp_path / "back", "v2.1")
        assert result.encoded == 2  # the second episode's two cameras; the first begins at the keyframe
        original = list(frames(video(long, TOP, 0)))[8:]
        for shown, was in zip(frames(video(tmp_path / "back", TOP, 1)), original, strict=True):
            assert np.mean(np.abs(shown.to_ndarray().astype(int) - was.to_ndarray())) < 4
        assert probe(video(tmp_path / "back", TOP, 1)).frames == 8


class TestAppending:
    def test_more_episodes_are_appended(self, source: Path):
        output = to_v30(source)
        finish(recording(source, episodes=2, frames=8))
        result = convert(source, output, "v3.0")
        assert (result.episodes, result.examined) == (5, 2)
        fresh = source.with_name("fresh")
        convert(source, fresh, "v3.0")
        assert contents(output) == contents(fresh)

    def test_full_files_are_left_alone(self, source: Path):
        sizes = Sizes(data=1, video=1)
        output = to_v30(source, sizes=sizes)
        before = made_files(output)
        finish(recording(source, episodes=1, frames=8))
        result = convert(source, output, "v3.0", sizes=sizes)
        assert (result.made, result.kept) == (3, 9)
        assert before.items() <= made_files(output).items()

    def test_a_second_time_there_is_nothing_to_do(self, source: Path):
        output = to_v30(source)
        before = contents(output), made_files(output)
        result = convert(source, output, "v3.0")
        assert (result.examined, result.made, result.kept) == (0, 0, 3)
        assert (contents(output), made_files(output)) == before

    def test_an_episode_that_was_made_anew_is_taken_anew(self, source: Path):
        output = to_v30(source)
        other = finish(recording(source.with_name("other"), episodes=3, frames=8, seed=9))
        shutil.copyfile(video(other, TOP, 1), video(source, TOP, 1))
        result = convert(source, output, "v3.0")
        assert (result.examined, result.made, result.kept) == (1, 1, 2)
        here = Clip(output / f"videos/{TOP}/chunk-000/file-000.mp4", 8, 8)
        assert digest(here, FPS) == digest(Clip(video(other, TOP, 1), 0, 8), FPS)

    def test_what_was_recorded_into_the_result_is_not_lost(self, source: Path):
        output = to_v30(source)
        change_info(output, lambda info: info.update(total_episodes=4))
        with pytest.raises(UsageError) as refused:
            convert(source, output, "v3.0")
        assert code(refused) == "output_recorded_on"

    def test_what_is_not_finished_waits(self, source: Path):
        recording(source, episodes=2, frames=8)
        result = convert(source, source.with_name("out"), "v3.0")
        assert result.episodes == 3
        assert [name for name, _ in result.left] == ["episode_000003", "1 more"]

    def test_only_what_is_ready_is_taken(self, source: Path):
        result = convert(source, source.with_name("out"), "v3.0", ready=lambda index: index != 1)
        assert result.episodes == 1

    def test_a_gap_stops_it(self, source: Path):
        lines = lines_of(source / "meta/episodes.jsonl")
        (source / "meta/episodes.jsonl").write_text("".join(json.dumps(lines[n]) + "\n" for n in (0, 2)))
        result = convert(source, source.with_name("out"), "v3.0")
        assert result.episodes == 1
        assert "without a gap" in result.left[0][1]


class TestRefusals:
    def refusal(self, source: Path, output: Path, version: str = "v3.0") -> str:
        with pytest.raises((InputError, UsageError)) as refused:
            convert(source, output, version)
        return code(refused)

    def test_a_video_that_is_too_short(self, source: Path):
        short = finish(recording(source.with_name("short"), episodes=2, frames=7))
        shutil.copyfile(video(short, TOP, 1), video(source, TOP, 1))
        assert self.refusal(source, source.with_name("out")) == "video_frames"
        assert not (source.with_name("out") / "meta").exists()

    def test_a_table_that_is_too_short(self, source: Path):
        pq.write_table(pq.read_table(table(source, 1)).slice(0, 6), table(source, 1))
        assert self.refusal(source, source.with_name("out")) == "rows_mismatch"

    def test_a_folder_with_something_else_in_it(self, source: Path, tmp_path: Path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/thesis.pdf").touch()
        assert self.refusal(source, tmp_path / "out") == "output_taken"
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.pdf"]

    def test_the_conversion_of_another_dataset(self, source: Path):
        other = shutil.copytree(source, source.with_name("other"))
        assert self.refusal(other, to_v30(source)) == "output_taken"

    def test_the_same_version(self, source: Path):
        assert self.refusal(source, source.with_name("out"), "v2.1") == "same_version"

    def test_a_folder_inside(self, source: Path):
        assert self.refusal(source, source / "out") == "output_inside"

    def test_two_at_once(self, source: Path):
        output = to_v30(source)
        with Records(output).locked(), pytest.raises(NotAvailableError) as refused:
            convert(source, output, "v3.0")
        assert code(refused) == "conversion_busy"

    def test_one_that_is_being_repaired(self, source: Path):
        (source / ".episoded/repairing").touch()
        with pytest.raises(NotAvailableError) as refused:
            convert(source, source.with_name("out"), "v3.0")
        assert code(refused) == "being_repaired"

    @pytest.mark.parametrize("refused", ["same version", "no list of tasks", "nothing finished"])
    def test_nothing_is_left_behind(self, refused: str, source: Path, tmp_path: Path):
        if refused == "no list of tasks":
            (source / "meta/tasks.jsonl").unlink()
        if refused == "nothing finished":
            video(source).unlink()
        before = sorted(tmp_path.iterdir())
        version = "v2.1" if refused == "same version" else "v3.0"
        assert episoded("convert", source, "--to", version, "--output", tmp_path / "deep/out").code != 0
        assert episoded("convert", source, "--to", version).code != 0
        assert sorted(tmp_path.iterdir()) == before

    def test_a_folder_that_was_there_stays(self, source: Path, tmp_path: Path):
        (tmp_path / "out" / source.name).mkdir(parents=True)
        video(source).unlink()
        assert episoded("convert", source, "--to", "v3.0", "--output", tmp_path / "out").code != 0
        assert [*(tmp_path / "out" / source.name).iterdir()] == []

    def test_a_file_of_somebody_else_is_kept(self, source: Path):
        output = to_v30(source)
        there = output / "data/chunk-000/file-000.parquet"
        there.write_bytes(b"somebody else's")
        result = convert(source, output, "v3.0")
        assert any("kept as" in note for note in result.notes)
        assert [path.read_bytes() for path in (output / ".episoded/convert/aside").iterdir()] == [b"somebody else's"]


class TestInspection:
    """The result is judged as `episoded verify` does it."""

    def with_wall_clock(self, source: Path) -> Path:
        rows = pq.read_table(table(source, 1))
        place = rows.column_names.index("timestamp")
        late = (rows.column("timestamp").to_numpy() + 0.02 * np.arange(8) ** 2).astype(np.float32)
        pq.write_table(rows.set_column(place, "timestamp", [late]), table(source, 1))
        return source

    def test_nothing_is_found_in_a_good_one(self, source: Path):
        result = convert(source, source.with_name("out"), "v3.0")
        assert (result.wrong, result.notes) == ([], [])

    def test_what_lerobot_would_trip_over_is_told(self, source: Path):
        result = convert(self.with_wall_clock(source), source.with_name("out"), "v3.0")
        assert any("timestamp" in words for words in result.wrong)

    def test_then_the_source_keeps_its_name(self, source: Path):
        done = episoded("convert", self.with_wall_clock(source), "--to", "v3.0", "--in-place")
        assert done.code == 1
        assert read_dataset(source).version == (2, 1)


class TestResuming:
    @pytest.mark.parametrize(("earlier", "least"), [(0, 36), (1, 30)], ids=["from nothing", "appending"])
    def test_a_kill_at_any_point(self, tmp_path: Path, actor: Callable[..., Actor], earlier: int, least: int):
        """`earlier` episodes were converted before."""
        source, before = tmp_path / "source", tmp_path / "before"
        for episodes in (earlier, 2 - earlier):
            if episodes:
                finish(recording(source, episodes=episodes, frames=4, cameras=("top",)))
                if earlier and not before.exists():
                    convert(source, before, "v3.0")
        drivers = [actor("crash_convert", source, before, tmp_path, first, 2) for first in (1, 2)]
        said = [line.partition(" ") for driver in drivers for line in driver.rest()]
        assert {number: verdict for number, _, verdict in said if verdict != "ok"} == {}
        assert sorted(int(number) for number, _, _ in said) == list(range(1, len(said) + 1)), "a point was not tried"
        assert len(said) >= least

    def test_stopped_it_goes_on(self, source: Path):
        output = source.with_name("out")
        asked = iter(range(1000))
        from episoded.daemon.convert.result import Hooks

        with pytest.raises(Cancelled):
            convert(source, output, "v3.0", hooks=Hooks(stop=lambda: next(asked) > 40))
        result = convert(source, output, "v3.0")
        assert 0 < result.examined < 3
        assert isinstance(result, Result)


class TestCommand:
    def test_it_reports(self, source: Path):
        done = episoded("convert", source, "--to", "v3.0")
        assert done.code == 0, done.err
        assert "3 episodes, 24 frames" in done.out
        assert read_dataset(source.with_name("fold_v30")).version == (3, 0)

    def test_json(self, source: Path, tmp_path: Path):
        done = episoded("convert", source, "--to", "v3.0", "--output", tmp_path / "exports", "--json")
        assert (done.json["episodes"], done.json["output"]) == (3, str(tmp_path / "exports/fold"))

    def test_what_is_left_is_told_by_the_exit_code(self, source: Path):
        recording(source, episodes=1, frames=8)
        done = episoded("convert", source, "--to", "v3.0")
        assert done.code == 1
        assert "episode_000003" in done.out

    def test_in_place_the_source_is_kept_beside(self, source: Path):
        before = contents(source)
        done = episoded("convert", source, "--to", "v3.0", "--in-place")
        assert done.code == 0, done.err
        assert read_dataset(source).version == (3, 0)
        assert contents(source.with_name("fold_v21")) == before

    def test_in_place_survives_a_kill_between_the_two_moves(self, source: Path):
        killed = episoded("convert", source, "--to", "v3.0", "--in-place", env={"EPISODED_CRASH_AT": "swap:aside"})
        assert killed.code == -9
        assert not source.exists()
        assert episoded("convert", source, "--to", "v3.0", "--in-place").code == 0
        assert read_dataset(source).version == (3, 0)

    def test_what_is_no_dataset(self, tmp_path: Path):
        assert episoded("convert", tmp_path, "--to", "v3.0").code == 4

    def test_what_is_no_version(self, source: Path):
        assert episoded("convert", source, "--to", "v4.0").code == 2
