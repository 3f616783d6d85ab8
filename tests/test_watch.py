"""Events wake the scan, whatever happens to those who send them; and the scan needs none of them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watchdog.observers import Observer

from conftest import TESTS, eventually
from episoded.daemon import watch
from episoded.daemon.watch import MAX_WATCHES, Watcher, filesystem_type

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bell:
    """Rung by the watcher's threads."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def ring(self) -> None:
        self.event.set()

    def rings_when(self, act: Any, within: float = 10) -> bool:
        """Whether it rings once this has been done; events of what was done before do not count."""
        self.event.clear()
        while self.event.wait(0.1):
            self.event.clear()
        act()
        return self.event.wait(within)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watcher(bell: Bell) -> Iterator[Watcher]:
    watcher = Watcher(bell.ring)
    yield watcher
    watcher.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


class TestRinging:
    def test_for_a_file_a_folder_and_a_rename(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        assert watcher.follow([folder]).watches == 1
        assert bell.rings_when((folder / "file").touch)
        assert bell.rings_when((folder / "dataset").mkdir)
        assert bell.rings_when(lambda: (folder / "file").rename(folder / "name"))
        (other := folder.parent / "elsewhere").touch()
        assert bell.rings_when(lambda: other.rename(folder / "moved in"))

    def test_once_for_a_folder_that_is_new_to_it(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        """What happened there before the watch stood sent no event."""
        watcher.follow([folder.parent])
        assert bell.rings_when(lambda: watcher.follow([folder.parent, folder]))

    def test_not_for_looking(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        """A scan that woke itself would never sleep."""
        (folder / "file").write_text("text")
        watcher.follow([folder])
        assert not bell.rings_when(lambda: (list(folder.iterdir()), (folder / "file").read_text()), within=0.3)

    def test_any_name_that_a_filesystem_takes(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        strange = folder / "new\nline \N{SNOWMAN} \udcff"
        strange.mkdir()
        assert watcher.follow([strange]).complaints == ()
        assert bell.rings_when((strange / "marker \udcfe").touch)


class TestMending:
    def test_a_folder_that_was_deleted_and_made_again_is_heard_again(
        self, watcher: Watcher, bell: Bell, folder: Path
    ) -> None:
        watcher.follow([folder])
        shutil.rmtree(folder)
        assert watcher.follow([folder]).watches == 0
        folder.mkdir()
        eventually(lambda: watcher.follow([folder]).watches == 1)
        assert bell.rings_when((folder / "file").touch)

    def test_also_when_nobody_looked_in_between(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        """The kernel may give it the same inode number."""
        watcher.follow([folder])
        shutil.rmtree(folder)
        folder.mkdir()
        names = count()

        def heard() -> bool:
            watcher.follow([folder])
            return bell.rings_when((folder / str(next(names))).touch, within=0.3)  # touched again, a file sends nothing

        eventually(heard)

    def test_an_observer_that_died_is_built_anew_and_rings(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        watcher.follow([folder])
        assert watcher._observer is not None
        watcher._observer.stop()
        watcher._observer.join()
        assert bell.rings_when(lambda: watcher.follow([folder]))
        assert bell.rings_when((folder / "file").touch)

    def test_so_is_a_single_emitter(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        """`observer.is_alive()` stays true."""
        watcher.follow([folder])
        assert watcher._observer is not None
        (emitter,) = watcher._observer.emitters
        emitter.stop()
        emitter.join()
        watcher.follow([folder])
        assert bell.rings_when((folder / "file").touch)

    def test_a_queue_that_overflowed_rings_and_is_told(self, watcher: Watcher, bell: Bell, folder: Path) -> None:
        """The kernel threw events away: nobody knows which."""
        watcher.follow([folder])
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        flood = f"cd '{folder}' && seq {limit * 2 // 3} | xargs touch".encode()
        # PyDLL holds the interpreter's lock meanwhile: the threads that should empty the queue stand still.
        assert bell.rings_when(lambda: ctypes.PyDLL(None).system(flood))
        health = eventually(lambda: watcher.follow([folder]).complaints)
        assert "overflowed" in health[0]

    def test_without_an_observer_it_says_so_and_tries_again_later(self, bell: Bell, folder: Path) -> None:
        now, broken = 0.0, True

        def make() -> Any:
            if broken:
                raise OSError(24, os.strerror(24))
            return Observer()

        watcher = Watcher(bell.ring, make_observer=make, clock=lambda: now)
        (complaint,) = watcher.follow([folder]).complaints
        assert "max_user_instances" in complaint
        assert "rescans only" in complaint
        broken, now = False, 59.0
        assert watcher.follow([folder]).complaints == (complaint,)
        now = 60.0
        assert watcher.follow([folder]) == watch.WatchHealth(1)
        assert bell.rings_when((folder / "file").touch)
        watcher.stop()


class TestLimits:
    def test_what_is_not_wanted_any_more_is_let_go(self, watcher: Watcher, folder: Path) -> None:
        folders = [folder / str(number) for number in range(5)]
        for path in folders:
            path.mkdir()
        assert watcher.follow([folder, *folders]).watches == 6
        assert watcher.follow([folder]).watches == 1

    def test_no_more_threads_than_a_few(self, watcher: Watcher, folder: Path) -> None:
        folders = [folder / str(number) for number in range(MAX_WATCHES + 10)]
        for path in folders:
            path.mkdir()
        assert watcher.follow([folder, *folders]).watches == MAX_WATCHES

    @pytest.mark.parametrize(
        ("limit", "value", "said"),
        [("max_inotify_watches", 2, "max_user_watches"), ("max_inotify_instances", 0, "max_user_instances")],
    )
    def test_the_kernel_s_are_met_with_the_remedy(self, folder: Path, limit: str, value: int, said: str) -> None:
        """A user namespace has limits of its own: these are real ones."""
        paths = [str(folder), str(folder.parent), str(folder.parent.parent), "/"]
        script = (
            f"echo {value} > /proc/sys/user/{limit} && exec {sys.executable} {TESTS / 'actors.py'} watch "
            + " ".join(f"'{path}'" for path in paths)
        )
        run = subprocess.run(["unshare", "-Ur", "sh", "-c", script], capture_output=True, text=True, check=False)
        if run.returncode and not run.stdout:
            pytest.skip(f"no user namespace with limits of its own here: {run.stderr.strip()[-200:]}")
        assert said in run.stdout
        assert "sysctl" in run.stdout


class TestDeafFilesystems:
    def test_are_left_to_the_rescan_and_said_once(
        self, watcher: Watcher, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch, "filesystem_type", lambda _: "nfs4")
        health = watcher.follow([folder, folder.parent])
        assert health.watches == 0
        (complaint,) = health.complaints
        assert "nfs4" in complaint
        assert "rescans" in complaint

    def test_the_type_is_read_from_the_mount_table(self, small_disk: Path) -> None:
        assert filesystem_type(small_disk) == "tmpfs"
        assert filesystem_type(Path("/proc")) == "proc"
        assert filesystem_type(small_disk / "gone") == ""
