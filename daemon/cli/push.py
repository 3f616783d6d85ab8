"""`episoded push`: from the recording computer into a drop folder of the server."""

import re
import shlex
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from episoded.processors.destinations.errors import TransientError

from ..errors import EpisodedError, ExitCode, NotAvailableError, UsageError
from .options import WORK

if TYPE_CHECKING:
    from ..push.pusher import Pusher, Waiting
    from ..push.server import Server
    from .push_progress import Lines

#: How often --watch looks for episodes that are finished.
LOOK_S = 2.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(push)


def push(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The recording on this computer.")],
    destination: Annotated[str, typer.Argument(metavar="[USER@]HOST:/DROP", help="A drop folder of the server.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What it is called there; NAME or OWNER/NAME. Default: as here.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and push each episode as soon as it is recorded. Ends with Ctrl-C.")
    ] = False,
    delete_after: Annotated[
        Literal["never", "confirmed"],
        typer.Option(help="Remove the frames of an episode here once the server has confirmed all its files."),
    ] = "never",
    fallback_encode: Annotated[
        bool,
        typer.Option(
            "--fallback-encode", help="While the server is out of reach, encode here, and push the videos instead."
        ),
    ] = False,
    attempts: Annotated[
        int, typer.Option(min=1, help="Without --watch: how often the server is tried before giving up.")
    ] = 5,
    ssh: Annotated[str, typer.Option(metavar="COMMAND", help="ssh with options, say 'ssh -p 2222'.")] = "ssh",
    limit: Annotated[
        str | None, typer.Option(metavar="RATE", help="At most so many bytes per second, say 5m (rsync --bwlimit).")
    ] = None,
) -> None:
    """Push what is finished of DATASET into a drop folder of the server, over ssh, with rsync.

    An episode shows up there only as a whole and checked, and is marked pending last. Interrupt it at any point: the
    same command goes on from there. Exit: 0 all is there, 1 something cannot be sent, 75 the server is out of reach.
    """
    from ..push.pusher import Pusher
    from ..push.receipts import alone
    from .push_progress import Bars, Lines

    server, root = _server(dataset, destination, name, shlex.split(ssh)), dataset.absolute()
    if limit and not re.fullmatch(r"\d+(\.\d+)?[kKmMgG]?", limit):
        raise UsageError("limit_unclear", f"--limit {limit!r} is no rate", "say it like 500k or 5m: bytes per second")
    options = [f"--bwlimit={limit}"] if limit else []
    with Bars() if sys.stdout.isatty() else Lines() as display, alone(root), closing(server.ssh):
        pusher = Pusher(root, server, display, delete_after == "confirmed", options)
        _end_with_signals(pusher.stop)
        if watch:
            raise typer.Exit(_watch(pusher, display, fallback=fallback_encode))
        raise typer.Exit(_once(pusher, display, attempts, fallback=fallback_encode))


def _server(dataset: Path, destination: str, name: str | None, ssh: list[str]) -> "Server":
    from episoded.processors.destinations.ssh import Address, Ssh

    from ..push.server import Server

    try:
        address = Address.parse(destination)
    except ValueError as error:
        raise UsageError("address_unclear", str(error), "say where: robot@server:/srv/episoded/incoming") from error
    called = name or dataset.absolute().name
    if not all(part and not part.startswith((".", "-")) and part.isprintable() for part in called.split("/")):
        raise UsageError("name_unusable", f"{called!r} cannot be a dataset's name there", "give one with --name")
    return Server(Ssh(address.host, ssh or ["ssh"]), address, called)


def _once(pusher: "Pusher", display: "Lines", attempts: int, *, fallback: bool) -> ExitCode:
    """Everything that is whole now."""
    episodes, others = pusher.finished(still=False)
    while True:
        try:
            pusher.patiently(lambda: pusher.push_all(episodes), attempts=attempts)
            return _conclude(pusher, display, episodes, others)
        except TransientError as error:
            if not fallback or not _encode_next(pusher, display, episodes):
                first = f"{error.hint}; then " if error.code == "server_full" else ""
                hint = f"{first}the same command goes on from what arrived"
                raise NotAvailableError(error.code, error.message, hint) from error
            attempts = 1


def _watch(pusher: "Pusher", display: "Lines", *, fallback: bool) -> ExitCode:
    """Until a signal: what is finished, and has not changed since the last look."""
    others: list[Waiting] = []
    episodes: list[str] = []
    while not pusher.stop.is_set():
        try:
            episodes, others = pusher.finished(still=True)
            pusher.patiently(lambda: pusher.push_all(episodes), attempts=1 if fallback else None)  # noqa: B023
        except EpisodedError as error:
            if not error.retryable and error.code != "not_a_dataset":  # it is about to be recorded
                raise
            if fallback and isinstance(error, TransientError):
                _encode_next(pusher, display, episodes)
        pusher.stop.wait(LOOK_S)
    return _conclude(pusher, display, episodes, others)


def _encode_next(pusher: "Pusher", display: "Lines", episodes: list[str]) -> bool:
    """Encode one episode here, then the server is asked again; False when there is none left."""
    from ..push.fallback import encode

    waiting = (episode for episode in episodes if episode not in pusher.encoded and pusher.has_frames(episode))
    episode = None if pusher.stop.is_set() else next(waiting, None)
    if episode is None:
        return False
    pusher.encoded.add(episode)
    display.encoded(episode or "dataset", encode(pusher.root, episode, pusher.stop))
    return True


def _conclude(pusher: "Pusher", display: "Lines", episodes: list[str], others: "list[Waiting]") -> ExitCode:
    from ..push.pusher import Waiting

    names = [episode or "dataset" for episode in episodes]
    there = sum(name in pusher.done for name in names)
    unsent = [Waiting(name, "not sent yet") for name in names if name not in pusher.done | pusher.refused.keys()]
    display.concluded(pusher, there, [*others, *unsent], whole=episodes == [""])
    if pusher.stop.is_set():
        return ExitCode.OK
    return ExitCode.FAILED if pusher.refused or others else ExitCode.OK


def _end_with_signals(stop: threading.Event) -> None:
    """The first signal ends it after the call in hand, a second one at once."""

    def on_signal(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt(number)
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
