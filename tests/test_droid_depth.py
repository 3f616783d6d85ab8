"""The full pipeline on raw DROID episodes: depth by each camera's own best way, after the tracks, never before them."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from commandline import configure, episoded
from droid_data import DROID, EXT1, EXT2, WRIST, episode_folder, everything, failure, quality, tree, write_video
from episoded.daemon import config
from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.daemon.dispatch import Dispatcher
from episoded.daemon.gpus import Gpus
from episoded.daemon.scan import Scanner
from episoded.daemon.supervisor import Ending
from episoded.processors.depth.reader import read_depth

if TYPE_CHECKING:
    from pathlib import Path

FRAMES, EYE, DISPARITY = 6, (640, 360), 32
FX, BASELINE_MM = 264.0, 120.0  # of a ZED 2 at half of 1280 x 720, nominal


def write_pair(path: Path) -> None:
    """Both eyes of a camera before a wall with a pattern, that stands where it is 32 pixels apart in them."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = EYE
    random = np.random.default_rng(7)
    coarse = random.integers(30, 226, (height // 4, (width + DISPARITY) // 4 + 1), np.uint8)
    wall = np.kron(coarse, np.ones((4, 4), np.uint8))[:, : width + DISPARITY]
    both = np.concatenate([wall[:, :width], wall[:, DISPARITY:]], axis=1)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=60, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 2 * width, height, "yuv420p"
        for _ in range(FRAMES):
            picture = np.repeat(both[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def pipeline(*ways: str, **depth: Any) -> Pipeline:
    table = {"ways": ways, "preview": False, **depth}
    stages = ["encode", "metadata", "tracks", "depth"]
    return Pipeline.model_validate({"name": "test", "stages": stages, "depth": table})


def process(root: Path, output: Path, chosen: Pipeline) -> tuple[str, Path]:
    """How the one episode ended, and where its outputs are."""
    output.mkdir(exist_ok=True)
    (uuid,) = DROID.listing(root).episodes
    return work_on(Work(root, output, uuid, "droid", chosen)), output / uuid


def described(folder: Path, serial: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "recordings" / serial / "depth_meta.json").read_bytes())
    return value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One camera with both eyes, one with its left view only, one with an SVO only; processed."""
    place = tmp_path_factory.mktemp("droid")
    root = tree(place / "droid")
    videos = episode_folder(root) / "recordings"
    write_pair(videos / f"MP4/{EXT1}-stereo.mp4")
    write_video(videos / f"MP4/{EXT1}.mp4", FRAMES, EYE)
    write_video(videos / f"MP4/{EXT2}.mp4", FRAMES, EYE)
    (videos / "SVO").mkdir()
    (videos / f"SVO/{WRIST}.svo").write_bytes(b"SVO")
    before = everything(root)
    ended, _ = process(root, place / "out", pipeline("stereo", "none"))
    assert ended == "ready", failure(place / "out", DROID.listing(root).episodes[0])
    assert everything(root) == before
    return place


class TestStereo:
    def folder(self, place: Path) -> Path:
        return place / "out" / DROID.listing(place / "droid").episodes[0]

    def test_depth_is_metric_and_right(self, place: Path) -> None:
        maps = list(read_depth(self.folder(place) / f"recordings/{EXT1}/depth.mkv"))
        assert len(maps) == FRAMES
        expected = FX * BASELINE_MM / DISPARITY
        for depth in maps:
            assert depth.shape == (EYE[1], EYE[0])
            assert (depth > 0).mean() > 0.8
            assert np.median(depth[depth > 0]) == pytest.approx(expected, rel=0.01)

    def test_its_description_says_how_and_at_which_rate(self, place: Path) -> None:
        found = described(self.folder(place), EXT1)
        assert Fraction(found["fps"]) == Fraction(1000, 71)  # of the rows; the video itself says 60
        assert found["frame_count"] == FRAMES
        assert found["ladder"] == [{"way": "stereo", "taken": True}]
        estimator = found["estimator"]
        assert (estimator["fx"], estimator["baseline_m"]) == (FX, BASELINE_MM / 1000)
        intrinsics = json.loads((self.folder(place) / f"recordings/{EXT1}/intrinsics.json").read_bytes())
        assert intrinsics["baseline_source"] == "nominal, ZED 2"

    def test_a_camera_with_one_eye_is_no_silent_mix(self, place: Path) -> None:
        found = described(self.folder(place), EXT2)
        assert found["kind"] == "no_depth"
        assert "not two side by side" in found["ladder"][0]["why"]
        assert not (self.folder(place) / f"recordings/{EXT2}/depth.mkv").exists()

    def test_an_svo_alone_says_what_it_takes(self, place: Path) -> None:
        why = described(self.folder(place), WRIST)["ladder"][0]["why"]
        assert "svo_needs_zed_sdk" in why
        assert f"{WRIST}-stereo.mp4" in why
        assert "ZED SDK" in why

    def test_no_video_is_encoded_or_copied(self, place: Path) -> None:
        assert list((place / "out").rglob("*.mp4")) == []

    def test_the_tracks_are_as_without_depth(self, place: Path) -> None:
        ended, folder = process(place / "droid", place / "light", Pipeline(name="test", stages=("tracks",)))
        assert ended == "ready"
        for name in ("tracks.npz", "extrinsics.npz", "quality.json"):
            assert (folder / name).read_bytes() == (self.folder(place) / name).read_bytes()


class TestWithoutDepth:
    def test_an_svo_alone_fails_depth_where_it_is_asked_for_and_the_tracks_are_there(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        svo = episode_folder(root) / f"recordings/SVO/{WRIST}.svo"
        svo.parent.mkdir(parents=True)
        svo.write_bytes(b"SVO")
        ended, folder = process(root, tmp_path / "out", pipeline("stereo", cameras=[WRIST]))
        record = failure(tmp_path / "out", folder.name)
        assert (ended, record["code"], record["stage"]) == ("failed", "svo_needs_zed_sdk", "depth")
        assert svo.name in record["message"]
        assert f"{WRIST}-stereo.mp4" in record["hint"]
        assert "export it from the SVO" in record["hint"]
        assert quality(folder)["num_frames"] == 20

    def test_a_camera_without_any_recording(self, tmp_path: Path) -> None:
        ended, folder = process(tree(tmp_path / "droid"), tmp_path / "out", pipeline("stereo", "none"))
        assert ended == "ready"
        assert "no recording" in described(folder, EXT1)["ladder"][0]["why"]

    def test_without_tracks_there_is_no_calibration(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        write_pair(episode_folder(root) / f"recordings/MP4/{EXT1}-stereo.mp4")
        chosen = Pipeline.model_validate({"name": "test", "stages": ["depth"], "depth": {"ways": ["stereo", "none"]}})
        ended, folder = process(root, tmp_path / "out", chosen)
        assert ended == "ready"
        assert "no earlier stage" in described(folder, EXT1)["ladder"][0]["why"]


def test_full_takes_stereo_first_then_the_model_then_none() -> None:
    full = config.load(None).pipelines["full"]
    assert full.stages == ("encode", "metadata", "tracks", "depth")
    assert full.params["depth"].ways == ("stereo", "video", "none")


def test_stages_that_pass_it_over_do_not_keep_it_from_the_gpu(tmp_path: Path) -> None:
    """`encode` leaves no checkpoint, so that by the names it is next: the episode went round and round without end."""
    root, out = tree(tmp_path / "drop" / "droid"), tmp_path / "out"
    out.mkdir()
    drop = f"[[drop]]\npath = '{root.parent}'\noutput = '{out}'\ncomplete = 'rename'\npipeline = 'mine'\n"
    stages = "[pipelines.mine]\nstages = ['encode', 'metadata', 'tracks', 'depth']\n"
    table = f"{stages}[pipelines.mine.depth]\nways = ['none']\n"
    chosen = config.load(configure(tmp_path, drop, more=table))
    scanner, dispatcher = Scanner(chosen.drops), Dispatcher(chosen)
    gpus = Gpus(("0",), needed=True)
    ends = []
    for _ in range(2):
        while dispatcher.take_in(scanner.scan()):
            pass
        (job,) = dispatcher.next_jobs([], 1, gpus)
        ended = work_on(job.work)
        dispatcher.ended(Ending(job, ended))
        ends.append((job.on_gpu, ended))
    assert ends == [(False, "handed_over"), (True, "ready")]


def test_the_view_shows_the_depth(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    from test_view import entities

    root = tree(tmp_path / "drop" / "droid", rows=FRAMES + 1)
    write_pair(episode_folder(root) / f"recordings/MP4/{EXT1}-stereo.mp4")
    (tmp_path / "out").mkdir()
    drop = f"[[drop]]\npath = '{tmp_path}/drop'\noutput = '{tmp_path}/out'\npipeline = 'mine'\n"
    more = "[pipelines.mine]\nstages = ['tracks', 'depth']\n[pipelines.mine.depth]\nways = ['stereo', 'none']\n"
    chosen = configure(tmp_path, drop, more=more)
    done = episoded("process", root, config=chosen)
    assert done.code == 0, done.out + done.err
    assert episoded("view", root, "--into", tmp_path / "seen", config=chosen).code == 0
    assert f"base/{EXT1}/image/depth" in entities(next((tmp_path / "seen").glob("*.rrd")))
