"""Making bytes visible: whole, durable, never in the place of something else."""

from __future__ import annotations

import collections
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import TESTS, eventually
from episoded.daemon import fsio
from episoded.daemon.errors import ConfigError, EpisodedError
from episoded.daemon.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Actor


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What fsio asked of the kernel, in order; every call goes through."""
    seen: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def spy(*args: object, **kwargs: object) -> object:
            first = args[0]
            path = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else Path(str(first))
            kind = "dir" if path.is_dir() else "file"
            seen.append(f"{name} {kind}")
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, spy)

    for name in ("fsync", "link", "rename"):
        watch(name)
    return seen


class TestPublish:
    def test_appears_whole_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        fsio.publish(tmp_path / "name", b"content")
        assert (tmp_path / "name").read_bytes() == b"content"
        assert names(tmp_path) == {"name"}

    def test_a_name_that_exists_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "name").write_bytes(b"first")
        with pytest.raises(FileExistsError):
            fsio.publish(tmp_path / "name", b"second")
        assert (tmp_path / "name").read_bytes() == b"first"
        assert names(tmp_path) == {"name"}

    def test_content_is_on_disk_before_the_name_and_the_name_before_it_returns(
        self, tmp_path: Path, order: list[str]
    ) -> None:
        fsio.publish(tmp_path / "name", b"content")
        assert order == ["fsync file", "link file", "fsync dir"]

    def test_a_file_is_synced_before_it_gets_its_public_name(self, tmp_path: Path, order: list[str]) -> None:
        (tmp_path / "made").write_bytes(b"content")
        fsio.publish_file(tmp_path / "made", tmp_path / "name")
        assert order == ["fsync file", "link file", "fsync dir"]
        assert (tmp_path / "made").samefile(tmp_path / "name")

    def test_a_file_never_replaces_another(self, tmp_path: Path) -> None:
        (tmp_path / "made").write_bytes(b"new")
        (tmp_path / "name").write_bytes(b"old")
        with pytest.raises(FileExistsError):
            fsio.publish_file(tmp_path / "made", tmp_path / "name")
        assert (tmp_path / "name").read_bytes() == b"old"

    @pytest.mark.parametrize("code", [errno.EEXIST, errno.ESTALE, errno.EIO])
    def test_a_link_that_was_made_counts_whatever_the_reply(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        """A repeated NFS request is answered EEXIST by a server that did the first one."""
        real = os.link

        def made_but_denied(source: Path, target: Path, **kwargs: bool) -> None:
            real(source, target, **kwargs)
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "link", made_but_denied)
        fsio.publish(tmp_path / "name", b"content")
        assert (tmp_path / "name").read_bytes() == b"content"
        assert names(tmp_path) == {"name"}

    @pytest.mark.parametrize("code", [errno.EEXIST, errno.ESTALE, errno.ENOSPC])
    def test_a_link_that_was_not_made_is_an_error_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def denied(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        before = open_descriptors()
        monkeypatch.setattr(os, "link", denied)
        with pytest.raises(OSError, match=os.strerror(code)):
            fsio.publish(tmp_path / "name", b"content")
        assert names(tmp_path) == set()
        assert open_descriptors() == before

    def test_a_lock_that_nobody_can_give_back_is_not_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Linked, but the directory cannot be synced: the caller never gets the descriptor, so it must be closed."""
        before = open_descriptors()

        def broken(path: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(fsio, "sync_dir", broken)
        with pytest.raises(OSError, match="Input/output"):
            fsio.publish_locked(tmp_path / "name", b"content")
        assert open_descriptors() == before

    def test_a_full_disk_leaves_neither_name_nor_temp(self, small_disk: Path) -> None:
        with pytest.raises(OSError, match="No space left"):
            fsio.publish(small_disk / "name", b"x" * (5 << 20))
        assert names(small_disk) == set()
        fsio.publish(small_disk / "name", b"x")  # and it can be filled again


class TestReplace:
    def test_keeps_the_mode_of_what_it_replaces(self, tmp_path: Path) -> None:
        path = tmp_path / "info.json"
        path.write_bytes(b"old")
        path.chmod(0o664)
        assert fsio.replace(path, b"new", expected=b"old")
        assert path.read_bytes() == b"new"
        assert path.stat().st_mode & 0o777 == 0o664
        assert names(tmp_path) == {"info.json"}

    def test_content_is_on_disk_before_the_name_and_the_name_before_it_returns(
        self, tmp_path: Path, order: list[str]
    ) -> None:
        fsio.replace(tmp_path / "info.json", b"new", expected=None)
        assert order == ["fsync file", "rename file", "fsync dir"]

    def test_so_is_that_of_a_finished_file(self, tmp_path: Path, order: list[str]) -> None:
        (tmp_path / "made").write_bytes(b"content")
        fsio.replace_file(tmp_path / "made", tmp_path / "name")
        assert order == ["fsync file", "rename file", "fsync dir"]

    def test_makes_a_file_that_was_absent(self, tmp_path: Path) -> None:
        assert fsio.replace(tmp_path / "info.json", b"new", expected=None)
        assert (tmp_path / "info.json").read_bytes() == b"new"

    @pytest.mark.parametrize("expected", [b"what we read", None])
    def test_what_somebody_else_wrote_meanwhile_stays(self, tmp_path: Path, expected: bytes | None) -> None:
        """A recorder that saves its next episode knows nothing of our lock."""
        path = tmp_path / "info.json"
        path.write_bytes(b"what the recorder wrote")
        assert not fsio.replace(path, b"ours", expected=expected)
        assert path.read_bytes() == b"what the recorder wrote"
        assert names(tmp_path) == {"info.json"}

    def test_a_reader_never_sees_a_part(self, tmp_path: Path, actor: Callable[..., Actor]) -> None:
        path = tmp_path / "info.json"
        path.write_bytes(b"start" * 4096)
        writer = actor("replace", path, 100)
        contents = set()
        while writer.process.poll() is None:
            contents.add(path.read_bytes())
        assert len(contents) > 2
        assert all(content == content[:5] * 4096 for content in contents)

    def test_a_full_disk_keeps_the_old_content(self, small_disk: Path) -> None:
        path = small_disk / "info.json"
        path.write_bytes(b"old")
        with pytest.raises(OSError, match="No space left"):
            fsio.replace(path, b"x" * (5 << 20), expected=b"old")
        assert path.read_bytes() == b"old"
        assert names(small_disk) == {"info.json"}

    def test_volatile_leaves_nothing_on_a_full_disk(self, small_disk: Path) -> None:
        with pytest.raises(OSError, match="No space left"):
            fsio.replace_volatile(small_disk / "progress.json", b"x" * (5 << 20))
        assert names(small_disk) == set()


class TestSetAside:
    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        for content in (b"one", b"two", b"three"):
            (tmp_path / "video").write_bytes(content)
            fsio.set_aside(tmp_path / "video", tmp_path / "kept")
        kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert kept == {"kept": b"one", "kept-1": b"two", "kept-2": b"three"}

    def test_both_folders_are_on_disk_before_it_returns(self, tmp_path: Path, order: list[str]) -> None:
        (tmp_path / "aside").mkdir()
        (tmp_path / "video").write_bytes(b"theirs")
        fsio.set_aside(tmp_path / "video", tmp_path / "aside/kept")
        assert order == ["rename file", "fsync dir", "fsync dir"]

    def test_a_symlink_is_moved_itself_not_what_it_leads_to(self, tmp_path: Path) -> None:
        (tmp_path / "target").write_bytes(b"theirs")
        (tmp_path / "video").symlink_to(tmp_path / "target")
        fsio.set_aside(tmp_path / "video", tmp_path / "kept")
        assert (tmp_path / "kept").is_symlink()
        assert names(tmp_path) == {"target", "kept"}

    def test_a_file_of_another_user_is_moved_too(self, tmp_path: Path) -> None:
        """The kernel protects other users' files from being linked, not from being renamed."""
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            pytest.skip("needs root, to have another user")
        (tmp_path / "video").write_bytes(b"theirs")
        os.chown(tmp_path / "video", 65534, 65534)
        (tmp_path / "video").chmod(0o400)
        weak = ["setpriv", "--bounding-set=-all", sys.executable, str(TESTS / "actors.py")]
        subprocess.run([*weak, "set_aside", str(tmp_path / "video"), str(tmp_path / "kept")], check=True)
        assert names(tmp_path) == {"kept"}


class TestFolders:
    def test_dirs_are_made_below_one_that_exists(self, tmp_path: Path) -> None:
        fsio.make_dirs(tmp_path / "a" / "b" / "c", below=tmp_path)
        assert (tmp_path / "a" / "b" / "c").is_dir()

    def test_a_dataset_that_is_gone_is_not_brought_back(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            fsio.make_dirs(tmp_path / "gone" / ".episoded" / "episode", below=tmp_path / "gone")
        assert names(tmp_path) == set()

    def test_nothing_is_made_through_a_symlink(self, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "dataset").mkdir()
        (tmp_path / "dataset" / "videos").symlink_to(tmp_path / "outside")
        with pytest.raises(EpisodedError) as caught:
            fsio.make_dirs(tmp_path / "dataset" / "videos" / "chunk-000", below=tmp_path / "dataset")
        assert caught.value.code == "symlink_outside"
        assert names(tmp_path / "outside") == set()

    def test_a_tree_is_removed_without_following_links(self, tmp_path: Path) -> None:
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs" / "frame.png").touch()
        (tmp_path / "ours" / "deep").mkdir(parents=True)
        (tmp_path / "ours" / "deep" / "file").touch()
        (tmp_path / "ours" / "link").symlink_to(tmp_path / "theirs")
        fsio.remove_tree(tmp_path / "ours")
        fsio.remove_tree(tmp_path / "ours")  # gone already: nothing to do
        assert names(tmp_path) == {"theirs"}
        assert names(tmp_path / "theirs") == {"frame.png"}

    def test_only_empty_folders_go_and_never_the_dataset(self, tmp_path: Path) -> None:
        (tmp_path / "images" / "top" / "episode_000000").mkdir(parents=True)
        (tmp_path / "images" / "wrist").mkdir()
        fsio.remove_empty_dirs(tmp_path / "images" / "top" / "episode_000000", stop=tmp_path)
        assert names(tmp_path / "images") == {"wrist"}
        fsio.remove_empty_dirs(tmp_path / "images" / "wrist", stop=tmp_path)
        assert names(tmp_path) == set()


class TestTemps:
    """A prototype that swept every `.t-*` broke the link of another claimer, whose temp it had removed."""

    def test_of_a_dead_process_is_swept(self, tmp_path: Path, actor: Callable[..., Actor]) -> None:
        dying = actor("publish", tmp_path / "name", "text", env={"EPISODED_CRASH_AT": "publish:written"})
        assert dying.rest() == []
        assert [name[:3] for name in names(tmp_path)] == [".t-"]
        fsio.sweep_temps(tmp_path)
        assert names(tmp_path) == set()

    def test_of_a_dead_process_that_nobody_buried_yet_is_swept(
        self, tmp_path: Path, actor: Callable[..., Actor]
    ) -> None:
        """Its lock is free already, so its episode is claimed again while it is still listed."""
        dying = actor("publish", tmp_path / "name", "text", env={"EPISODED_CRASH_AT": "publish:linked"})
        os.waitid(os.P_PID, dying.pid, os.WEXITED | os.WNOWAIT)
        fsio.sweep_temps(tmp_path)
        assert names(tmp_path) == {"name"}

    def test_of_a_stopped_process_is_left_and_its_publication_succeeds(
        self, tmp_path: Path, actor: Callable[..., Actor]
    ) -> None:
        stop = {"EPISODED_CRASH_AT": "publish:written", "EPISODED_CRASH_SIGNAL": "STOP"}
        slow = actor("publish", tmp_path / "name", "text", env=stop)
        eventually(slow.stopped, what="stopped before its link")
        fsio.sweep_temps(tmp_path)
        slow.signal(signal.SIGCONT)
        assert slow.heard() == "published"
        assert (tmp_path / "name").read_text() == "text"
        assert names(tmp_path) == {"name"}

    def test_of_a_recycled_pid_is_swept(self, tmp_path: Path, actor: Callable[..., Actor]) -> None:
        dying = actor("publish", tmp_path / "name", "text", env={"EPISODED_CRASH_AT": "publish:created"})
        dying.rest()
        (temp,) = tmp_path.iterdir()
        scope, _, start, tail = temp.name[3:].split("-")
        recycled = temp.rename(tmp_path / f".t-{scope}-{os.getpid()}-{start}-{tail}")  # our pid, an earlier start
        fsio.sweep_temps(tmp_path)
        assert not recycled.exists()

    def test_of_another_machine_or_container_is_left(self, tmp_path: Path) -> None:
        for name in (".t-0123abcd-1-1-cafe", ".t-strange", ".theirs"):
            (tmp_path / name).touch()
        fsio.sweep_temps(tmp_path)
        assert len(names(tmp_path)) == 3

    def test_of_a_forked_child_is_its_own(self, actor: Callable[..., Actor]) -> None:
        """A name that is inherited from the parent would look dead while the child lives."""
        name, child, started = actor("fork_and_name").heard().split()
        assert name.split("-")[2:4] == [child, started]


class TestFilesystemWithoutLinks:
    def test_is_refused_with_the_remedy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unsupported(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", unsupported)
        with pytest.raises(ConfigError) as caught:
            fsio.check_links(tmp_path)
        assert caught.value.code == "no_hard_links"
        assert str(tmp_path) in caught.value.message
        assert "SMB" in caught.value.hint
        assert names(tmp_path) == set()

    def test_a_good_one_passes_and_nothing_stays(self, tmp_path: Path) -> None:
        fsio.check_links(tmp_path)
        assert names(tmp_path) == set()

    def test_a_full_one_is_not_called_linkless(self, small_disk: Path) -> None:
        """The service must start on a full disk: it is there that it is needed to say so."""
        with pytest.raises(OSError, match="No space left"):
            collections.deque((small_disk / str(number)).touch() for number in range(600))
        fsio.check_links(small_disk)


def test_the_dataset_lock_excludes_others_until_it_is_left(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as other:
        with locked(tmp_path / "lock"), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
