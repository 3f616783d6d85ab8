"""The machine: events, encoders, GPU, memory, clock."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..config import Config, DropConfig

#: Watches that other programs of the same user leave us at least; each drop folder and each unfinished dataset has one.
FEW_WATCHES: Final = 8192
#: A file that was written this far in the future was written by a clock that is wrong.
FUTURE_S: Final = 60.0
#: Before this day the program did not exist: a clock that says so is wrong.
BORN: Final = 1_735_689_600.0  # 2025-01-01


def inotify() -> Iterator[Finding]:
    """Whether the kernel would tell us of new files, and how many folders it may watch."""
    limits = Path("/proc/sys/fs/inotify")
    try:
        watches = int((limits / "max_user_watches").read_text())
    except OSError:
        yield Finding("warn", "events", "this kernel has no inotify", "nothing is lost: rescans find uploads")
        return
    error = _inotify_error()
    if error:
        yield Finding(
            "warn",
            "events",
            f"no further inotify instance can be made: {error}",
            "sudo sysctl fs.inotify.max_user_instances=1024; until then rescans find uploads",
        )
    elif watches < FEW_WATCHES:
        yield Finding(
            "warn", "events", f"only {watches} inotify watches", "sudo sysctl fs.inotify.max_user_watches=524288"
        )
    else:
        yield Finding("ok", "events", f"inotify works, {watches} watches")


def _inotify_error() -> str | None:
    """What the kernel says to one more inotify instance, or None."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return None


def codecs(config: Config) -> Iterator[Finding]:
    """Encode a few frames with every encoder that a pipeline may use."""
    from episoded.processors.encode.encoders import refusal
    from episoded.processors.encode.params import HARDWARE, EncodeParams

    software: dict[str, list[str]] = {}
    hardware: dict[str, list[str]] = {}
    for name, pipeline in config.pipelines.items():
        params = pipeline.params.get("encode")
        if isinstance(params, EncodeParams):
            chosen = params.settings.codec
            software.setdefault(chosen, []).append(name)
            wanted = {"off": (), "auto": HARDWARE[chosen]}.get(params.hardware, (params.hardware,))
            for encoder in wanted:
                hardware.setdefault(encoder, []).append(name)
    for codec, names in software.items():
        used = f"for {', '.join(names)}"
        if reason := refusal(codec):
            yield Finding("fail", f"encoder {codec}", f"{used}: {reason}", "pip install --force-reinstall av")
        else:
            yield Finding("ok", f"encoder {codec}", f"works, {used}")
    for encoder, names in hardware.items():
        if reason := refusal(encoder):
            remedy = "nothing is lost: software encodes instead; check the driver"
            yield Finding("warn", f"encoder {encoder}", f"asked for by {', '.join(names)}: {reason}", remedy)
        else:
            yield Finding("ok", f"encoder {encoder}", f"works, asked for by {', '.join(names)}")


def workers(config: Config) -> Iterator[Finding]:
    """Workers against memory, and what one encoder does to the rest of the machine."""
    from ..guard import free_memory

    slots, memory = config.workers.slots, free_memory()
    if memory < config.guard.memory_low + slots * 400e6:
        yield Finding(
            "warn",
            "memory",
            f"{memory / 1e9:.1f} GB available for {slots} workers of about 0.4 GB each",
            "lower [workers] cpu",
        )
    else:
        yield Finding("ok", "workers", f"{slots}, with {memory / 1e9:.1f} GB of memory available")
    settings = [getattr(pipeline.params.get("encode"), "settings", None) for pipeline in config.pipelines.values()]
    if os.geteuid() == 0 and any(one and one.codec == "libsvtav1" for one in settings):
        yield Finding(
            "warn",
            "real-time priority",
            "libsvtav1, run by root, gives its threads real-time priority: the machine may stop to answer",
            "run as another user; the unit of the project forbids it with RestrictRealtime=yes",
        )


def clock(drops: Iterable[DropConfig]) -> Iterator[Finding]:
    """The wall clock decides nothing but the next attempt after a failure; what it says is believed by people."""
    now = time.time()
    if now < BORN:
        yield Finding(
            "fail", "clock", f"it is {time.ctime(now)} here", "set the clock; enable NTP: timedatectl set-ntp true"
        )
        return
    wrong = [path for drop in drops if (path := _from_the_future(drop.path, now))]
    for path in wrong:
        yield Finding(
            "warn",
            "clock",
            f"{path} was changed in the future: this clock or the uploader's is wrong",
            "nothing depends on it; enable NTP on both: timedatectl set-ntp true",
        )
    if not wrong:
        yield Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now)))


def _from_the_future(folder: Path, now: float) -> Path | None:
    """The first entry of a drop folder, or metadata file of a dataset in it, that is ahead of the clock."""
    for pattern in ("*", "*/meta/*"):
        for path in folder.glob(pattern):
            try:
                if path.lstat().st_mtime > now + FUTURE_S:
                    return path
            except OSError:
                continue
    return None


def output_of(command: list[str]) -> str | None:
    """What a program prints; None when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
