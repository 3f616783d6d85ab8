"""What the tracks stage computes: invariants on the real episode and on any motion that a robot can make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droid_data import EXT1, EXT2, WRIST, extrinsics, finish_one, quality, real_episode, tracks
from episoded.processors.errors import InputError
from episoded.processors.formats.droid_state import RobotState
from episoded.processors.geometry import (
    angles_between,
    inverse,
    posed,
    poses_of,
    quaternions_of,
    rotations_of,
    slerp,
)
from episoded.processors.simulation_droid import vector_of
from episoded.processors.tracks.arrays import tracks_of
from episoded.processors.tracks.cameras import Cameras
from episoded.processors.tracks.gripper import ROBOTIQ_2F85
from episoded.processors.tracks.panda import flange_poses
from episoded.processors.tracks.params import TracksParams
from episoded.processors.tracks.project import project
from episoded.processors.tracks.resample import nearest_step, steps
from episoded.processors.tracks.trajectory import at_capture, trajectory_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
FEW = TracksParams(points_per_finger=6)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outputs of the real episode, and where they lie."""
    folder = tmp_path_factory.mktemp("real")
    real_episode(folder / "droid")
    out = finish_one(folder / "droid", folder / "out", points_per_finger=48)
    return {"tracks": tracks(out), "extrinsics": extrinsics(out), "quality": quality(out), "folder": out}


@st.composite
def motions(draw: st.DrawFn, least: int = 1, most: int = 30) -> RobotState:
    """A walk of the flange with turns and rests, a gripper that opens and closes."""
    rows = draw(st.integers(least, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 1e-5, 1e-3, 5e-3]))
    moving = random.random((rows, 1)) > draw(st.sampled_from([0.0, 0.5]))
    walk = np.cumsum(random.normal(size=(rows, 6)) * moving * [scale, scale, scale, *[10 * scale] * 3], axis=0)
    start = np.array([0.4, 0.0, 0.4, *random.uniform(-3, 3, 3)])
    gripper = np.clip(np.cumsum(random.normal(scale=0.1, size=rows) * moving[:, 0]), 0, 1)
    return RobotState(start + walk, gripper)


def arrays_of(state: RobotState, params: TracksParams = FEW) -> dict[str, Any]:
    return tracks_of(state, trajectory_of(state, "test"), Cameras(()), params)


def check_invariants(found: dict[str, Any]) -> None:
    """What holds for every trajectory, whatever it is."""
    valid = found["frame_valid"]
    points = found["tracks_3d"][valid].astype(np.float64)
    n = int(found["num_points_per_finger"])
    for finger, key in ((points[:, :n], "left_contact_frames"), (points[:, n:], "right_contact_frames")):
        apart = np.linalg.norm(finger[:, :, None] - finger[:, None], axis=-1)
        assert np.abs(apart - apart[0]).max() < 2e-6  # rigid fingers; float32 has 6e-8 m at 1 m
        np.testing.assert_allclose(finger.mean(axis=1), found[key][valid][:, :3, 3], atol=2e-7)
    np.testing.assert_allclose(points.mean(axis=1), found["contact_centroids"][valid], atol=2e-7)
    half_turn = found["left_contact_frames"][valid][:, :3, :3] * np.array([-1, -1, 1], np.float32)
    np.testing.assert_allclose(found["right_contact_frames"][valid][:, :3, :3], half_turn, atol=1e-7)

    s, d, nearest = (
        found["cumulative_distance_mm"][valid],
        found["normalized_distance_mm"],
        found["frame_to_normalized_idx"],
    )
    assert len(d) == found["num_normalized_steps"]
    assert (np.diff(s) >= 0).all()
    assert s[0] == d[0] == 0
    assert (np.diff(d[:-1]) == 1).all() if len(d) > 2 else True
    assert len(d) < 2 or 0 < d[-1] - d[-2] <= 1 + 1e-6
    for key, whole in (
        ("normalized_centroids", "contact_centroids"),
        ("normalized_tracks_3d", "tracks_3d"),
        ("normalized_left_frames", "left_contact_frames"),
        ("normalized_right_frames", "right_contact_frames"),
        ("normalized_frames", "contact_frames"),
    ):
        for end in (0, -1):
            np.testing.assert_allclose(found[key][end], found[whole][valid][end], atol=3e-7)
    centroids = found["normalized_centroids"].astype(np.float64)
    assert (1000 * np.linalg.norm(np.diff(centroids, axis=0), axis=1) <= 1 + 3e-4).all()  # a chord is no longer
    np.testing.assert_allclose(found["normalized_tracks_3d"].astype(np.float64).mean(axis=1), centroids, atol=2e-7)
    for key in ("normalized_frames", "normalized_left_frames", "normalized_right_frames"):
        rotations = found[key][:, :3, :3].astype(np.float64)
        np.testing.assert_allclose(
            rotations @ np.swapaxes(rotations, 1, 2), np.broadcast_to(np.eye(3), rotations.shape), atol=5e-7
        )
        np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=5e-7)
    kept = nearest[valid]
    assert (nearest[~valid] == -1).all()
    assert (np.diff(kept) >= 0).all()
    assert (kept[0], kept[-1]) == (0, len(d) - 1)
    assert (np.abs(d[kept] - s) <= 0.5 + 1e-3).all()


