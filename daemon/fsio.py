"""The only place that links, renames, syncs and unlinks.

Two ways to make bytes visible, both atomic and durable before they return:

* `publish` / `publish_file`: under a name that did not exist. A name that exists is never replaced.
* `replace`: for the few shared files that a format demands in place, under the dataset lock.

Every step between two durable states passes a named `crashpoint`; the tests kill the process at each of them.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from . import temps
from .crashpoints import crashpoint
from .errors import ConfigError, EpisodedError

#: What link(2) answers where there are no hard links, as opposed to "not now".
_NO_LINKS: Final = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL)


def publish(path: Path, data: bytes) -> None:
    """Make `data` appear at `path` whole and durable. Raises FileExistsError when the name is taken."""
    os.close(_publish(path, data, lock=False))


def publish_locked(path: Path, data: bytes) -> int:
    """Like `publish`, but flock-ed before it becomes visible; returns the descriptor that holds the lock.

    The kernel frees the lock when the last process that holds the descriptor dies, which is how everybody else sees
    that the owner is gone.
    """
    return _publish(path, data, lock=True)


def _publish(path: Path, data: bytes, *, lock: bool) -> int:
    temp = path.parent / temps.new_name()
    fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            if lock:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            crashpoint("publish:created")
            _write_all(fd, data)
            os.fsync(fd)
            crashpoint("publish:written")
            _link(temp, path)
            crashpoint("publish:linked")
        finally:
            with suppress(OSError):  # left behind, it is swept once we are dead
                temp.unlink()
        crashpoint("publish:unlinked")
        sync_dir(path.parent)
        crashpoint("publish:durable")
    except BaseException:
        os.close(fd)  # a lock that nobody can give back would keep its claim alive as long as this process
        raise
    return fd


def publish_file(source: Path, target: Path) -> None:
    """Give the finished file `source` its public name, durably; `source` keeps its own. Same filesystem.

    Raises FileExistsError when the name is taken.
    """
    sync_file(source)
    crashpoint("publish_file:synced")
    _link(source, target)
    crashpoint("publish_file:linked")
    sync_dir(target.parent)
    crashpoint("publish_file:durable")


def replace(path: Path, data: bytes, expected: bytes | None) -> bool:
    """Put `data` in the place of a shared file: readers see the old or the new content, never a part.

    False, with nothing done, when the file no longer holds `expected` (None: absent): its recorder knows nothing of
    our lock, and what it wrote meanwhile must not be lost. The mode is kept. The caller holds the dataset lock.
    """
    temp = path.parent / temps.new_name()
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with suppress(FileNotFoundError):
            os.fchmod(fd, mode_for(path.stat()))
        _write_all(fd, data)
        os.fsync(fd)
        crashpoint("replace:written")
        if read_or_none(path) != expected:
            return False
        temp.rename(path)
        crashpoint("replace:renamed")
    finally:
        os.close(fd)
        with suppress(OSError):
            temp.unlink()
    sync_dir(path.parent)
    crashpoint("replace:durable")
    return True


def replace_file(source: Path, path: Path) -> None:
    """Move the finished file `source` to `path`, durably, whatever lay there. Same filesystem.

    For what several episodes share and one owner makes: readers have the old or the new file, whole.
    """
    sync_file(source)
    crashpoint("replace_file:synced")
    source.rename(path)
    crashpoint("replace_file:renamed")
    sync_dir(path.parent)
    crashpoint("replace_file:durable")


def read_or_none(path: Path) -> bytes | None:
    """The content of a file, None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def replace_volatile(path: Path, data: bytes) -> None:
    """Atomic but not durable: for what is worthless after a crash (progress, the service's own status)."""
    temp = path.parent / temps.new_name()
    try:
        temp.write_bytes(data)
        temp.rename(path)
    finally:
        with suppress(OSError):
            temp.unlink()


