"""The few watches are where something will happen next, so that nothing has to wait for the rescan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from conftest import eventually
from episoded.daemon import chain, service_file
from episoded.daemon.attention import RECENTLY_FINISHED, worth_watching
from episoded.daemon.config import DropConfig
from episoded.daemon.control import CONTROL, ControlDir, submit_dataset
from episoded.daemon.private import PrivateService
from episoded.daemon.scan import Scanner
from episoded.daemon.state import State
from episoded.daemon.watch import Watcher
from recordings import EPISODE, tiny, work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _watched(drop: Path) -> list[Path]:
    return list(worth_watching(Scanner((DropConfig(path=drop),)).scan()))


def _finished(root: Path) -> Path:
    assert chain.work_on(work(tiny(root))) == "ready"
    return root


class TestFolders:
    def test_the_drop_folder_comes_first(self, tmp_path: Path) -> None:
        tiny(tmp_path / "arm")
        assert _watched(tmp_path)[0] == tmp_path

    def test_of_an_unfinished_dataset_where_episodes_and_markers_appear(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "arm")
        assert {root, root / "meta", root / CONTROL} <= set(_watched(tmp_path))

    def test_an_upload_without_metadata_yet(self, tmp_path: Path) -> None:
        (tmp_path / "arriving" / "images").mkdir(parents=True)
        assert tmp_path / "arriving" in _watched(tmp_path)

    def test_the_control_folder_of_an_arriving_episode_once_it_is_there(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "arm", episodes=2)
        control = ControlDir.of(root, EPISODE)
        assert control.path not in _watched(tmp_path)
        control.create()
        assert control.path in _watched(tmp_path)

    def test_a_finished_dataset_because_its_recorder_may_go_on(self, tmp_path: Path) -> None:
        root = _finished(tmp_path / "arm")
        assert {root / "meta", root / CONTROL} <= set(_watched(tmp_path))

    def test_of_many_finished_datasets_those_that_were_finished_last(self, tmp_path: Path) -> None:
        roots = [tiny(tmp_path / f"arm{number:02d}") for number in range(RECENTLY_FINISHED + 2)]
        for root in reversed(roots):  # the first ones are the last ones
            control = ControlDir.of(root, EPISODE)
            control.create()
            (control.path / "ready").touch()
        for age, root in enumerate(roots):
            control = root / CONTROL
            _set_age(control, age)
        watched = set(_watched(tmp_path))
        assert [root.name for root in roots if root / CONTROL not in watched] == ["arm16", "arm17"]

    def test_never_a_folder_of_frames(self, tmp_path: Path) -> None:
        tiny(tmp_path / "arm")
        _finished(tmp_path / "done")
        assert [path for path in _watched(tmp_path) if "images" in path.parts or "videos" in path.parts] == []


def _sits_still_since(service: PrivateService, marker: Path) -> bool:
    """Whether the daemon has been through its loop since the marker was written, and found nothing more to do."""
    report = service_file.hear(service.state_dir)
    told_at = (service.state_dir / "service.json").stat().st_mtime_ns
    return report is not None and report.busy == 0 and told_at > marker.stat().st_mtime_ns


def _set_age(path: Path, seconds: int) -> None:
    os.utime(path, (1_000_000 - seconds, 1_000_000 - seconds))


def test_a_new_watch_means_to_look_once_more(tmp_path: Path) -> None:
    """What happened between the scan and the watch sent no event."""
    rings: list[None] = []
    watcher = Watcher(lambda: rings.append(None))
    try:
        watcher.follow([tmp_path])
        assert len(rings) == 1
        watcher.follow([tmp_path])
        assert len(rings) == 1
    finally:
        watcher.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PrivateService]:
    """A daemon that finds nothing unless an event says so: its rescan is hours away."""
    with PrivateService(tmp_path, rescan_s=10_000) as service:
        yield service


class TestEventsAlone:
    def test_find_every_episode_of_a_session_that_is_slower_than_the_daemon(self, service: PrivateService) -> None:
        """Between two episodes all that is known is finished: it went unwatched, and each episode waited 30 s."""
        root = service.drop / "arm"
        for index in range(4):
            tiny(root, frames=2)
            control = ControlDir.of(root, f"episode_{index:06d}")
            control.submit()
            eventually(lambda control=control: control.markers().cleaned, what=f"episode {index} to be finished")
            eventually(lambda control=control: _sits_still_since(service, control.path / "cleaned"))

    def test_find_markers_that_come_right_after_their_folder(self, service: PrivateService) -> None:
        """The folder is what the event is about, the marker comes before there is a watch in it."""
        root = tiny(service.folder / "incoming", episodes=12, frames=2).rename(service.drop / "arm")
        controls = [ControlDir.of(root, f"episode_{index:06d}") for index in range(12)]
        for control in controls:
            control.submit()
            eventually(lambda control=control: control.markers().generation > 0, what=f"{control.path.name} claimed")
        eventually(lambda: all(control.markers().cleaned for control in controls))

    def test_find_a_marker_for_the_whole_dataset(self, service: PrivateService) -> None:
        root = tiny(service.folder / "incoming", frames=2).rename(service.drop / "arm")
        submit_dataset(root)
        eventually(lambda: ControlDir.of(root, EPISODE).markers().cleaned)
        tiny(root, frames=2)  # a marked dataset stays marked
        eventually(lambda: ControlDir.of(root, "episode_000001").markers().cleaned)
        (view,) = Scanner((DropConfig(path=service.drop),)).scan()
        assert {episode.state for episode in view.datasets[0].episodes} == {State.READY}
