"""A wire to a server that counts what goes over it, and can be cut: a TCP proxy on loopback."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire:
    """Connections to `port` go on to the server at `server_port`."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        #: Bytes that went to the server over all connections.
        self.sent = 0
        self._cut_at: int | None = None
        self._then: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._swallowed: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int, then: Callable[[], None] = lambda: None) -> None:
        """Cut every connection, once, when so many more bytes have gone to the server; `then` do this."""
        with self._lock:
            self._cut_at, self._then = self.sent + count, then

    def swallow_after(self, count: int) -> None:
        """When so many more bytes have gone to the server, let nothing more through over the connections there are."""
        self.cut_after(count, lambda: self._swallowed.update(self._ends))

    @property
    def was_cut(self) -> bool:
        """Whether the ordered cut has happened."""
        return self._cut_at is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else who waits in accept takes one more
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self.server_port))
                self._ends += [ours, theirs]
                threading.Thread(target=self._carry, args=(ours, theirs, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(theirs, ours, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, upward: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(1 << 14):
                if upward and self._count(len(chunk)) and not self._swallowed:
                    self._cut()
                    break
                if source not in self._swallowed:
                    target.sendall(chunk)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _count(self, more: int) -> bool:
        """Whether the wire is to be cut here."""
        with self._lock:
            self.sent += more
            if self._cut_at is None or self.sent < self._cut_at:
                return False
            self._cut_at, then = None, self._then
        then()
        return True

    def _cut(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()