class TestInvariants:
    def test_of_the_real_episode(self, real: dict[str, Any]) -> None:
        check_invariants(real["tracks"])
        assert real["tracks"]["num_frames"] == 226
        assert real["tracks"]["fps"] == pytest.approx(14.12, abs=0.01)

    @QUICK
    @given(motions())
    def test_of_any_motion(self, state: RobotState) -> None:
        check_invariants(arrays_of(state))

    @QUICK
    @given(motions(least=40, most=60), st.integers(0, 39))
    def test_a_row_that_is_no_number_is_as_if_not_recorded(self, state: RobotState, row: int) -> None:
        spoiled = state.cartesian.copy()
        spoiled[row, 2] = np.nan
        found = arrays_of(RobotState(spoiled, state.gripper))
        check_invariants(found)
        without = arrays_of(RobotState(np.delete(state.cartesian, row, 0), np.delete(state.gripper, row)))
        for key in ("normalized_tracks_3d", "normalized_frames", "normalized_distance_mm"):
            np.testing.assert_array_equal(found[key], without[key])
        assert np.isnan(found["tracks_3d"][row]).all()
        assert np.isnan(found["cumulative_distance_mm"][row])

    @QUICK
    @given(motions())
    def test_resting_does_not_change_what_was_travelled(self, state: RobotState) -> None:
        dwelling = RobotState(np.repeat(state.cartesian, 2, axis=0), np.repeat(state.gripper, 2))
        once, twice = arrays_of(state), arrays_of(dwelling)
        for key in once:
            if key.startswith("normalized_"):
                np.testing.assert_allclose(once[key], twice[key], atol=1e-6, err_msg=key)

    @QUICK
    @given(motions(), st.lists(st.floats(-1, 1), min_size=6, max_size=6))
    def test_moving_the_base_moves_the_tracks_with_it(self, state: RobotState, by: list[float]) -> None:
        motion = poses_of(np.array(by) * [0.3, 0.3, 0.3, 3, 1.5, 3])
        moved = RobotState(np.array([vector_of(motion @ pose) for pose in poses_of(state.cartesian)]), state.gripper)
        here, there = arrays_of(state), arrays_of(moved)
        expected = here["tracks_3d"] @ motion[:3, :3].T + motion[:3, 3]
        np.testing.assert_allclose(there["tracks_3d"], expected, atol=1e-6)
        np.testing.assert_allclose(there["cumulative_distance_mm"], here["cumulative_distance_mm"], atol=1e-3)
        camera = poses_of([0.5, 0.6, 0.4, -2, 0, -2.4])
        matrix = np.array([[528.0, 0, 640], [0, 528, 360], [0, 0, 1]])
        seen = project(here["tracks_3d"], camera, matrix, (), 0.05)
        also = project(there["tracks_3d"], motion @ camera, matrix, (), 0.05)
        np.testing.assert_allclose(also, seen, atol=0.5)  # 1e-7 m of float32 at 5 cm are 0.01 px, near 90 degrees more

    @QUICK
    @given(motions())
    def test_backwards_in_time_is_backwards_along_the_path(self, state: RobotState) -> None:
        there, back = arrays_of(state), arrays_of(RobotState(state.cartesian[::-1], state.gripper[::-1]))
        np.testing.assert_allclose(back["tracks_3d"], there["tracks_3d"][::-1], atol=1e-7)
        length = there["normalized_distance_mm"][-1]
        assert back["normalized_distance_mm"][-1] == pytest.approx(length, abs=1e-6)
        np.testing.assert_allclose(
            back["cumulative_distance_mm"], length - there["cumulative_distance_mm"][::-1], atol=1e-3
        )
        assert back["num_normalized_steps"] == there["num_normalized_steps"]

    def test_lerped_points_stay_on_the_slerped_finger(self, real: dict[str, Any]) -> None:
        found = real["tracks"]
        n = int(found["num_points_per_finger"])
        pad = found["contact_points_local"] - found["contact_points_local"].mean(axis=0)
        left = found["normalized_left_frames"].astype(np.float64)
        on_finger = pad @ np.swapaxes(left[:, :3, :3], 1, 2) + left[:, None, :3, 3]
        off = np.linalg.norm(found["normalized_tracks_3d"][:, :n] - on_finger, axis=-1)
        assert off.max() < 2e-5


