"""The main loop: one thread owns all decisions.

wait (event, 30 s, worker, signal) -> scan -> complete -> assign to free slots if the guard allows -> tell -> WATCHDOG=1
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

import structlog

from . import config as configuration
from . import fsio, logs, sdnotify, service_file
from .attention import worth_watching
from .dispatch import Dispatcher
from .errors import ConfigError
from .gpus import Gpus
from .identity import product_version
from .publisher import desk
from .publisher.publisher import LAST_WORDS_S, Publisher
from .scan import DropView, Scanner
from .state import State
from .supervisor import Supervisor
from .wakeup import Wakeup
from .watch import Watcher, WatchHealth

if TYPE_CHECKING:
    from pathlib import Path

    from .config import Config

#: Scans take at most this share of a core, however many events rain down; and half of the time on a slow filesystem.
#: (A share of the time alone made a machine that was busy with other things wait ten seconds to claim an episode.)
SCAN_SHARE: Final = 0.1
MIN_SCAN_PAUSE_S: Final = 0.1
#: From the first event to the scan: an uploader makes a folder and its marker, and one scan sees both.
SETTLE_S: Final = 0.02
#: Seconds for a worker that was told to stop now; what it then still holds is taken from it by SIGKILL.
HURRY_S: Final = 15.0
#: What a drain or a long first scan asks of systemd at a time; more than `Supervisor.close` gives the workers to end.
EXTEND_S: Final = 15

log = structlog.get_logger()


class Service:
    """`episoded run`: everything between start and drained."""

    def __init__(self, config: Config, *, remote_check: bool = True) -> None:
        self._remote_check = remote_check
        self._wakeup = Wakeup()
        self._watcher = Watcher(self._wakeup.ring)
        self._stops = 0
        self._reload = False
        self._since = time.time()
        self._views: list[DropView] = []
        self._health = WatchHealth(0)
        self._use(config)

    def _use(self, config: Config) -> None:
        config = config if self._remote_check else config.without_remote_check()
        self._config = config
        self._scanner = Scanner(config.drops)
        self._publisher = Publisher(config)
        self._dispatcher = Dispatcher(config, alive=self._say_alive, inquiry=self._publisher.inquiry)
        used = [config.pipelines[drop.pipeline] for drop in config.drops]
        self._supervisor = Supervisor(config, gpus=Gpus.of(config.workers, used))

    def run(self) -> None:
        """Serve until a signal drains it. Raises ConfigError when it cannot start."""
        with service_file.only_one(self._config.service.state_dir):
            fsio.sweep_temps(self._config.service.state_dir)
            _check_folders(self._config)
            self._listen_to_signals()
            log.info("started", version=product_version(), slots=len(self._supervisor.slots), drops=self._drop_names())
            try:
                self._tick()
                sdnotify.notify(READY=1, MAINPID=os.getpid())
                while not self._stops:
                    if self._reload:
                        self._reload_config()
                    pause = self._tick()
                    sdnotify.notify(WATCHDOG=1, STATUS=self._status_line())
                    self._sleep(pause)
                self._drain()
            finally:
                self._publisher.close()
                self._supervisor.close()
                self._watcher.stop()
                log.info("stopped")

    def _tick(self) -> float:
        """One pass of the loop; how long to pause at least before the next scan, in seconds."""
        started, cpu = time.monotonic(), time.thread_time()
        self._collect()
        self._views = self._scanner.scan()
        if self._dispatcher.take_in(self._views):
            self._wakeup.ring()
        self._publisher.take_in(self._views)
        self._assign()
        self._health = self._watcher.follow([*self._desk(), *worth_watching(self._views)])
        self._tell()
        return max(MIN_SCAN_PAUSE_S, time.monotonic() - started, (time.thread_time() - cpu) / SCAN_SHARE)

    def _say_alive(self) -> None:
        """In the middle of a long tick; not when it keeps us from stopping, then systemd shall count."""
        if not self._stops:
            sdnotify.notify(WATCHDOG=1, EXTEND_TIMEOUT_USEC=EXTEND_S * 10**6)

    def _sleep(self, pause_s: float) -> None:
        """Until a scan is due: something happened (but no sooner than `pause_s`), or the rescan period is over.

        Workers that report progress, several times a second each, do not make a scan due.
        """
        now = time.monotonic()
        watchdog_s = sdnotify.watchdog_interval_s() or float("inf")
        soonest = min(self._dispatcher.look_again_s(), self._publisher.look_again_s())
        period = min(self._config.service.rescan_s, watchdog_s, soonest)
        earliest, latest, due = now + pause_s, now + max(pause_s, period), False
        while not (self._stops or self._reload):
            limit = min(earliest, latest) if due else latest
            if (now := time.monotonic()) >= limit:
                return
            woken = self._wakeup.wait(limit - now, [*self._supervisor.connections, *self._publisher.connections])
            woken |= self._collect()
            if woken and not due:
                due, earliest = True, max(earliest, time.monotonic() + SETTLE_S)

    def _collect(self) -> bool:
        """Hear the workers out and give the free ones their next job at once; True when a job ended."""
        endings = self._supervisor.poll()
        for ending in endings:
            work = ending.job.work
            log.debug("job_ended", kind=ending.job.kind, episode=work.episode_id, how=ending.ended, why=ending.reason)
            self._dispatcher.ended(ending)
        published = self._publisher.poll()
        if (endings or published) and not self._stops:
            self._assign()
        return bool(endings) or published

    def _assign(self) -> None:
        self._publisher.go_on()
        workers = self._supervisor
        for job in self._dispatcher.next_jobs(workers.jobs, workers.cpu_slots, workers.gpus):
            workers.assign(job)

    def _tell(self) -> None:
        report = service_file.ServiceReport(
            pid=os.getpid(),
            version=product_version(),
            since=self._since,
            config=str(self._config.source or "built-in defaults"),
            slots=len(self._supervisor.slots),
            busy=len(self._supervisor.busy),
            paused=self._dispatcher.paused,
            held=self._dispatcher.held,
            problems=self._dispatcher.problems,
            watches=self._health.watches,
            complaints=self._health.complaints,
            draining=bool(self._stops),
            destinations=self._publisher.status(),
            exports=self._dispatcher.exports.said(self._supervisor.jobs),
            gpus=self._supervisor.gpus.in_words,
        )
        try:
            service_file.tell(self._config.service.state_dir, report)
        except OSError as error:
            log.warning("status_not_written", reason=str(error))

    def _status_line(self) -> str:
        counts = dict.fromkeys(State, 0)
        for view in self._views:
            for dataset in view.datasets:
                for episode in dataset.episodes:
                    counts[episode.state] += 1
        words = [f"{count} {state}" for state, count in counts.items() if count]
        return ("paused; " if self._dispatcher.paused else "") + (", ".join(words) or "nothing dropped yet")

    def _desk(self) -> list[Path]:
        """Where people leave word for the publisher."""
        return [desk.folder(self._config.service.state_dir)] if self._config.destinations else []

    def _drop_names(self) -> list[str]:
        return [str(drop.path) for drop in self._config.drops]

    def _listen_to_signals(self) -> None:
        """Handlers only set flags; the loop acts."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, *_: object) -> None:
        self._stops += 1
        self._wakeup.ring()

    def _on_reload(self, *_: object) -> None:
        self._reload = True
        self._wakeup.ring()

    def _reload_config(self) -> None:
        """Take a changed configuration, after the work in hand; a wrong one is refused and the old one stays."""
        self._reload = False
        sdnotify.notify_reloading()
        try:
            fresh = configuration.load(self._config.source)
            if fresh.service.state_dir != self._config.service.state_dir:
                raise ConfigError("state_dir_changed", "state_dir cannot change while running", "restart the service")
            _check_folders(fresh)
        except ConfigError as error:
            log.error("reload_refused", code=error.code, message=error.message, hint=error.hint)
        else:
            self._drain()
            self._publisher.close()
            self._supervisor.close()
            logs.configure(fresh.service.log_level)
            self._use(fresh)
            log.info("reloaded", drops=self._drop_names())
        sdnotify.notify(READY=1)

    def _drain(self) -> None:
        """Let workers stop at their next unit, for `drain_s`; then, or at a second signal, now."""
        if self._stops:
            sdnotify.notify(STOPPING=1)
        log.info("draining", busy=len(self._supervisor.busy))
        self._tell()
        self._supervisor.drain()
        deadline = time.monotonic() + self._config.service.drain_s
        last_words = time.monotonic() + min(LAST_WORDS_S, self._config.service.drain_s)
        stops, hurried = self._stops, False
        while self._supervisor.busy or (self._publisher.busy and time.monotonic() < last_words):
            left = deadline - time.monotonic()
            if hurried and (left <= 0 or not self._supervisor.busy):
                log.warning("drain_gave_up", busy=len(self._supervisor.busy))
                return
            if hurried or left <= 0 or self._stops > stops:
                if not hurried:
                    deadline, hurried = time.monotonic() + min(HURRY_S, self._config.service.drain_s), True
                self._supervisor.drain()
                left = deadline - time.monotonic()
            connections = [*self._supervisor.connections, *self._publisher.connections]
            self._wakeup.wait(min(1.0, max(0.0, left)), connections)
            self._supervisor.poll()
            self._publisher.poll()
            # How long a stop may take is ours to say (drain_s); without it systemd kills us at TimeoutStopSec.
            sdnotify.notify(WATCHDOG=1, EXTEND_TIMEOUT_USEC=EXTEND_S * 10**6)


def _check_folders(config: Config) -> None:
    """Refuse folders on which the protocol cannot stand, before anything is begun there."""
    for drop in config.drops:
        try:
            if drop.output:
                drop.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = f"create it for the service user, or change `output` of the drop folder {drop.path}"
            raise ConfigError("output_unusable", f"{drop.output}: {error.strerror}", hint) from error
        target = drop.output or drop.path
        if target.is_dir() and os.access(target, os.W_OK):
            fsio.check_links(target)
