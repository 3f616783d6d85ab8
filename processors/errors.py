"""The error family of the product: every failure that a user sees has a stable code and a remedy.

It lives on the ground floor because processors raise it; :mod:`episoded.daemon.errors` adds the daemon's own members.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class EpisodedError(Exception):
    """A failure with a stable code, what happened (file, frame, key), and what to do about it.

    `retryable`: trying again later may succeed without anybody mending anything.
    `counted`: the attempt counts towards the limit after which an episode is failed for good.
    """

    retryable: ClassVar[bool] = False
    counted: ClassVar[bool] = True

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f"\n  remedy: {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[type[EpisodedError], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.hint)


class InputError(EpisodedError):
    """The recorded data is wrong: permanent until somebody mends the named file or frame."""


class RetryableError(EpisodedError):
    """The machine was in the way (disk, memory, network): the same input may succeed later."""

    retryable = True


class BusyError(RetryableError):
    """Somebody else is at work on the same files. Not counted as an attempt: it ends when they have finished."""

    counted = False


class DiskFullError(RetryableError):
    """No space left. Not counted as an attempt: a full disk says nothing about the episode."""

    counted = False


class Cancelled(Exception):  # noqa: N818 - not an error: the work was asked to stop and did
    """Raised by a processor that saw `StageContext.cancelled()`; its scratch is thrown away."""


def from_os_error(error: OSError) -> EpisodedError:
    """Translate an `OSError` into the family: which are worth another try, and what mends each."""
    where = f" ({error.filename})" if error.filename else ""
    what = f"{error.strerror or error}{where}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFullError("disk_full", what, "free disk space; the episode is tried again by itself")
        case errno.EACCES | errno.EPERM:
            return EpisodedError(
                "no_permission",
                what,
                "give the service user read and write access to the dataset, then retry",
            )
        case errno.EROFS:
            return EpisodedError(
                "read_only",
                what,
                "under systemd list the folder in ReadWritePaths (docs/install.md); else remount it writable, or set "
                "`output` for this drop folder; then retry",
            )
        case errno.ENOENT | errno.ENOTDIR:
            return RetryableError("file_vanished", what, "a file went away while the episode was being processed")
        case _:
            return RetryableError("io_error", what, "see the kernel log for disk or network errors")