def set_aside(path: Path, keep: Path) -> Path:
    """Move a file out of the way, durably, to `keep` or, where that is taken, `keep-1`, ...; nothing is deleted.

    By rename: where hard links are protected (as by default), another user's file cannot be linked. The names are free
    for whoever holds the claim: they hold its generation.
    """
    names = itertools.chain([keep], (keep.with_name(f"{keep.name}-{number}") for number in itertools.count(1)))
    kept = next(name for name in names if not os.path.lexists(name))
    crashpoint("set_aside:before")
    path.rename(kept)
    crashpoint("set_aside:renamed")
    sync_dir(path.parent)
    sync_dir(keep.parent)
    crashpoint("set_aside:durable")
    return kept


def remove(path: Path) -> None:
    """Unlink one file; it may be gone already."""
    with suppress(FileNotFoundError):
        path.unlink()
    crashpoint("remove:unlinked")


def remove_empty_dirs(path: Path, stop: Path) -> None:
    """Remove `path` and its parents below `stop` as far as they are empty; durable with all removals in `path`."""
    while path != stop and stop in path.parents:
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        path = path.parent
    with suppress(FileNotFoundError):
        sync_dir(path)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours with everything in it; parts may be gone already. Never follows a symlink."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(Path(entry.path))
            else:
                remove(Path(entry.path))
    with suppress(FileNotFoundError):
        path.rmdir()
    crashpoint("remove_tree:removed")


def make_dirs(path: Path, *, below: Path) -> None:
    """`mkdir -p` of `path`, durably, but only `below` a directory that exists, and through no symlink below it.

    Raises FileNotFoundError where `below` is gone: a worker whose dataset was renamed while it ran must not bring the
    old name back to life. Raises EpisodedError (`symlink_outside`): an upload must not lead us out of its dataset.
    """
    missing: list[Path] = []
    folder = path
    while folder != below:
        if folder.is_symlink():
            raise EpisodedError(
                "symlink_outside",
                f"{folder} is a symlink: nothing is written through it, it may lead out of the dataset",
                "put the folder itself in its place, then retry",
            )
        if not folder.is_dir():
            missing.append(folder)
        folder = folder.parent
    if not below.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(below))
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_dir(directory.parent)


def sync_file(path: Path) -> None:
    """Flush one file's data to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_dir(path: Path) -> None:
    """Flush a directory's entries to the disk."""
    sync_file(path)


def sweep_temps(directory: Path) -> None:
    """Remove temporary files whose maker is dead."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(temps.PREFIX)]
    for name in names:
        if temps.is_orphan(name):
            remove(directory / name)


def check_links(directory: Path) -> None:
    """Raise ConfigError where the filesystem has no hard links: claims and checkpoints stand on them.

    A weaker claim (create, rename) was won twice in a race of 12 processes, so there is none to fall back to.
    """
    temp, name = directory / temps.new_name(), directory / temps.new_name()
    try:
        sweep_temps(directory)
        temp.write_bytes(b"")
        _link(temp, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            return  # full, read-only, no permission: says nothing of links, and is met again with its own words
        raise ConfigError(
            "no_hard_links",
            f"{directory}: hard links do not work here ({error.strerror})",
            "put the drop folder (or its `output`) on a local or NFS filesystem; SMB and some FUSE mounts cannot link",
        ) from error
    finally:
        for path in (temp, name):
            with suppress(OSError):
                path.unlink()


def mode_for(replaced: os.stat_result) -> int:
    """The permissions of a shared file that we replace, and so become the owner of.

    Who owned it is from now on one of the group: a recorder that could no longer write its own info.json would lose
    the session. Without setgid, which `chmod -R g+s` leaves on files and a hardened service may not set.
    """
    mode = replaced.st_mode & 0o777
    return mode if replaced.st_uid == os.geteuid() else mode | (mode & 0o700) >> 3


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _link(source: Path, target: Path) -> None:
    """link(2) that believes the file, not the reply: an NFS client may report failure for a link that was made."""
    try:
        os.link(source, target)
    except OSError:
        if not _same_file(source, target):
            raise


def _same_file(source: Path, target: Path) -> bool:
    try:
        mine, there = source.lstat(), target.lstat()
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
