"""The process of one device: `python -m episoded.processors.depth.crew_member FD PARENT`.

It loads its model once, computes the spans that it is given, and ends when the connection does. Windows are sent from a
thread, so that the next one is computed meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EpisodedError
from .infer import Ahead, SpanRunner
from .windows import Span

if TYPE_CHECKING:
    from .model import Computed, WindowModel

_PR_SET_PDEATHSIG = 1
_WAITING = 1  # windows computed and not yet sent, besides the one that is being sent


class _Sender(threading.Thread):
    """Sends windows in the background; waits for the slower side, so that no more than two lie here."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(name="send", daemon=True)
        self._connection = connection
        self._queue: queue.Queue[Computed | BaseException | None] = queue.Queue(_WAITING)

    def put(self, item: Computed | BaseException | None) -> None:
        self._queue.put(item)

    def run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._send(item)
            except OSError:
                os._exit(1)  # nobody listens any more

    def _send(self, item: Computed | BaseException) -> None:
        if isinstance(item, BaseException):
            self._connection.send(item)
            return
        maps: Any = np.ascontiguousarray(item.maps)
        self._connection.send((item.window, maps.shape, item.precision, list(item.events)))
        self._connection.send_bytes(memoryview(maps).cast("B"))


def main(fd: int, parent: int) -> None:
    """Serve spans until the connection closes. An error is sent, and ends the process."""
    _die_with(parent)
    with Connection(fd) as connection:
        sys.path[:] = connection.recv()
        sender = _Sender(connection)
        sender.start()
        try:
            _serve(connection, sender)
        except EOFError:
            return
        except EpisodedError as error:
            sys.stderr.write(f"{error.message}\n")  # where others go on without this device, people see why
            sender.put(error)
        except Exception:  # a fault of ours: the parent sees a death, people see why
            traceback.print_exc()
            sys.exit(1)
        sender.put(None)
        sender.join()


def _serve(connection: Connection, sender: _Sender) -> None:
    spec, frames, device, threads = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own parent
    model: WindowModel = spec.load(device, threads)
    with Ahead(frames) as ahead:
        runner = SpanRunner(model, frames, ahead)
        while True:
            start, stop = connection.recv()
            for computed in runner.run(Span(start, stop)):
                sender.put(computed)


def _die_with(parent: int) -> None:
    """Have the kernel kill us when the parent dies, also when it died before we asked."""
    for ours_to_ignore in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group: the parent decides
        signal.signal(ours_to_ignore, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
