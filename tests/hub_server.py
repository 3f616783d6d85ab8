"""A small Hub: what huggingface_hub asks of huggingface.co to publish a dataset, on loopback, with faults to order.

    with HubServer(tmp_path) as hub:
        hub.fail(r"POST .*/commit/", status=503, times=2)
        HfApi(hub.url, token=WRITE_TOKEN).upload_file(...)
        assert hub.files("me/towel")["meta/info.json"] == b"..."
        assert hub.count(r"POST .*/commit/") == 3

Large files arrive as LFS objects (basic, and multipart above `part_size`), or through the real hf_xet, which is given a
folder of ours as its store, or with `xet_over_http` sends its xorbs and shards here (`POST /cas/v1/...`); a commit that
names bytes which never arrived is refused. Where other servers differ from
the Hub there is a quirk to switch on.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import urlsplit

from hub_faults import Fault, Faults
from hub_protocol import Answer, Asked
from hub_repository import ObjectStore, Repository
from hub_routes import answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITE_TOKEN: Final = "hf_writeTokenOfTheTests"
READ_TOKEN: Final = "hf_readTokenOfTheTests"

#: How a server may differ from huggingface.co; each was met in one.
Quirk = Literal[
    "no_paths_info",  # the route is missing: 404 without an error code
    "no_preupload_oid",  # preupload does not say what is there already
    "create_answers_200",  # also for a repository that exists
    "bare_404",  # 404 without X-Error-Code
    "no_xet",  # no token for xet
    "ignores_parent",  # parentCommit is not compared
    "regular_by_default",  # what .gitattributes does not name is regular, however large
]


@dataclass(frozen=True)
class Logged:
    """One request: `METHOD /path?query`, the bytes of its body that were read, what was answered (None: nothing)."""

    request: str
    received: int
    status: int | None
    at: float


class HubServer:
    """The server, in threads of this process. Everything about it may be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.objects = ObjectStore(folder)
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Literal["read", "write"]] = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
        self.quirks: set[Quirk] = set()
        self.faults = Faults()
        self.log: list[Logged] = []
        self.page_size = 1000
        self.part_size: int | None = None
        self.xet_over_http = False
        self.files_per_folder = 10_000
        self.stopping = threading.Event()
        self._port = 0
        self._server: _Server | None = None

    def start(self) -> Self:
        """Listen; after a `stop` on the same port as before."""
        self.stopping.clear()
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be gone: connections are refused, those that hang are cut."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self.stopping.set()
            self._server.cut_all()
            self._server = None

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._port}"

    def fail(self, url: str, **order: Any) -> Fault:
        """Order a fault; see `hub_faults.Fault`."""
        return self.faults.add(Fault(url, **order))

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes | None]:
        """path -> content as committed; None where xet has the bytes."""
        entries = self.repositories[repo].at(revision)
        assert entries is not None, f"{repo} has no revision {revision}"
        return {path: self.content(path, repo, revision) for path in entries}

    def content(self, path: str, repo: str, revision: str = "main") -> bytes | None:
        """The bytes of a committed file; None where xet has them."""
        entry = (self.repositories[repo].at(revision) or {})[path]
        if entry.sha256 is None:
            return entry.content
        stored = self.objects.lfs / entry.sha256
        return stored.read_bytes() if stored.exists() else None

    def digests(self, repo: str) -> dict[str, str]:
        """path -> sha256 of large files, git's sha1 of the others, at the head."""
        return {path: entry.sha256 or entry.oid for path, entry in self.repositories[repo].files.items()}

    def requests(self, url: str) -> list[Logged]:
        """What came in that matches, in the order of the answers."""
        return [logged for logged in self.log if re.search(url, logged.request)]

    def count(self, url: str) -> int:
        """How many requests match."""
        return len(self.requests(url))

    def puts(self) -> Counter[str]:
        """sha256 -> how often an LFS object was sent whole and taken."""
        taken = [logged for logged in self.requests(r"^PUT /objects/\w{64}$") if logged.status == 200]
        return Counter(logged.request.rpartition("/")[2] for logged in taken)

    def delete(self, repo: str, *, objects: bool = True) -> None:
        """Delete a repository behind everybody's back, with its objects."""
        del self.repositories[repo]
        if objects:
            self.objects.forget()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubServer, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Reset the connections that are still open."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """A client that was killed, or one that we cut off: nothing to say."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    received = 0

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        hub, line = self.server.hub, f"{self.command} {self.path}"
        self.received, given = 0, None
        try:
            given = self._react(hub.faults.take(line) or Fault(line))
        finally:  # before the client hears of it: it may look into the log at once
            hub.log.append(Logged(line, self.received, given.status if given else None, time.monotonic()))
        if given:
            self._send(given)
        else:
            self.close_connection = True

    def _react(self, fault: Fault) -> Answer | None:
        """Do what is asked, as the fault has it; None: the connection ends without an answer."""
        stopping = self.server.hub.stopping
        if fault.drop_after is not None:
            self._cut(fault.drop_after)
            return None
        if fault.hang:
            stopping.wait()
            return None
        if fault.delay_s and stopping.wait(fault.delay_s):
            return None
        given = self._ordered(fault) if fault.status else answer(self._asked())
        return None if fault.lose_response else given

    def _asked(self) -> Asked:
        address = urlsplit(self.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return Asked(self.server.hub, self.command, address.path, address.query, token, self._chunks())

    def _ordered(self, fault: Fault) -> Answer:
        """The answer that a fault orders; the body is read first, as a proxy in between would."""
        for _ in self._chunks():
            pass
        headers = {"X-Error-Message": fault.error, **fault.headers} if fault.error else fault.headers
        return Answer.json({"error": fault.error}, fault.status or 500, headers)

    def _chunks(self) -> Iterator[bytes]:
        """The body, as it comes in."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield from self._take(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield from self._take(int(self.headers.get("Content-Length", 0)))

    def _take(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self.rfile.read(min(size, 1 << 16))
            if not chunk:
                raise ConnectionError("the client went away in the middle of a body")
            size -= len(chunk)
            self.received += len(chunk)
            yield chunk

    def _cut(self, after: int) -> None:
        """Read so many bytes of the body, then reset the connection."""
        self.received = len(self.rfile.read(min(after, int(self.headers.get("Content-Length", after)))))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _send(self, given: Answer) -> None:
        self.send_response(given.status)
        for name, value in given.headers.items():
            self.send_header(name, value)
        size = given.body.stat().st_size if given.body_is_file else len(given.body)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            for chunk in given.chunks():
                self.wfile.write(chunk)
