"""The command explains itself; scripts can rely on its codes and streams."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from commandline import environment, episoded
from episoded.daemon.errors import (
    ConfigError,
    EpisodedError,
    ExitCode,
    InputError,
    NotAvailableError,
    UnknownTargetError,
    UsageError,
    exit_code,
)
from episoded.daemon.identity import product_version

COMMANDS = (
    "run",
    "process",
    "publish",
    "flush",
    "resume",
    "reconcile",
    "convert",
    "push",
    "work",
    "submit",
    "status",
    "show",
    "report",
    "view",
    "wait",
    "retry",
    "verify",
    "repair",
    "doctor",
    "demo",
    "bench",
    "calibration",
)
DOCUMENTED = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()


def test_the_help_lists_every_command_in_its_group() -> None:
    done = episoded("--help")
    assert done.code == 0
    for words in ("Get work done", "See where things stand", "When something is wrong", "docs/cli.md"):
        assert words in done.out
    assert all(f" {command} " in done.out for command in COMMANDS)


def test_without_a_command_it_helps() -> None:
    done = episoded()
    assert "Usage: episoded" in done.out + done.err
    assert done.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = episoded(command, "--help")
    assert done.code == 0
    assert f"Usage: episoded {command}" in done.out
    assert f"`{command}" in DOCUMENTED


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("demo", "bench")])
def test_every_option_is_explained(command: str) -> None:
    lines = episoded(command, "--help", env={"COLUMNS": "200"}).out.splitlines()
    options = [line.strip("│* ") for line in lines if line.strip("│* ").startswith("--")]
    assert options
    assert all(len(option.split("  ")) > 1 for option in options)


def test_a_mistyped_command_is_2() -> None:
    done = episoded("proces", "/tmp")
    assert done.code == 2
    assert "process" in done.err


def test_version() -> None:
    done = episoded("--version")
    assert (done.code, done.out) == (0, f"episoded {product_version()}\n")


def test_it_is_installed_as_a_command() -> None:
    installed = Path(sysconfig.get_path("scripts")) / "episoded"
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout == f"episoded {product_version()}\n"


def test_completion_knows_the_commands() -> None:
    asked = {"_EPISODED_COMPLETE": "complete_bash", "COMP_WORDS": "episoded st", "COMP_CWORD": "1"}
    assert episoded(env=asked).out.split() == ["status"]
    assert "complete_zsh" in episoded(env={"_EPISODED_COMPLETE": "source_zsh"}).out


def test_a_pipe_that_is_closed_is_no_traceback() -> None:
    script = f"{sys.executable} -P -m episoded.daemon --help | head -n 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError, 78),
        (NotAvailableError, 75),
        (UnknownTargetError, 4),
        (UsageError, 2),
        (InputError, 1),
        (EpisodedError, 1),
    ],
)
def test_each_kind_of_error_has_its_code(error: type[EpisodedError], code: int) -> None:
    assert exit_code(error("some_code", "what happened", "what to do")) == code


def test_the_codes_are_the_documented_ones() -> None:
    table = DOCUMENTED.partition("### Exit codes")[2].partition("## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)} == set(map(int, ExitCode))
