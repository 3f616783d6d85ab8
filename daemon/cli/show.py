"""`episoded show`: one episode, whole."""

import json

import typer

from .. import history
from .. import target as targets
from .options import LOOK, ConfigOption, EpisodeArgument, JsonOption, OutputOption, settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=LOOK)(show)


def show(
    episode: EpisodeArgument, json_: JsonOption = False, output: OutputOption = None, config: ConfigOption = None
) -> None:
    """Tell the whole story of one episode: attempts, stages with timings, artifacts, quality, the last error.

    Exit: 0, or 4 when there is no such episode.
    """
    chosen = settings(config)
    target = targets.find_episode(episode, chosen, output=output)
    dataset = target.view().datasets[0]
    pipeline = chosen.pipelines[target.drop.pipeline]
    story = history.tell(dataset, dataset.episodes[0], pipeline.stages, pipeline.lerobot_version)
    if json_:
        typer.echo(json.dumps(story.to_json(), indent=2))
        return
    from .show_table import table
    from .terminal import show as print_it

    print_it(table(story))
