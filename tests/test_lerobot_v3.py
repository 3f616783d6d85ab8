"""LeRobot v3.0 recordings whose encoding never ran, crashed, or was killed: found, listed, finished in place."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.daemon.complete import UploadTracker
from episoded.daemon.config import DropConfig, Pipeline
from episoded.daemon.publication import apply_edit
from episoded.processors import formats
from episoded.processors.depth.files import inputs
from episoded.processors.depth.frames import look_at
from episoded.processors.depth.frames import recorded as recorded_frames
from episoded.processors.depth.params import DepthParams
from episoded.processors.errors import BusyError, EpisodedError
from episoded.processors.lerobot.reading import read_dataset
from episoded.processors.media.lerobot_depth import DepthCodes, read_codes
from episoded.processors.metadata.edits_v3 import recording_edits
from episoded.processors.metadata.mend import mending_edits
from episoded.processors.simulation_v3 import DEPTH, Session, depth_picture, record, without_footer
from lerobot_data import POINTER, TOP, WRIST, change_info, info_of
from lerobot_v30 import join
from recordings import Originals, broken_laws, format_of, leftovers, snapshot, unsettled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor
    from daemons import Daemon
    from episoded.processors.simulation_v3 import End

    Start = Callable[..., Actor]

V3 = formats.by_name("lerobot-v3")
ENDS: tuple[End, ...] = ("finalized", "crashed", "killed")
DATA, LISTED = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"


def recording(root: Path, end: End = "finalized", **settings: Any) -> Path:
    """Two episodes of five frames of two small cameras, unless told otherwise."""
    record(root, **{"episodes": 2, "frames": 5, "size": (48, 64), "end": end, **settings})
    return root


def finish(root: Path, output: Path | None = None, **pipeline: Any) -> Path:
    """Run the real chain over every episode that is not ready; all must become so."""
    output = output or root
    output.mkdir(exist_ok=True)
    settings = Pipeline.model_validate({"name": "test", **pipeline})
    for episode in V3.listing(root).episodes:
        if not (output / ".episoded" / episode / "ready").exists():
            assert work_on(Work(root, output, episode, V3.name, settings)) == "ready"
    return output


PLAIN = Pipeline.model_validate({"name": "test"})


def frame(root: Path, number: int, key: str = TOP, episode: int = 0) -> Path:
    return root / f"images/{key}/episode-{episode:06d}/frame-{number:06d}.png"


def listed(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / LISTED).to_pylist()
    return rows


def quality(root: Path, episode: int = 0) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / f".episoded/episode_{episode:06d}/quality.json").read_bytes())
    return value


def refused(root: Path, episode: str = "episode_000000") -> EpisodedError:
    with pytest.raises(EpisodedError) as caught:
        V3.load(root, episode, root)
    return caught.value


class TestListing:
    @pytest.mark.parametrize("end", ENDS)
    def test_episodes_are_those_with_rows(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path, end, episodes=11)
        assert format_of(root) is V3
        assert V3.listing(root).episodes == tuple(f"episode_{index:06d}" for index in range(11))
        assert V3.listing(root).orphans == ()

    def test_frames_without_rows_are_orphans(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        (tmp_path / "images" / TOP / "episode-000002").mkdir()
        shutil.copy(frame(root, 0), frame(root, 0, episode=2))
        [(name, why)] = V3.listing(root).orphans
        assert name == "episode_000002"
        assert why.startswith(f"1 frames of {TOP}, but no rows in data/")

    def test_rows_that_come_in_are_noticed(self, tmp_path: Path) -> None:
        session = Session(tmp_path, 30, ("top",), (48, 64))
        session.episode(3)
        assert len(V3.listing(tmp_path).episodes) == 1
        session.episode(3)
        assert len(V3.listing(tmp_path).episodes) == 2

    def test_it_is_read_again_only_when_a_file_has_changed(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        assert V3.listing(root) is V3.listing(root)

    def test_a_file_that_was_only_begun_holds_no_episodes(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        (root / "data/chunk-000/file-001.parquet").write_bytes(b"PAR1")
        assert len(V3.listing(root).episodes) == 2

    def test_of_a_file_cut_in_the_middle_the_whole_row_groups_count(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed", episodes=3)
        content = (root / DATA).read_bytes()
        (root / DATA).write_bytes(content[:-100])
        listing = V3.listing(root)
        assert len(listing.episodes) == 2
        assert [name for name, _ in listing.orphans] == ["episode_000002"]

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            (lambda root: (root / LISTED).write_bytes(POINTER), "lfs_pointer"),
            (lambda root: (root / DATA).write_bytes(POINTER), "lfs_pointer"),
            (lambda root: change_info(root, lambda info: info.update(fps="fast")), "meta_invalid"),
            (lambda root: change_info(root, lambda info: info.update(features=3)), "meta_invalid"),
            (lambda root: shutil.copy(root / DATA, root / "data/chunk-000/file-001.parquet"), "meta_invalid"),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, tmp_path: Path, spoil: Callable[[Path], object], code: str) -> None:
        root = recording(tmp_path)
        spoil(root)
        refusal = V3.listing(root).refusal
        assert refusal is not None
        assert refusal.code == code

    def test_looking_writes_nothing(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        before = snapshot(root)
        V3.listing(root)
        V3.upload(root, "episode_000000")
        V3.load(root, "episode_000000", root)
        assert snapshot(root) == before


class TestUpload:
    def test_a_finalized_recording_lacks_nothing(self, tmp_path: Path) -> None:
        assert V3.upload(recording(tmp_path), "episode_000001").missing == ()

    def test_a_killed_one_is_waited_for(self, tmp_path: Path) -> None:
        missing = V3.upload(recording(tmp_path, "killed"), "episode_000001").missing
        assert missing == (f"the end of {DATA}", "meta/episodes")

    def test_frames_are_missed_by_name(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        frame(root, 3).unlink()
        assert V3.upload(root, "episode_000000").missing == (f"frame-000003.png of {TOP}",)

    def test_the_process_that_writes_is_named(self, tmp_path: Path, actor: Start) -> None:
        root = recording(tmp_path, "killed")
        recorder = actor("write", root / DATA)
        assert recorder.heard() == "open"
        missing = V3.upload(root, "episode_000000").missing
        assert missing[0] == f"the end of {DATA}, which process {recorder.pid} is writing"
        with pytest.raises(BusyError, match=f"process {recorder.pid}"):
            V3.load(root, "episode_000000", root)
        recorder.kill()
        assert V3.load(root, "episode_000000", root).length == 5

    def test_a_recorder_that_lives_is_waited_for_however_long_it_rests(self, tmp_path: Path, actor: Start) -> None:
        root, now = recording(tmp_path, "killed"), [0.0]
        rule = DropConfig.model_validate({"path": tmp_path, "complete": "quiet", "incomplete_s": 600})
        tracker = UploadTracker(lambda: now[0])

        def judged_after(seconds: float) -> bool:
            now[0] += seconds
            return tracker.judge("it", V3.upload(root, "episode_000000"), rule, marked=False).complete

        recorder = actor("write", root / DATA)
        assert recorder.heard() == "open"
        assert [judged_after(3600) for _ in range(3)] == [False] * 3
        recorder.kill()
        assert [judged_after(seconds) for seconds in (1, 599, 1)] == [False, False, True]


class TestLoading:
    def test_row_k_is_frame_k_of_each_camera(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        episode = V3.load(root, "episode_000001", root)
        assert (episode.index, episode.length, episode.first_row) == (1, 5, 5)
        for camera in episode.cameras:
            assert camera.frames is not None
            assert camera.frames.paths == tuple(frame(root, number, camera.key, 1) for number in range(5))
            assert str(camera.video) == f"videos/{camera.key}/chunk-000/file-001.mp4"

    def test_files_are_numbered_through_the_chunks(self, tmp_path: Path) -> None:
        root = recording(tmp_path, episodes=3)
        change_info(root, lambda info: info.update(chunks_size=2))
        videos = [str(V3.load(root, f"episode_{index:06d}", root).cameras[0].video) for index in range(3)]
        assert [video.partition("/chunk-")[2] for video in videos] == [
            "000/file-000.mp4",
            "000/file-001.mp4",
            "001/file-000.mp4",
        ]

    def test_a_missing_frame_is_named(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        frame(root, 2, WRIST).unlink()
        error = refused(root)
        assert error.code == "frames_missing"
        assert "frame-000002.png" in error.message

    def test_rows_of_another_episode_are_refused(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        table = pq.read_table(root / DATA)
        numbers = pa.array([0] * 4 + [1] * 6)
        pq.write_table(
            table.set_column(table.schema.get_field_index("episode_index"), "episode_index", numbers), root / DATA
        )
        assert refused(root).code == "rows_mismatch"

    def test_rows_out_of_order_are_refused(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        table = pq.read_table(root / DATA)
        pq.write_table(table.take([1, 0, *range(2, 10)]), root / DATA)
        assert refused(root).code == "frame_index_broken"

    def test_a_task_without_its_text_is_not_made_up(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        (root / "meta/tasks.parquet").unlink()
        assert refused(root).code == "task_unknown"


@pytest.mark.parametrize("end", ENDS)
class TestFinishing:
    def test_every_frame_is_in_its_video(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path, end, episodes=3)
        originals = Originals.of(root)
        finish(root)
        assert originals.missing_from(root) == []
        assert broken_laws(root) == []
        assert [line for line in leftovers(root) if "as_recorded" not in line] == []

    def test_rows_are_those_that_were_recorded(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path / "it", end)
        whole = recording(tmp_path / "whole", "finalized")
        finish(root)
        assert pq.read_table(root / DATA).equals(pq.read_table(whole / DATA))

    def test_the_list_is_what_lerobot_would_have_written(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path / "it", end)
        whole = listed(recording(tmp_path / "whole", "finalized"))
        finish(root)
        for row, recorded in zip(listed(root), whole, strict=True):
            videos = {name: row.pop(name) for name in list(row) if name.startswith("videos/")}
            assert row.keys() == recorded.keys()
            for name, value in recorded.items():
                if isinstance(value, list) and name != "tasks":
                    np.testing.assert_allclose(row[name], value, rtol=1e-12)
                else:
                    assert row[name] == value
            for key in (TOP, WRIST):
                assert videos[f"videos/{key}/chunk_index"] == 0
                assert videos[f"videos/{key}/file_index"] == row["episode_index"]
                assert videos[f"videos/{key}/from_timestamp"] == 0.0
                assert videos[f"videos/{key}/to_timestamp"] == 5 / 30

    def test_the_statistics_of_all_are_those_of_the_recorder(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path, end)
        recorded = json.loads((root / "meta/stats.json").read_bytes())
        (root / "meta/stats.json").unlink()
        finish(root)
        found = json.loads((root / "meta/stats.json").read_bytes())
        assert found.keys() == recorded.keys()
        for key, entry in recorded.items():
            for name, value in entry.items():
                np.testing.assert_allclose(found[key][name], value, rtol=1e-9)

    def test_info_is_last_and_says_how_many(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path, end)
        change_info(root, lambda info: info.update(total_episodes=1, total_frames=7, splits={}))
        finish(root)
        info = info_of(root)
        assert (info["total_episodes"], info["total_frames"], info["splits"]) == (2, 10, {"train": "0:2"})
        assert info["features"][TOP]["info"]["video.codec"] == "h264"

    def test_doing_it_again_changes_nothing(self, tmp_path: Path, end: End) -> None:
        root = finish(recording(tmp_path, end))
        assert unsettled(root) == []
        before = snapshot(root / "meta") | snapshot(root / "data")
        assert not any(apply_edit(root, edit) for edit in recording_edits(root, root))
        assert snapshot(root / "meta") | snapshot(root / "data") == before

    def test_an_output_of_its_own_becomes_a_whole_dataset(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path / "it", end)
        originals, before = Originals.of(root), snapshot(root)
        output = finish(root, tmp_path / "out", remove_inputs="keep")
        assert snapshot(root) == before
        assert originals.missing_from(output) == []
        dataset = read_dataset(output)
        assert (len(dataset.episodes), dataset.frames, dataset.info["total_episodes"]) == (2, 10, 2)
        assert pq.read_table(output / DATA).num_rows == 10

    def test_a_recorder_that_wrote_over_info_is_put_right(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path, end)
        theirs = (root / "meta/info.json").read_bytes()
        finish(root)
        finished = (root / "meta/info.json").read_bytes()
        (root / "meta/info.json").write_bytes(theirs)
        for edit in mending_edits(V3.name, root, root):
            apply_edit(root, edit)
        assert (root / "meta/info.json").read_bytes() == finished


class TestAfterAKill:
    def test_the_file_as_recorded_is_kept(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        recorded = (root / DATA).read_bytes()
        finish(root)
        [kept] = (root / ".episoded/as_recorded").iterdir()
        assert kept.read_bytes() == recorded

    def test_what_was_rescued_and_what_not_is_reported(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed", episodes=3)
        (root / DATA).write_bytes((root / DATA).read_bytes()[:-100])
        finish(root)
        notes = quality(root)["notes"]
        assert any("was never closed: 2 episodes, 10 rows of it were recovered; " in note for note in notes)
        assert any("total_episodes 3, there are rows of 2" in note for note in notes)
        assert [orphan["episode"] for orphan in quality(root)["orphans"]] == ["episode_000002"]
        assert info_of(root)["total_episodes"] == 2
        assert len(list((root / "images" / TOP / "episode-000002").iterdir())) == 5, "orphans are not touched"

    def test_a_list_that_was_never_closed_is_derived_anew(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed", episodes=11, frames=2)
        assert (root / LISTED).is_file()
        finish(root)
        assert [row["episode_index"] for row in listed(root)] == list(range(11))
        assert len(list((root / ".episoded/as_recorded").iterdir())) == 2

    def test_a_file_that_was_only_begun_no_longer_keeps_lerobot_out(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        begun = root / "data/chunk-000/file-001.parquet"
        begun.write_bytes(b"PAR1")
        finish(root)
        assert pq.read_table(begun).num_rows == 0
        assert pq.read_schema(begun).names == pq.read_schema(root / DATA).names

    def test_a_recorder_that_was_only_slow_loses_nothing(self, tmp_path: Path) -> None:
        """It still has its file open, on a machine that we do not see, and goes on recording: into what was kept."""
        whole = recording(tmp_path / "whole", "finalized")
        root = recording(tmp_path / "it", "killed", episodes=1)
        with (root / DATA).open("ab") as theirs:
            finish(root)
            begun, all_of_it = theirs.tell(), (whole / DATA).read_bytes()
            theirs.write(all_of_it[begun:])
        shutil.copytree(whole / "images", root / "images", ignore=shutil.ignore_patterns("episode-000000"))
        for name in ("info.json", "stats.json", "episodes/chunk-000/file-000.parquet"):
            shutil.copyfile(whole / "meta" / name, root / "meta" / name)
        finish(root)
        assert Originals.of(whole).missing_from(root) == []
        assert pq.read_table(root / DATA).equals(pq.read_table(whole / DATA))
        assert [row["length"] for row in listed(root)] == [5, 5]


class TestService:
    """The whole daemon."""

    def test_finishes_a_killed_recording_when_it_has_been_quiet(self, daemon: Daemon) -> None:
        daemon.configure("incomplete_s = 1\n", rescan_s=0.2)
        daemon.start()
        dataset = daemon.upload("arm", episodes=3, version="killed")
        daemon.wait_until_finished(dataset)
        assert [row["length"] for row in listed(dataset)] == [6, 6, 6]
        assert daemon.terminate() == 0


class TestWhileOthersAreToCome:
    """LeRobot opens nothing that lacks a video: what all share is written once, with the last."""

    def test_what_they_share_is_left_alone(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed", episodes=3)
        shared = snapshot(root / "meta") | snapshot(root / "data")
        assert [work_on(Work(root, root, f"episode_{index:06d}", V3.name, PLAIN)) for index in (1, 2)] == ["ready"] * 2
        assert snapshot(root / "meta") | snapshot(root / "data") == shared
        assert work_on(Work(root, root, "episode_000000", V3.name, PLAIN)) == "ready"
        assert [row["episode_index"] for row in listed(root)] == [0, 1, 2]

    def test_an_episode_that_failed_holds_nothing_up(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        frame(root, 2).unlink()
        assert work_on(Work(root, root, "episode_000000", V3.name, PLAIN)) == "failed"
        assert work_on(Work(root, root, "episode_000001", V3.name, PLAIN)) == "ready"
        assert [row[f"videos/{TOP}/file_index"] for row in listed(root)] == [None, 1]

    def test_the_last_one_may_be_the_one_that_fails(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        frame(root, 2, episode=1).unlink()
        assert work_on(Work(root, root, "episode_000000", V3.name, PLAIN)) == "ready"
        assert work_on(Work(root, root, "episode_000001", V3.name, PLAIN)) == "failed"
        for edit in mending_edits(V3.name, root, root):  # the service does this, and `episoded process`
            apply_edit(root, edit)
        assert [row[f"videos/{TOP}/file_index"] for row in listed(root)] == [0, None]

    def test_a_video_of_ours_is_never_taken_for_another_episodes(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        for key in (TOP, WRIST):
            shutil.rmtree(frame(root, 0, key).parent)
        assert work_on(Work(root, root, "episode_000001", V3.name, PLAIN)) == "ready"
        assert refused(root).code == "frames_missing"


class TestList:
    def test_a_short_one_is_made_whole(self, tmp_path: Path) -> None:
        root = recording(tmp_path, episodes=3)
        pq.write_table(pq.read_table(root / LISTED).slice(0, 1), root / LISTED)
        assert len(V3.listing(root).episodes) == 3
        finish(root)
        assert [(row["episode_index"], row["dataset_from_index"]) for row in listed(root)] == [(0, 0), (1, 5), (2, 10)]
        assert any("meta/episodes has no row of 2 of 3 episodes" in note for note in quality(root)["notes"])

    def test_rows_out_of_order_are_put_in_order(self, tmp_path: Path) -> None:
        """LeRobot finds an episode by the position of its row, and shows another's pictures without a word."""
        root = recording(tmp_path, episodes=3)
        pq.write_table(pq.read_table(root / LISTED).take([2, 0, 1]), root / LISTED)
        finish(root)
        assert [row["episode_index"] for row in listed(root)] == [0, 1, 2]

    def test_columns_of_the_datasets_own_are_kept(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        table = pq.read_table(root / LISTED).append_column("operator", pa.array(["Ada", "Bob"]))
        pq.write_table(table, root / LISTED)
        finish(root)
        assert [row["operator"] for row in listed(root)] == ["Ada", "Bob"]

    def test_a_fractional_rate_is_exact(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed", fps=29.97)
        originals = Originals.of(root)
        finish(root)
        assert originals.missing_from(root) == []
        assert listed(root)[1][f"videos/{TOP}/to_timestamp"] == 500 / 2997


class TestSessions:
    def test_a_second_session_is_finished_like_the_first(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        originals = Originals.of(root)
        finish(root)
        recording(root, "killed", seed=1)
        second = Originals.of(root)
        finish(root)
        assert originals.missing_from(root) == second.missing_from(root) == []
        dataset = read_dataset(root)
        assert [episode.index for episode in dataset.episodes] == [0, 1, 2, 3]
        assert [episode.dataset_range for episode in dataset.episodes] == [(0, 5), (5, 10), (10, 15), (15, 20)]
        assert info_of(root)["total_episodes"] == 4


class TestSharedVideos:
    @pytest.fixture
    def shared(self, tmp_path: Path) -> Path:
        """Encoded as it was recorded, three episodes in one file; then killed: no list, no footer."""
        root = finish(recording(tmp_path / "it", episodes=3, frames=4))
        for key in (TOP, WRIST):
            folder = root / f"videos/{key}/chunk-000"
            parts = [folder / f"file-{number:03d}.mp4" for number in range(3)]
            join(parts, tmp_path / "joined.mp4")
            for part in parts:
                part.unlink()
            (tmp_path / "joined.mp4").rename(parts[0])
        shutil.rmtree(root / "meta/episodes")
        shutil.rmtree(root / ".episoded")
        (root / DATA).write_bytes(without_footer((root / DATA).read_bytes()))
        return root

    def test_episodes_are_found_in_them_by_counting(self, shared: Path) -> None:
        before = snapshot(shared / "videos")
        finish(shared)
        assert snapshot(shared / "videos") == before
        spans = [episode.videos[TOP] for episode in read_dataset(shared).episodes]
        assert [round(span.start_s * 30) for span in spans] == [0, 4, 8]
        assert {str(span.file) for span in spans} == {f"videos/{TOP}/chunk-000/file-000.mp4"}
        assert any("found by counting the rows" in note for note in quality(shared)["notes"])

    def test_in_any_order(self, shared: Path) -> None:
        for episode in ("episode_000001", "episode_000002", "episode_000000"):
            assert work_on(Work(shared, shared, episode, V3.name, PLAIN)) == "ready"
        spans = [episode.videos[WRIST] for episode in read_dataset(shared).episodes]
        assert [round(span.start_s * 30) for span in spans] == [0, 4, 8]

    def test_nothing_is_guessed_when_the_numbers_do_not_fit(self, shared: Path) -> None:
        recording(shared.with_name("other"), episodes=3, frames=5, end="killed")
        shutil.copy(shared.with_name("other") / DATA, shared / DATA)
        assert refused(shared).code == "videos_ambiguous"

    def test_depth_is_made_of_the_episodes_own_frames(self, shared: Path) -> None:
        episode = V3.load(shared, "episode_000001", shared)
        camera = episode.cameras[0]
        paths = inputs(episode, camera, DepthParams())
        own = [picture.copy() for picture in recorded_frames(camera, episode, paths, 1, lambda _: None).read()]
        whole = [picture.copy() for picture in look_at(paths[0]).read()]
        assert camera.start
        assert len(own) == episode.length < len(whole)
        assert np.array_equal(np.stack(own), np.stack(whole[camera.start : camera.start + episode.length]))

    def test_a_frame_more_or_less_is_noticed_by_looking(self, shared: Path) -> None:
        finish(shared)
        rows = pq.read_table(shared / LISTED)
        late = pa.array([8 / 30, 8 / 30, 9 / 30])
        name = f"videos/{TOP}/from_timestamp"
        pq.write_table(rows.set_column(rows.schema.get_field_index(name), name, late), shared / LISTED)
        shutil.rmtree(shared / ".episoded")
        assert work_on(Work(shared, shared, "episode_000002", V3.name, PLAIN)) == "failed"

    def test_an_episode_behind_them_gets_a_file_of_its_own(self, shared: Path) -> None:
        finish(shared)
        recording(shared, "finalized", episodes=1, seed=3)
        finish(shared)
        assert str(read_dataset(shared).episodes[3].videos[TOP].file).endswith("chunk-000/file-003.mp4")

    def test_an_episode_before_them_would_take_a_number_that_lerobot_counts_on(self, tmp_path: Path) -> None:
        root = recording(tmp_path, episodes=2)
        place: dict[str, list[Any]] = {"chunk_index": [None, 0], "file_index": [None, 0]}
        place |= {"from_timestamp": [None, 0.0], "to_timestamp": [None, 1 / 6]}
        table = pq.read_table(root / LISTED)
        for name, values in place.items():
            table = table.append_column(f"videos/{TOP}/{name}", pa.array(values))
        pq.write_table(table, root / LISTED)
        assert refused(root).code == "video_place_taken"


class TestLeftVideos:
    """LeRobot encodes in processes of their own, into `tmp*/`, and removes the frames; then it was killed."""

    @pytest.fixture
    def left(self, tmp_path: Path) -> Path:
        root = recording(tmp_path / "it", "killed")
        whole = finish(recording(tmp_path / "whole"))
        for key in (TOP, WRIST):
            (root / f"tmp{key[-3:]}").mkdir()
            video = whole / f"videos/{key}/chunk-000/file-001.mp4"
            shutil.copy(video, root / f"tmp{key[-3:]}" / f"{key}_001.mp4")
            shutil.rmtree(frame(root, 0, key, 1).parent)
        return root

    def test_are_put_into_their_place(self, left: Path, tmp_path: Path) -> None:
        originals = Originals.of(recording(tmp_path / "once more"))
        assert V3.upload(left, "episode_000001").missing == (f"the end of {DATA}", "meta/episodes")
        finish(left)
        assert originals.missing_from(left) == []
        assert len(list(left.glob("tmp*/*.mp4"))) == 2, "what the recorder left is not touched"
        assert any("where its recorder had left it" in note for note in quality(left, 1)["notes"])
        assert unsettled(left) == []

    def test_one_that_was_cut_off_is_none(self, left: Path) -> None:
        path = next(left.glob(f"tmp*/{TOP}_001.mp4"))
        path.write_bytes(path.read_bytes()[:-10])
        assert refused(left, "episode_000001").code == "frames_missing"


class TestDepth:
    @pytest.mark.parametrize("end", ENDS)
    def test_tiff_frames_become_lerobots_depth_video(self, tmp_path: Path, end: End) -> None:
        root = finish(recording(tmp_path, end, depth=True))
        assert not (root / "images").exists()
        for episode in range(2):
            found = list(read_codes(root / f"videos/{DEPTH}/chunk-000/file-{episode:03d}.mp4"))
            due = [DepthCodes().of_millimetres(depth_picture((48, 64), episode, number)) for number in range(5)]
            np.testing.assert_array_equal(found, due)
        info = info_of(root)["features"][DEPTH]["info"]
        assert (info["is_depth_map"], info["depth_unit"], info["video.pix_fmt"]) == (True, "mm", "gray12le")
        assert listed(root)[1][f"videos/{DEPTH}/file_index"] == 1

    def test_statistics_are_millimetres(self, tmp_path: Path) -> None:
        root = finish(recording(tmp_path, depth=True))
        pictures = np.stack([depth_picture((48, 64), 1, number) for number in range(5)])
        entry = {
            name: listed(root)[1][f"stats/{DEPTH}/{name}"] for name in ("min", "max", "mean", "std", "count", "q50")
        }
        assert (entry["min"], entry["max"], entry["count"]) == ([[[0.0]]], [[[pictures.max()]]], [5])
        np.testing.assert_allclose(entry["mean"], [[[pictures.mean()]]], rtol=1e-12)
        np.testing.assert_allclose(entry["std"], [[[pictures.std()]]], rtol=1e-9)
        np.testing.assert_allclose(entry["q50"], [[[np.quantile(pictures, 0.5)]]], atol=2)

    def test_settings_of_the_feature_are_kept(self, tmp_path: Path) -> None:
        root = recording(tmp_path, depth=True)
        change_info(root, lambda info: info["features"][DEPTH]["info"].update({"video.depth_max": 4.0}))
        finish(root)
        found = next(read_codes(root / f"videos/{DEPTH}/chunk-000/file-000.mp4"))
        np.testing.assert_array_equal(found, DepthCodes(depth_max=4.0).of_millimetres(depth_picture((48, 64), 0, 0)))
        assert info_of(root)["features"][DEPTH]["info"]["video.depth_max"] == 4.0

    def test_pictures_of_another_kind_are_not_taken_for_depth(self, tmp_path: Path) -> None:
        root = recording(tmp_path, depth=True)
        for number in range(5):
            frame(root, number, DEPTH).with_suffix(".tiff").rename(frame(root, number, DEPTH))
        assert refused(root).code == "frames_not_tiff"

    def test_a_frame_that_ends_early_fails_its_episode_by_name(self, tmp_path: Path) -> None:
        root = recording(tmp_path, depth=True)
        path = frame(root, 2, DEPTH).with_suffix(".tiff")
        path.write_bytes(path.read_bytes()[:-1])
        assert V3.upload(root, "episode_000000").missing == (f"the end of {path.name} in {path.parent}",)
        assert work_on(Work(root, root, "episode_000000", V3.name, PLAIN)) == "failed"
        failure = json.loads((root / ".episoded/episode_000000/failed").read_bytes())
        assert failure["code"] == "tiff_damaged"
        assert str(path) in failure["message"]
        assert work_on(Work(root, root, "episode_000001", V3.name, PLAIN)) == "ready"
