"""Tracked points get the position that the depth under them gives, and every other one the reason why not."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import known_depth
from episoded.processors.depth import ladder, meta
from episoded.processors.depth.codes import DisparityCodes, MetricCodes
from episoded.processors.depth.stereo import Calibration
from episoded.processors.depth.tracking import Intrinsics, enrich, enrich_beside
from episoded.processors.errors import InputError
from episoded.processors.media import ffv1
from known_depth import KnownDepth

HEIGHT, WIDTH = 48, 64
CAMERA = {"fx": 50.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    """Frame k is a wall at 1 + k / 2 m with a hole in its upper left corner."""
    maps = [np.full((HEIGHT, WIDTH), 1 + number / 2, np.float32) for number in range(5)]
    for values in maps:
        values[:10, :10] = np.nan
    return written(tmp_path / "depth.mkv", maps, MetricCodes())


def written(path: Path, maps: list[np.ndarray], codes: Any) -> Path:
    with ffv1.DepthWriter(path, height=HEIGHT, width=WIDTH, rate=Fraction(30)) as writer:
        for values in maps:
            writer.write(codes.encode(values)[0])
    crc32 = [f"{crc:08x}" for crc in writer.crc32]
    meta.beside(path).write_bytes(meta.to_json({**codes.describe(), "frame_count": len(maps), "crc32": crc32}))
    return path


def tracks_of(path: Path, tracks: list[Any], **more: Any) -> Path:
    path.write_text(json.dumps({"tracks": tracks, **more}))
    return path


def test_a_point_is_placed_by_the_pinhole_formula(depth: Path, tmp_path: Path) -> None:
    tracks = tracks_of(
        tmp_path / "contact_track.json",
        [
            {"frame": 2, "contact_2d": [41.5, 11.5], "detected": True, "confidence": 0.9},
            {"frame": "frame_000004", "contact_2d": [31.5, 23.5]},
        ],
        intrinsics=CAMERA,
        metadata={"model": "yolo"},
    )
    before = tracks.read_bytes()
    result = enrich(tracks, depth, tmp_path / "out.json")
    out = json.loads((tmp_path / "out.json").read_text())
    assert tracks.read_bytes() == before
    first, second = out["tracks"]
    assert first == {
        "frame": 2,
        "contact_2d": [41.5, 11.5],
        "detected": True,
        "confidence": 0.9,
        "vda_position_3d": {"x": pytest.approx(0.4), "y": pytest.approx(-0.4), "z": 2.0},
    }
    assert second["vda_position_3d"] == {"x": 0.0, "y": 0.0, "z": 3.0}
    assert (result.enriched, result.skipped) == (2, {})
    assert out["metadata"]["model"] == "yolo"
    assert out["metadata"]["vda"]["intrinsics"]["source"] == "the track file"
    assert out["metadata"]["vda"]["unit"] == "m"


def test_each_track_that_is_skipped_says_why_and_they_are_counted(depth: Path, tmp_path: Path) -> None:
    tracks = [
        {"frame": 0, "contact_2d": [40, 40], "detected": False},
        {"frame": 0, "contact_2d": None},
        {"frame": 0},
        {"frame": 1, "contact_2d": [63.4, 47.4]},
        {"frame": 1, "contact_2d": [63.5, 20]},
        {"frame": 1, "contact_2d": [-0.6, 20]},
        {"frame": 5, "contact_2d": [40, 40]},
        {"frame": 3, "contact_2d": [4, 4]},
        {"frame": 3, "contact_2d": [11, 4]},
    ]
    result = enrich(tracks_of(tmp_path / "a.json", tracks), depth, tmp_path / "b.json")
    reasons = [track.get("vda_skipped") for track in json.loads((tmp_path / "b.json").read_text())["tracks"]]
    assert reasons == [
        "not_detected",
        "no_point",
        "no_point",
        None,
        "outside_image",
        "outside_image",
        "beyond_video",
        "no_depth",
        None,
    ]
    assert result.enriched == 2
    assert result.skipped == {"beyond_video": 1, "no_depth": 1, "no_point": 2, "not_detected": 1, "outside_image": 2}


def test_files_that_count_frames_from_one(depth: Path, tmp_path: Path) -> None:
    tracks = tracks_of(tmp_path / "a.json", [{"frame": "frame_00001", "contact_2d": [30, 30]}])
    enrich(tracks, depth, tmp_path / "b.json", first_frame=1)
    (track,) = json.loads((tmp_path / "b.json").read_text())["tracks"]
    assert track["vda_position_3d"]["z"] == 1.0


def test_without_intrinsics_those_that_are_assumed_are_named(depth: Path, tmp_path: Path) -> None:
    tracks = tracks_of(tmp_path / "a.json", [{"frame": 0, "contact_2d": [WIDTH - 0.5, 23.5]}])
    enrich(tracks, depth, tmp_path / "b.json")
    used = json.loads((tmp_path / "b.json").read_text())["metadata"]["vda"]["intrinsics"]
    assert used["source"] == "assumed: 55 degrees across"
    assert np.degrees(2 * np.arctan(WIDTH / 2 / used["fx"])) == pytest.approx(55)
    assert (used["cx"], used["cy"]) == (31.5, 23.5)


def test_given_intrinsics_go_before_those_of_the_file(depth: Path, tmp_path: Path) -> None:
    tracks = tracks_of(tmp_path / "a.json", [{"frame": 0, "contact_2d": [41, 20]}], intrinsics=CAMERA)
    enrich(tracks, depth, tmp_path / "b.json", intrinsics=Intrinsics(10, 10, 31, 20, "calibration.json"))
    out = json.loads((tmp_path / "b.json").read_text())
    assert out["tracks"][0]["vda_position_3d"] == {"x": 1.0, "y": 0.0, "z": 1.0}
    assert out["metadata"]["vda"]["intrinsics"]["source"] == "calibration.json"


def test_an_enriched_file_can_be_enriched_again(depth: Path, tmp_path: Path) -> None:
    tracks = tracks_of(tmp_path / "a.json", [{"frame": 0, "contact_2d": [41, 20]}, {"frame": 9, "contact_2d": [1, 1]}])
    enrich(tracks, depth, tmp_path / "b.json")
    enrich(tmp_path / "b.json", depth, tmp_path / "c.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "c.json").read_bytes()


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("not json", "not JSON"),
            ("[1]", "list `tracks`"),
            ('{"contacts": []}', "list `tracks`"),
            ('{"tracks": [3]}', r"tracks\[0\] is no object"),
            ('{"tracks": [{"contact_2d": [1, 2]}]}', r"tracks\[0\].frame is None"),
            ('{"tracks": [{"frame": 1}, {"frame": "last"}]}', r"tracks\[1\].frame is 'last'"),
            ('{"tracks": [{"frame": 1, "contact_2d": [1]}]}', r"contact_2d is \[1\]"),
            ('{"tracks": [{"frame": 1, "contact_2d": {"x": 1}}]}', "contact_2d is"),
            ('{"tracks": [{"frame": 1, "contact_2d": [1, NaN]}]}', "contact_2d is"),
            ('{"tracks": [], "intrinsics": {"fx": 800}}', "`intrinsics` are not"),
            ('{"tracks": [], "metadata": 3}', "`metadata` is no object"),
        ],
    )
    def test_files_of_another_schema(self, content: str, why: str, depth: Path, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(InputError, match=why) as caught:
            enrich(tmp_path / "a.json", depth, tmp_path / "b.json")
        assert caught.value.code == "tracks_schema"
        assert not (tmp_path / "b.json").exists()

    def test_depth_without_a_unit(self, tmp_path: Path) -> None:
        depth = written(tmp_path / "depth.mkv", [np.ones((HEIGHT, WIDTH), np.float32)], DisparityCodes(2.0))
        tracks = tracks_of(tmp_path / "a.json", [{"frame": 0, "contact_2d": [1, 1]}])
        with pytest.raises(InputError, match="relative disparity"):
            enrich(tracks, depth, tmp_path / "b.json")

    def test_writing_over_the_input(self, depth: Path, tmp_path: Path) -> None:
        tracks = tracks_of(tmp_path / "a.json", [])
        with pytest.raises(InputError, match="overwritten"):
            enrich(tracks, depth, tmp_path / "." / "a.json")


class TestBesideAVideo:
    def test_every_track_file_beside_the_only_video_is_enriched(self, depth: Path, tmp_path: Path) -> None:
        (place := tmp_path / "scene").mkdir()
        (place / "clip.mp4").touch()
        tracks_of(place / "contact_track.json", [{"frame": 1, "contact_2d": [40, 40]}])
        tracks_of(place / "contact_track_yolo.json", [{"frame": 9, "contact_2d": [40, 40]}])
        (place / "contact_track_odd.json").write_text("[]")
        tracks_of(place / "contact_track_old_vda.json", [])
        (out := tmp_path / "out").mkdir()
        written, told = enrich_beside(place / "clip.mp4", depth, out)
        assert [path.name for path in written] == ["contact_track_vda.json", "contact_track_yolo_vda.json"]
        assert told["contact_track.json"] == {"enriched": 1, "skipped": {}}
        assert told["contact_track_yolo.json"] == {"enriched": 0, "skipped": {"beyond_video": 1}}
        assert told["contact_track_odd.json"]["code"] == "tracks_schema"
        assert sorted(path.name for path in out.iterdir()) == [path.name for path in written]

    def test_what_a_calibrated_pair_knows_goes_before_what_is_assumed(self, depth: Path, tmp_path: Path) -> None:
        (place := tmp_path / "scene").mkdir()
        (place / "clip.mp4").touch()
        own = {"fx": 50.0, "fy": 50.0, "cx": 0.0, "cy": 0.0}
        tracks_of(place / "contact_track.json", [{"frame": 1, "contact_2d": [40, 40]}])
        content = json.loads((place / "contact_track.json").read_text()) | {"intrinsics": own}
        (place / "contact_track_own.json").write_text(json.dumps(content))
        (out := tmp_path / "out").mkdir()
        pair = Calibration(80.0, 0.1, 64).intrinsics(48, 64)
        enrich_beside(place / "clip.mp4", depth, out, pair)
        sources = [json.loads(path.read_text())["metadata"]["vda"]["intrinsics"] for path in sorted(out.iterdir())]
        assert [(used["fx"], used["cx"]) for used in sources] == [(50.0, 0.0), (80.0, 31.5)]
        assert "calibration of the pair" in sources[1]["source"]

    def test_with_several_videos_nothing_says_which_one_was_tracked(self, depth: Path, tmp_path: Path) -> None:
        (place := tmp_path / "scene").mkdir()
        for name in ("a.mp4", "b.mov"):
            (place / name).touch()
        tracks_of(place / "contact_track.json", [])
        assert enrich_beside(place / "a.mp4", depth, tmp_path) == (
            [],
            {"contact_track.json": {"refused": "several videos lie here"}},
        )

    def test_the_depth_stage_publishes_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(KnownDepth(), case.frames))
        recorded = known_depth.episode(tmp_path)
        beside = (tmp_path / recorded.cameras[0].video).with_name("contact_track.json")
        tracks_of(beside, [{"frame": 3, "contact_2d": [30, 30]}])
        artifacts = known_depth.run(recorded, tmp_path / "scratch")
        (track,) = json.loads(artifacts["contact_track_vda.json"].path.read_text())["tracks"]
        assert 1 <= track["vda_position_3d"]["z"] <= 2.275
        told = artifacts["episode_000000.mkv"].facts["tracks"]
        assert told == {"contact_track.json": {"enriched": 1, "skipped": {}}}
