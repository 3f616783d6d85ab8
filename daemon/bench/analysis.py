"""Reports over saved results, and their picture. matplotlib is imported only here and only when a picture is drawn."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from ..errors import EpisodedError
from .comparison import compare, describe
from .results import MODES, load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .results import Result

#: What an episode goes through, with its colour: one that colour-blind people can tell from its neighbours.
_PHASES: Final = (
    ("recording", "#0072b2"),
    ("saving", "#56b4e9"),
    ("recording blocked", "#d55e00"),
    ("waiting and encoding", "#009e73"),
)
_BAR_HEIGHT: Final = 0.8


def read(paths: Sequence[Path]) -> list[Result]:
    """The results in `paths`: by time, and within one comparison in the order of the modes. Raises InputError."""
    results = [load(path) for path in paths]
    return sorted(results, key=lambda result: (result.at, MODES.index(result.mode)))


def report(results: Sequence[Result]) -> str:
    """Every run in words, and a comparison wherever runs of several modes recorded the same on the same machine.

    Of several runs of one mode the last one counts in the comparison; all of them are described.
    """
    alike: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        alike[result.settings.model_dump_json() + str(result.machine.cores)].append(result)
    parts = []
    for runs in alike.values():
        last = {run.mode: run for run in runs}
        if "sync" in last and len(last) > 1:
            parts += [describe(run) for run in runs if run is not last[run.mode]]
            parts.append(compare([last[mode] for mode in MODES if mode in last]))
        else:
            parts += [describe(run) for run in runs]
    return "\n\n".join(parts)


def plot(results: Sequence[Result], target: Path) -> None:
    """Draw the runs below each other on one clock, each episode a row, and write the picture as PNG.

    Raises EpisodedError (`matplotlib_missing`) without the extra `bench`.
    """
    figure, axes = _canvas(len(results), sum(len(result.episodes) for result in results))
    end = max(result.ready_s for result in results)
    for result, axis in zip(results, axes, strict=True):
        _draw_run(axis, result, end)
    axes[-1].set_xlabel("seconds since the first frame")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="upper center", ncols=len(_PHASES), frameon=False, fontsize="small"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, format="png")


def _canvas(runs: int, rows: int) -> tuple[Any, list[Any]]:
    try:
        # The figure without pyplot: no window system is asked for, and nothing global is left behind.
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise EpisodedError(
            "matplotlib_missing",
            "drawing the results needs matplotlib, which is not installed",
            "pip install 'episoded[bench]', or --no-plot for the report alone",
        ) from error
    size = (10, 1.5 + 0.7 * runs + 0.25 * rows)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.4 / size[1])))
    return figure, list(figure.subplots(runs, 1, sharex=True, squeeze=False)[:, 0])


def _draw_run(axis: Any, result: Result, end: float) -> None:
    """One row per episode, first on top: its phases from the first frame until it was ready."""
    rows = range(len(result.episodes))
    edges = [
        [(episode.started, episode.recorded) for episode in result.episodes],
        [(episode.recorded, episode.saved) for episode in result.episodes],
        [(episode.saved, episode.free) for episode in result.episodes],
        [(episode.free, max(episode.free, episode.ready)) for episode in result.episodes],
    ]
    for (label, colour), spans in zip(_PHASES, edges, strict=True):
        widths, starts = [stop - start for start, stop in spans], [start for start, _ in spans]
        axis.barh(rows, widths, left=starts, height=_BAR_HEIGHT, color=colour, label=label)
    axis.axvline(result.recording_s, color="black", linestyle=":", linewidth=1)
    axis.axvline(result.ready_s, color="black", linewidth=1)
    axis.set_title(
        f"{result.mode}: recording over after {result.recording_s:.1f} s (dotted), all ready after "
        f"{result.ready_s:.1f} s (line), blocked for {result.blocked_s:.2f} s",
        loc="left",
        fontsize="small",
    )
    axis.set_yticks(rows, [str(number) for number in rows])
    axis.set_ylabel("episode")
    axis.set_xlim(0, end * 1.02)
    axis.invert_yaxis()
