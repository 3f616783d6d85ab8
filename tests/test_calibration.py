"""The calibration ladder: which source wins, what is passed over, and that nothing is another episode's."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calibrated_place import (
    CONF,
    HERE,
    THERE,
    Place,
    place,  # noqa: F401 - a fixture
)
from droid_data import (
    EXT1,
    EXT2,
    WRIST,
    change_metadata,
    change_state,
    extrinsics,
    fails_with,
    quality,
    tracks,
)
from episoded.processors.calibration.values import Extrinsics, Intrinsics, intrinsics_from_json
from episoded.processors.geometry import inverse, poses_of

if TYPE_CHECKING:
    from pathlib import Path


class TestIntrinsics:
    def sources(self, out: Path) -> dict[str, str]:
        found: dict[str, str] = quality(out)["intrinsics_source"]
        return found

    def test_up_the_ladder(self, place: Place) -> None:
        out = place.process()
        assert self.sources(out) == dict.fromkeys((WRIST, EXT1, EXT2), "nominal")
        assert sum(flag.startswith("nominal_intrinsics") for flag in quality(out)["flags"]) == 3

        (place.path / "conf").mkdir()
        (place.path / f"conf/SN{EXT1}.conf").write_text(CONF)
        assert self.sources(place.process(stereolabs=place.path / "conf"))[EXT1] == "stereolabs"

        sidecar = place.folder / "recordings" / EXT1 / "intrinsics.json"
        sidecar.parent.mkdir(parents=True)
        sidecar.write_text(json.dumps({"fx": 530, "fy": 530, "cx": 640, "cy": 360, "width": 1280, "height": 720}))
        assert self.sources(place.process(stereolabs=place.path / "conf"))[EXT1] == "sidecar"

        import h5py

        with h5py.File(place.folder / "trajectory.h5", "r+") as file:
            matrix = np.array([[531.0, 0, 641], [0, 532, 361], [0, 0, 1]])
            file[f"observation/camera_intrinsics/{EXT1}_left"] = np.tile(matrix, (20, 1, 1))
        out = place.process()
        assert self.sources(out)[EXT1] == "h5"
        np.testing.assert_array_equal(tracks(out)[f"intrinsics_{EXT1}"], matrix)

        place.release(
            "intrinsics.json", {place.uuid: {EXT1: {"cameraMatrix": [533, 642, 534, 362]}, EXT2: [535, 643, 536, 363]}}
        )
        out = place.process()
        assert self.sources(out) == {WRIST: "nominal", EXT1: "release", EXT2: "release"}
        np.testing.assert_array_equal(tracks(out)[f"intrinsics_{EXT1}"], [[533, 0, 642], [0, 534, 362], [0, 0, 1]])
        np.testing.assert_array_equal(tracks(out)[f"intrinsics_{EXT2}"], [[535, 0, 643], [0, 536, 363], [0, 0, 1]])

    def test_our_own_output_is_a_sidecar(self, place: Place) -> None:
        out = place.process()
        shutil.copytree(out / "recordings", place.folder / "recordings")
        again = place.process()
        assert set(self.sources(again).values()) == {"sidecar"}
        written = json.loads((again / f"recordings/{EXT1}/intrinsics.json").read_bytes())
        assert written["detail"] == "it says: nominal"

    @pytest.mark.parametrize(
        ("entry", "why"),
        [
            ([9999, 640, 9999, 360], "fx = 9999 px"),
            ([530, 10, 530, 360], "cx = 10 px of 1280"),
            ([float("nan"), 640, 530, 360], "not finite"),
            ([530, 640], "ValueError"),
            ("530", "ValueError"),
            ({"fx": 530}, "KeyError"),
        ],
    )
    def test_nonsense_is_passed_over_and_said(self, place: Place, entry: Any, why: str) -> None:
        place.release("intrinsics.json", {place.uuid: {EXT1: entry}})
        out = place.process()
        assert self.sources(out)[EXT1] == "nominal"
        assert any(f"{EXT1} intrinsics by release" in note and why in note for note in quality(out)["notes"])

    def test_the_lens_is_recorded_but_not_applied_to_rectified_images(self, place: Place) -> None:
        known = {"cameraMatrix": [530, 640, 530, 360], "distCoeffs": [[-0.1, 0.02, 0.001, 0.002, 0.0]]}
        place.release("intrinsics.json", {place.uuid: {EXT1: known}})
        bent = place.process()
        place.release("intrinsics.json", {place.uuid: {EXT1: known["cameraMatrix"]}})
        straight = place.process()
        np.testing.assert_array_equal(tracks(bent)[f"tracks_2d_{EXT1}"], tracks(straight)[f"tracks_2d_{EXT1}"])
        written = json.loads((bent / f"recordings/{EXT1}/intrinsics.json").read_bytes())
        assert (written["k1"], written["p2"], written["rectified"]) == (-0.1, 0.002, True)

    def test_the_lens_is_applied_to_unrectified_images(self, place: Place) -> None:
        value = {
            "fx": 530,
            "fy": 530,
            "cx": 640,
            "cy": 360,
            "width": 1280,
            "height": 720,
            "k1": -0.1,
            "rectified": False,
        }
        sidecar = place.folder / "recordings" / EXT1 / "intrinsics.json"
        sidecar.parent.mkdir(parents=True)
        sidecar.write_text(json.dumps(value))
        bent = tracks(place.process())
        sidecar.write_text(json.dumps({**value, "rectified": True}))
        assert np.nanmax(np.abs(bent[f"tracks_2d_{EXT1}"] - tracks(place.process())[f"tracks_2d_{EXT1}"])) > 0.5

    def test_other_sizes_of_the_same_picture(self) -> None:
        known = Intrinsics(530, 530, 639.5, 359.5, 1280, 720, "test")
        half = known.at(640, 360)
        assert half is not None
        assert (half.fx, half.cx, half.cy) == (265, 319.5, 179.5)
        vga = known.at(672, 376)
        assert vga is not None
        assert (vga.fx, vga.cx, vga.cy) == (265, 335.5, 187.5)
        assert known.at(640, 480) is None

    def test_a_file_of_ours_is_read_as_it_was_written(self) -> None:
        known = Intrinsics(530, 531, 640, 360, 1280, 720, "a", (0.1, 0.2, 0.3, 0.4, 0.5), rectified=False)
        back = intrinsics_from_json(known.to_json(), "a")
        assert back == Intrinsics(530, 531, 640, 360, 1280, 720, "a", (0.1, 0.2, 0.3, 0.4, 0.5), False, "it says: a")


class TestPoses:
    def test_as_recorded_without_anything_better(self, place: Place) -> None:
        out = place.process()
        assert quality(out)["extrinsics_source"] == dict.fromkeys((WRIST, EXT1, EXT2), "recorded")
        change_metadata(place.folder, ext1_cam_extrinsics=HERE)
        np.testing.assert_allclose(extrinsics(place.process())[f"external_{EXT1}"], poses_of(HERE))

    def test_the_trajectory_where_the_metadata_is_silent(self, place: Place) -> None:
        change_metadata(place.folder, ext1_cam_extrinsics=None)
        out = place.process()
        assert quality(out)["cam2base_calibration"][EXT1] == {"source": "recorded", "quality": {"file": "h5"}}

    def test_released_ones_come_first(self, place: Place) -> None:
        place.release("cam2base_extrinsics.json", {place.uuid: {EXT1: THERE, EXT2: THERE, "relative_path": "x"}})
        place.release("cam2base_extrinsic_superset.json", {place.uuid: {EXT1: HERE, "quality_metric": 0.83}})
        out = place.process()
        assert quality(out)["extrinsics_source"] == {WRIST: "recorded", EXT1: "superset", EXT2: "cam2base"}
        assert quality(out)["cam2base_calibration"][EXT1]["quality"] == {"quality_metric": 0.83}
        np.testing.assert_allclose(extrinsics(out)[f"external_{EXT1}"], poses_of(HERE))
        assert extrinsics(out)[f"extrinsics_source_{EXT2}"] == "cam2base"

    def test_a_measure_that_is_no_number_is_null(self, place: Place) -> None:
        entry = {EXT1: HERE, "quality_metric": float("nan"), "more": [float("inf"), 1.0]}
        place.release("cam2base_extrinsic_superset.json", {place.uuid: entry})
        found = quality(place.process())["cam2base_calibration"][EXT1]["quality"]
        assert found == {"quality_metric": None, "more": [None, 1.0]}

    @pytest.mark.parametrize("entry", [[], "x", 5, None, {EXT1: "x"}, {EXT1: [1, 2]}, {EXT1: [None] * 6}])
    def test_an_entry_that_is_none_is_passed_over(self, place: Place, entry: Any) -> None:
        for name in ("cam2base_extrinsic_superset.json", "cam2base_extrinsics.json", "cam2cam_extrinsics.json"):
            place.release(name, {place.uuid: entry})
        place.release("intrinsics.json", {place.uuid: entry})
        place.release("droid_wrist_extrinsics.json", {place.uuid: entry})
        assert quality(place.process())["extrinsics_source"] == dict.fromkeys((WRIST, EXT1, EXT2), "recorded")

    @pytest.mark.parametrize(("known", "sought"), [(EXT1, EXT2), (EXT2, EXT1)])
    def test_one_camera_by_the_other(self, place: Place, known: str, sought: str) -> None:
        poses = {EXT1: poses_of(HERE), EXT2: poses_of(THERE)}
        anywhere = poses_of([3, 2, 1, 0.3, 0.2, 0.1])  # the two share a frame, it need not be the robot's
        relation = {
            "left_cam": {"pose": (anywhere @ poses[EXT1]).tolist()},
            "right_cam": {"pose": (anywhere @ poses[EXT2]).tolist()},
        }
        place.release("cam2cam_extrinsics.json", {place.uuid: relation})
        place.release("cam2base_extrinsics.json", {place.uuid: {known: {EXT1: HERE, EXT2: THERE}[known]}})
        out = place.process()
        assert quality(out)["extrinsics_source"][sought] == "cam2cam"
        np.testing.assert_allclose(extrinsics(out)[f"external_{sought}"], poses[sought], atol=1e-12)

    def test_a_relation_alone_or_a_broken_one_leaves_what_was_recorded(self, place: Place) -> None:
        relation = {"left_cam": {"pose": np.eye(4).tolist()}, "right_cam": {"pose": np.eye(4).tolist()}}
        place.release("cam2cam_extrinsics.json", {place.uuid: relation})
        assert quality(place.process())["extrinsics_source"][EXT2] == "recorded"
        place.release("cam2cam_extrinsics.json", {place.uuid: {"left_cam": {}}})
        place.release("cam2base_extrinsics.json", {place.uuid: {EXT1: HERE}})
        out = place.process()
        assert quality(out)["extrinsics_source"][EXT2] == "recorded"
        assert any("cam2cam: KeyError" in note for note in quality(out)["notes"])

    def test_far_away_is_nonsense(self, place: Place) -> None:
        place.release("cam2base_extrinsics.json", {place.uuid: {EXT1: [50, *HERE[1:]]}})
        out = place.process()
        assert quality(out)["extrinsics_source"][EXT1] == "recorded"
        assert any("m from the robot" in note for note in quality(out)["notes"])

    def test_a_rotation_that_is_none(self) -> None:
        assert Extrinsics(np.diag([1.0, 1, 2, 1]), "test").nonsense() == "its rotation is none"
        assert Extrinsics(np.diag([1.0, 1, -1, 1]), "test").nonsense() == "its rotation is none"
        assert Extrinsics(poses_of(HERE), "test").nonsense() == ""

    def test_the_wrist_camera_by_its_offset_its_pose_or_a_table(self, place: Place) -> None:
        recorded = extrinsics(place.process())["wrist_offset"]
        change_state(place.folder, **{f"{WRIST}_left_gripper_offset": None})
        np.testing.assert_allclose(extrinsics(place.process())["wrist_offset"], recorded, atol=1e-12)
        change_metadata(place.folder, wrist_cam_extrinsics=None)
        out = place.process()
        assert "wrist_extrinsics" not in extrinsics(out)
        assert f"no_extrinsics: {WRIST}" in quality(out)["flags"]
        assert WRIST not in quality(out)["cameras_with_2d_tracks"]
        lab, _, stamp = place.uuid.split("+")
        place.release("droid_wrist_extrinsics.json", {f"{lab}|{stamp}": HERE})
        out = place.process()
        assert quality(out)["extrinsics_source"][WRIST] == "wrist_table"
        np.testing.assert_allclose(extrinsics(out)["wrist_offset"], poses_of(HERE))

    def test_stale_cameras_of_other_rigs_are_no_cameras(self, place: Place) -> None:
        out = place.process()
        assert quality(out)["checks"]["stale_extrinsics_ignored"] == ["19824535"]
        assert not any("19824535" in key for key in (*extrinsics(out), *tracks(out)))


class TestMissing:
    def test_what_can_be_computed_is(self, place: Place) -> None:
        change_metadata(place.folder, ext1_cam_extrinsics=None)
        change_state(place.folder, **{f"{EXT1}_left": None})
        out = place.process()
        assert quality(out)["cameras_with_2d_tracks"] == [WRIST, EXT2]
        assert f"no_extrinsics: {EXT1}" in quality(out)["flags"]
        assert extrinsics(out)[f"extrinsics_source_{EXT1}"] == "none"
        assert tracks(out)["tracks_3d"].shape == (20, 8, 3)

    def test_unless_calibration_is_required(self, place: Place) -> None:
        record = fails_with(place.root, place.path / "strict", require_calibration=True)
        assert record["code"] == "calibration_missing"
        assert f"intrinsics of {EXT1}" in record["message"]

    def test_required_and_there(self, place: Place) -> None:
        place.release("intrinsics.json", {place.uuid: {serial: [530, 640, 530, 360] for serial in (WRIST, EXT1, EXT2)}})
        assert quality(place.process(require_calibration=True))["flags"] == []


class TestExactLookups:
    """The sixth defect: the calibration of "the same date, and the seconds occur somewhere in the key"."""

    def test_another_episode_of_the_same_second_is_another_episode(self, place: Place) -> None:
        lab, user, stamp = place.uuid.split("+")
        others = [f"{lab}+{'0' * 8}+{stamp}", f"X{place.uuid}", place.uuid.lower(), f"{lab}+{user}+{stamp[:-1]}"]
        for name in ("intrinsics.json", "cam2base_extrinsic_superset.json", "cam2base_extrinsics.json"):
            wrong = [530, 640, 530, 360] if name == "intrinsics.json" else HERE
            place.release(name, {other: {EXT1: wrong, EXT2: wrong} for other in others})
        out = place.process()
        assert quality(out)["extrinsics_source"] == dict.fromkeys((WRIST, EXT1, EXT2), "recorded")
        assert quality(out)["intrinsics_source"] == dict.fromkeys((WRIST, EXT1, EXT2), "nominal")


def test_the_inverse_of_a_pose() -> None:
    np.testing.assert_allclose(inverse(poses_of(HERE)) @ poses_of(HERE), np.eye(4), atol=1e-15)
