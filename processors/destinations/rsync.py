"""A folder on another machine, over ssh with rsync: a storage server without a client of its own.

Bytes go to `<folder>/.episoded/staged/<sha256>`, where rsync goes on with what was begun; they are synced and hashed
there, and renamed to their names. A reader sees a file whole or not at all; an episode is whole once its last file is
there.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict

from .base import Remote, check_sizes, unproven
from .errors import BlockedError, MutatedError, RefusedError, TransientError
from .ssh import Address, Ssh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .base import File

_REFUSED: Final = 9


def _address(text: str) -> str:
    return str(Address.parse(text))


class RsyncParams(BaseModel):
    """[destinations.NAME] of kind "rsync": `address` is `[user@]host:/folder`, `{dataset}` in it the dataset's name.

    `ssh`: the command, with options of one's own. `bytes_per_s`: how much of the network it may take, 0 for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, AfterValidator(_address)]
    ssh: str = "ssh"
    bytes_per_s: ByteSize = ByteSize(0)

    @property
    def template(self) -> str:
        """What names the place of a dataset, with `{dataset}` and `{shard}` still in it."""
        return self.address


class Rsync:
    """The `Destination` at an address. The folder above what depends on the dataset must exist there."""

    atomic_batch = False
    strong_digest = True

    def __init__(self, params: RsyncParams, place: str) -> None:
        self.place = place
        address = Address.parse(place)
        self._root = address.path
        self._ssh = Ssh(address.host, shlex.split(params.ssh))
        self._anchor = _fixed_part(Address.parse(params.address).path)
        self._options = [f"--bwlimit={params.bytes_per_s / 1024:.0f}"] if params.bytes_per_s else []
        self._checked: set[str] = set()

    def probe(self, *, create: bool = True) -> None:
        """Log in, make the folder, and write into it."""
        self._asked("probe", self._anchor, "yes" if create else "no")

    def stat(self, targets: Sequence[str]) -> Mapping[str, Remote]:
        """Size and sha256, computed there."""
        told: dict[str, list[str]] = {}
        for record in self._asked("stat", lines=[_inside(target) for target in targets], end="\0"):
            value, _, path = record.partition("  ./")
            told.setdefault(path, []).append(value)
        return {
            path: Remote(int(values[0]), f"sha256:{values[1]}") for path, values in told.items() if len(values) == 2
        }

    def read(self, targets: Sequence[str]) -> Mapping[str, bytes]:
        """Their contents, all in one answer."""
        told = self._asked("read", lines=[_inside(target) for target in targets], end="\0")
        return {path: base64.b64decode(content) for path, content in zip(told[::2], told[1::2], strict=True)}

    def stage(self, files: Sequence[File], moved: Callable[[int], None]) -> None:
        """Send what is not there yet, under its digest, and have the digest computed there."""
        check_sizes(files)
        for file in files:
            _check_content(file)
        todo = {file.sha256: file for file in files if file.sha256 not in self._checked}
        if not todo:
            return
        with tempfile.TemporaryDirectory(prefix="episoded-") as folder:
            for name, file in todo.items():  # rsync gives files no other names: links have them
                (Path(folder) / name).symlink_to(file.source.absolute())
            options = [*self._options, "--copy-links"]
            self._ssh.send(Path(folder), list(todo), f"{self._root}/.episoded/staged", moved=moved, options=options)
        wrong = self._asked("check", lines=list(todo))
        self._checked |= todo.keys() - set(wrong)
        for name in wrong:
            _check_content(todo[name])
            raise TransientError("damaged", f"{self.place}: {todo[name].target} was damaged on the way", "sent again")

    def commit(self, files: Sequence[File], message: str) -> str:  # noqa: ARG002 - a folder keeps no messages
        """Rename into place, in order; durable."""
        self.stage([file for file in files if file.sha256 not in self._checked], lambda _: None)
        answer = self._asked("commit", lines=[f"{file.sha256} {_inside(file.target)}" for file in files])
        self._checked -= {file.sha256 for file in files}
        return answer[-1]

    def verify(self, files: Sequence[File]) -> Mapping[str, str]:
        """Have every file read again there."""
        return unproven(files, self.stat([file.target for file in files]))

    def close(self) -> None:
        """Hang up."""
        self._ssh.close()

    def _asked(self, verb: str, *words: str, lines: Sequence[str] = (), end: str = "\n") -> list[str]:
        command = shlex.join(["sh", "-c", _script(), "sh", verb, self._root, *words])
        stdin = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        code, out, said = self._ssh.run(command, stdin)
        answer = out.decode(errors="surrogateescape")
        if code:
            raise self._refusal(*answer.rstrip("\n").partition(" ")[::2]) if code == _REFUSED else self._failed(said)
        return answer.split(end)[:-1]

    def _refusal(self, code: str, about: str) -> BlockedError | TransientError:
        match code:
            case "folder_missing":
                hint = "create or mount it there for this account, then `episoded resume`"
                return BlockedError(code, f"{self.place}: {about} is not there", hint)
            case "tool_missing":
                return BlockedError(code, f"{self.place}: {about} is not installed there", f"install {about} there")
            case _:
                self._checked.clear()
                return TransientError("not_staged", f"{self.place}: staged bytes of {about} are gone", "sent again")

    def _failed(self, said: str) -> BlockedError | TransientError:
        what = f"{self.place}: {([*said.strip().splitlines(), 'no reason was given'])[0]}"
        if "Permission denied" in said or "Read-only file system" in said:
            return BlockedError("folder_refuses", what, "let this account write there, then `episoded resume`")
        if "No space left" in said or "quota" in said:
            return TransientError("destination_full", what, "free space there")
        return TransientError("server_failed", what, "tried again")


@functools.cache
def _script() -> str:
    return importlib.resources.files(__package__).joinpath("rsync.sh").read_text()


def _check_content(file: File) -> None:
    try:
        with file.source.open("rb") as source:
            same = hashlib.file_digest(source, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        raise MutatedError.of(file.target, "is gone") from None
    if not same:
        raise MutatedError.of(file.target, "its content is not what was recorded when it was made")


def _fixed_part(template: str) -> str:
    """The folder above the first part that depends on the dataset; the folder itself where none does."""
    parts = template.split("/")
    first = next((number for number, part in enumerate(parts) if "{" in part), len(parts))
    return "/".join(parts[:first]) or "/"


def _inside(target: str) -> str:
    """The target as a path that cannot leave the destination, on one line."""
    if target.startswith("/") or not target or any(part in ("", ".", "..") for part in target.split("/")):
        raise BlockedError("target_outside", f"{target!r} leads out of the destination", "this is a bug: report it")
    if "\n" in target:
        raise RefusedError("name_unusable", f"{target!r} has a line break in its name", "rename it, then publish again")
    return target
