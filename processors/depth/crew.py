"""Windows of one video from several devices at once: a process each, spans of windows handed out, results in order.

A span goes to whoever is free. Whoever dies (out of memory, SIGKILL) gives back what it had not delivered, and is
replaced a few times; a device that is lost, or has no memory left, is done without. A span that somebody died of goes
to another device, if there is one: that tells a bad device from windows that nobody survives.

Windows may arrive in any order; they leave in order, and because each is a pure function of its frames, the result does
not depend on who computed what. Spans are not handed out further ahead of the first missing window than `ahead`, which
bounds the memory.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import EpisodedError, RetryableError
from .model import Computed
from .windows import Span, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from .model import ModelSpec
    from .source import Frames

SPAN = 8  # windows: ten frames are encoded twice for each, 6 % of the encoder's work
LIVES = 3  # processes that may be started for one device before it is given up
_DEATHS = 2  # processes that may die of the same span
_OF_THE_DEVICE = ("gpu_lost", "gpu_memory")  # errors that others may not have
_LISTEN_S = 0.2  # between two looks at whether to stop


@dataclass(eq=False)
class _Member:
    """One process, and what it has been given and not delivered."""

    device: str
    lives: int = LIVES
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = None
    span: Span | None = None


@dataclass
class Crew:
    """Computes windows on `devices`; a context manager that ends every process it started.

    `check`: called often, may raise to stop. `threads`: of the CPU, for all of them. `deaths`: how processes died.
    """

    spec: ModelSpec
    frames: Frames
    devices: Sequence[str]
    check: Callable[[], None] = lambda: None
    threads: int = 1
    deaths: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._members = [_Member(device) for device in self.devices]
        self._todo: deque[Span] = deque()
        self._killed: dict[int, list[_Member]] = {}  # who has died of the span that begins with this window
        self._fault: EpisodedError | None = None  # of the device that was lost last
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self._members:  # all at once, so that they end while the first is waited for
            if member.connection is not None:
                member.connection.close()
        for member in self._members:
            _bury(member)

    def windows(self, start: int, stop: int) -> Iterator[Computed]:
        """Windows `start` to `stop` - 1 in order.

        Raises what reading frames and the model raise in a process, and `RetryableError`: `gpu_lost` or `gpu_memory`
        when that is true of every device, `depth_worker_died` when no process is left or one span has cost two of them.
        """
        length = max(1, min(SPAN, -(-(stop - start) // len(self.devices))))
        ahead = length * (len(self.devices) + 1)
        self._todo = deque(spans(start, stop, length))
        ready: dict[int, Computed] = {}
        due = start
        while due < stop:
            self.check()
            self._hand_out(due + ahead)
            for computed in self._receive():
                ready[computed.window] = computed
            while due in ready:
                yield ready.pop(due)
                due += 1

    def _hand_out(self, limit: int) -> None:
        """Give every member without work the next span that begins before window `limit`."""
        for member in self._members:
            if member.span is None and member.lives > 0 and (span := self._next_for(member, limit)) is not None:
                if member.process is None:
                    self._start(member)
                member.span = span
                with suppress(OSError):  # dead already: noticed when it is listened to
                    assert member.connection is not None
                    member.connection.send((span.start, span.stop))
        if all(member.lives == 0 for member in self._members):
            raise self._fault or _all_dead(self.deaths)

    def _next_for(self, member: _Member, limit: int) -> Span | None:
        """The next span for a member: not one that it has died of, as long as somebody else is there for that."""
        for span in self._todo:
            others = [other for other in self._members if other.lives > 0 and other is not member]
            if span.start < limit and not (member in self._killed.get(span.start, ()) and others):
                self._todo.remove(span)
                return span
        return None

    def _receive(self) -> Iterator[Computed]:
        """What has arrived from any member; waits a little for it."""
        busy = {m.connection: m for m in self._members if m.span is not None and m.connection is not None}
        for connection in wait(list(busy), _LISTEN_S):
            assert isinstance(connection, Connection)
            member = busy[connection]
            try:
                computed = _computed(connection)
            except (EOFError, OSError):
                self._died(member)
                continue
            except EpisodedError as error:
                if error.code not in _OF_THE_DEVICE:
                    raise
                self._lost(member, error)
                continue
            assert member.span is not None
            member.span = member.span.after(computed.window) or None
            yield computed

    def _start(self, member: _Member) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "episoded.processors.depth.crew_member", str(theirs.fileno())]
        environment, device = _environment(member.device)
        threads = max(1, self.threads // len(self.devices))
        member.process = subprocess.Popen(
            [*command, str(os.getpid())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment
        )
        theirs.close()
        member.connection = Connection(ours.detach())
        with suppress(OSError):
            member.connection.send(sys.path)  # before anything of ours is unpickled there
            member.connection.send_bytes(pickle.dumps((self.spec, self.frames, device, threads)))

    def _died(self, member: _Member) -> None:
        """Take back what it had, and bury it."""
        assert member.span is not None
        span, member.span = member.span, None
        code = _bury(member)
        member.lives -= 1
        self.deaths.append(f"the process on {member.device} {_how(code)} in windows {span.start} to {span.stop - 1}")
        victims = self._killed.setdefault(span.start, [])
        victims.append(member)
        if len(victims) >= _DEATHS:
            raise _all_dead(self.deaths)
        self._todo.appendleft(span)

    def _lost(self, member: _Member, error: EpisodedError) -> None:
        """Go on without a device; what it had goes to others."""
        assert member.span is not None
        span, member.span, member.lives = member.span, None, 0
        self._fault = error
        self.deaths.append(error.message)
        _bury(member)
        self._todo.appendleft(span)


def _computed(connection: Connection) -> Computed:
    """The next message of a member: a window, or the error that ended its work."""
    message: Any = connection.recv()
    if isinstance(message, BaseException):
        raise message
    window, shape, precision, events = message
    maps: Any = np.empty(shape, np.float32)
    connection.recv_bytes_into(memoryview(maps).cast("B"))
    return Computed(window, maps, precision, events)


def _environment(device: str) -> tuple[dict[str, str], str]:
    """The environment in which a process sees its GPU alone, and what the GPU is called there."""
    environment = dict(os.environ)
    if not device.startswith("cuda"):
        return environment, device
    number = int(device.partition(":")[2] or 0)
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number] if visible else str(number)
    return environment, "cuda:0"


def _bury(member: _Member) -> int:
    """End the process and let go of it; its exit code."""
    if member.connection is not None:
        member.connection.close()
    code = 0
    if member.process is not None:
        with suppress(subprocess.TimeoutExpired):
            member.process.wait(0.5)  # it has lost its connection, and ends by itself
        member.process.kill()
        code = member.process.wait()
    member.process = member.connection = None
    return code


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _all_dead(deaths: Sequence[str]) -> EpisodedError:
    return RetryableError(
        "depth_worker_died",
        f"depth processes keep dying: {'; '.join(deaths)}",
        "see the kernel log for an out-of-memory killer or a lost GPU (dmesg, nvidia-smi); then retry",
    )
