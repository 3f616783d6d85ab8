"""Another machine over ssh: run a script there, send files there with rsync; what went wrong in the words of `errors`.

Uses the binaries `ssh` and `rsync`, and so the keys, ~/.ssh/config and known hosts of whoever runs it. Nothing is asked
on a terminal, and an unknown host key is not taken.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors import BlockedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_OPTIONS: Final = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4")
#: Without an answer of the other side for so many seconds rsync gives up.
_SILENCE_S: Final = 60
_UNREACHABLE: Final = 255
_PROGRESS: Final = re.compile(rb"^\s*(\d+)\s+\d+%")

#: What ssh says when no later attempt will do better -> code and what to do.
_LOCKED_OUT: Final = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "host_key_changed",
        "its key is not the one it had: find out why; if that is right, `ssh-keygen -R MACHINE`",
    ),
    ("Host key verification failed", "host_key_unknown", "connect once by hand with `ssh HOST` and check its key"),
    ("Permission denied", "no_access", "put the public key of this account into ~/.ssh/authorized_keys there"),
    ("Too many authentication failures", "no_access", "name one key for this host in ~/.ssh/config"),
    ("Bad configuration option", "ssh_options", "mend the ssh options"),
    ("Could not resolve hostname", "", ""),
)


@dataclass(frozen=True, slots=True)
class Address:
    """`[user@]host:/folder`. `host` is what ssh is called with, user and all."""

    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError with what was expected."""
        match = re.fullmatch(r"((?:[^@:/\s]+@)?(?:\[[0-9A-Fa-f:.%\w]+\]|[^@:/\s]+)):(/[^\0\n]*)", text)
        if match is None or match[1].startswith("-"):
            raise ValueError(f"{text!r} is not of the form [user@]host:/folder")
        return cls(match[1].replace("[", "").replace("]", ""), match[2].rstrip("/") or "/")

    def __str__(self) -> str:
        return f"{self.host}:{self.path}"


