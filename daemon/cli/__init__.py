"""The command line: the only place that prints."""

import sys
from typing import Annotated

import typer

from ..errors import DiskFullError, EpisodedError, ExitCode, exit_code, from_os_error
from . import (
    bench,
    calibration,
    convert,
    demo,
    doctor,
    process,
    publish,
    push,
    repair,
    report,
    retry,
    run,
    show,
    status,
    submit,
    verify,
    view,
    wait,
    work,
)
from .options import ConfigOption, use_everywhere
from .terminal import shown

#: Every module brings its own command; a new one adds its `register`. They are listed in the order of the help.
_COMMANDS = (
    demo,
    process,
    publish,
    push,
    convert,
    submit,
    wait,
    run,
    work,
    status,
    show,
    report,
    view,
    bench,
    retry,
    verify,
    repair,
    doctor,
    calibration,
)

app = typer.Typer(
    name="episoded",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes, shell completion and examples: docs/cli.md. Settings: docs/configuration.md.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from ..identity import product_version

        typer.echo(f"episoded {product_version()}")
        raise typer.Exit


@app.callback()
def _global(
    config: ConfigOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn raw robot episodes into training-ready LeRobot datasets, without ever losing a frame.

    With a service: `episoded run` watches drop folders; `status`, `show` and `wait` look at it, `retry` mends.
    Without one: `episoded process DATASET` does the same work now, with progress bars.
    """
    use_everywhere(config)


for _module in _COMMANDS:
    _module.register(app)


def main() -> None:
    """The `episoded` command: failures become one message with a remedy on stderr and a stable exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold any byte
    try:
        app(prog_name="episoded")
    except EpisodedError as error:
        _complain(error)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        known = from_os_error(error)
        _complain(known)
        sys.exit(exit_code(known))


def _complain(error: EpisodedError) -> None:
    # What ends a command is not tried again by the service.
    hint = "free disk space, then give the same command again" if isinstance(error, DiskFullError) else error.hint
    for line in error.message.split("\n"):
        typer.secho(f"error: {shown(line)}", fg=typer.colors.RED, err=True)
    if hint:
        typer.echo(f"  what to do: {shown(hint)}", err=True)
