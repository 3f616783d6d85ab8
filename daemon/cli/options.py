"""Arguments and options that several commands share.

The modules of the commands do without `from __future__ import annotations`: typer reads their signatures.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import config as configuration

if TYPE_CHECKING:
    from ..config import Config

WORK = "Get work done"
LOOK = "See where things stand"
MEND = "When something is wrong"

PathArgument = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A dataset, an episode (DATASET/episode_000003), or a folder of datasets."),
]
EpisodeArgument = Annotated[
    Path, typer.Argument(metavar="EPISODE", help="DATASET/episode_000003, or any file or folder of that episode.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        show_default=False,
        help=f"Default: ${configuration.ENVIRONMENT}, else {configuration.SYSTEM_CONFIG}, else built-in defaults.",
    ),
]
PipelineOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What `process --pipeline` had; a drop folder knows its own."),
]
RemoteCheckOption = Annotated[
    bool,
    typer.Option(
        " /--no-remote-check",
        show_default=False,
        help="Trust what is known here: destinations are not asked what they have already.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where `process --output DIR` finished it; a drop folder knows its own."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def settings(config: Path | None) -> "Config":
    """The configuration to use. Raises ConfigError."""
    return configuration.load(configuration.find(config))


def use_everywhere(config: Path | None) -> None:
    """`episoded --config FILE COMMAND` is the same as setting the environment variable for that one command."""
    if config is not None:
        os.environ[configuration.ENVIRONMENT] = str(config)
