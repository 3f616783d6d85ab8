"""The depth stage: one map a frame, the same bytes however it was interrupted, and a description to be trusted."""

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from episoded.processors.depth import ladder, meta
from episoded.processors.depth.files import target
from episoded.processors.depth.params import DepthParams
from episoded.processors.depth.parts import FolderParts
from episoded.processors.depth.reader import read_depth
from episoded.processors.depth.stage import DepthProcessor
from episoded.processors.episode import Camera, Episode, FrameSource
from episoded.processors.errors import Cancelled, EpisodedError, InputError, RetryableError
from episoded.processors.media import ffv1, lerobot_depth, video
from known_depth import KEY, SIZE, KnownDepth, context, episode, picture, run, truth, write_video

Use = Callable[..., KnownDepth]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Puts a source of known depth in the place of a way."""

    def put(way: str = "video", **settings: Any) -> KnownDepth:
        source = KnownDepth(**settings)
        monkeypatch.setitem(ladder.WAYS, way, lambda case: ladder.Way(source, case.frames))
        return source

    return put


def published(artifacts: dict[str, Any]) -> Path:
    """The depth video and its description side by side, as they are published."""
    folder = artifacts["episode_000000.mkv"].path.parent / "published"
    folder.mkdir()
    for name in ("episode_000000.mkv", "episode_000000.json"):
        (folder / name).hardlink_to(artifacts[name].path)
    return folder / "episode_000000.mkv"


def description(artifacts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(artifacts["episode_000000.json"].path.read_bytes())
    return found


class TestResult:
    def test_each_frame_has_its_own_depth_in_millimetres(self, tmp_path: Path, use: Use) -> None:
        use()
        of = episode(tmp_path / "data", 22)
        maps = np.stack(list(read_depth(published(run(of, tmp_path / "scratch")))))
        assert maps.shape == (22, *SIZE)
        assert maps[:, 2, 0].tolist() == [100 + number for number in range(22)]
        assert (maps[:, 0, :4] == 0).all()
        assert (maps[:, 1, :2] == 0).all(), "too far is unknown, not the largest number"
        expected = np.stack([truth(picture(number), number) for number in range(22)]) * 1000
        assert np.abs(maps[:, 5:].astype(float) - expected[:, 5:]).max() < 25  # the video is lossy

    def test_the_description_says_how_to_read_it_and_what_made_it(self, tmp_path: Path, use: Use) -> None:
        use()
        artifacts = run(episode(tmp_path / "data", 9), tmp_path / "scratch", segment_frames=4)
        said = description(artifacts)
        assert {"schema": 1, "kind": "metric_m", "depth_unit": "mm", "depth_scale": 1000}.items() <= said.items()
        assert (said["width"], said["height"], said["fps"], said["frame_count"]) == (64, 48, "30", 9)
        assert said["invalid_value"] == 0
        assert said["estimator"] == {
            "name": "known",
            "gives": "metric_m",
            "model": "known",
            "weights_sha256": "ab" * 32,
        }
        assert said["source"]["file"] == f"videos/chunk-000/{KEY}/episode_000000.mp4"
        assert len(said["source"]["sha256"]) == 64
        assert said["ladder"] == [{"way": "video", "taken": True}]
        assert [window["window"] for window in said["windows"]] == [0, 1, 2]
        assert (said["seam_ratio"], said["precision"]) == (1.5, {"fp32": 3})
        video = artifacts["episode_000000.mkv"].path
        assert said["crc32"] == [f"{ffv1.crc32(samples):08x}" for samples in ffv1.read(video)]
        assert said["bytes"] == video.stat().st_size
        with av.open(str(video)) as container:
            assert container.metadata["DEPTH_DECODE"] == said["decode_formula"]

    def test_the_statistics_are_those_of_the_file(self, tmp_path: Path, use: Use) -> None:
        use()
        path = published(run(episode(tmp_path / "data", 9), tmp_path / "scratch", segment_frames=4))
        metres = np.stack(list(read_depth(path, "m")))
        said, known = meta.read(meta.beside(path))["statistics"], metres[np.isfinite(metres)].astype(np.float64)
        assert (said["known_px"], said["invalid_px"], said["clipped_px"]) == (known.size, metres.size - known.size, 18)
        for name, value in {"min": known.min(), "max": known.max(), "mean": known.mean(), "std": known.std()}.items():
            assert said[name] == pytest.approx(value, abs=1e-5), name
        assert said["p50"] == pytest.approx(np.median(known), abs=0.033)

    def test_relative_disparity_is_never_written_as_millimetres(self, tmp_path: Path, use: Use) -> None:
        use(kind="disparity_relative")
        path = published(run(episode(tmp_path / "data", 9), tmp_path / "scratch"))
        assert meta.read(meta.beside(path))["kind"] == "disparity_relative"
        with pytest.raises(InputError, match="relative"):
            next(read_depth(path))
        disparity = np.stack(list(read_depth(path, "disparity")))
        expected = np.stack([1 / truth(picture(number), number) for number in range(9)])
        assert np.abs(disparity[:, 5:] - expected[:, 5:]).max() < 0.02

    def test_a_measured_scale_makes_metres_of_it(self, tmp_path: Path, use: Use) -> None:
        use(kind="disparity_relative")
        scale = {"*": {"a": 0.5, "b": 0.0}}  # 1 / z = 0.5 d: twice as far
        path = published(run(episode(tmp_path / "data", 9), tmp_path / "scratch", measured_scale=scale))
        said = meta.read(meta.beside(path))
        assert said["kind"] == "metric_m"
        assert said["estimator"]["gives"] == "disparity_relative"
        assert said["estimator"]["measured_scale"]["a"] == 0.5
        assert np.stack(list(read_depth(path)))[:, 2, 0].tolist() == [200 + 2 * number for number in range(9)]

    def test_finer_steps(self, tmp_path: Path, use: Use) -> None:
        use()
        path = published(run(episode(tmp_path / "data", 3), tmp_path / "scratch", depth_scale=10000))
        assert next(read_depth(path, "m"))[2, 0] == pytest.approx(0.1, abs=6e-5)
        assert next(read_depth(path, "sample"))[2, 0] == 1000

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_short_videos(self, tmp_path: Path, use: Use, count: int) -> None:
        use()
        path = published(run(episode(tmp_path / "data", count), tmp_path / "scratch"))
        assert len(list(read_depth(path))) == count

    def test_png_frames_before_they_are_encoded(self, tmp_path: Path, use: Use) -> None:
        use()
        folder, length = tmp_path / "data/images" / KEY / "episode_000000", 6
        folder.mkdir(parents=True)
        for number in range(length):
            Image.fromarray(picture(number)).save(folder / f"frame_{number:06d}.png")
        frames = FrameSource(folder, tuple(sorted(folder.iterdir())))
        camera = Camera(KEY, frames, PurePosixPath("videos/chunk-000", KEY, "episode_000000.mp4"))
        of = Episode(tmp_path / "data", tmp_path / "data", "episode_000000", 0, length, Fraction(15), (camera,))
        artifacts = run(of, tmp_path / "scratch", preview=False)
        maps = np.stack(list(read_depth(published(artifacts))))
        expected = np.stack([truth(picture(number), number) for number in range(length)]) * 1000
        assert np.array_equal(maps[:, 5:], np.rint(expected[:, 5:]).astype(np.uint16))  # no codec in between
        assert description(artifacts)["source"] == {
            "kind": "png",
            "folder": f"images/{KEY}/episode_000000",
            "frames": 6,
        }
        assert video.probe(artifacts["episode_000000.mkv"].path).fps == 15


class TestRefusing:
    @pytest.mark.parametrize("settings", [{"lose": 1}, {"lose": 3}, {"wrong_size": True}])
    def test_not_one_map_for_each_frame(self, tmp_path: Path, use: Use, settings: dict[str, Any]) -> None:
        source = use(**settings)
        with pytest.raises(EpisodedError) as refused:
            run(episode(tmp_path / "data", 10), tmp_path / "scratch")
        assert refused.value.code == "depth_frames"
        assert source.closed

    def test_no_video_and_no_frames(self, tmp_path: Path, use: Use) -> None:
        use()
        of = episode(tmp_path / "data", 3)
        (tmp_path / "data" / of.cameras[0].video).unlink()
        with pytest.raises(InputError) as refused:
            run(of, tmp_path / "scratch")
        assert refused.value.code == "depth_no_input"

    def test_a_damaged_depth_video_is_not_published(
        self, tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use()
        join = ffv1.join

        def join_and_flip(segments: Any, path: Path, **settings: Any) -> None:
            join(segments, path, **settings)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0x10
            path.write_bytes(content)

        monkeypatch.setattr(ffv1, "join", join_and_flip)
        with pytest.raises(RetryableError) as refused:
            run(episode(tmp_path / "data", 9), tmp_path / "scratch")
        assert refused.value.code == "verify_failed"


class TestResuming:
    """What is kept of a killed attempt; the kill itself is in test_depth_chain.py."""

    def interrupted(self, of: Episode, folder: Path, after: int) -> None:
        """Make depth until `after` frames are computed, then stop at once; the parts are in `folder`."""
        seen = 0

        def cancelled() -> bool:
            nonlocal seen
            seen += 1
            return seen > after

        with pytest.raises(Cancelled):
            run(
                of,
                folder / f"scratch{after}",
                segment_frames=8,
                parts=FolderParts(folder / "parts"),
                cancelled=cancelled,
            )

    def test_finished_segments_are_not_made_again_and_the_bytes_are_the_same(self, tmp_path: Path, use: Use) -> None:
        of = episode(tmp_path / "data", 50)
        use()
        whole = run(of, tmp_path / "whole", segment_frames=8)
        use()
        self.interrupted(of, tmp_path, after=30)
        source, shown = use(), []
        again = run(
            of,
            tmp_path / "again",
            segment_frames=8,
            parts=FolderParts(tmp_path / "parts"),
            progress=lambda done, _: shown.append(done),
        )
        assert 0 < again["episode_000000.mkv"].facts["resumed"] < 50
        assert source.asked == list(range(again["episode_000000.mkv"].facts["resumed"], 50))
        assert source.asked[0] in shown
        for name in whole:
            assert whole[name].path.read_bytes() == again[name].path.read_bytes(), name

    def test_a_gpu_that_is_lost_in_the_middle_costs_the_segment_in_hand(self, tmp_path: Path, use: Use) -> None:
        of, parts = episode(tmp_path / "data", 50), FolderParts(tmp_path / "parts")
        use()
        whole = run(of, tmp_path / "whole", segment_frames=8)
        source = use(fails_at=30)
        with pytest.raises(RetryableError) as refused:
            run(of, tmp_path / "first", segment_frames=8, parts=parts)
        assert (refused.value.code, source.closed) == ("gpu_lost", True)
        source = use()
        again = run(of, tmp_path / "second", segment_frames=8, parts=parts)
        assert source.asked == list(range(24, 50))
        for name in whole:
            assert whole[name].path.read_bytes() == again[name].path.read_bytes(), name

    def test_killed_while_joining_nothing_is_computed_again(self, tmp_path: Path, use: Use) -> None:
        of, parts = episode(tmp_path / "data", 20), FolderParts(tmp_path / "parts")
        use()
        whole = run(of, tmp_path / "one", segment_frames=8, parts=parts)
        source = use()
        again = run(of, tmp_path / "two", segment_frames=8, parts=parts)
        assert source.asked == []
        assert whole["episode_000000.mkv"].path.read_bytes() == again["episode_000000.mkv"].path.read_bytes()

    @pytest.mark.parametrize("name", ["00001.mkv", "00001.npz"])
    @pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
    def test_a_segment_that_is_not_whole_is_made_again(self, tmp_path: Path, use: Use, name: str, how: str) -> None:
        of, parts = episode(tmp_path / "data", 24), FolderParts(tmp_path / "parts")
        use()
        whole = run(of, tmp_path / "one", segment_frames=8, parts=parts)
        path = tmp_path / "parts" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.unlink()
        if how != "gone":
            path.write_bytes(content if how == "flipped" else content[:-20])
        source = use()
        again = run(of, tmp_path / "two", segment_frames=8, parts=parts)
        assert source.asked == list(range(8, 24))
        assert whole["episode_000000.mkv"].path.read_bytes() == again["episode_000000.mkv"].path.read_bytes()

    def test_what_another_model_made_is_not_continued(self, tmp_path: Path, use: Use) -> None:
        of, parts = episode(tmp_path / "data", 20), FolderParts(tmp_path / "parts")
        use()
        run(of, tmp_path / "one", segment_frames=8, parts=parts)
        source = use(facts={"model": "known", "weights_sha256": "cd" * 32})
        run(of, tmp_path / "two", segment_frames=8, parts=parts)
        assert source.asked == list(range(20))


class TestWays:
    def not_here(self, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
        def refuse(_: ladder.Case) -> Any:
            raise ladder.NotPossible("there is no second lens")

        monkeypatch.setitem(ladder.WAYS, way, refuse)

    def test_the_first_possible_way_is_taken_and_the_others_are_on_record(
        self, tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.not_here(monkeypatch, "stereo")
        use("video")
        artifacts = run(
            episode(tmp_path / "data", 3), tmp_path / "scratch", ways=("stereo", "video"), calibration="x.json"
        )
        passed_over = {"way": "stereo", "taken": False, "why": "there is no second lens"}
        assert description(artifacts)["ladder"] == [passed_over, {"way": "video", "taken": True}]
        assert artifacts["episode_000000.mkv"].facts["way"] == "video"

    def test_no_way_fails_with_the_reasons(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.not_here(monkeypatch, "stereo")
        with pytest.raises(EpisodedError, match="no second lens") as refused:
            run(episode(tmp_path / "data", 3), tmp_path / "scratch", ways=("stereo",), calibration="x.json")
        assert refused.value.code == "depth_no_way"

    def test_none_lets_a_camera_go_without_depth_and_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.not_here(monkeypatch, "stereo")
        artifacts = run(
            episode(tmp_path / "data", 3), tmp_path / "scratch", ways=("stereo", "none"), calibration="x.json"
        )
        assert list(artifacts) == ["episode_000000.json"]
        assert description(artifacts)["kind"] == "no_depth"


class TestExports:
    def test_the_preview_shows_picture_and_depth_side_by_side(self, tmp_path: Path, use: Use) -> None:
        use()
        path = run(episode(tmp_path / "data", 5), tmp_path / "scratch")["episode_000000.webm"].path
        assert video.probe(path).codec == "vp9"
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        assert [frame.shape for frame in frames] == [(48, 128, 3)] * 5
        left, right = frames[0][:, :64], frames[0][:, 64:]
        assert np.abs(left - picture(0)).mean() < 12
        near, far = right[20:28, 2:12].mean(), right[20:28, 52:62].mean()
        assert near > far + 60, "near is bright"

    def test_png16_holds_the_samples(self, tmp_path: Path, use: Use) -> None:
        use()
        artifacts = run(episode(tmp_path / "data", 3), tmp_path / "scratch", export=("png16",))
        names = [f"depth_{number:06d}.png" for number in range(3)]
        samples = list(read_depth(published(artifacts)))
        for name, expected in zip(names, samples, strict=True):
            with Image.open(artifacts[name].path) as png:
                assert np.array_equal(np.asarray(png).astype(np.uint16), expected)
            assert artifacts[name].target.parent.name == "episode_000000_png16"

    def test_lerobots_own_depth_video(self, tmp_path: Path, use: Use) -> None:
        use()
        artifacts = run(episode(tmp_path / "data", 4), tmp_path / "scratch", export=("lerobot",))
        feature = description(artifacts)["exports"]["lerobot"]["feature"]
        assert (feature["dtype"], feature["shape"], feature["info"]["is_depth_map"]) == ("video", [48, 64, 1], True)
        codes = lerobot_depth.DepthCodes.of_info(feature["info"])
        ours = np.stack(list(read_depth(published(artifacts))))
        theirs = [
            codes.to_millimetres(one) for one in lerobot_depth.read_codes(artifacts["episode_000000_lerobot.m4v"].path)
        ]
        assert np.abs(np.stack(theirs).astype(int) - ours).max() <= 2

    def test_lerobots_own_depth_video_is_not_made_of_relative_depth(self, tmp_path: Path, use: Use) -> None:
        source = use(kind="disparity_relative")
        with pytest.raises(EpisodedError) as refused:
            run(episode(tmp_path / "data", 4), tmp_path / "scratch", export=("lerobot",))
        assert refused.value.code == "depth_not_metric"
        assert source.asked == [], "said before hours of work, not after"

    def test_nothing_is_called_what_lerobot_counts(self, tmp_path: Path, use: Use) -> None:
        use()
        artifacts = run(episode(tmp_path / "data", 3), tmp_path / "scratch", export=("lerobot", "png16"))
        for artifact in artifacts.values():
            assert artifact.target.suffix not in (".mp4", ".parquet")
            assert artifact.target.parts[0] == "depth"
        assert not [path for path in (tmp_path / "scratch").rglob("*") if path.suffix in (".mp4", ".parquet")]


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"ways": ()},
            {"ways": ("video", "video")},
            {"ways": ("none", "video")},
            {"ways": ("frame",)},
            {"ways": ("magic",)},
            {"input_size": 500},
            {"depth_scale": 1},
            {"model": "vitg"},
            {"measured_scale": {"*": {"a": 1}}},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            DepthParams(**wrong)

    def test_cameras_can_be_chosen(self, tmp_path: Path) -> None:
        of = episode(tmp_path, 1)
        for patterns, units in ((("*",), 1), (("*.top",), 1), (("*.wrist",), 0)):
            assert len(DepthProcessor().units(of, DepthParams(cameras=patterns))) == units

    def test_where_depth_belongs(self, tmp_path: Path) -> None:
        of = episode(tmp_path, 1)
        assert str(target(of, of.cameras[0])) == f"depth/chunk-000/{KEY}/episode_000000.mkv"
        own = Camera(KEY, None, PurePosixPath("clip.mp4"), depth=PurePosixPath("depth.mkv"))
        assert str(target(of, own)) == "depth.mkv"
        assert str(meta.beside(PurePosixPath("depth.mkv"))) == "depth_meta.json"

    def test_the_devices_reach_the_source(self, tmp_path: Path, use: Use) -> None:
        source = use()
        of = episode(tmp_path / "data", 3)
        run(of, tmp_path / "scratch", devices=("cuda:0", "cuda:2"))
        assert source.devices == ("cuda:0", "cuda:2")
        assert context(of, tmp_path / "other", DepthParams()).devices == ("cpu",)


def test_damaged_videos_name_themselves(tmp_path: Path, use: Use) -> None:
    use()
    of = episode(tmp_path / "data", 9)
    path = write_video(tmp_path / "data" / of.cameras[0].video, 9)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"episode_000000\.mp4"):
        run(of, tmp_path / "scratch")


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as where there is none
    with pytest.raises(EpisodedError) as refused:
        run(episode(tmp_path / "data", 3), tmp_path / "scratch")
    assert refused.value.code == "extra_missing"
    assert "episoded[depth]" in refused.value.hint
