"""Processes that the tests play against each other: `python actors.py ROLE ARG...`.

They say what they did in lines on stdout. Where one has to wait, it waits until its stdin is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import sys
from pathlib import Path

from episoded.daemon import fsio
from episoded.daemon.claim import take
from episoded.daemon.control import ControlDir
from episoded.daemon.errors import NotAvailableError


def say(*words: object) -> None:
    """One line in one write: lines of a process that is killed are whole or absent."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def wait_for_go() -> None:
    sys.stdin.read()


def publish(path: str, text: str) -> None:
    """Publish a file; armed crash points stop or kill it on the way."""
    fsio.publish(Path(path), text.encode())
    say("published")


def replace(path: str, times: str) -> None:
    """Replace a file many times, with contents that would show a torn read."""
    target = Path(path)
    for number in range(int(times)):
        fsio.replace(target, f"word{number % 10}".encode() * 4096, expected=target.read_bytes())


def hold(control: str) -> None:
    """Claim an episode and keep it."""
    claim = take(ControlDir(Path(control)))
    say("claimed", claim.generation)
    wait_for_go()


def leave(*controls: str) -> None:
    """Claim episodes and die without a word."""
    for control in controls:
        take(ControlDir(Path(control)))
    os.kill(os.getpid(), signal.SIGKILL)


def race(root: str, episodes: str, tries: str, seed: str, ending: str) -> None:
    """Claim whatever can be claimed, in an order of its own.

    `ending`: what becomes of a claim that was won. "keep": held to the end. "any": closed, given back, or (odd seeds) the process
    kills itself. Every winner also takes an exclusive kernel lock on the episode: who does not get it has
    found another owner alive, which must never be.
    """
    chance = random.Random(int(seed))
    order = [number % int(episodes) for number in range(int(tries))]
    chance.shuffle(order)
    say("ready")
    wait_for_go()
    for number in order:
        control = ControlDir.of(Path(root), f"episode_{number:06d}")
        # Opened before the claim: a dying process closes its descriptors in order, and this one must not be the last.
        inside = os.open(Path(root) / f"inside_{number:06d}", os.O_RDWR | os.O_CREAT)
        try:
            claim = take(control)
        except NotAvailableError:
            os.close(inside)
            continue
        try:
            fcntl.flock(inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("OVERLAP", number, claim.generation)
        say("won", number, claim.generation)
        if ending == "keep":
            continue
        fate = chance.choice(["close", "release"] * 8 + ["die"] * (int(seed) % 2))
        if fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(inside)
        if fate == "release":
            claim.end("released", {})
        claim.close()
    say("end")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


if __name__ == "__main__":
    {role.__name__: role for role in (publish, replace, hold, leave, race)}[sys.argv[1]](*sys.argv[2:])
