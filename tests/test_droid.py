"""Raw DROID episodes from the drop folder to their outputs: the chain, the commands, the service; and what is wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from commandline import begin, configure, episoded, finish
from conftest import eventually
from droid_data import (
    DROID,
    EXT1,
    EXT2,
    REAL_UUID,
    WRIST,
    change_metadata,
    change_state,
    episode_folder,
    everything,
    fails_with,
    finish_one,
    quality,
    real_episode,
    tracks,
    tree,
    uuid_of,
    write_video,
)
from episoded.daemon.chain import Hooks, Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors.errors import InputError
from episoded.processors.formats.droid_state import read_state
from lerobot_data import recording
from recordings import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

PIPELINE = Pipeline.model_validate({"name": "test", "stages": ["tracks"]})


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TestOutputs:
    def test_are_those_of_the_brief(self, tmp_path: Path) -> None:
        real_episode(tmp_path / "droid")
        out = finish_one(tmp_path / "droid", tmp_path / "out")
        assert out.name == REAL_UUID
        intrinsics = [f"recordings/{serial}/intrinsics.json" for serial in (WRIST, EXT1, EXT2)]
        assert sorted(files_of(out)) == sorted(["tracks.npz", "extrinsics.npz", "quality.json", *intrinsics])
        found = tracks(out)
        t, n, m = 226, 256, int(found["num_normalized_steps"])
        shapes = {
            "tracks_3d": (t, n, 3),
            "contact_centroids": (t, 3),
            "contact_frames": (t, 4, 4),
            "left_contact_frames": (t, 4, 4),
            "right_contact_frames": (t, 4, 4),
            "normalized_tracks_3d": (m, n, 3),
            "normalized_centroids": (m, 3),
            "normalized_frames": (m, 4, 4),
            "normalized_left_frames": (m, 4, 4),
            "normalized_right_frames": (m, 4, 4),
            "cumulative_distance_mm": (t,),
            "frame_to_normalized_idx": (t,),
            "normalized_step_size_mm": (),
            "num_normalized_steps": (),
            "cameras_with_2d_tracks": (3,),
            "gripper_poses": (t, 4, 4),
            "gripper_positions": (t,),
            "cartesian_positions": (t, 6),
        }
        for serial in (WRIST, EXT1, EXT2):
            shapes |= {f"tracks_2d_{serial}": (t, n, 2), f"intrinsics_{serial}": (3, 3), f"image_size_{serial}": (2,)}
        assert {key: found[key].shape for key in shapes} == shapes

    def test_every_array_is_documented(self, tmp_path: Path) -> None:
        page = (Path(__file__).parents[1] / "docs/droid.md").read_text()
        out = finish_one(tree(tmp_path / "droid"), tmp_path / "out")
        for name in ("tracks.npz", "extrinsics.npz"):
            with np.load(out / name) as arrays:
                for key in arrays:
                    documented = key.replace(WRIST, "<serial>").replace(EXT1, "<serial>").replace(EXT2, "<serial>")
                    assert f"`{documented}`" in page, key
        report = quality(out)
        for key in (*report, *(f"checks.{name}" for name in report["checks"])):
            last = key.removeprefix("checks.").removeprefix("wrist_rigid_err")
            assert f"`{key}`" in page or f"`{last}`" in page or key == "checks" or key == "schema_version", key

    def test_are_the_same_bytes_on_every_run_and_wherever_the_episode_lies(self, tmp_path: Path) -> None:
        folder = real_episode(tmp_path / "droid")
        first = files_of(finish_one(tmp_path / "droid", tmp_path / "one"))
        shutil.copytree(folder, tmp_path / "elsewhere" / "some_other_name")
        assert files_of(finish_one(tmp_path / "elsewhere", tmp_path / "two")) == first

    def test_name_no_person(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "home" / "ada.lovelace" / "droid")
        out = finish_one(root, tmp_path / "out")
        for name, content in files_of(tmp_path / "out").items():
            if name.startswith(out.name):
                assert b"ovelace" not in content, name
        assert quality(out)["source_path"] == "SIMLab/success/2023-08-01/Tue_Aug__1_00:00:00_2023"

    def test_the_raw_tree_is_left_as_it_was(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid", episodes=2)
        before = everything(root)
        out = episoded("process", root, "--pipeline", "metadata-only", "--output", tmp_path / "out")
        assert out.code == 0, out.err
        assert everything(root) == before

    def test_pixels_can_be_those_of_the_moment_of_capture(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        step, capture = (
            tracks(finish_one(root, tmp_path / align, time_align=align, points_per_finger=4))
            for align in ("step", "capture")
        )
        np.testing.assert_array_equal(step["tracks_3d"], capture["tracks_3d"])
        np.testing.assert_array_equal(step[f"capture_lag_ms_{EXT1}"], 43)
        moved = np.abs(step[f"tracks_2d_{EXT1}"] - capture[f"tracks_2d_{EXT1}"]).max(axis=(1, 2))
        assert moved[0] == 0  # nothing is known of the time before the first row
        assert (moved[1:] > 0.1).all()
        # 43 of 71 ms earlier: between this row's pixels and those of the row before
        share = (step[f"tracks_2d_{EXT1}"][1:] - capture[f"tracks_2d_{EXT1}"][1:]) / np.diff(
            step[f"tracks_2d_{EXT1}"], axis=0
        )
        assert np.median(share) == pytest.approx(43 / 71, abs=0.02)

    def test_a_read_only_tree_will_do(self, tmp_path: Path, read_only: Callable[[Path], None]) -> None:
        root = tree(tmp_path / "droid")
        read_only(root)
        finish_one(root, tmp_path / "out")

    def test_a_changed_setting_and_retry_compute_anew(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "drop" / "droid")
        drop = f"[[drop]]\npath = '{tmp_path}/drop'\noutput = '{tmp_path}/out'\npipeline = 'mine'\n"
        settings = "[pipelines.mine]\nstages = ['tracks']\n[pipelines.mine.tracks]\npoints_per_finger = {}\n"
        (uuid,) = DROID.listing(root).episodes
        for count in (3, 5):
            config = configure(tmp_path, drop, more=settings.format(count))
            if count == 5:
                assert episoded("retry", root, "--from", "tracks", config=config).code == 0
            assert episoded("process", root, config=config).code == 0
            assert tracks(tmp_path / "out" / uuid)["num_points_per_finger"] == count


class TestVideos:
    def test_decide_the_image_size_and_are_counted(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        videos = episode_folder(root) / "recordings/MP4"
        write_video(videos / f"{EXT1}.mp4", 19, (640, 360))
        write_video(videos / f"{EXT2}-stereo.mp4", 19, (2560, 720))
        write_video(videos / f"{WRIST}.mp4", 20, (320, 240))
        out = finish_one(root, tmp_path / "out")
        found, report = tracks(out), quality(out)
        assert report["video_frames"] == {WRIST: 20, EXT1: 19, EXT2: 19}
        assert report["rows_without_frame"] == {WRIST: 0, EXT1: 1, EXT2: 1}
        assert found[f"image_size_{EXT1}"].tolist() == [640, 360]
        assert found[f"intrinsics_{EXT1}"][0, 0] == 264
        assert found[f"image_size_{EXT2}"].tolist() == [1280, 720]  # the left half
        assert found[f"image_size_{WRIST}"].tolist() == [1280, 720]
        assert any(flag.startswith(f"aspect_mismatch: {WRIST} is 320x240") for flag in report["flags"])
        assert report["missing"][EXT1] == ["stereo mp4", "svo", "timestamps"]

    def test_a_damaged_one_costs_nothing_else(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        path = episode_folder(root) / f"recordings/MP4/{EXT1}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no video")
        report = quality(finish_one(root, tmp_path / "out"))
        assert f"video_unreadable: {EXT1}.mp4 cannot be read" in report["flags"]
        assert report["video_frames"][EXT1] is None
        assert EXT1 in report["cameras_with_2d_tracks"]


class TestPartialEpisodes:
    """First class: whatever can be computed is, and the rest is said."""

    def test_without_any_camera(self, tmp_path: Path) -> None:
        out = finish_one(tree(tmp_path / "droid", serials={}), tmp_path / "out")
        assert tracks(out)["cameras_with_2d_tracks"].tolist() == []
        assert quality(out)["wrist_camera"] is None
        assert tracks(out)["cameras_with_2d_tracks"].dtype == "<U16"

    def test_cameras_that_only_the_trajectory_knows(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        change_metadata(episode_folder(root), wrist_cam_serial=None, ext1_cam_serial=None)
        report = quality(finish_one(root, tmp_path / "out"))
        assert (report["wrist_camera"], report["external_cameras"]) == (WRIST, [EXT1, EXT2])
        assert any(f"{WRIST} is taken for wrist" in note for note in report["notes"])

    def test_without_camera_types_joints_or_stamps(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        folder = episode_folder(root)
        gone = dict.fromkeys(f"camera_type/{serial}" for serial in (WRIST, EXT1, EXT2))
        change_state(folder, **{**gone, "joint_positions": None, "read_start": None})
        report = quality(finish_one(root, tmp_path / "out"))
        assert report["checks"]["fk_max_err_mm"] is None
        assert any(flag.startswith("nominal_fps") for flag in report["flags"])
        assert any("camera_type is missing" in note for note in report["notes"])
        assert report["cameras_with_2d_tracks"] == [WRIST, EXT1, EXT2]

    def test_optional_data_of_a_wrong_shape_is_not_used(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        change_state(episode_folder(root), joint_positions=np.zeros((19, 7)), read_start=np.zeros((20, 2)))
        report = quality(finish_one(root, tmp_path / "out"))
        assert sum("not used" in note for note in report["notes"]) == 2

    @pytest.mark.parametrize("values", [np.full(20, np.nan), np.zeros(0), np.array([b"x"] * 20)])
    def test_a_camera_type_that_is_none_is_not_used(self, tmp_path: Path, values: Any) -> None:
        root = tree(tmp_path / "droid")
        change_state(episode_folder(root), **{f"camera_type/{WRIST}": values})
        report = quality(finish_one(root, tmp_path / "out"))
        assert any(f"camera_type/{WRIST} cannot be read" in note for note in report["notes"])
        assert report["wrist_camera"] == WRIST

    def test_another_robots_joints_are_flagged(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        change_state(episode_folder(root), joint_positions=np.zeros((20, 7)))
        assert any(flag.startswith("fk_mismatch") for flag in quality(finish_one(root, tmp_path / "out"))["flags"])


class TestWrongEpisodes:
    """Each fails for good, says which file and what to do, and costs the others nothing."""

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"cartesian_position": None}, "state_missing"),
            ({"gripper_position": None}, "state_missing"),
            ({"gripper_position": np.zeros(19)}, "state_shape"),
            ({"cartesian_position": np.zeros((20, 7))}, "state_shape"),
            ({"cartesian_position": np.zeros(())}, "state_missing"),
            ({"cartesian_position": np.array([b"x"] * 20)}, "state_missing"),
            ({"cartesian_position": np.full((20, 6), np.nan)}, "state_not_finite"),
            ({"gripper_position": np.array([np.inf] * 20)}, "state_not_finite"),
        ],
    )
    def test_states(self, tmp_path: Path, change: dict[str, Any], code: str) -> None:
        root = tree(tmp_path / "droid")
        change_state(episode_folder(root), **change)
        record = fails_with(root, tmp_path / "out")
        assert record["code"] == code
        assert "trajectory.h5" in record["message"]
        assert record["hint"]

    def test_no_rows(self, tmp_path: Path) -> None:
        assert fails_with(tree(tmp_path / "droid", rows=0), tmp_path / "out")["code"] == "trajectory_empty"

    @pytest.mark.parametrize("keep", [0, 40, 2000, -100])
    def test_a_trajectory_that_is_cut_off(self, tmp_path: Path, keep: int) -> None:
        root = tree(tmp_path / "droid")
        path = episode_folder(root) / "trajectory.h5"
        path.write_bytes(path.read_bytes()[:keep])
        record = fails_with(root, tmp_path / "out")
        assert (record["code"], record["retryable"]) == ("h5_unreadable", False)

    def test_damage_anywhere_is_called_damage(self, tmp_path: Path) -> None:
        """Overwritten bytes; those of a table of names were taken for states that were never recorded."""
        source = episode_folder(tree(tmp_path / "droid")) / "trajectory.h5"
        whole, chance, codes = source.read_bytes(), random.Random(1), []
        for _ in range(150):
            at, size = chance.randrange(len(whole)), chance.choice([16, 512, 4096])
            filling = chance.choice([bytes(size), chance.randbytes(size)])
            source.write_bytes((whole[:at] + filling + whole[at + size :])[: len(whole)])
            try:
                read_state(source)
            except InputError as error:
                codes.append(error.code)
        assert set(codes) == {"h5_unreadable"}
        assert len(codes) > 20

    def test_a_trajectory_that_is_not_there(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        (episode_folder(root) / "trajectory.h5").unlink()
        assert fails_with(root, tmp_path / "out")["code"] == "h5_missing"

    def test_a_row_that_is_no_number_is_left_out(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid", rows=40)
        rows = np.tile([0.4, 0.0, 0.4, 3, 0, 0], (40, 1))
        rows[5] = np.nan
        change_state(episode_folder(root), cartesian_position=rows)
        out = finish_one(root, tmp_path / "out")
        assert quality(out)["checks"]["nan_rows"] == 1
        assert tracks(out)["frame_valid"].sum() == 39
        assert np.isnan(tracks(out)[f"tracks_2d_{EXT1}"][5]).all()

    def test_one_row(self, tmp_path: Path) -> None:
        out = finish_one(tree(tmp_path / "droid", rows=1), tmp_path / "out")
        assert tracks(out)["num_normalized_steps"] == 1

    def test_a_path_in_any_script(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "données 数据" / "droid")
        finish_one(root, tmp_path / "out")

    def test_a_pipeline_without_a_stage_for_it_is_no_success(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        done = episoded("process", root, "--output", tmp_path / "out")
        assert done.code == 1
        assert "nothing_to_do" in done.out + done.err
        assert "metadata-only" in done.out + done.err


def test_an_episode_by_itself_is_asked_for_with_its_output(tmp_path: Path) -> None:
    root = tree(tmp_path / "droid")
    done = episoded("view", root / uuid_of(episode_folder(root)), "--still", "--into", tmp_path)
    assert done.code == 4
    assert "--output" in done.err


class TestInterrupted:
    def test_nothing_half_made_is_left_after_failure_or_interrupt(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid", episodes=2)
        spoiled, interrupted = DROID.listing(root).episodes
        change_state(episode_folder(root, 0), gripper_position=np.zeros(3))
        (tmp_path / "out").mkdir()
        assert work_on(Work(root, tmp_path / "out", spoiled, "droid", PIPELINE)) == "failed"

        def stop() -> int:
            return 2 if list(tmp_path.glob("out/.episoded/*/g000001/tracks/tracks.npz")) else 0

        assert work_on(Work(root, tmp_path / "out", interrupted, "droid", PIPELINE), Hooks(stop=stop)) == "released"
        left = [path for path in (tmp_path / "out").rglob("*") if path.suffix not in (".claim", ".failed", ".released")]
        controls = {tmp_path / "out/.episoded", *(tmp_path / "out/.episoded" / uuid for uuid in (spoiled, interrupted))}
        assert {*left} == controls | {tmp_path / "out/.episoded" / spoiled / "failed"}
        assert work_on(Work(root, tmp_path / "out", interrupted, "droid", PIPELINE)) == "ready"

    def test_killed_at_any_moment_it_is_finished_by_the_next_call(self, tmp_path: Path) -> None:
        root, out = tree(tmp_path / "droid", episodes=6), tmp_path / "out"
        command = ("process", root, "--pipeline", "metadata-only", "--output", out, "--workers", 1)
        process = begin(*command)
        eventually(lambda: list(out.rglob("tracks.npz")), what="the first tracks")
        process.send_signal(signal.SIGKILL)
        finish(process)
        done = episoded(*command)
        assert done.code == 0, done.err
        assert len(list(out.glob("*/tracks.npz"))) == 6
        assert len(list(out.glob(".episoded/*/cleaned"))) == 6


class TestVerify:
    def test_files_are_compared_with_what_was_published(self, tmp_path: Path) -> None:
        config, root, output = configure(tmp_path), tree(tmp_path / "raw/SIMLab"), tmp_path / "out"
        given = ("--pipeline", "metadata-only", "--output", output)
        assert episoded("process", root, *given, config=config).code == 0
        whole = episoded("verify", root, "--output", output, config=config)
        assert (whole.code, whole.out.splitlines()[0]) == (0, "as published")
        damaged = next(output.glob("*/extrinsics.npz"))
        damaged.write_bytes(damaged.read_bytes()[:-1])
        found = episoded("verify", root, "--output", output, config=config)
        assert found.code == 1
        assert "not as published: 1 episode" in found.out.splitlines()
        _, _, command = found.out.partition("what to do: episoded ")
        assert episoded(*command.splitlines()[0].split(), config=config).code == 0
        assert episoded("process", root, *given, config=config).code == 0
        assert episoded("verify", root, "--output", output, config=config).code == 0

    def test_nothing_is_promised_of_what_was_not_looked_at(self, tmp_path: Path) -> None:
        said = episoded("verify", tree(tmp_path / "raw/SIMLab"), config=configure(tmp_path)).out
        assert said.splitlines() == ["nothing was published here by episoded"]


class TestNames:
    """Every way to name an episode."""

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        tree(tmp_path / "drop" / "1.0.1", episodes=3)
        (tmp_path / "out").mkdir()
        drop = f"[[drop]]\npath = '{tmp_path}/drop'\noutput = '{tmp_path}/out'\npipeline = 'metadata-only'\n"
        return configure(tmp_path, drop)

    def test_lead_to_it(self, tmp_path: Path, config: Path) -> None:
        drop = tmp_path / "drop"
        folder = episode_folder(drop, 1)
        uuid = uuid_of(folder)
        assert episoded("process", folder, config=config).code == 0
        named = [
            folder,
            folder / "trajectory.h5",
            next(folder.glob("metadata_*")),
            drop / "1.0.1" / uuid,
            tmp_path / "out" / uuid,
            tmp_path / "out" / uuid / "tracks.npz",
            tmp_path / "out" / ".episoded" / uuid,
        ]
        for name in named:
            shown = episoded("show", name, "--json", config=config)
            assert shown.code == 0, f"{name}: {shown.err}"
            assert (shown.json["episode"], shown.json["state"]) == (uuid, "ready"), name
        assert len(list((tmp_path / "out").glob("*/tracks.npz"))) == 1

    def test_are_shown_with_what_deserves_a_look(self, tmp_path: Path, config: Path) -> None:
        folder = episode_folder(tmp_path / "drop")
        assert episoded("process", folder, config=config).code == 0
        shown = episoded("show", folder, config=config).out
        assert "20 rows at 14.1 fps" in shown
        assert f"nominal_intrinsics: {EXT1}" in shown
        assert "metadata" not in [line.split()[0] for line in shown.splitlines() if line.split()]

    def test_verify_finds_a_file_that_is_another(self, tmp_path: Path, config: Path) -> None:
        folder = episode_folder(tmp_path / "drop")
        assert episoded("process", folder, config=config).code == 0
        assert episoded("verify", folder, config=config).code == 0
        with (tmp_path / "out" / uuid_of(folder) / "tracks.npz").open("ab") as file:
            file.write(b"x")
        damaged = episoded("verify", folder, config=config)
        assert damaged.code == 1
        assert "retry --from tracks" in damaged.out

    def test_a_part_of_a_tree_is_that_part(self, tmp_path: Path, config: Path) -> None:
        day = episode_folder(tmp_path / "drop").parent
        assert episoded("status", tmp_path / "drop", config=config).code == 0
        assert episoded("show", day, config=config).code == 4
        status = episoded("status", "--json", config=config).json
        (dataset,) = status["drops"][0]["datasets"]
        assert (dataset["format"], dataset["episodes"]) == ("droid", 3)

    def test_submit_marks_the_episodes_and_not_the_tree(self, tmp_path: Path, config: Path) -> None:
        before = everything(tmp_path / "drop")
        done = episoded("submit", tmp_path / "drop/1.0.1", config=config)
        assert done.code == 0
        assert "3 of 3 episodes marked pending" in done.out
        assert everything(tmp_path / "drop") == before
        assert len(list((tmp_path / "out/.episoded").glob("*/pending"))) == 3

    def test_without_an_output_it_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        done = episoded("process", root, "--pipeline", "metadata-only")
        assert done.code == 1
        assert "--output" in done.out + done.err


class TestService:
    def test_takes_a_mixed_drop_folder_and_a_late_episode(self, tmp_path: Path) -> None:
        drop, out = tmp_path / "drop", tmp_path / "out"
        tree(drop / "droid", episodes=2)
        tiny(drop / "lerobot", episodes=1)
        table = f"[[drop]]\npath = '{drop}'\noutput = '{out}'\ncomplete = 'quiet'\nquiet_s = 0.2\npipeline = 'all'\n"
        more = "[pipelines.all]\nstages = ['encode', 'metadata', 'tracks']\n"
        config = configure(tmp_path, table, more=more)
        before = everything(drop / "droid")
        service = begin("run", config=config)
        try:
            eventually(lambda: len(list(out.glob("*/tracks.npz"))) == 2, what="both DROID episodes")
            eventually(lambda: list(out.glob("lerobot/videos/**/*.mp4")), what="the LeRobot dataset")
            assert everything(drop / "droid") == before
            tree(tmp_path / "late", episodes=3)
            source = episode_folder(tmp_path / "late", 2)
            target = drop / "droid" / source.relative_to(tmp_path / "late")
            shutil.copytree(source, target)
            eventually(lambda: len(list(out.glob("*/tracks.npz"))) == 3, what="the late episode")
        finally:
            service.send_signal(signal.SIGTERM)
            done = finish(service)
        assert done.code == 0, done.err

    def test_a_wrong_episode_costs_the_others_nothing_and_can_be_mended(self, tmp_path: Path) -> None:
        root, out = tree(tmp_path / "drop" / "droid", episodes=3), tmp_path / "out"
        spoiled = episode_folder(root, 1)
        whole = (spoiled / "trajectory.h5").read_bytes()
        change_state(spoiled, gripper_position=np.zeros(3))
        drop = f"[[drop]]\npath = '{tmp_path}/drop'\noutput = '{out}'\npipeline = 'metadata-only'\n"
        config = configure(tmp_path, drop)
        assert episoded("process", root, config=config).code == 1
        assert len(list(out.glob("*/tracks.npz"))) == 2
        assert "state_shape" in episoded("status", config=config).out
        (spoiled / "trajectory.h5").write_bytes(whole)
        assert "1 episode to be tried again" in episoded("retry", root, "--failed", config=config).out
        assert episoded("process", root, config=config).code == 0
        assert len(list(out.glob("*/tracks.npz"))) == 3


def test_a_lerobot_dataset_is_still_one(tmp_path: Path) -> None:
    root = recording(tmp_path / "lerobot")
    done = episoded("process", root, "--pipeline", "metadata-only")
    assert (root / ".episoded/episode_000000/quality.json").exists(), done.err
    assert json.loads((root / ".episoded/episode_000000/ready").read_bytes())["pipeline"] == "metadata-only"
    assert os.environ.get("EPISODED_CONFIG") is None
