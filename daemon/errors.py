"""The daemon's members of the error family, and the exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum

from episoded.processors.errors import (
    Cancelled,
    DiskFullError,
    EpisodedError,
    InputError,
    RetryableError,
    from_os_error,
)

__all__ = [
    "Cancelled",
    "ClaimLostError",
    "ConfigError",
    "DiskFullError",
    "EpisodedError",
    "ExitCode",
    "HandedOver",
    "InputError",
    "NotAvailableError",
    "RetryableError",
    "UnknownTargetError",
    "UsageError",
    "exit_code",
    "from_os_error",
]


class ExitCode(IntEnum):
    """What the commands return; scripts rely on these numbers."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    UNKNOWN = 4
    NOT_AVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
    CONFIG = 78  # EX_CONFIG: systemd's RestartPreventExitStatus
    TIMEOUT = 124  # as timeout(1)


class ConfigError(EpisodedError):
    """The configuration cannot be used: the service refuses to start and systemd does not restart it."""


class NotAvailableError(EpisodedError):
    """The episode cannot be claimed now: somebody alive has it, it is finished, or it waits."""


class HandedOver(Exception):  # noqa: N818 - not an error: the rest is for another worker
    """The next stage needs a GPU, and this worker has none: the claim is given back at once."""


class UnknownTargetError(EpisodedError):
    """The path on the command line is no drop folder, dataset or episode."""


class UsageError(EpisodedError):
    """The command was called with something that cannot be."""


class ClaimLostError(EpisodedError):
    """A newer generation exists: whatever this process was about to publish is no longer wanted."""

    retryable = True
    counted = False


def exit_code(error: EpisodedError) -> ExitCode:
    """What a command returns that could not do its work because of this error."""
    match error:
        case ConfigError():
            return ExitCode.CONFIG
        case NotAvailableError():
            return ExitCode.NOT_AVAILABLE
        case UnknownTargetError():
            return ExitCode.UNKNOWN
        case UsageError():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
