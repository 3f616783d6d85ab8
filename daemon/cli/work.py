"""`episoded work`: one episode in this process."""

import os
import signal

import typer

from .. import target as targets
from ..errors import EpisodedError, ExitCode, NotAvailableError
from ..scan import EpisodeView
from ..target import Target
from .options import WORK, ConfigOption, EpisodeArgument, settings
from .terminal import shown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(work)


def work(episode: EpisodeArgument, config: ConfigOption = None) -> None:
    """Claim one episode and process it in this process: the unit for Slurm, Ray and the like.

    SIGTERM or Ctrl-C: stop at the next camera and give the claim back; once more: stop now. Exit: 0 ready, 1 failed,
    75 not available (in other hands, or given back): try again later.
    """
    chosen = settings(config)
    target = targets.find_episode(episode, chosen)
    view = target.view()
    known = view.datasets[0].episodes[0]
    if known.markers.ready:
        typer.echo(f"{shown(target)}: is ready already")
        return
    from .. import batch, jobs, logs, worker
    from ..gpus import Gpus
    from ..work import work_for

    logs.configure(chosen.service.log_level)
    batch.prepare(view)
    stop = worker.StopRequests()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.request())
    pipeline, threads = chosen.pipelines[target.drop.pipeline], len(os.sched_getaffinity(0))
    gpus, policy = Gpus.of(chosen.workers, [pipeline]), chosen.workers.policy
    if gpus.ids:
        os.environ |= gpus.environment(gpu=True)
    devices = gpus.all_here(pipeline)
    job = jobs.Job("work", work_for(view.datasets[0], known.id, pipeline, policy, threads, known.lapsed, devices))
    ended, reason = worker.perform(job, stop)
    raise typer.Exit(_conclude(target, known, ended, reason))


def _conclude(target: Target, episode: EpisodeView, ended: str, reason: str) -> ExitCode:
    name, markers = shown(target), episode.control.markers()
    if ended == "ready":
        typer.echo(f"{name}: ready")
        return ExitCode.OK
    if ended == "released":
        raise NotAvailableError("released", f"{name}: stopped, the claim is given back", "call it again to go on")
    if ended == "handed_over":
        raise NotAvailableError(
            "no_gpu",
            f"{name}: its next stage needs a GPU, and there is none here",
            "call it on a machine with a GPU to go on",
        )
    if ended in ("not_available", "lost") and not markers.failed:
        raise NotAvailableError("not_available", f"{name}: {reason or 'taken over'}", "try again later")
    record = episode.control.failure(markers)
    if record is None:  # it could not even be claimed
        raise EpisodedError(ended, f"{name}: {reason or ended}")
    raise EpisodedError(record["code"], f"{name}: {record['message']} [{record['code']}]", record["hint"])
