"""The server as `episoded push` sees it: what it has of a shipment, and the two calls that bring it the rest.

What is staged lies in `<drop>/.episoded-push/`, where no scan looks; `remote.sh` gives it its place.
"""

from __future__ import annotations

import functools
import importlib.resources
import io
import json
import re
import secrets
import shlex
import tarfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from episoded.processors.destinations.errors import BlockedError, RefusedError, TransientError

from ..identity import host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from episoded.processors.destinations.ssh import Address, Ssh

    from .shipment import Shipment

STAGING: Final = ".episoded-push"
_REFUSED: Final = 9


@dataclass(frozen=True)
class Seen:
    """What the server has. `received`: of a shipment, and in its place, but perhaps not marked pending (`placed`).

    `digest`: of the manifest of what it received. `shared`: path -> content of its `meta/info.json` and the like.
    """

    state: Literal["absent", "placed", "received"]
    digest: str = ""
    shared: Mapping[str, bytes] = field(default_factory=dict)


class DamagedError(TransientError):
    """Bytes arrived that are not those that were sent. `paths`: of which files; they are gone from the staging area."""

    paths: tuple[str, ...] = ()


class MovedOnError(TransientError):
    """The server's files changed while we worked on what to make of them: look again."""


class Server:
    """A dataset called `name` in the drop folder at `address`."""

    def __init__(self, ssh: Ssh, address: Address, name: str) -> None:
        self.ssh = ssh
        self.address = address
        self.name = name
        #: What the last shipment that was settled left in the files that both sides write; None: it is to be looked up.
        self.left: Mapping[str, bytes] | None = None

    def __str__(self) -> str:
        return f"{self.address}/{self.name}"

    def look(self, shipment: Shipment) -> Seen:
        """What is there of it; makes room for the rest. Raises TransientError, BlockedError."""
        words = ["sh", "-s", "--", "look", self.address.path, self.name, shipment.id, f"{self._staging(shipment)}/tree"]
        out = self._asked(shlex.join(words), _script())
        line, _, rest = out.partition(b"\n")
        state, _, digest = line.decode().partition(" ")
        if state not in ("absent", "placed", "received"):
            raise TransientError("server_unclear", f"{self.address.host} answered {line[:80]!r}", "tried again")
        return Seen(state, digest.strip(), _unpacked(rest))  # type: ignore[arg-type]

    def send(
        self, shipment: Shipment, moved: Callable[[int], None] = lambda _: None, options: Sequence[str] = ()
    ) -> None:
        """Stage the files of a shipment that was looked for: what is missing of them there."""
        files = [file.path for file in shipment.files]
        known = f"--compare-dest={self.address.path}/{self.name}/"  # what a call that was cut off has placed already
        folder = f"{self._staging(shipment)}/tree"
        self.ssh.send(shipment.root, files, folder, moved=moved, options=[*options, known])

    def settle(
        self,
        shipment: Shipment,
        manifest: bytes,
        digest: str,
        lines: Mapping[str, bytes],
        whole: Mapping[str, tuple[bytes, bytes | None]],
    ) -> None:
        """Check what was staged by its digests, place it, and mark it pending, in that order.

        `lines`: what to append to files of the dataset; `whole`: path -> content, and what the server's must still be
        to give way to it (None: the first that came stays). Returns only when the server has confirmed all of it.
        Raises DamagedError, MovedOnError, TransientError, RefusedError (`episode_differs`), BlockedError.
        """
        notes = f"{self._staging(shipment)}/notes-{secrets.token_hex(4)}"
        parts = {"remote.sh": _script(), "manifest": manifest, "marker": _marker(shipment, digest)}
        parts |= {f"lines/{path}": content for path, content in lines.items()}
        parts |= {f"whole/{path}": content for path, (content, _) in whole.items()}
        parts |= {f"expected/{path}": old for path, (_, old) in whole.items() if old is not None}
        words = ["sh", f"{notes}/remote.sh", "settle", self.address.path, self.name, shipment.id, digest]
        unpack = f"mkdir -p {shlex.quote(notes)} && tar -xf - -C {shlex.quote(notes)} && exec {shlex.join(words)}"
        self.left = None
        out = self._asked(f"sh -c {shlex.quote(unpack)}", _archive(parts))
        line, _, rest = out.partition(b"\n")
        if line.decode(errors="replace").split() != ["confirmed", digest]:
            raise TransientError("not_confirmed", f"{self.address.host} confirmed nothing: {out[:80]!r}", "tried again")
        self.left = _unpacked(rest)

    def _staging(self, shipment: Shipment) -> str:
        """The same in every call for this shipment, and for nobody else's: that is what makes it resume."""
        whose = re.sub(r"[^\w.-]", "_", f"{self.name}@{host()}")
        return f"{self.address.path}/{STAGING}/{whose}/{shipment.name}"

    def _asked(self, command: str, stdin: bytes) -> bytes:
        code, out, said = self.ssh.run(command, stdin)
        if code == _REFUSED:
            raise self._refusal(*out.decode(errors="replace").partition(" ")[::2])
        if code:
            what = f"{self.address.host}: {(said.strip().splitlines() or [f'exit code {code}'])[-1]}"
            if "Permission denied" in said or "Read-only file system" in said:
                raise BlockedError("server_refuses", what, _MAY_WRITE)
            if "No space left" in said:
                raise TransientError("server_full", what, "free disk space on the server")
            raise TransientError("server_failed", what, "tried again; nothing of the episode was removed")
        return out

    def _refusal(self, code: str, about: str) -> Exception:
        """What remote.sh says no to."""
        where, about = self.address.host, about.strip()
        match code:
            case "damaged":
                error = DamagedError("damaged", f"{where}: damaged on the way: {about}", "those files are sent again")
                error.paths = tuple(about.splitlines())
                return error
            case "again":
                return MovedOnError("server_moved_on", f"{where}: {about} changed meanwhile", "tried again")
            case "conflict":
                hint = "it belongs to another recording: push under another name (--name), or move it away there"
                return RefusedError("episode_differs", f"{where}: {about} is there with another content", hint)
            case "foreign":
                hint = "push under another name (--name), or go on by hand for this one"
                return RefusedError("episode_differs", f"{where}: {about}: finished, and did not come by push", hint)
            case "no_drop":
                return BlockedError("no_drop", f"{where} has no folder {about}", "create it, or correct the address")
            case "not_writable":
                return BlockedError("server_refuses", f"{where}: no right to write in {about}", _MAY_WRITE)
            case _:
                return BlockedError("tool_missing", f"{where} has no {about}", f"install {about} there")


_MAY_WRITE: Final = (
    "make this account a member of the group that the drop folder belongs to (docs/install.md); "
    "if it is one: is the disk mounted read-only?"
)


def _unpacked(told: bytes) -> dict[str, bytes]:
    """Files as remote.sh tells them: size and path on a line, then the content."""
    found = {}
    while told:
        line, _, told = told.partition(b"\n")
        size, _, path = line.decode().partition(" ")
        found[path], told = told[: int(size)], told[int(size) :]
    return found


@functools.cache
def _script() -> bytes:
    return importlib.resources.files(__package__).joinpath("remote.sh").read_bytes()


def _marker(shipment: Shipment, digest: str) -> bytes:
    """The content of `pending`: nobody decides by it, people may want to know."""
    told = {"schema": 1, "pushed_from": host(), "files": len(shipment.files), "bytes": shipment.size}
    return json.dumps({**told, "manifest": digest}, separators=(",", ":")).encode()


def _archive(parts: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
