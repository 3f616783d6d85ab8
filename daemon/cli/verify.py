"""`episoded verify`: are the artifacts still what was published."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from .. import target as targets
from ..errors import ExitCode
from .options import MEND, ConfigOption, JsonOption, PathArgument, settings
from .terminal import plural, shown, size

if TYPE_CHECKING:
    from ..scan import DatasetView, EpisodeView


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=MEND)(verify)


@dataclass(frozen=True, slots=True)
class Verified:
    """What re-reading the artifacts of one episode found; `damage` empty: all as published."""

    dataset: str
    episode: str
    state: str
    artifacts: int
    bytes: int
    damage: tuple[str, ...]
    frames_left: bool


def verify(path: PathArgument, json_: JsonOption = False, config: ConfigOption = None) -> None:
    """Read every finished file again and compare it with what was published. Changes nothing.

    Exit: 0 all as published, 1 something is missing or differs.
    """
    chosen = settings(config)
    view = targets.find(path, chosen).view()
    results = []
    for dataset in view.datasets:
        for result in _results(dataset):
            results.append(result)
            if not json_:
                _print(result)
    damaged = sum(bool(result.damage) for result in results)
    if json_:
        typer.echo(json.dumps({"schema": 1, "episodes": [asdict(result) for result in results]}, indent=2))
    else:
        _summary(results, damaged)
    if damaged:
        raise typer.Exit(ExitCode.FAILED)


def _results(dataset: "DatasetView") -> Iterator[Verified]:
    for episode in dataset.episodes:
        if episode.markers.stages_done:
            yield _verify(dataset, episode)


def _verify(dataset: "DatasetView", episode: "EpisodeView") -> Verified:
    from .. import checkpoint

    damage: list[str] = []
    count = total = 0
    for stage, record in checkpoint.read_all(episode.control, sorted(episode.markers.stages_done)):
        count, total = count + len(record.outputs), total + sum(output.size for output in record.outputs)
        damage += [f"{stage}: {line}" for line in checkpoint.damage(record, dataset.output)]
    state, name = str(episode.state), str(dataset.root)
    return Verified(name, episode.id, state, count, total, tuple(damage), not episode.markers.cleaned)


def _print(result: Verified) -> None:
    name = shown(f"{result.dataset.rpartition('/')[2]}/{result.episode}")
    if not result.damage:
        typer.echo(f"{name}: {plural(result.artifacts, 'file')}, {size(result.bytes)}, as published")
        return
    typer.secho(f"{name}: damaged", fg="red")
    for line in result.damage:
        typer.echo(f"  {shown(line)}")
    stage = result.damage[0].partition(":")[0]
    if result.frames_left or stage != "encode":
        typer.echo(f"  what to do: episoded retry --from {stage} {shown(result.dataset)}/{result.episode}")
    else:
        typer.echo("  what to do: restore the file from a copy; its frames are gone, so that it cannot be made again")


def _summary(results: list[Verified], damaged: int) -> None:
    total = f"{plural(len(results), 'episode')} verified, {size(sum(result.bytes for result in results))}"
    if damaged:
        typer.secho(f"{total}: {plural(damaged, 'episode')} damaged", fg="red")
    else:
        typer.secho(f"{total}: all as published" if results else "nothing is finished here yet", fg="green")