class TestRecords:
    def test_one_row(self) -> None:
        found = arrays_of(RobotState(np.array([[0.4, 0, 0.4, 3, 0, 0]]), np.array([0.5])))
        check_invariants(found)
        assert (found["num_normalized_steps"], found["fps"]) == (1, 15.0)

    def test_no_motion(self) -> None:
        found = arrays_of(RobotState(np.tile([0.4, 0, 0.4, 3, 0, 0], (9, 1)), np.full(9, 0.5)))
        assert found["num_normalized_steps"] == 1
        assert (found["frame_to_normalized_idx"] == 0).all()

    @pytest.mark.parametrize(("millimetres", "count"), [(0.4, 2), (1.0, 2), (5.0, 6), (5.3, 7), (0.0, 1)])
    def test_the_number_of_steps(self, millimetres: float, count: int) -> None:
        x = np.linspace(0, millimetres / 1000, 8)
        rows = np.tile([0.4, 0, 0.4, 3, 0, 0], (8, 1))
        rows[:, 0] += x
        found = arrays_of(RobotState(rows, np.zeros(8)))
        assert found["num_normalized_steps"] == count == len(steps(millimetres))
        assert found["normalized_distance_mm"][-1] == pytest.approx(millimetres, abs=1e-9)

    def test_ties_go_to_the_lower_step(self) -> None:
        assert nearest_step(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.5, 0.6, 1.5, 2.0])).tolist() == [0, 0, 1, 1, 2]

    def test_too_many_rows_that_are_no_numbers(self) -> None:
        rows = np.tile([0.4, 0, 0.4, 3, 0, 0], (20, 1))
        rows[4:6, 1] = np.inf
        with pytest.raises(InputError, match=r"2 of 20 rows.*first is row 4") as caught:
            arrays_of(RobotState(rows, np.zeros(20)))
        assert caught.value.code == "state_not_finite"

    def test_out_of_reach_is_no_place_of_a_robot(self) -> None:
        rows = np.tile([0.4, 0, 0.4, 3, 0, 0], (40, 1))
        rows[7, 0] = 1e300
        found = arrays_of(RobotState(rows, np.zeros(40)))
        assert found["frame_valid"].tolist() == [row != 7 for row in range(40)]

    def test_a_path_that_no_robot_travels(self) -> None:
        rows = np.tile([0.0, 0, 0.4, 3, 0, 0], (200, 1))
        rows[::2, 0] = 1.9
        with pytest.raises(InputError) as caught:
            arrays_of(RobotState(rows, np.zeros(200)))
        assert caught.value.code == "path_impossible"

    def test_time_stamps_that_do_not_rise_are_flagged(self) -> None:
        rows = np.tile([0.4, 0, 0.4, 3, 0, 0], (4, 1))
        motion = trajectory_of(RobotState(rows, np.zeros(4), read_ms=np.array([0, 70, 70, 210])), "test")
        assert motion.fps == pytest.approx(3 / 0.21)
        assert any(flag.startswith("timestamps_not_rising: 1") for flag in motion.flags)

    @pytest.mark.parametrize("stamps", [[5, 5, 5, 5], [9, 6, 3, 0], [0, 1, 2, 3], [0, 10**8, 2 * 10**8, 3 * 10**8]])
    def test_time_stamps_that_cannot_be(self, stamps: list[int]) -> None:
        rows = np.tile([0.4, 0, 0.4, 3, 0, 0], (4, 1))
        motion = trajectory_of(RobotState(rows, np.zeros(4), read_ms=np.array(stamps)), "test")
        assert motion.fps == 15.0
        assert any(flag.startswith("nominal_fps") for flag in motion.flags)

    def test_the_state_at_the_time_of_capture(self) -> None:
        rows = np.array([[0.1 * k, 0, 0.4, 0, 0, 0.2 * k] for k in range(4)])
        state = RobotState(rows, np.array([0, 0.2, 0.4, 0.6]), read_ms=np.array([0, 100, 200, 300]))
        then = at_capture(trajectory_of(state, "test"), np.array([-50, 50, 150, 250]))
        np.testing.assert_allclose(then.flange[:, 0, 3], [0, 0.05, 0.15, 0.25])
        np.testing.assert_allclose(then.gripper, [0, 0.1, 0.3, 0.5])
        np.testing.assert_allclose(np.arctan2(then.flange[:, 1, 0], then.flange[:, 0, 0]), [0, 0.1, 0.3, 0.5])


