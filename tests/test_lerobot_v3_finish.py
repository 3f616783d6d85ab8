"""LeRobot v3.0 recordings are finished in place, whatever is killed and whoever records on."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.daemon.publication import apply_edit
from episoded.processors.lerobot.reading import read_dataset
from episoded.processors.metadata.edits_v3 import recording_edits
from episoded.processors.metadata.mend import mending_edits
from lerobot_data import TOP, WRIST, change_info, info_of
from lerobot_v3_sessions import DATA, ENDS, LISTED, PLAIN, V3, finish, frame, listed, quality, recording, refused
from recordings import Originals, broken_laws, leftovers, snapshot, unsettled

if TYPE_CHECKING:
    from pathlib import Path

    from daemons import Daemon
    from episoded.processors.simulation_v3 import End


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
