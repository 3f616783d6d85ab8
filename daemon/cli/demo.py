"""`episoded demo`: the main job, from a simulated recording to a dataset to train on, with the real daemon."""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import config as configuration
from .. import status as snapshots
from ..control import CONTROL
from ..errors import EpisodedError, ExitCode, UsageError
from ..private import PrivateService
from ..scan import Scanner
from .demo_check import verify
from .options import WORK

if TYPE_CHECKING:
    from ..snapshot import Snapshot
    from .demo_view import Display

NAME = "fetch-ball"
CAMERAS = ("top", "wrist")
SIZE = (480, 640)
FPS = 30
LOOK_S = 0.2
#: Without an end in sight something is wrong: the whole takes ten seconds.
LIMIT_S = 300.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(demo)


def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", show_default=False, help="An empty folder; default: a new temporary one."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to record.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each.")] = 3.0,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave the daemon running, to play with.")
    ] = False,
) -> None:
    """Make a small simulated recording and run everything on it: a dataset to train on in ten seconds.

    Two cameras and robot state are recorded, uploaded into the drop folder of a real daemon, encoded, verified and
    counted. Needs no root, no network, no ffmpeg, no torch, and touches nothing outside DIR. Exit: 0 when every frame
    arrived.
    """
    from .demo_view import Display

    place = _empty_folder(folder)
    display = Display(place, sys.stdout.isatty())
    frames = max(1, round(seconds * FPS))
    recording = _record(place / "recording" / NAME, episodes, frames, display)
    service = PrivateService(place, outlive=keep_running)
    service.start()
    try:
        display.started(service)
        dataset = _upload(recording, service.drop, display)
        _watch(service, display)
        facts = verify(dataset, episodes * frames * len(CAMERAS))
    except BaseException:
        service.stop()
        raise
    display.verified(facts)
    if not keep_running:
        _stop(service, display)
    shutil.rmtree(recording.parent)
    display.finished(dataset, facts, service if keep_running else None)


def _empty_folder(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="episoded-demo-"))
    place = wanted.expanduser().absolute()
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise UsageError("not_empty", f"{place} is not empty", "name a new folder, or leave --dir out")
    return place


def _record(root: Path, episodes: int, frames: int, display: "Display") -> Path:
    from episoded.processors.simulation import record

    with display.step("record"):
        record(root, episodes, frames, FPS, CAMERAS, SIZE)
    display.recorded(root, episodes, frames)
    return root


def _upload(recording: Path, drop: Path, display: "Display") -> Path:
    """As an uploader should: under a hidden name until all is there, then the name, and the marker last."""
    hidden, dataset = drop / f".{NAME}.upload", drop / NAME
    with display.step("upload"):
        shutil.copytree(recording, hidden)
        hidden.rename(dataset)
        (dataset / CONTROL).mkdir()
        (dataset / CONTROL / "pending").touch()
    display.uploaded(dataset)
    return dataset


def _watch(service: PrivateService, display: "Display") -> None:
    """Look at it as `episoded status` does, until everything is ready and tidied up. Raises EpisodedError."""
    config = configuration.load(service.config)
    scanner = Scanner(config.drops)
    deadline = time.monotonic() + LIMIT_S
    with display.live() as show:
        while time.monotonic() < deadline:
            views = scanner.scan()
            snapshot = snapshots.take(config, views)
            show(snapshot, views)
            _raise_failure(snapshot)
            episodes = [episode for view in views for dataset in view.datasets for episode in dataset.episodes]
            done = episodes and all(episode.markers.cleaned for episode in episodes)
            if done and not snapshot.service.busy:
                return
            service.check()
            time.sleep(LOOK_S)
    raise EpisodedError("demo_stuck", f"not ready after {LIMIT_S:.0f} s", f"read {service.log}")


def _raise_failure(snapshot: "Snapshot") -> None:
    for drop in snapshot.drops:
        for dataset in drop.datasets:
            for failure in dataset.failures:
                raise EpisodedError(failure.code, f"{failure.episode}: {failure.message}", failure.hint)
            if dataset.refusal and not dataset.refusal.passing:
                raise EpisodedError(dataset.refusal.code, dataset.refusal.message, dataset.refusal.hint)


def _stop(service: PrivateService, display: "Display") -> None:
    with display.step("stop"):
        code = service.stop()
    if code != ExitCode.OK:
        raise EpisodedError("service_died", f"the daemon ended with status {code}", f"read {service.log}")
    display.stopped()