class TestAgainstOthers:
    @QUICK
    @given(st.integers(0, 2**32 - 1))
    def test_poses_and_quaternions_are_scipys(self, seed: int) -> None:
        from scipy.spatial.transform import Rotation

        random = np.random.default_rng(seed)
        vectors = random.uniform(-4, 4, (50, 6))
        theirs = Rotation.from_euler("xyz", vectors[:, 3:])
        np.testing.assert_allclose(poses_of(vectors)[:, :3, :3], theirs.as_matrix(), atol=1e-14)
        ours = quaternions_of(theirs.as_matrix())
        expected = theirs.as_quat(canonical=False)[:, [3, 0, 1, 2]]
        expected *= np.sign(np.sum(expected * ours, axis=1, keepdims=True))
        np.testing.assert_allclose(ours, expected, atol=1e-14)
        np.testing.assert_allclose(rotations_of(ours), theirs.as_matrix(), atol=1e-14)

    @QUICK
    @given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 1e-7, 1e-4, 0.1, 1.0, 3.0, 3.14159]))
    def test_slerp_is_scipys(self, seed: int, angle: float) -> None:
        from scipy.spatial.transform import Rotation, Slerp

        random = np.random.default_rng(seed)
        axis = random.normal(size=3)
        first = Rotation.from_euler("xyz", random.uniform(-3, 3, 3))
        second = first * Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
        alpha = np.array([0.0, 0.2, 0.5, 0.99, 1.0])
        theirs = Slerp([0, 1], Rotation.concatenate([first, second]))(alpha).as_matrix()
        ends = (np.broadcast_to(one.as_matrix(), (5, 3, 3)) for one in (first, second))
        np.testing.assert_allclose(slerp(*ends, alpha), theirs, atol=1e-9)

    @QUICK
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def test_projection_is_opencvs(self, seed: int, bent: bool) -> None:
        import cv2

        random = np.random.default_rng(seed)
        camera = poses_of(random.uniform(-1, 1, 6))
        inside = random.uniform([-0.5, -0.3, 0.3], [0.5, 0.3, 2.0], (4, 50, 3))
        points = (inside @ camera[:3, :3].T + camera[:3, 3]).astype(np.float32)
        matrix = np.array([[531.0, 0, 641.5], [0, 529, 358.2], [0, 0, 1]])
        lens = (-0.041, 0.009, 0.0004, -0.0003, -0.005) if bent else ()
        world = inverse(camera)
        theirs, _ = cv2.projectPoints(
            points.reshape(-1, 3).astype(np.float64),
            cv2.Rodrigues(world[:3, :3])[0],
            world[:3, 3],
            matrix,
            np.array(lens or [0.0] * 5),
        )
        ours = project(points, camera, matrix, lens, 0.01)
        np.testing.assert_allclose(ours.reshape(-1, 2), theirs.reshape(-1, 2), atol=5e-4)

    def test_points_behind_and_close_have_no_pixel(self) -> None:
        points = np.array([[[0, 0, -1], [0, 0, 0], [0, 0, 0.01], [0, 0, 0.011], [9, 0, 1], [np.nan, 0, 1]]], np.float32)
        matrix = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
        found = project(points, np.eye(4), matrix, (), 0.01)[0]
        assert np.isnan(found[:3]).all()
        assert found[3].tolist() == [320, 240]
        assert found[4].tolist() == [4820, 240]  # far outside the image: kept
        assert np.isnan(found[5, 0])

    def test_forward_kinematics_give_the_recorded_flange(self, real: dict[str, Any]) -> None:
        checks = real["quality"]["checks"]
        assert checks["fk_max_err_mm"] < 1e-3
        assert checks["wrist_rigid_err_mm"] < 1e-6
        assert checks["euler_ok"] is True

    def test_the_home_position_of_the_arm(self) -> None:
        """All joints at zero: 88 mm forward and 0.333 + 0.316 + 0.384 - 0.107 m up, hand down (Franka's own figure)."""
        pose = flange_poses(np.zeros((1, 7)))[0]
        np.testing.assert_allclose(pose, posed(np.diag([1.0, -1, -1]), np.array([0.088, 0, 0.926])), atol=1e-12)


