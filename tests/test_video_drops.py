"""Videos by themselves: what makes one complete, where its outputs go, and a real model on a real clip."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from commandline import configure, episoded, on_terminal, plain
from depth_golden import loaded
from episoded.daemon import chain, gpus, target
from episoded.daemon.config import Config
from episoded.daemon.dispatch import Dispatcher
from episoded.daemon.errors import InputError
from episoded.daemon.guard import Guard
from episoded.daemon.scan import Scanner
from episoded.processors import formats
from episoded.processors.depth import ladder
from episoded.processors.depth.reader import read_depth
from episoded.processors.media import video
from known_depth import KnownDepth, write_video
from lerobot_data import DATA
from recordings import tiny

if TYPE_CHECKING:
    from pathlib import Path

CLIP = DATA / "depth_video/davis_rollercoaster.mp4"


class Station:
    """A drop folder whose pipeline has depth, and what would be begun in it."""

    def __init__(self, folder: Path, rule: str = "quiet", pipeline: str = "depth", **drop: object) -> None:
        self.now = 1000.0
        self.drop = folder
        folder.mkdir(exist_ok=True)
        settings = {"path": folder, "complete": rule, "pipeline": pipeline, "quiet_s": 60, "incomplete_s": 600, **drop}
        self.config = Config.model_validate({"drop": [settings]})
        guard = Guard(self.config.guard, disk=lambda _: 1 << 50, memory=lambda: 1 << 40)
        self.dispatcher = Dispatcher(self.config, guard, lambda: self.now)
        self.scanner = Scanner(self.config.drops)

    def offers(self, waited: float = 0) -> list[str]:
        self.now += waited
        while self.dispatcher.take_in(self.scanner.scan()):
            pass
        return [f"{job.work.root.name}/{job.work.episode_id}" for job in self.dispatcher.next_jobs([], 99)]


def test_a_pipeline_that_has_nothing_to_do_for_videos_says_so(tmp_path: Path) -> None:
    station = Station(tmp_path / "drop", pipeline="default")
    write_video(station.drop / "clip.mp4", 3)
    assert station.offers() == []
    (view,) = station.scanner.scan()
    ((path, reason),) = view.strangers
    assert path.name == "clip.mp4"
    assert "no stage of the pipeline here" in reason


class TestCompleteness:
    @pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "Clip.MOV"])
    def test_quiet(self, tmp_path: Path, name: str) -> None:
        station = Station(tmp_path / "drop")
        source = write_video(tmp_path / name, 3)
        shutil.copyfile(source, station.drop / name)
        assert station.offers() == []
        assert station.offers(waited=59) == []
        assert station.offers(waited=2) == [f"{name}/{name.partition('.')[0]}"]

    def test_one_whose_end_is_missing_is_still_arriving(self, tmp_path: Path) -> None:
        station = Station(tmp_path / "drop", "rename")
        whole = write_video(tmp_path / "clip.mp4", 9).read_bytes()
        (station.drop / "clip.mp4").write_bytes(whole[: len(whole) * 2 // 3])
        assert station.offers() == []
        assert list(station.dispatcher.held.values()) == ["not whole yet: the end of clip.mp4"]
        (station.drop / "clip.mp4").write_bytes(whole)
        assert station.offers() == ["clip.mp4/clip"]

    def test_the_uploaders_marker(self, tmp_path: Path) -> None:
        station = Station(tmp_path / "drop", "marker")
        write_video(station.drop / "clip.mp4", 3)
        assert station.offers(waited=9999) == []
        marker = station.drop / "clip.mp4.out" / ".episoded" / "pending"
        marker.parent.mkdir(parents=True)
        marker.touch()
        assert station.offers() == ["clip.mp4/clip"]

    def test_submitted_by_command(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "drop" / "clip.mp4", 3)
        config = configure(tmp_path)
        config.write_text(config.read_text() + f'[[drop]]\npath = "{tmp_path / "drop"}"\npipeline = "depth"\n')
        done = episoded("submit", path, config=config)
        assert done.code == 0, done.err
        station = Station(tmp_path / "drop", "marker")
        assert station.offers() == ["clip.mp4/clip"]

    def test_not_where_the_pipeline_knows_nothing_of_videos(self, tmp_path: Path) -> None:
        station = Station(tmp_path / "drop", "rename", "default")
        write_video(station.drop / "clip.mp4", 3)
        assert station.offers() == []

    def test_beside_datasets_and_in_a_folder(self, tmp_path: Path) -> None:
        station = Station(tmp_path / "drop", "rename", "full")
        write_video(station.drop / "clip.mp4", 3)
        write_video(station.drop / "shoot" / "take.mkv", 3)
        tiny(station.drop / "arm")
        assert sorted(station.offers()) == ["arm/episode_000000", "clip.mp4/clip", "take.mkv/take"]

    def test_what_was_made_is_not_taken_for_something_dropped(self, tmp_path: Path) -> None:
        station = Station(tmp_path / "drop", "rename")
        write_video(station.drop / "clip.mp4", 3)
        write_video(station.drop / "clip.mp4.out" / "preview.webm", 3)
        (station.drop / "clip.mp4.part").touch()
        assert station.offers() == ["clip.mp4/clip"]
        (view,) = station.scanner.scan()
        assert view.strangers == ()


class TestOutput:
    def process(self, root: Path, output: Path | None = None, **depth: object) -> Path:
        pipelines = {"depth": {"stages": ["depth"], "depth": depth}}
        config = Config.model_validate({"pipelines": pipelines})
        (view,) = target.find(root, config, pipeline="depth", output=output).view().datasets
        view.output.mkdir(parents=True, exist_ok=True)
        work = chain.Work(root, view.output, view.episodes[0].id, view.format.name, config.pipelines["depth"])
        assert chain.work_on(work) == "ready"
        return view.output

    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(KnownDepth(), case.frames))

    def test_lies_beside_the_video(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "clip.mp4", 9)
        before = path.read_bytes()
        output = self.process(path)
        assert output == tmp_path / "clip.mp4.out"
        assert {one.name for one in output.iterdir()} == {".episoded", "depth.mkv", "depth_meta.json", "preview.webm"}
        assert len(list(read_depth(output / "depth.mkv"))) == 9
        assert path.read_bytes() == before

    def test_or_where_it_is_wanted(self, tmp_path: Path) -> None:
        output = self.process(write_video(tmp_path / "clip.mp4", 3), tmp_path / "finished", preview=False)
        assert output == tmp_path / "finished" / "clip.mp4.out"
        assert {one.name for one in output.iterdir()} == {".episoded", "depth.mkv", "depth_meta.json"}
        assert [one.name for one in tmp_path.iterdir() if one.name != "finished"] == ["clip.mp4"]

    def test_two_that_differ_in_their_suffix(self, tmp_path: Path) -> None:
        one, two = write_video(tmp_path / "a.mp4", 3), write_video(tmp_path / "a.mkv", 4)
        assert [len(list(read_depth(self.process(path) / "depth.mkv"))) for path in (one, two)] == [3, 4]

    @pytest.mark.parametrize("name", ["pending.mp4", "lock.mp4", "with space [x] ü.mp4"])
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        output = self.process(write_video(tmp_path / name, 2))
        assert (output / "depth.mkv").is_file()

    def test_a_video_inside_a_dataset_means_its_episode(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "arm")
        inside = write_video(root / "videos/chunk-000/observation.images.top/episode_000000.mp4", 3)
        found = target.find(inside, Config(), pipeline="depth")
        assert (found.root, found.episode) == (root, "episode_000000")


class TestDamaged:
    def load(self, path: Path) -> None:
        formats.by_name("video").load(path, path.stem, path.parent)

    def test_one_that_was_cut_off(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "clip.mp4", 9)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(InputError, match=r"clip\.mp4 ends in the middle") as refused:
            self.load(path)
        assert refused.value.code == "video_cut_off"

    def test_a_pointer(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.mp4"
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"f2" * 32 + b"\nsize 1890\n")
        with pytest.raises(InputError) as refused:
            self.load(path)
        assert refused.value.code == "lfs_pointer"

    def test_real_ones_fail_by_name_and_leave_nothing_half_made(self, tmp_path: Path) -> None:
        if not (DATA / "corrupt/mp4").is_dir():
            pytest.skip(f"needs the real videos ({DATA})")
        drop = tmp_path / "clips"
        shutil.copytree(DATA / "corrupt/mp4", drop)
        done = episoded("process", drop, "--pipeline", "depth", config=configure(tmp_path))
        assert done.code == 1
        codes = set()
        for path in drop.glob("*.mp4"):
            record = json.loads((drop / f"{path.name}.out" / ".episoded" / path.stem / "failed").read_bytes())
            assert path.name in record["message"]
            assert not record["retryable"]
            codes.add(record["code"])
            assert {one.name for one in (drop / f"{path.name}.out").iterdir()} == {".episoded"}
        assert len(codes) >= 3, codes
        assert f"0 of {len(list(drop.glob('*.mp4')))} episodes ready" in done.out


class TestTheCommand:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Path:
        """A configuration with a network of random weights, seen at a size that is quick."""
        import torch

        folder = tmp_path / "model"
        folder.mkdir()
        torch.save(loaded().state_dict(), folder / "vits.pth")
        more = f'[pipelines.depth.depth]\nweights = "{folder / "vits.pth"}"\ninput_size = 42\n'
        return configure(folder, more=more)

    def test_a_real_clip_with_bars(self, tmp_path: Path, settings: Path) -> None:
        if not CLIP.is_file():
            pytest.skip(f"needs the real clip ({CLIP})")
        path = tmp_path / "ride.mp4"
        shutil.copyfile(CLIP, path)
        code, said = on_terminal("process", path, "--pipeline", "depth", columns=140, config=settings)
        assert code == 0, plain(said)
        assert "frames/s" in plain(said)
        output = tmp_path / "ride.mp4.out"
        disparity = np.stack(list(read_depth(output / "depth.mkv", "disparity")))
        assert disparity.shape == (70, 540, 960)
        assert np.isfinite(disparity).all()
        assert disparity.std() > 0
        assert video.probe(output / "depth.mkv").fps == 24
        assert video.probe(output / "preview.webm").frames == 70
        described = json.loads((output / "depth_meta.json").read_bytes())
        assert (described["kind"], described["estimator"]["model"]) == ("disparity_relative", "vits")
        shown = episoded("show", path, config=settings)
        assert "70 frames 960x540 ffv1" in shown.out

    def test_without_weights_it_says_how_to_get_them(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "clip.mp4", 3)
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
        done = episoded("process", path, "--pipeline", "depth", config=configure(tmp_path), env=offline)
        assert done.code == 1
        assert "video_depth_anything_vits.pth" in done.out
        assert "what to do: " in done.out

    def test_a_pipeline_without_depth_is_refused(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "clip.mp4", 3)
        done = episoded("process", path, config=configure(tmp_path))
        assert done.code == 2
        assert "--pipeline depth" in done.err
        assert not (tmp_path / "clip.mp4.out").exists()


def test_depth_is_not_begun_without_a_gpu_where_it_shall_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    gpus.installed.cache_clear()
    station = Station(tmp_path / "drop", "rename")
    write_video(station.drop / "clip.mp4", 3)
    waiting = gpus.Gpus((), fallback=False, needed=True)
    while station.dispatcher.take_in(station.scanner.scan()):
        pass
    assert station.dispatcher.next_jobs([], 9, waiting) == []
    assert list(station.dispatcher.held.values()) == [gpus.NO_GPU]
    (job,) = station.dispatcher.next_jobs([], 9, gpus.Gpus(("0", "1"), fallback=False, needed=True))
    assert job.work.devices == ("cuda:0", "cuda:1")
