"""`episoded retry`: try again."""

from typing import Annotated

import typer

from .. import target as targets
from ..errors import EpisodedError, ExitCode, UsageError
from ..scan import DatasetView, EpisodeView
from ..state import State
from .options import MEND, ConfigOption, OutputOption, PathArgument, PipelineOption, settings
from .terminal import plural, shown

_FAILED = (State.FAILED, State.WAITING)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=MEND)(retry)


def retry(
    path: PathArgument,
    failed: Annotated[bool, typer.Option("--failed", help="With --from: leave alone what has not failed.")] = False,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and those after it again.")
    ] = None,
    output: OutputOption = None,
    pipeline: PipelineOption = None,
    config: ConfigOption = None,
) -> None:
    """Have failed episodes tried again, at once and with all their attempts.

    With --from STAGE, finished episodes as well: after a setting was changed, say. Stages before it are kept. What was
    is only renamed. The service picks them up; without one, `episoded process` does.
    """
    chosen = settings(config)
    target = targets.find(path, chosen, pipeline=pipeline, output=output)
    stages = _stages(from_, chosen.pipelines[target.drop.pipeline].stages, target.drop.pipeline)
    wanted = _FAILED if failed or not stages else (*_FAILED, State.READY, State.PUBLISHED)
    again, refused = 0, 0
    for dataset in target.view().datasets:
        for episode in dataset.episodes:
            if episode.state in wanted or target.episode:
                done = _retry(dataset, episode, stages)
                again, refused = again + bool(done), refused + (done is None)
    typer.echo(f"{plural(again, 'episode')} to be tried again" if again else "nothing to try again")
    if refused:
        raise typer.Exit(ExitCode.FAILED)


def _stages(first: str | None, stages: tuple[str, ...], pipeline: str) -> tuple[str, ...]:
    """`first` and what comes after it; none without it."""
    if first is None:
        return ()
    if first not in stages:
        known = f"its stages are {', '.join(stages)}"
        raise UsageError("no_such_stage", f"the pipeline {pipeline!r} has no stage {first!r}", known)
    return stages[stages.index(first) :]


def _retry(dataset: DatasetView, episode: EpisodeView, stages: tuple[str, ...]) -> bool | None:
    """Whether it is tried again; None when it could not be done, which is said."""
    from .. import retry as mechanism

    name = shown(f"{dataset.root.name}/{episode.id}")
    try:
        done = mechanism.retry(dataset, episode, stages)
    except EpisodedError as error:
        typer.secho(f"{name}: {shown(error.message)}", fg="red", err=True)
        typer.echo(f"  what to do: {shown(error.hint)}", err=True)
        return None
    typer.echo(f"{name}: {'tried again' + (f' from {stages[0]}' if stages else '') if done else f'is {episode.state}'}")
    return done