class TestTheEightDefects:
    """What the scripts that this replaces got wrong; each came out in the data they made."""

    def test_1_contact_points_lie_on_the_face_of_the_pad_only(self) -> None:
        pad = ROBOTIQ_2F85.pad(480)
        assert (pad[:, 0] == ROBOTIQ_2F85.pad_x).all()  # none on the back, the sides or the bottom of the finger
        assert np.abs(pad[:, 1]).max() < 0.011
        assert 0.007 < pad[:, 2].min() < pad[:, 2].max() < 0.044
        found = arrays_of(RobotState(np.array([[0.4, 0, 0.4, 3, 0.1, 0.7]]), np.array([0.3])))
        gap = found["tracks_3d"][0, :6] - found["tracks_3d"][0, 6:]
        outwards = found["left_contact_frames"][0, :3, 0]
        assert (gap @ outwards > 0).all()  # each point faces the other finger

    def test_2_the_same_points_on_every_run_and_of_every_episode(self) -> None:
        states = [RobotState(np.array([[0.4, 0.1 * k, 0.4, 3, 0, k]]), np.array([0.1 * k])) for k in range(3)]
        first, *others = [arrays_of(state)["contact_points_local"] for state in states]
        assert all(np.array_equal(first, other) for other in others)

    def test_3_the_pads_never_pass_through_each_other(self) -> None:
        apertures = ROBOTIQ_2F85.aperture(np.linspace(-0.2, 1.2, 200))
        assert apertures.min() > 0.001
        assert (np.diff(apertures) <= 0).all()
        assert apertures[[0, -1]] == pytest.approx([0.0790, 0.00123], abs=5e-5)
        found = arrays_of(RobotState(np.tile([0.4, 0, 0.4, 3, 0, 0], (2, 1)), np.array([0.0, 1.0])))
        left, right = found["left_contact_frames"][:, :3, 3], found["right_contact_frames"][:, :3, 3]
        np.testing.assert_allclose(np.linalg.norm(left - right, axis=1), [0.0790, 0.00123], atol=5e-5)

    def test_4_a_step_is_a_millimetre(self, real: dict[str, Any]) -> None:
        distance = real["tracks"]["normalized_distance_mm"]
        assert (np.diff(distance[:-1]) == 1.0).all()
        assert distance[-1] == pytest.approx(real["quality"]["checks"]["path_length_mm"])
        assert real["tracks"]["normalized_step_size_mm"] == 1.0

    def test_5_the_rate_is_measured(self, real: dict[str, Any]) -> None:
        assert real["tracks"]["fps"] == pytest.approx(14.12, abs=0.01)
        stamps = real["tracks"]["timestamps_s"]
        assert len(stamps) / (stamps[-1] - stamps[0]) == pytest.approx(14.12, abs=0.1)

    # 6, another episode's calibration, is in test_calibration.py::TestExactLookups.

    def test_7_everything_loads_without_pickle_and_distortion_means_something(self, real: dict[str, Any]) -> None:
        assert real["tracks"]["cameras_with_2d_tracks"].dtype.kind == "U"
        assert real["tracks"]["cameras_with_2d_tracks"].tolist() == [WRIST, EXT1, EXT2]
        point, matrix = np.array([[[0.3, 0.2, 1.0]]], np.float32), np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
        straight = project(point, np.eye(4), matrix, (), 0.01)
        bent = project(point, np.eye(4), matrix, (-0.1, 0, 0, 0, 0), 0.01)
        assert np.abs(straight - bent).max() > 1

    def test_8_the_wrist_camera_is_where_it_was_recorded(self, real: dict[str, Any]) -> None:
        found = real["extrinsics"]
        flange = poses_of(real["tracks"]["cartesian_positions"])
        np.testing.assert_allclose(found["wrist_extrinsics"], flange @ found["wrist_offset"], atol=1e-15)
        assert found["wrist_serial"] == WRIST
        turned = angles_between(found["wrist_extrinsics"][:, :3, :3], flange[:, :3, :3])
        assert np.ptp(turned) < 1e-6  # it rides on the flange


