"""`episoded bench`: what encoding costs a recording, and reports over earlier results."""

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import LOOK

if TYPE_CHECKING:
    from ..bench.results import Mode, Result, Settings

_OUTPUT = Path("benchmark_results")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    bench = typer.Typer(no_args_is_help=True)
    bench.command()(encode)
    bench.command()(analyze)
    app.add_typer(bench, name="bench", rich_help_panel=LOOK, help="Measure what encoding costs a recording.")


def encode(
    compare: Annotated[bool, typer.Option("--compare", help="Run all three ways and compare them.")] = False,
    async_encoding: Annotated[
        bool, typer.Option("--async-encoding", help="Encode in background threads of the recorder.")
    ] = False,
    daemon: Annotated[bool, typer.Option("--daemon", help="Hand the frames to a daemon.")] = False,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to record.")] = 2,
    episode_time: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Length of each.")] = 30,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second.")] = 30,
    cameras: Annotated[int, typer.Option(min=1, help="Cameras, 640x480 each.")] = 1,
    video_encoding_workers: Annotated[int, typer.Option(min=1, help="Background threads that encode.")] = 2,
    video_encoding_queue_size: Annotated[int, typer.Option(min=1, help="Episodes that may wait for them.")] = 100,
    output_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go, as JSON.")] = _OUTPUT,
) -> None:
    """Record synthetic episodes in real time, and measure what encoding them does to the recording.

    Without an option they are encoded in the recording thread, one after the other. --compare also encodes in
    background threads and in a daemon of its own, and prints what was gained: while recording, and until every episode
    is ready. Nothing is left behind but the results.
    """
    from ..bench.analysis import report
    from ..bench.results import MODES, Settings

    wanted = {"sync": compare or not (async_encoding or daemon), "async": compare or async_encoding}
    wanted["daemon"] = compare or daemon
    settings = Settings(
        episodes=episodes,
        episode_time_s=episode_time,
        fps=fps,
        cameras=cameras,
        workers=video_encoding_workers,
        queue_size=video_encoding_queue_size,
    )
    results = _run([mode for mode in MODES if wanted[mode]], settings, output_dir)
    typer.echo(report(results))


def analyze(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Results of `episoded bench encode`.")],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", show_default=False, help="The plot; default: beside the first file."),
    ] = None,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="The report alone.")] = False,
) -> None:
    """Report on results of `bench encode`, compare those of the same recording, and plot them.

    The plot needs matplotlib: pip install 'episoded[bench]'.
    """
    from ..bench import analysis

    results = analysis.read(files)
    typer.echo(analysis.report(results))
    if not no_plot:
        target = plot or files[0].parent / "recording_benchmark.png"
        analysis.plot(results, target)
        typer.echo(f"\nplot: {target}")


def _run(modes: "list[Mode]", settings: "Settings", output_dir: Path) -> "list[Result]":
    """One run per mode, each saved as soon as it is there."""
    from .. import logs
    from ..bench.benchmark import run
    from ..bench.results import save

    logs.configure("error")
    results, files = [], []
    with tempfile.TemporaryDirectory(prefix="episoded-bench-") as folder:
        for mode in modes:
            results.append(run(mode, settings, Path(folder), partial(_tell, mode)))
            files.append(save(results[-1], output_dir))
    for file in files:
        typer.echo(f"result: {file}", err=True)
    return results


def _tell(mode: str, words: str) -> None:
    typer.echo(f"{mode}: {words}", err=True)
