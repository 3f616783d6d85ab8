"""`episoded submit`: say that an upload is complete."""

from collections.abc import Iterator

import typer

from .. import service_file
from .. import target as targets
from ..control import submit_dataset
from ..errors import EpisodedError, ExitCode
from ..scan import DatasetView, EpisodeView
from ..state import State
from .options import WORK, ConfigOption, PathArgument, settings
from .terminal import plural, shown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(submit)


def submit(path: PathArgument, config: ConfigOption = None) -> None:
    """Say that an upload is complete: mark a dataset, or one episode of it, pending.

    It only writes the marker `.episoded/pending` (an uploader may do that itself, last); the service does the work. A
    marked dataset stays marked: episodes that join it later need no marker of their own. In a DROID tree, which nothing
    is written to, the episodes that are there now are marked, in the output.
    """
    chosen = settings(config)
    target = targets.find(path, chosen)
    if not target.configured:
        raise EpisodedError(
            "not_watched",
            f"{target.root} lies in no drop folder of {chosen.source or 'the built-in configuration'}",
            "move it into one, or work on it now with `episoded process`",
        )
    view = target.view()
    refused = False
    for dataset in view.datasets:
        refused |= dataset.listing.refusal is not None
        for line in _submit(dataset, target.episode):
            typer.echo(line)
    if not view.datasets:
        typer.echo(f"{shown(target)}: no dataset in it yet")
    if service_file.hear(chosen.service.state_dir) is None:
        typer.secho("no service is running: start it with `episoded run`", fg="yellow", err=True)
    if refused:
        raise typer.Exit(ExitCode.FAILED)


def _submit(dataset: DatasetView, episode: str | None) -> Iterator[str]:
    """Write the marker; what there is to say about it."""
    from ..work import prepare_output

    name = shown(dataset.root)
    if refusal := dataset.listing.refusal:
        yield f"{name}: cannot be processed: {shown(refusal.message)}"
        return
    prepare_output(dataset)
    if episode is None and not dataset.format.in_place:
        new_ones = sum(view.control.submit() for view in dataset.episodes)
        yield f"{name}: {new_ones} of {plural(len(dataset.episodes), 'episode')} marked pending"
    elif episode is None:
        new = submit_dataset(dataset.output)
        episodes = plural(len(dataset.episodes), "episode")
        yield f"{name}: {'marked' if new else 'was already marked'} pending, {episodes}"
    else:
        new = dataset.episodes[0].control.submit()
        yield f"{name}/{episode}: {'marked' if new else 'was already marked'} pending"
    for view in dataset.episodes:
        if note := _no_effect(view, asked=episode is not None):
            yield f"  {view.id}: {note}"


def _no_effect(view: EpisodeView, *, asked: bool) -> str:
    """Why a marker changes nothing for this episode, where a person may think that it would."""
    if view.state is State.FAILED:
        return "has failed; `episoded retry` tries again"
    return f"is {view.state} already" if asked and view.markers.ready else ""
