"""A real sshd on loopback, with keys and a configuration of its own; nothing of this machine's is used or changed."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import eventually, process_state

if TYPE_CHECKING:
    from collections.abc import Iterator

_SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_MISSING = [tool for tool in ("ssh", "ssh-keygen", "rsync", "flock") if shutil.which(tool) is None]
if _SSHD is None:
    _MISSING.append("sshd")


class Sshd:
    """The server's end. It lets the account in that runs the tests."""

    def __init__(self, folder: Path) -> None:
        if _MISSING:
            pytest.skip(f"not installed: {', '.join(_MISSING)} (apt install openssh-server rsync)")
        self.folder = folder
        folder.mkdir(mode=0o700)
        for key in ("host", "user"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(make, check=True, capture_output=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        host_key = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        self._configure()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    @property
    def ssh(self) -> list[str]:
        """ssh as this server has to be called."""
        options = {"UserKnownHostsFile": self.folder / "known_hosts", "IdentitiesOnly": "yes"}
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-F", "none", "-p", str(self.port), "-i", str(self.folder / "user"), *words]

    @property
    def command(self) -> str:
        return shlex.join(self.ssh)

    def start(self) -> None:
        """Listen."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root insists on it
        log = (self.folder / "log").open("ab")
        command = [str(_SSHD), "-D", "-e", "-f", str(self.folder / "config")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        eventually(self._listens, what="sshd listens")

    def stop(self) -> None:
        """Be gone, and cut every connection."""
        if self.process:
            for pid in self.sessions():
                os.kill(pid, signal.SIGKILL)
            self.process.terminate()
            self.process.wait()
            self.process = None

    def sessions(self) -> list[int]:
        """The processes of the connections that are open."""
        if self.process is None:
            return []
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children if process_state(int(child)) not in (None, "Z")]

    def _configure(self) -> None:
        lines = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "user.pub",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "PrintMotd": "no",
            "SetEnv": f"HOME={self.folder}",  # a .bashrc of this machine may say something, and takes its time
        }
        text = "".join(f"{key} {value}\n" for key, value in lines.items())
        (self.folder / "config").write_text(text)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One for all tests of a module; each has folders of its own."""
    server = Sshd(tmp_path_factory.mktemp("ssh") / "d")
    server.start()
    yield server
    server.stop()
