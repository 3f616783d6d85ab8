"""A folder: a local disk, NFS, anything that can be mounted and renames atomically.

Bytes are copied to `<folder>/.episoded/staged/<sha256>`, hashed on the way, synced, and renamed to their names. A
reader sees a file whole or not at all; an episode is whole once its last file is there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

from ..errors import from_os_error
from .base import Remote, check_sizes, unproven
from .errors import BlockedError, MutatedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .base import File

CHUNK: Final = 4 << 20
#: Seconds after which staged bytes that nobody gave a name are taken for left behind.
STALE_S: Final = 7 * 86400.0
#: flock-ed by whoever writes there; NFS carries that to other machines.
WRITER: Final = PurePosixPath(".episoded/writer")
#: Where bytes wait for their names: on the same filesystem, and with names that no recorder or loader counts.
STAGED: Final = PurePosixPath(".episoded/staged")


def _absolute(path: Path) -> Path:
    if not path.expanduser().is_absolute():
        raise ValueError("expected an absolute path: a service has no working directory to start from")
    return path.expanduser()


class FolderParams(BaseModel):
    """[destinations.NAME] of kind "folder": `path` is absolute; `{dataset}` in it stands for the dataset's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[Path, AfterValidator(_absolute)]

    @property
    def template(self) -> str:
        """What names the place of a dataset, with `{dataset}` and `{shard}` still in it."""
        return str(self.path)


class Folder:
    """The `Destination` at a path. The folder above it must exist: an NFS mount that is absent must not be filled."""

    atomic_batch = False
    strong_digest = True

    def __init__(self, params: FolderParams, place: str) -> None:
        self.place = place
        self._root = Path(place)
        self._anchor = _fixed_part(params.path)
        self._writer: int | None = None

    def probe(self, *, create: bool = True) -> None:
        """Make the folder, and write into it. Raises BlockedError where the mount is absent or read-only."""
        with _in_our_words(self._root):
            if not self._anchor.is_dir() or not (create or self._root.is_dir()):
                raise BlockedError(
                    "folder_missing",
                    f"{self._root if self._anchor.is_dir() else self._anchor} is not there",
                    "mount it, or create it for the service user, then `episoded resume`",
                )
            staged = self._root / STAGED
            staged.mkdir(parents=True, exist_ok=True)
            trial = staged / f"trial-{os.getpid()}"
            trial.write_bytes(b"")
            now = trial.stat().st_mtime  # by the clock of the destination, as the times that it is compared with
            trial.unlink()
            _sweep(staged, before=now - STALE_S)

    def stat(self, targets: Sequence[str]) -> Mapping[str, Remote]:
        """Size and sha256, read back from there."""
        found = {}
        with _in_our_words(self._root):
            for target in targets:
                with suppress(FileNotFoundError, NotADirectoryError):
                    found[target] = _read_back(self._root / _inside(target))
        return found

    def read(self, targets: Sequence[str]) -> Mapping[str, bytes]:
        """Their contents."""
        found = {}
        with _in_our_words(self._root):
            for target in targets:
                with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    found[target] = (self._root / _inside(target)).read_bytes()
        return found

    def stage(self, files: Sequence[File], moved: Callable[[int], None]) -> None:
        """Copy to `staged/<sha256>`; what lies there whole was hashed before it got that name."""
        check_sizes(files)
        with _in_our_words(self._root):
            (self._root / STAGED).mkdir(parents=True, exist_ok=True)
            for file in files:
                if not self._staged(file).exists():
                    self._copy(file, moved)

    def commit(self, files: Sequence[File], message: str) -> str:  # noqa: ARG002 - a folder keeps no messages
        """Rename into place, in order; durable."""
        for file in files:
            self.stage([file], lambda _: None)
            with _in_our_words(self._root):
                target = self._root / _inside(file.target)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._staged(file).replace(target)
                _sync(target.parent)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def verify(self, files: Sequence[File]) -> Mapping[str, str]:
        """Read every file again, from the disk or the server rather than from this machine's memory."""
        return unproven(files, self.stat([file.target for file in files]))

    def hold(self) -> bool:
        """Lock the folder. Filesystems that know no locks (some FUSE and SMB mounts) exclude nobody."""
        with _in_our_words(self._root):
            self._writer = os.open(self._root / WRITER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                return False
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
            return True

    def release(self) -> None:
        """Let go of it."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def close(self) -> None:
        """Nothing else is held."""
        self.release()

    def _staged(self, file: File) -> Path:
        return self._root / STAGED / file.sha256

    def _copy(self, file: File, moved: Callable[[int], None]) -> None:
        """Under a name of our own until it is whole and is what it should be; a killed copy is written over."""
        part = self._staged(file).with_suffix(".part")
        digest = hashlib.sha256()
        try:
            with file.source.open("rb") as source, part.open("wb") as copy:
                while chunk := source.read(CHUNK):
                    copy.write(chunk)
                    digest.update(chunk)
                    moved(len(chunk))
                copy.flush()
                os.fsync(copy.fileno())
        except OSError:
            with suppress(OSError):
                part.unlink()  # on a full disk, half a file would keep the others out as well
            raise
        if digest.hexdigest() != file.sha256:
            part.unlink()
            raise MutatedError.of(file.target, "its content is not what was recorded when it was made")
        part.rename(self._staged(file))


class _in_our_words:  # noqa: N801 - a context manager that reads as what it does
    """Says which of the errors of a folder are worth another try, and which need a person."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, OSError):
            return
        known = from_os_error(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TransientError("destination_full", f"{self._root}: {known.message}", "free space there") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "let the service user write there (and list it in ReadWritePaths), then `episoded resume`"
            raise BlockedError("folder_refuses", f"{self._root}: {known.message}", hint) from error
        raise TransientError("folder_error", f"{self._root}: {known.message}", "is the disk or the mount well?")


def _fixed_part(template: Path) -> Path:
    """The folder above the first part that depends on the dataset; the folder itself where none does."""
    parts = template.parts
    first = next((number for number, part in enumerate(parts) if "{" in part), len(parts))
    return Path(*parts[:first])


def _inside(target: str) -> PurePosixPath:
    """The target as a path that cannot leave the destination."""
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BlockedError("target_outside", f"{target!r} leads out of the destination", "this is a bug: report it")
    return path


def _read_back(path: Path) -> Remote:
    """Size and digest of what the disk holds: what this machine remembers of it is forgotten first."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return Remote(os.fstat(file.fileno()).st_size, "sha256:" + hashlib.file_digest(file, "sha256").hexdigest())


def _sweep(staged: Path, before: float) -> None:
    """Remove what was staged for batches that never came; who still wants it stages it again."""
    for path in staged.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
