"""The client of the Hub, set up so that it can be left alone: time limits, no sleeping, no chatter, no secrets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from .errors import BlockedError, TransientError
from .hub_errors import wait_s
from .secrets import read_secret

if TYPE_CHECKING:
    from pathlib import Path

CREDENTIAL: Final = "huggingface-token"
#: A server that asks for a longer pause is obeyed by the publisher, not by a sleep inside the client.
SHORT_PAUSE_S: Final = 5.0


def connect(endpoint: str, token_file: Path | None, timeout_s: float) -> tuple[Any, str]:
    """The API and the token. Raises BlockedError: huggingface_hub is not installed, or nobody is logged in."""
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils import set_client_factory
    except ImportError as error:
        raise BlockedError(
            "client_missing", f"huggingface_hub: {error}", "pip install 'episoded[hub]', then `episoded resume`"
        ) from error
    token = read_secret(CREDENTIAL, token_file) or get_token()
    if not token:
        raise BlockedError(
            "token_missing",
            f"there is no token for {endpoint}",
            f"`token_file`, a systemd credential {CREDENTIAL} (reload, or restart the service), or `hf auth login`; "
            "then `episoded resume`",
        )
    _be_quiet()
    set_client_factory(lambda: _client(timeout_s))
    return HfApi(endpoint=endpoint.rstrip("/"), token=token), token


def _client(timeout_s: float) -> Any:
    """A client that gives up on a silent server: the library's own waits for ever."""
    from huggingface_hub.utils import httpx
    from huggingface_hub.utils._http import hf_request_event_hook

    return httpx.Client(
        event_hooks={"request": [hf_request_event_hook], "response": [_obey_pauses]},
        follow_redirects=True,
        timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s), pool=30.0),
    )


def _obey_pauses(response: Any) -> None:
    """Raise where the library would sleep for as long as the server says, were it an hour, or ask without a pause."""
    making = response.request.url.path.endswith("/repos/create")
    if making and response.status_code == 409 and b"conflicting operation" in response.read():
        raise TransientError("contended", "the server is busy with this repo", "it is tried again")
    if response.status_code not in (429, 503):
        return
    asked = wait_s(response.headers)
    if response.status_code == 429 or (asked or 0.0) > SHORT_PAUSE_S:
        said = f"HTTP {response.status_code}" + (f", come back in {asked:.0f} s" if asked else "")
        code = "rate_limited" if response.status_code == 429 else "server_error"
        raise TransientError(code, f"{response.request.url.host}: {said}", "it is tried again then", after_s=asked)


def _be_quiet() -> None:
    """The library writes to stderr by itself, and its HTTP client logs every address, signed ones too."""
    logging.getLogger("huggingface_hub").handlers.clear()
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.WARNING)
