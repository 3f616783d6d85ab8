"""What an error of huggingface_hub, of its HTTP client or of hf_xet means for us: which of our four kinds it is.

Each rule was met: a 504 for a commit that had happened, a 412 where a 409 was due, a quota that says 403 for ever, a
xet token that is refused and looks like a network error.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import EpisodedError
from .errors import BlockedError, RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What may be another answer next time. 409 and 412: somebody else was committing.
PASSING: Final = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
#: What a person has to mend: token, payment or quota, rights.
LOCKED: Final = frozenset({401, 402, 403})
#: hf_xet says what the server answered in words only: "HTTP status client error (403 Forbidden), domain: http://…".
_STATUS_IN_TEXT: Final = re.compile(r"\b(\d{3}) [A-Z]")
#: The same for its disk: an OSError without a number.
_FULL_IN_TEXT: Final = re.compile(r"\(os error (?:28|122)\)")
_BLOB_GONE: Final = re.compile(r"LFS pointer pointed to a file that does not exist", re.IGNORECASE)
#: A running service has the configuration that it was started with.
_THEN: Final = ", reload the service, then `episoded resume`"
_HINTS: Final = {
    401: "the token is wrong or has expired: renew it",
    402: "the account has to be paid for, or has used up what it pays for",
    403: "the token may not write there, or a quota is used up: the message says which",
}


def classify(error: BaseException, repo: str) -> EpisodedError:
    """One of our errors for anything that the client raises."""
    if isinstance(error, EpisodedError):
        return error
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if response is not None and isinstance(getattr(response, "status_code", None), int):
            return _of_response(cause, response, repo)
    return _of_kind(error, repo)


def wait_s(headers: Any) -> float | None:
    """How long a server asks to be left alone: `Retry-After`, or the `RateLimit` that is used up; None: not said."""
    said = headers.get("retry-after", "")
    if said.strip().isdigit():
        return float(said)
    window = re.search(r"\br=0\b.*?\bt=(\d+)", headers.get("ratelimit", ""))
    return float(window[1]) if window else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it: of an expired upload URL the client tells only in the cause."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _of_response(error: BaseException, response: Any, repo: str) -> EpisodedError:
    status, words = response.status_code, _words(error)
    if _BLOB_GONE.search(words):
        hint = "the repo was made anew, or lost what it held: its cache here is dropped, and everything sent again"
        return TransientError("xet_stale", f"{repo}: {words}", hint)
    if status == 403 and response.request.method == "PUT":
        return TransientError("upload_expired", f"{repo}: {words}", "a fresh address to send the bytes to is asked for")
    if status == 404 and response.request.url.path.endswith("/info/lfs/verify"):
        return TransientError("upload_incomplete", f"{repo}: {words}", "the bytes are sent again")
    if status in PASSING:
        after = wait_s(response.headers) if status in (429, 503) else None
        code = "rate_limited" if status == 429 else "server_error" if status >= 500 else "contended"
        return TransientError(code, f"{repo}: {words}", "it is tried again", after_s=after)
    if status in LOCKED:
        code = "token_refused" if status == 401 else "forbidden"
        return BlockedError(code, f"{repo}: {words}", f"{_HINTS[status]}, then `episoded resume`")
    if status == 404:
        hint = "was it deleted or renamed? Name the right one, or have it made anew with `episoded resume`"
        return BlockedError("repo_missing", f"{repo}: {words}", hint)
    hint = "more than a folder or a commit may hold? `{chunk}` in `folder`, `{shard}` in `repo`, `max_files` divide it"
    return RefusedError("refused", f"{repo}: {words}", f"{hint}. Reload the service, then `episoded resume`")


def _of_kind(error: BaseException, repo: str) -> EpisodedError:
    """Without an answer of the server: by what kind of error it is."""
    from huggingface_hub.errors import LocalTokenNotFoundError
    from huggingface_hub.utils import httpx

    words = _words(error)
    told = f"{repo}: {words}"
    if isinstance(error, (LocalTokenNotFoundError, PermissionError)):
        return BlockedError("token_missing", told, f"log in with `hf auth login`, or set `token_file`{_THEN}")
    if isinstance(error, (ConnectionError, TimeoutError)) and (status := _STATUS_IN_TEXT.search(words)):
        return _of_xet(int(status[1]), told)
    if isinstance(error, FileNotFoundError):
        return TransientError("xet_stale", told, "the cache here is dropped, and everything sent again")
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return TransientError("offline", told, "the network comes back by itself, or is mended", offline=True)
    if isinstance(error, (httpx.TransportError, ConnectionError, TimeoutError)):
        return TransientError("connection_lost", told, "it is tried again")
    if isinstance(error, OSError) and _FULL_IN_TEXT.search(words):
        where = "free space where the state directory is: xet keeps its cache there"
        return TransientError("xet_cache_full", told, f"{where}. Without it, bytes go the plain way")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TransientError("disk_full", told, "free space on this machine, in the state directory and /tmp")
    if isinstance(error, OSError):
        return TransientError("io_error", told, "see the kernel log")
    if isinstance(error, ValueError):
        return RefusedError("refused", told, "see what the message says, then `episoded resume`")
    return TransientError("internal", told, "it is tried again, and then needs a look at the log")


def _of_xet(status: int, told: str) -> EpisodedError:
    """What xet's server answered, after xet has tried it several times by itself."""
    if status in PASSING:
        return TransientError("rate_limited" if status == 429 else "server_error", told, "it is tried again")
    if status in LOCKED or status == 404:
        return BlockedError("forbidden", told, f"{_HINTS.get(status, 'was the repo deleted?')}, then `episoded resume`")
    return TransientError("xet_stale", told, "the cache here is dropped, and everything sent again")


def _words(error: BaseException) -> str:
    """What was said, on one line, without addresses: an upload URL is signed."""
    text = re.sub(r"\?[^\s'\"]*(?=['\"\s]|$)", "", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:500]
