"""Claims: the right of one living process to work on an episode.

A claim is taken by linking the next generation number: link(2) never replaces, so each generation has one creator.
(Create-if-absent, rename and judge-then-unlink were each won twice when 12 processes raced for 2,000 episodes.)
It is flock-ed before it becomes visible, by the process that will write; the kernel frees the lock when that process
dies, so on one machine "alive" needs no clock and no pid: a stopped owner is alive, a killed one is not.
flock is only the sign of life. Exclusion is the link.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from . import fsio
from .control import SCHEMA, ControlDir, is_being_repaired, read_json, to_json
from .errors import ClaimLostError, NotAvailableError
from .identity import boot_id, host, machine_id, process_started, product_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEASE_S: Final = 600.0
HEARTBEAT_S: Final = 30.0


@dataclass
class Leases:
    """Who is alive, as seen by one observer.

    On our own boot the flock decides. A claim from another machine is alive while its heartbeat (the claim's mtime)
    keeps changing, judged on the observer's own monotonic clock: no two machines' wall clocks are ever compared. An
    observer that has just begun to look grants a full lease first.
    """

    lease_s: float = LEASE_S
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[int, float]] = field(default_factory=dict)
    _foreign: set[Path] = field(default_factory=set)

    def alive(self, claim: Path, *, lapsed: bool = False) -> bool:
        """Whether the owner of this claim may still be working.

        `lapsed`: another observer has watched its heartbeat stand still for a whole lease.
        """
        try:
            fd = os.open(claim, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True  # somebody else's, and not readable: the safe answer
        try:
            if self._is_foreign(claim):
                return not lapsed and self._heartbeat_moves(claim, os.fstat(fd).st_mtime_ns)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
        finally:
            os.close(fd)

    def _is_foreign(self, claim: Path) -> bool:
        if claim in self._foreign:
            return True
        owner = read_json(claim) or {}
        same_boot = owner.get("boot_id") == boot_id()
        # An earlier boot of this machine is over, and so are its processes: flock says so. The host name is asked
        # too because cloned virtual machines share a machine id.
        same_machine = (owner.get("machine"), owner.get("host")) == (machine_id(), host())
        if not (same_boot or same_machine):
            self._foreign.add(claim)
            return True
        return False

    def _heartbeat_moves(self, claim: Path, mtime_ns: int) -> bool:
        now = self.clock()
        last, since = self._seen.get(claim, (None, now))
        if last != mtime_ns:
            self._seen[claim] = (mtime_ns, now)
            return True
        return now - since < self.lease_s


@dataclass
class Claim:
    """A claim that this process holds until `close` or death."""

    control: ControlDir
    generation: int
    fd: int

    @property
    def scratch(self) -> Path:
        """The private folder of this generation."""
        return self.control.scratch(self.generation)

    def check(self) -> None:
        """Raise ClaimLostError when what this process is about to publish is not wanted any more.

        A newer generation exists (only possible after a lease ran out elsewhere), or the dataset was removed or
        renamed. Asked by inode: under a name that was uploaded anew, another process may own the same generation.
        """
        if not self._is_here():
            raise ClaimLostError(
                "vanished", f"{self.control.path}: the dataset was removed or renamed while it was being processed"
            )
        if self.control.markers().generation != self.generation:
            raise ClaimLostError(
                "claim_lost",
                f"{self.control.path}: generation {self.generation} was superseded while it was working",
                "nothing to do; if it happens often, the machine sleeps or its clock of heartbeats stalls",
            )

    def _is_here(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.fd), self.control.claim(self.generation).stat())
        except OSError:
            return False

    def heartbeat(self) -> None:
        """Tell other machines that we live."""
        os.utime(self.fd)

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        """Touch the claim for observers on other machines while the work goes on."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_S):
                with suppress(OSError):  # a network that is gone for a moment must not end the heartbeats
                    self.heartbeat()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def end(self, kind: str, record: dict[str, Any]) -> None:
        """Publish how this generation ended (`failed`, `released`). Raises ClaimLostError when it is not ours."""
        self.check()
        fsio.publish(self.control.outcome(self.generation, kind), to_json({"schema": SCHEMA, **record}))

    def close(self) -> None:
        """Give up the lock; the claim is dead from now on."""
        os.close(self.fd)


def take(control: ControlDir, leases: Leases | None = None, lapsed: int = 0, pipeline: str | None = None) -> Claim:
    """Claim the episode for this process.

    `lapsed`: the generation whose lease a longer-lived observer saw run out. `pipeline`: through which it goes.

    Raises NotAvailableError when the episode is final, or alive in other hands, or another process was faster.
    """
    leases = leases or Leases()
    markers = control.markers()
    _require_open(control, markers.ready, markers.failed)
    top = control.claim(markers.generation)
    if markers.generation and markers.outcome is None and leases.alive(top, lapsed=markers.generation == lapsed):
        raise NotAvailableError("claimed", f"{control.path.name} is being worked on", "see `episoded show`")
    control.create()
    generation = markers.generation + 1
    try:
        fd = fsio.publish_locked(control.claim(generation), to_json(_owner(generation, pipeline)))
    except FileExistsError:
        raise NotAvailableError("claimed", f"{control.path.name}: another process was faster", "") from None
    claim = Claim(control, generation, fd)
    # Its last owner may have finished between our look at the names and our look at its lock. A repair marks the
    # dataset first and looks for claims then; we claim first and look for its mark then: one of us gives way.
    markers = control.markers()
    if markers.final or is_being_repaired(control.path.parent.parent):
        try:
            claim.end("released", {"reason": "already final" if markers.final else "being repaired"})
        finally:
            claim.close()
        _require_open(control, markers.ready, markers.failed)
    return claim


def _require_open(control: ControlDir, ready: bool, failed: bool) -> None:
    if ready:
        raise NotAvailableError("already_ready", f"{control.path.name} is ready", "see `episoded show`")
    if is_being_repaired(control.path.parent.parent):
        raise NotAvailableError("being_repaired", f"{control.path.parent.parent} is being repaired", "wait for it")
    if failed:
        raise NotAvailableError("already_failed", f"{control.path.name} has failed", "`episoded retry` tries again")


def _owner(generation: int, pipeline: str | None) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "gen": generation,
        "host": host(),
        "machine": machine_id(),
        "boot_id": boot_id(),
        "pid": os.getpid(),
        "start_time": process_started(os.getpid()),
        "version": product_version(),
        "pipeline": pipeline,
        "at": time.time(),
    }
