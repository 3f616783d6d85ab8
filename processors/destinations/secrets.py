"""Where tokens come from, and how they are kept out of everything that people read.

In this order: a credential of systemd (`LoadCredential=NAME:...`, a file only this service can read), a file named in
config.toml, the client's own login. Never config text, an argument, or a log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..errors import from_os_error
from .errors import BlockedError

#: systemd.exec(5): where LoadCredential= puts files.
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
HIDDEN: Final = "***"


def read_secret(credential: str, file: Path | None) -> str | None:
    """The secret, None where neither a credential of that name nor a file is given.

    Raises BlockedError (`token_missing`) when the file that is named cannot be read, or is empty.
    """
    folder = os.environ.get(CREDENTIALS)
    given = Path(folder) / credential if folder else None
    source = given if given and given.is_file() else file
    if source is None:
        return None
    try:
        secret = source.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = from_os_error(error).message if isinstance(error, OSError) else f"{source} is no text"
        raise _missing(why) from error
    if not secret:
        raise _missing(f"{source} is empty")
    return secret


def without(secret: str | None, text: str) -> str:
    """Foreign words, such as a server's, with the secret blotted out."""
    return text.replace(secret, HIDDEN) if secret else text


def _missing(why: str) -> BlockedError:
    hint = "put the token there, readable by the service user alone, then `episoded resume`"
    return BlockedError("token_missing", f"the token cannot be read: {why}", hint)
