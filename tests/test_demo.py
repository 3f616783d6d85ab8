"""`episoded demo`: the main job end to end with the real command, the real daemon and real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from episoded.daemon import service_file
from episoded.daemon.cli.demo_check import verify
from episoded.daemon.errors import EpisodedError
from episoded.daemon.private import PrivateService

if TYPE_CHECKING:
    from pathlib import Path

EPISODES, FRAMES, CAMERAS = 2, 6, 2


def _demo(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "episoded.daemon", "demo", *map(str, arguments)]
    # Nothing of the machine it may use: no ffmpeg, no LeRobot, not even a home directory.
    environment = {"PATH": "/nonexistent", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def _demo_at_work(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A demonstration whose daemon has claimed an episode, and the pid of that daemon."""
    process = _demo("--dir", folder, "--episodes", 4, "--seconds", 1)
    assert process.stdout is not None
    for line in process.stdout:
        if "claimed" in line:
            break
    report = service_file.hear(folder / "state")
    assert report is not None
    return process, report.pid


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demonstration that ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo with spaces")
    process = _demo("--dir", folder, "--episodes", EPISODES, "--seconds", FRAMES / 30)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return folder, output


def test_ends_with_the_dataset_its_sizes_and_what_to_do_next(finished: tuple[Path, str]) -> None:
    folder, output = finished
    dataset = folder / "drop" / "fetch-ball"
    assert f"The encoded dataset: {dataset}" in output
    assert "episode_000001.mp4" in output
    assert "times smaller" in output
    assert "process /path/to/dataset" in output


def test_every_recorded_frame_is_in_a_video_and_no_png_is_left(finished: tuple[Path, str]) -> None:
    folder, output = finished
    recorded = EPISODES * FRAMES * CAMERAS
    assert f"{recorded} frames recorded, {recorded} in the videos" in output
    facts = verify(folder / "drop" / "fetch-ball", recorded)
    assert facts.frames == recorded
    assert facts.videos == EPISODES * CAMERAS
    assert facts.worst_psnr_db > 25
    assert 0 < facts.bytes_after < facts.bytes_before


def test_shows_each_episode_on_its_way(finished: tuple[Path, str]) -> None:
    _, output = finished
    for index in range(EPISODES):
        assert f"ready  episode_{index:06d}" in output


def test_leaves_neither_a_daemon_nor_the_recording_behind(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    assert service_file.hear(folder / "state") is None
    assert {path.name for path in folder.iterdir()} == {"config.toml", "daemon.log", "drop", "state"}


def test_the_last_lines_are_commands_that_work(finished: tuple[Path, str]) -> None:
    _, output = finished
    show = next(line for line in output.splitlines() if " show " in line)
    shown = subprocess.run(show, shell=True, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "episode_000000" in shown.stdout


def test_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    process = _demo("--dir", tmp_path)
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "is not empty" in output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_keep_running_leaves_a_daemon_that_takes_more(tmp_path: Path) -> None:
    process = _demo("--dir", tmp_path, "--episodes", 1, "--seconds", 0.1, "--keep-running")
    output, _ = process.communicate()
    report = service_file.hear(tmp_path / "state")
    assert report is not None, output
    try:
        assert process.returncode == 0
        assert f"kill {report.pid}" in output
    finally:
        os.kill(report.pid, signal.SIGTERM)
    _until_gone(report.pid)


def test_an_interrupted_demonstration_stops_its_daemon(tmp_path: Path) -> None:
    process, _ = _demo_at_work(tmp_path)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    assert service_file.hear(tmp_path / "state") is None


def test_a_killed_demonstration_takes_its_daemon_with_it(tmp_path: Path) -> None:
    process, daemon = _demo_at_work(tmp_path)
    process.kill()
    process.communicate()
    _until_gone(daemon)
    assert service_file.hear(tmp_path / "state") is None


class TestVerify:
    """What would the demonstration say if the daemon had failed?"""

    @pytest.fixture
    def dataset(self, finished: tuple[Path, str], tmp_path: Path) -> Path:
        """A copy to damage."""
        return shutil.copytree(finished[0] / "drop" / "fetch-ball", tmp_path / "copy")

    def test_misses_a_frame(self, dataset: Path) -> None:
        with pytest.raises(EpisodedError, match=r"25 frames were recorded, the videos hold 24"):
            verify(dataset, 25)

    def test_misses_a_video(self, dataset: Path) -> None:
        next(dataset.rglob("*.mp4")).unlink()
        with pytest.raises(EpisodedError, match="the videos hold 18"):
            verify(dataset, 24)

    def test_sees_a_png_that_should_be_gone(self, dataset: Path) -> None:
        (dataset / "images").mkdir()
        (dataset / "images" / "frame_000000.png").touch()
        with pytest.raises(EpisodedError, match="1 PNGs were not removed"):
            verify(dataset, 24)

    def test_does_not_believe_a_report_that_counts_otherwise(self, dataset: Path) -> None:
        path = next(dataset.rglob("quality.json"))
        report = json.loads(path.read_bytes())
        report["cameras"][0]["frames_found"] -= 1
        path.write_text(json.dumps(report))
        with pytest.raises(EpisodedError, match="do not count"):
            verify(dataset, 24)


class TestPrivateService:
    """The daemon of one's own that the demonstration and the benchmarks run."""

    def test_says_why_it_did_not_start(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("a file where a folder belongs")
        with pytest.raises(EpisodedError, match="the daemon ended with status 78") as caught:
            PrivateService(tmp_path).start()
        assert str(tmp_path / "daemon.log") in caught.value.hint

    def test_stops_with_status_0_and_may_be_stopped_twice(self, tmp_path: Path) -> None:
        service = PrivateService(tmp_path)
        service.start()
        assert service_file.hear(service.state_dir) is not None
        assert service.stop() == 0
        assert service.stop() == 0

    def test_a_death_in_between_is_noticed(self, tmp_path: Path) -> None:
        with PrivateService(tmp_path) as service:
            service.check()
            os.kill(service.pid, signal.SIGKILL)
            os.waitid(os.P_PID, service.pid, os.WEXITED | os.WNOWAIT)
            with pytest.raises(EpisodedError, match="status -9"):
                service.check()


def _until_gone(pid: int) -> None:
    """Wait for a process that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        assert select.select([fd], [], [], 60)[0], f"process {pid} is still there"
    finally:
        os.close(fd)
