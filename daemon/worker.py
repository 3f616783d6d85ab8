"""Child main: one process per slot. It claims, works, reports, and dies with its parent.

Started as `python -m episoded.daemon.worker FD` with a connection to the supervisor: spawned, never forked (CUDA), and
without importing the command line. It stays alive across episodes so that models stay loaded.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from episoded.processors.metadata.mend import mending_edits

from . import chain, finish, fsio, logs
from .attempts import as_episoded_error
from .control import ControlDir, to_json
from .errors import Cancelled, EpisodedError, NotAvailableError
from .jobs import Report
from .publication import apply_edit
from .recognise import recognise

if TYPE_CHECKING:
    from .jobs import Job

PR_SET_PDEATHSIG: Final = 1
PROGRESS_EVERY_S: Final = 0.5

log = structlog.get_logger()


class StopRequests:
    """SIGTERM once: stop at the next unit. Twice: stop now."""

    def __init__(self) -> None:
        self.level = 0

    def install(self) -> None:
        """Listen for SIGTERM. SIGINT is the parent's: a terminal sends it to the whole group."""
        signal.signal(signal.SIGTERM, lambda *_: self.request())
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def request(self) -> None:
        """Ask once more."""
        self.level += 1

    def __call__(self) -> int:
        """How often it was asked."""
        return self.level


class ProgressFile:
    """Writes how far a claimed episode is into its scratch folder, for `episoded status` of anybody."""

    def __init__(self, control: ControlDir) -> None:
        self._control = control
        self._last = float("-inf")
        self._unit = ("", "", 0)
        self._since, self._before, self._full = 0.0, 0, False

    def __call__(self, stage: str, unit: str, done: int, total: int) -> bool:
        """Record progress, every half second and when all is done; True when it was time to."""
        now = time.monotonic()
        if self._unit != (stage, unit, total):  # another total: what came before was counting, not the work itself
            self._unit, self._since, self._before = (stage, unit, total), time.time(), done
        full = 0 < total <= done
        if now - self._last < PROGRESS_EVERY_S and (not full or self._full):
            return False
        self._last, self._full = now, full
        generation = self._control.markers().generation
        record: dict[str, Any] = {"stage": stage, "unit": unit, "done": done, "total": total}
        record |= {"since": self._since, "done_before": self._before, "at": time.time()}
        with suppress(OSError):  # a picture of the work must not break the work
            fsio.replace_volatile(self._control.progress(generation), to_json(record))
        return True


def perform(job: Job, stop: StopRequests, tell: Any = None) -> tuple[str, str]:
    """Do one job in this process; (how it ended, reason). `tell(Report)` hears about progress."""
    work = job.work
    try:
        if job.kind == "tidy":
            return ("tidied" if finish.tidy(work.control, work.root, work.output) else "damaged"), ""
        if job.kind == "recognise":
            return recognise(work, job.found), ""
        if job.kind == "mend":
            edits = mending_edits(work.format, work.root, work.output)
            changed = [str(edit.target) for edit in edits if apply_edit(work.output, edit)]
            return "mended", ", ".join(changed)
        if job.kind == "export":
            from .convert.export import export

            return "exported", export(work, stop, lambda *how_far: tell and tell(Report("export", *how_far)))
        progress_file = ProgressFile(work.control)

        def progress(stage: str, unit: str, done: int, total: int) -> None:
            if progress_file(stage, unit, done, total) and tell:
                tell(Report(stage, unit, done, total))

        return chain.work_on(work, chain.Hooks(progress, stop)), ""
    except NotAvailableError as error:
        return "not_available", error.message
    except Cancelled:
        return "released", ""
    except (EpisodedError, OSError) as error:
        known = as_episoded_error(error)
        reason = f"{known.message} [{known.code}]" + (f"; {known.hint}" if known.hint else "")
        log.warning("job_failed", kind=job.kind, dataset=str(work.root), episode=work.episode_id, reason=reason)
        return "error", reason


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send us `by` when the parent dies, also when it died before we asked."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os.kill(os.getpid(), by)


def volunteer_for_oom() -> None:
    """Let the kernel's out-of-memory killer take a worker before the service."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def main(fd: int, parent: int, level: str) -> None:
    """Serve jobs from the connection until it closes or None comes."""
    die_with_parent(parent)
    volunteer_for_oom()
    logs.configure(level)
    stop = StopRequests()
    stop.install()
    with Connection(fd) as connection:
        while not stop.level:
            try:
                job = connection.recv()
            except (EOFError, InterruptedError):
                break
            if job is None:
                break
            ended, reason = perform(job, stop, connection.send)
            connection.send(Report(ended=ended, reason=reason))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
