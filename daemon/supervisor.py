"""Slots and the processes in them: assignment, progress, deadlines, deaths, drain.

The supervisor never trusts a worker's last word: the exit code and the episode's own markers decide what happened.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from . import attempts
from .claim import Leases
from .control import read_json
from .errors import RetryableError
from .gpus import NONE
from .jobs import Job, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .config import Config
    from .gpus import Gpus

log = structlog.get_logger()

#: Seconds in which a process that was killed, or is about to end, is gone.
DEATH_S: Final = 5.0


@dataclass
class Slot:
    """One place for a worker. `gpu`: it may use GPUs. `job` is what it works on, `report` the last it said."""

    name: str
    gpu: bool = False
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = None
    job: Job | None = None
    report: Report = field(default_factory=Report)
    heard_at: float = 0.0
    jobs_done: int = 0

    @property
    def busy(self) -> bool:
        """True while it has a job."""
        return self.job is not None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended: by the worker's report, or `died` with the words for it."""

    job: Job
    ended: str
    reason: str = ""


class Supervisor:
    """Runs the worker processes of this machine."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic, gpus: Gpus = NONE) -> None:
        self.gpus = gpus
        self.slots = [Slot(f"cpu{number}") for number in range(config.workers.slots)]
        self.slots += [Slot(f"gpu{number}", gpu=True) for number in range(len(self.gpus.ids) * self.gpus.per_gpu)]
        self._config = config
        self._clock = clock
        self._oom_kills = _oom_kills()

    @property
    def connections(self) -> list[Connection]:
        """What becomes readable when a worker reports or dies."""
        return [slot.connection for slot in self.slots if slot.connection]

    @property
    def busy(self) -> list[Slot]:
        """Slots with a job."""
        return [slot for slot in self.slots if slot.busy]

    @property
    def jobs(self) -> list[Job]:
        """What is being worked on."""
        return [slot.job for slot in self.slots if slot.job]

    @property
    def cpu_slots(self) -> int:
        """Workers without a GPU."""
        return sum(not slot.gpu for slot in self.slots)

    def assign(self, job: Job) -> bool:
        """Give the job to a free slot, one with GPUs if the job has some; False when there is none."""
        slot = next((slot for slot in self.slots if not slot.busy and slot.gpu is job.on_gpu), None)
        if slot is None:
            return False
        if slot.process is None or slot.process.poll() is not None:
            self._bury(slot)
            self._start(slot)
        assert slot.connection is not None
        slot.job, slot.report, slot.heard_at = job, Report(), self._clock()
        try:
            slot.connection.send(job)
        except OSError:  # it died between two jobs: poll() buries it and the episode is assigned again
            log.warning("worker_gone", slot=slot.name)
        return True

    def poll(self) -> list[Ending]:
        """Read what workers said, bury the dead, kill the stalled; the jobs that ended since the last call."""
        endings = []
        for slot in self.slots:
            if slot.connection is None:
                continue
            endings += self._listen(slot)
            if slot.busy and self._clock() - slot.heard_at > self._config.workers.stall_s:
                endings.append(self._kill_stalled(slot))
        return endings

    def drain(self) -> None:
        """Ask every worker to stop at its next unit; asked again, to stop now.

        Signals that come while one is pending are one to the kernel: in a hurry, ask until they are gone.
        """
        for slot in self.slots:
            if slot.process and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGTERM)

    def close(self, grace_s: float = 5.0) -> None:
        """End all workers. Who is still busy is killed, an idle one that does not end by itself too: no orphans."""
        for slot in self.slots:
            if slot.connection:
                with suppress(OSError):
                    slot.connection.send(None)
        deadline = self._clock() + grace_s
        for slot in self.slots:
            if slot.process and not slot.busy:
                with suppress(subprocess.TimeoutExpired):
                    slot.process.wait(max(0.0, deadline - self._clock()))
            self._bury(slot)

    def _start(self, slot: Slot) -> None:
        """Spawn a worker. From the main thread: the death signal fires when the spawning thread ends."""
        ours, theirs = socket.socketpair()
        level = self._config.service.log_level
        command = [sys.executable, "-P", "-m", "episoded.daemon.worker", str(theirs.fileno()), str(os.getpid()), level]
        with no_interrupts():
            slot.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=self._environment(slot)
            )
        theirs.close()
        slot.connection = Connection(ours.detach())
        slot.jobs_done = 0

    def _environment(self, slot: Slot) -> dict[str, str] | None:
        """Ours; GPUs are shared out where there are some."""
        return os.environ | self.gpus.environment(gpu=slot.gpu) if self.gpus.ids else None

    def _listen(self, slot: Slot) -> list[Ending]:
        assert slot.connection is not None
        try:
            while slot.connection.poll():
                slot.report = slot.connection.recv()
                slot.heard_at = self._clock()
                if slot.report.ended and slot.job:
                    ending = Ending(slot.job, slot.report.ended, slot.report.reason)
                    slot.job = None
                    self._maybe_recycle(slot)
                    return [ending]  # a worker has one job at a time: nothing can be left to read
        except (EOFError, OSError):
            return self._died(slot)
        return []

    def _maybe_recycle(self, slot: Slot) -> None:
        """A fresh process after a failure, whatever it left behind, and after many episodes.

        Killed, not asked: it holds nothing any more, and the main loop does not wait for anybody's good-bye.
        """
        slot.jobs_done += 1
        failed = slot.report.ended in ("failed", "waiting", "error")
        if failed or slot.jobs_done >= self._config.workers.recycle_after:
            self._bury(slot)

    def _died(self, slot: Slot) -> list[Ending]:
        assert slot.process is not None
        pid, job, stage = slot.process.pid, slot.job, slot.report.stage
        with suppress(subprocess.TimeoutExpired):
            slot.process.wait(DEATH_S)  # it let go of the connection, so it is about to
        code = self._bury(slot)
        if job is None:
            return []
        if code == -signal.SIGTERM:  # asked to stop before it could listen: as good as released
            return [Ending(job, "released")]
        oom_kills = _oom_kills()
        words = _how_it_died(code, out_of_memory=oom_kills > self._oom_kills)
        self._oom_kills = oom_kills
        log.error("worker_died", slot=slot.name, pid=pid, episode=job.work.episode_id, how=words)
        if job.kind == "work":
            error = RetryableError("worker_died", f"the worker process {words}", _death_remedy(code))
            self._charge(job, pid, error, stage)
        return [Ending(job, "died", words)]

    def _kill_stalled(self, slot: Slot) -> Ending:
        assert slot.process is not None
        assert slot.job is not None
        job, pid, limit = slot.job, slot.process.pid, self._config.workers.stall_s
        log.error("worker_stalled", slot=slot.name, pid=pid, episode=job.work.episode_id, stall_s=limit)
        stage = slot.report.stage
        self._bury(slot)
        where = f"{slot.report.stage} {slot.report.unit}".strip() or "start"
        error = RetryableError(
            "stalled", f"no progress for {limit:.0f} s at {where}", "raise [workers] stall_s if the disk is that slow"
        )
        if job.kind == "work":
            self._charge(job, pid, error, stage)
        return Ending(job, "died", "stalled")

    def _charge(self, job: Job, pid: int, error: RetryableError, stage: str) -> None:
        """A death costs the episode one attempt, if it died in that worker's hands."""
        control = job.work.control
        with suppress(OSError):  # the dataset may have gone with it
            markers = control.markers()
            claim = control.claim(markers.generation)
            owner = read_json(claim) or {}
            if markers.final or markers.outcome or owner.get("pid") != pid or Leases().alive(claim):
                return
            attempts.record_failure(control, markers.generation, error, stage or None, job.work.policy)

    def _bury(self, slot: Slot) -> int:
        """Free the slot; returns how its process ended. One that even SIGKILL cannot end is left to the kernel.

        That is a process inside a system call to a dead disk or server. It keeps its claim as long as it lives; the
        loop, and the other episodes, go on.
        """
        code = 0
        if slot.process:
            if slot.process.poll() is None:
                slot.process.kill()
            with suppress(subprocess.TimeoutExpired):
                code = slot.process.wait(DEATH_S)
        if slot.connection:
            slot.connection.close()
        slot.process = slot.connection = slot.job = None
        return code


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Have a child born deaf to Ctrl-C, which a terminal sends to the whole group: stopping it is our business.

    It ignores SIGINT by itself, but only once it has imported itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_died(code: int, *, out_of_memory: bool) -> str:
    if code >= 0:
        return f"exited with status {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory)" if -code == signal.SIGKILL and out_of_memory else "")


def _death_remedy(code: int) -> str:
    if code == -signal.SIGKILL:
        return "if it was the out-of-memory killer (kernel log), lower [workers] cpu; the episode is tried again"
    return "see the log of the service; the episode is tried again by itself"


def _oom_kills() -> int:
    """Out-of-memory kills in our control group so far; 0 where that is not counted."""
    with suppress(OSError, ValueError, StopIteration):
        group = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        events = Path("/sys/fs/cgroup", group[3:].lstrip("/"), "memory.events").read_text()
        return int(next(line for line in events.splitlines() if line.startswith("oom_kill ")).split()[1])
    return 0
