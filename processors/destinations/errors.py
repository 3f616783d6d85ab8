"""How a destination can fail: four kinds, because four different things have to happen next.

| raised | what it says | what is done |
|---|---|---|
| `TransientError` | the network or the server was in the way | the batch is tried again, later each time |
| `BlockedError` | a person has to mend it first (token, quota, a deleted repo) | the destination stops |
| `RefusedError` | these files, as they are, are not taken | the batch is tried episode by episode, then blocked |
| `MutatedError` | a file is not what its checkpoint says any more | that episode is blocked, none of it is sent |
"""

from __future__ import annotations

from ..errors import EpisodedError, RetryableError


class TransientError(RetryableError):
    """The network, the server or the disk was in the way: the same call may succeed later.

    `after_s`: how long the server asked to be left alone (`Retry-After`), None when it did not say.
    `offline`: the destination could not be reached at all, as opposed to being reached and failing.
    """

    counted = False

    def __init__(
        self, code: str, message: str, hint: str = "", *, after_s: float | None = None, offline: bool = False
    ) -> None:
        super().__init__(code, message, hint)
        self.after_s = after_s
        self.offline = offline


class BlockedError(EpisodedError):
    """Nothing will reach this destination until a person has mended what the hint says."""


class RefusedError(EpisodedError):
    """The destination does not take these files: too many in a folder, too large, content it refuses."""


class MutatedError(EpisodedError):
    """A file is not what its checkpoint says any more: it must not be sent. `target` names it."""

    target: str = ""

    @classmethod
    def of(cls, target: str, what: str) -> MutatedError:
        """That `target` "is gone", "has ...": what happened to it, as the end of a sentence."""
        error = cls(
            "mutated",
            f"{target}: {what}",
            "restore the file, or run the stage that made it again (`episoded retry --from`), then `episoded resume`",
        )
        error.target = target
        return error
