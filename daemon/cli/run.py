"""`episoded run`: the service in the foreground."""

import typer

from ..errors import ConfigError
from .options import WORK, ConfigOption, RemoteCheckOption, settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(run)


def run(remote_check: RemoteCheckOption = True, config: ConfigOption = None) -> None:
    """Watch the drop folders and process what arrives: the service, in the foreground.

    This is what systemd starts. SIGTERM or Ctrl-C: stop at the next unit, give the claims back, exit 0; once more: stop
    now. SIGHUP: read the configuration again. Exits with 78 when the configuration cannot be used.
    """
    chosen = settings(config)
    if not chosen.drops:
        raise ConfigError(
            "no_drop_folder",
            f"{chosen.source or 'the built-in configuration'} names no drop folder: there is nothing to watch",
            "add a [[drop]] table with a path; the config.toml of the project shows one",
        )
    from .. import logs
    from ..service import Service

    logs.configure(chosen.service.log_level)
    Service(chosen, remote_check=remote_check).run()
