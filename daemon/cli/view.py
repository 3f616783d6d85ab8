"""`episoded view`: look at one episode."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import target as targets
from .options import LOOK, ConfigOption, EpisodeArgument, OutputOption, settings

if TYPE_CHECKING:
    from episoded.processors.episode import Episode


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=LOOK)(view)


def view(
    episode: EpisodeArgument,
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Where the two files go; default: here.", show_default=False)
    ] = Path(),
    still: Annotated[bool, typer.Option("--still", help="Only the picture, which needs no Rerun.")] = False,
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a Rerun recording of an episode (EPISODE.rrd) and one still picture of it (EPISODE.png).

    Of a DROID episode: the robot's frame, gripper pads and path, cameras with their frusta, the pads' pixels over the
    videos, depth. Of a LeRobot episode: cameras, states and actions. Open the recording with `rerun EPISODE.rrd`.
    """
    from episoded.processors import formats

    target = targets.find_episode(episode, settings(config), output=output)
    dataset = target.view().datasets[0]
    loaded = formats.by_name(dataset.format.name).load(dataset.root, dataset.episodes[0].id, dataset.output)
    into.mkdir(parents=True, exist_ok=True)
    for path in _write(loaded, into / loaded.id, still=still):
        typer.echo(f"{path}")


def _write(episode: "Episode", stem: Path, *, still: bool) -> list[Path]:
    """The files that were written. The suffix is appended: a uuid may hold dots."""
    from episoded.processors.formats.droid import DroidEpisode
    from episoded.processors.view import droid, lerobot, overview

    picture, recording = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.rrd")
    if isinstance(episode, DroidEpisode):
        overview.draw_droid(episode, picture)
        if not still:
            droid.record(episode, recording)
    else:
        overview.draw_lerobot(episode, picture)
        if not still:
            lerobot.record(episode, recording)
    return [picture] if still else [picture, recording]