class Ssh:
    """The account on the other side. `command` is ssh with options of one's own (a port, a key).

    One connection carries all calls, from the first to `close`, of several threads at once too: making one takes
    several round trips.
    """

    def __init__(self, host: str, command: Sequence[str] = ("ssh",)) -> None:
        self.host = host
        self._ssh = [*command, *(word for option in _OPTIONS for word in ("-o", option))]
        self._line: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._dialling = threading.Lock()

    def run(self, command: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        """Run a command line there: exit code, stdout, stderr.

        Raises TransientError (`server_unreachable`) and BlockedError (`no_access`, ...) where it could not be run.
        """
        words = [*self._connected(), self.host, "--", command]
        done = self._started(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with done:
            out, err = done.communicate(stdin)
        said = err.decode(errors="replace")
        if done.returncode == _UNREACHABLE:
            raise self._unreachable(said)
        return done.returncode, out, said

    def close(self) -> None:
        """Hang up."""
        if self._line:
            self._line.kill()
            self._line.communicate()
            self._line = None
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def _connected(self) -> list[str]:
        """The words that call ssh over the connection, which is made if there is none (any more)."""
        with self._dialling:
            if self._line is None or self._line.poll() is not None:
                self.close()
                self._folder = tempfile.TemporaryDirectory(prefix="episoded-")
                try:
                    self._line = self._dial(f"{self._folder.name}/line", f"{self._folder.name}/said")
                except BaseException:
                    self.close()
                    raise
            assert self._folder is not None
            return [*self._ssh, "-o", "ControlMaster=no", "-S", f"{self._folder.name}/line"]

    def _dial(self, socket: str, said: str) -> subprocess.Popen[bytes]:
        """A connection that others may use. It ends with us, however we end: with our end of the pipe."""
        words = [*self._ssh, "-M", "-o", "ControlPersist=no", "-S", socket, self.host, "--", "cat >/dev/null"]
        with Path(said).open("wb") as complaints:
            line = self._started(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)
        while not Path(socket).exists():
            try:
                line.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            line.communicate()
            raise self._unreachable(Path(said).read_text(errors="replace"))
        return line

    def send(
        self,
        root: Path,
        files: Sequence[str],
        folder: str,
        *,
        moved: Callable[[int], None] = lambda _: None,
        options: Iterable[str] = (),
    ) -> None:
        """Bring `files` (relative to `root`) below `folder` there, with what is missing of those that were begun.

        A file of the same size and mtime counts as there: who needs certainty compares digests afterwards. `moved`
        hears by how many bytes it went on. Raises TransientError, BlockedError.
        """
        fixed = ("--times", "--perms", "--chmod=D2775,F664", "--partial-dir=.rsync-partial", "--protect-args")
        told = ("--files-from=-", "--from0", "--no-human-readable", "--info=progress2", f"--timeout={_SILENCE_S}")
        words = [
            "rsync",
            *fixed,
            *told,
            *options,
            "-e",
            shlex.join(self._connected()),
            f"{root}/",
            f"{self._bracketed()}:{folder}/",
        ]
        process = self._started(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            said = _feed(process, b"\0".join(name.encode(errors="surrogateescape") for name in files), moved)
        if process.returncode:
            raise self._failed(process.returncode, said)

    def _bracketed(self) -> str:
        user, at, host = self.host.rpartition("@")
        return f"{user}{at}[{host}]" if ":" in host else self.host

    def _started(self, words: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(words, **pipes)
        except FileNotFoundError as error:
            raise BlockedError(
                "tool_missing", f"{words[0]} is not installed here", f"install it (apt install {_PACKAGES[words[0]]})"
            ) from error

    def _unreachable(self, said: str) -> TransientError | BlockedError:
        for words, code, hint in _LOCKED_OUT:
            if words in said and code:
                told = hint.replace("HOST", self.host).replace("MACHINE", self.host.rpartition("@")[2])
                return BlockedError(code, f"{self.host}: {_last_line(said)}", told)
        hint = "is the network up, and the server on? It is tried again"
        return TransientError("server_unreachable", f"{self.host}: {_last_line(said)}", hint, offline=True)

    def _failed(self, code: int, said: str) -> TransientError | BlockedError:
        """What the exit code of rsync asks for."""
        what = f"{self.host}: {_last_line(said)}"
        if code == _UNREACHABLE or (code == 12 and "Permission denied (" in said):
            return self._unreachable(said)
        if "No space left" in said or "Disk quota exceeded" in said:
            return TransientError("server_full", what, "free disk space on the server")
        if "command not found" in said or "rsync: not found" in said:
            return BlockedError("rsync_missing", what, "install rsync on the server")
        if "Permission denied" in said or "Read-only file system" in said or code in (1, 2, 3, 4):
            return BlockedError(
                "server_refuses",
                what,
                "may this account write there, is the disk mounted read-only, is rsync 3.1 or newer?",
            )
        return TransientError("connection_lost", what, "what arrived is kept; it goes on from there")


_PACKAGES: Final = {"ssh": "openssh-client", "rsync": "rsync"}


def _feed(process: subprocess.Popen[bytes], names: bytes, moved: Callable[[int], None]) -> str:
    """Give rsync its list, hear how far it is, and collect what it complains of."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[bytes] = []
    listener = threading.Thread(target=said.extend, args=(process.stderr,))
    listener.start()
    writer = threading.Thread(target=_write, args=(process.stdin, names))
    writer.start()
    far = 0
    for line in _lines(process.stdout):
        if match := _PROGRESS.match(line):
            moved(max(0, int(match[1]) - far))
            far = max(far, int(match[1]))
    writer.join()
    listener.join()
    process.wait()
    return b"".join(said).decode(errors="replace")


def _write(pipe: object, names: bytes) -> None:
    try:
        pipe.write(names)  # type: ignore[attr-defined]
        pipe.close()  # type: ignore[attr-defined]
    except BrokenPipeError:
        pass  # it ended before it had read its list: its exit code says why


def _lines(pipe: object) -> Iterable[bytes]:
    """Lines that end in a carriage return or a line feed."""
    rest = b""
    while chunk := pipe.read1(1 << 14):  # type: ignore[attr-defined]
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from whole
    yield rest


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("rsync error:")]
    return (telling or lines or ["no reason was given"])[-1]