class TestGrippers:
    """Others are configuration."""

    def test_a_table_of_lengths(self) -> None:
        table = {**ROBOTIQ_2F85.model_dump(), "name": "wide", "pivot_x": 0.05, "mount_yaw": 0.0}
        params = TracksParams.model_validate({"gripper": table, "points_per_finger": 6})
        assert params.gripper.aperture(np.array([0.0]))[0] == pytest.approx(0.0790 + 2 * (0.05 - 0.0127), abs=1e-4)
        found = arrays_of(RobotState(np.array([[0.4, 0, 0.4, 0, 0, 0]]), np.array([0.0])), params)
        assert found["left_contact_frames"][0, :3, 0].tolist() == [1, 0, 0]

    def test_a_name_that_is_none_is_told_those_that_are(self) -> None:
        with pytest.raises(ValueError, match="no gripper 'hand'; there are robotiq_2f85"):
            TracksParams.model_validate({"gripper": "hand"})

    def test_a_length_that_is_missing(self) -> None:
        with pytest.raises(ValueError, match="pad_to"):
            TracksParams.model_validate({"gripper": ROBOTIQ_2F85.model_dump(exclude={"pad_to"})})


def test_a_grid_has_square_cells_as_far_as_its_number_allows() -> None:
    def cells(count: int) -> tuple[int, int]:
        pad = ROBOTIQ_2F85.pad(count)
        assert len(pad) == len(np.unique(pad.round(9), axis=0)) == count
        return len(np.unique(pad[:, 2].round(9))), len(np.unique(pad[:, 1].round(9)))

    assert [cells(count) for count in (1, 6, 128, 480, 7)] == [(1, 1), (3, 2), (16, 8), (30, 16), (7, 1)]
