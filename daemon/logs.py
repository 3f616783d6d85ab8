"""structlog: JSON lines for the journal, readable lines on a terminal. Always on stderr; no log files."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

#: sd-daemon(3): the priority that the journal takes from the beginning of a line.
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_to_json: Final = structlog.processors.JSONRenderer()


def configure(level: str = "info", *, json: bool | None = None) -> None:
    """Set up logging for this process. `json`: None = JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: structlog.typing.Processor
    # Not rich's tracebacks: with every local variable in them, one took 4 s to format.
    for_people = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = _render_json if as_json else for_people
    exceptions = [structlog.processors.format_exc_info] if as_json else []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """One JSON line; for the journal with its priority in front, so that `journalctl -p warning` finds it."""
    line = _to_json(logger, method, event)
    prefix = f"<{_PRIORITIES.get(method, 6)}>" if "JOURNAL_STREAM" in os.environ else ""
    return prefix + (line if isinstance(line, str) else line.decode())
