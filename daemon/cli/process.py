"""`episoded process`: the whole chain on what lies at a path, now, without a service."""

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import target as targets
from ..config import with_inputs_kept, with_stage_settings
from ..errors import ExitCode, UsageError
from ..target import Target
from .options import WORK, ConfigOption, PathArgument, RemoteCheckOption, settings

if TYPE_CHECKING:
    from ..batch import Batch, Left
    from ..config import Config
    from ..publisher.ask import Found
    from ..publisher.jobs import Trouble
    from ..scan import DropView
    from .progress import Lines

_ON_TOP_OF_A_PROFILE = ("codec", "preset", "crf", "gop", "bf", "tune", "pix_fmt")
_ENCODE = "Settings of the encode stage, for this call"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(process)


def process(
    path: PathArgument,
    pipeline: Annotated[str | None, typer.Option(metavar="NAME", help="A pipeline of the configuration.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Put finished datasets below DIR, each under its name, instead of in place."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=-1, metavar="N", help="Only the first N episodes that are not finished yet; -1: all.")
    ] = -1,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes to work with; default: [workers] cpu.")] = None,
    keep_inputs: Annotated[
        bool, typer.Option("--keep-inputs", help="Remove no frames, whatever the pipeline says.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=_ENCODE, help="training, brief, lerobot, archive.")
    ] = None,
    codec: Annotated[
        str | None, typer.Option(rich_help_panel=_ENCODE, help="libx264, libx265 or libsvtav1.", metavar="NAME")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(rich_help_panel=_ENCODE, help="Speed of the encoder: fast, medium, ...")
    ] = None,
    crf: Annotated[int | None, typer.Option(rich_help_panel=_ENCODE, help="Quality, 0 is best.")] = None,
    gop: Annotated[
        int | None, typer.Option(rich_help_panel=_ENCODE, help="Most frames from keyframe to keyframe.")
    ] = None,
    remote_check: RemoteCheckOption = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of the workers as well.")] = False,
    config: ConfigOption = None,
) -> None:
    """Process what lies at PATH now, with progress bars. No service is needed.

    The same chain, claims and checkpoints as the service, so both may run at once, and a call that was interrupted goes
    on where it stopped. Ctrl-C stops after the camera in hand, a second one at once. Exit: 0 all ready, 1 not all; with
    --limit, of those it took.
    """
    encode = {"profile": profile, "codec": codec, "preset": preset, "crf": crf, "gop": gop}
    chosen = _for_this_call(settings(config), workers, verbose)
    chosen = chosen if remote_check else chosen.without_remote_check()
    target = targets.find(path, chosen, pipeline=pipeline, output=output)
    _refuse_idle_video(target, chosen)
    chosen = _with_encode(chosen, target.drop.pipeline, encode)
    if keep_inputs:
        chosen = with_inputs_kept(chosen, target.drop.pipeline)
    raise typer.Exit(_process(target, chosen, limit, bars=sys.stdout.isatty() and not verbose))


def _refuse_idle_video(target: Target, config: "Config") -> None:
    """A video by itself would pass through a pipeline that only knows datasets, and be called ready."""
    name = target.drop.pipeline
    if target.root.is_file() and "depth" not in config.pipelines[name].stages:
        raise UsageError(
            "no_stage_for_video",
            f"the pipeline {name!r} has no stage for a video by itself: {target.root}",
            "choose one with depth: --pipeline depth",
        )


def _for_this_call(config: "Config", workers: int | None, verbose: bool) -> "Config":
    """Workers keep quiet: what they would log is shown as bars and lines, and recorded with the episode."""
    level: Any = "info" if verbose else "critical"
    changes: dict[str, Any] = {"service": config.service.model_copy(update={"log_level": level})}
    if workers is not None:
        changes["workers"] = config.workers.model_copy(update={"cpu": workers})
    return config.model_copy(update=changes)


def _with_encode(config: "Config", name: str, changes: dict[str, Any]) -> "Config":
    """The configuration with other settings of the encode stage in one pipeline."""
    named = {key: value for key, value in changes.items() if value is not None}
    if "profile" in named:  # a profile is meant whole: what the configuration changes on top of its own does not count
        named = {**dict.fromkeys(_ON_TOP_OF_A_PROFILE), "options": {}, **named}
    return with_stage_settings(config, name, "encode", named) if named else config


def _process(target: Target, config: "Config", limit: int, *, bars: bool) -> ExitCode:
    from .. import batch, logs
    from .progress import Bars, Lines

    logs.configure(config.service.log_level)
    view = target.view()
    if found := _ask(view, config):
        known = _recognise(view, config, found)
        view = target.view()
        if known.stops:
            return _conclude(Lines(), target, known, 0.0, limited=limit >= 0)
    plan = batch.plan(view, config).limited(limit)
    batch.prepare(view)
    started = time.monotonic()
    episodes = sum(job.kind == "work" for job in plan.jobs)
    with Bars(episodes) if bars and plan.jobs else Lines() as display:
        run = batch.Batch(config, display)
        _listen_to_signals(run)
        for left in plan.left:
            _show_left(display, left)
        run.run(plan.jobs)
        if not run.stops:
            batch.mend(target.view(), config)
            for well, words in batch.export(target.view(), config):
                display.say("export", words, "" if well else "red")
    return _conclude(display, target, run, time.monotonic() - started, limited=limit >= 0)


def _ask(view: "DropView", config: "Config") -> "Found":
    """What of it the destinations have already; says who is asked, and who does not answer."""
    from ..publisher.ask import ask
    from .progress import Lines
    from .terminal import plural

    display = Lines()

    def troubled(name: str, trouble: "Trouble") -> None:
        words = f"{name} does not say what it has, so all is processed: {trouble.message} [{trouble.code}]"
        display.say("asked", words, "yellow")

    def asking(name: str, episodes: int) -> None:
        display.say("asking", f"{name}, whether it has {plural(episodes, 'episode')} already")

    return ask([view], config, asking, troubled)


def _recognise(view: "DropView", config: "Config", found: "Found") -> "Batch":
    """Compare what was found with what lies here: what is the same is not processed."""
    from .. import batch
    from .progress import Lines
    from .terminal import plural

    batch.prepare(view)
    known = batch.Batch(config, display := Lines())
    _listen_to_signals(known)
    known.run(batch.recognitions(view, config, found))
    same = sum(ending.ended == "found" for ending in known.endings)
    if same:
        where = ", ".join(config.pipelines[view.drop.pipeline].destinations)
        display.say("found", f"{plural(same, 'episode')} at {where}: not processed, and not here", "green")
    if other := len(known.endings) - same:
        display.say("other", f"{plural(other, 'episode')} there made of or with something else: processed", "yellow")
    return known


def _listen_to_signals(run: "Batch") -> None:
    """The first signal lets the workers finish their unit, the second stops them, a third ends us at once."""

    def on_signal(number: int, _: object) -> None:
        run.stops += 1
        if run.stops > 2:
            raise KeyboardInterrupt(number)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)


def _show_left(display: "Lines", left: "Left") -> None:
    where = f"{left.dataset.root.name}/{left.episode}" if left.episode else left.dataset.root.name
    display.say("left", f"{where}: {left.reason}", "red" if left.blocks else "yellow")
    if left.hint:
        display.note(f"what to do: {left.hint}")


def _conclude(display: "Lines", target: Target, run: "Batch", seconds: float, *, limited: bool) -> ExitCode:
    """The last lines, and the exit code: 0 when every episode that is known here (or was to be taken) is ready."""
    from .terminal import duration, plural

    view = target.view()
    for path, reason in view.strangers:
        display.say("left", f"{path.name}: {reason}", "yellow")
    if run.stops:
        display.say("stopped", "what was finished is kept; the same command goes on from there", "yellow")
    if run.objection:
        display.say("stopped", run.objection, "red")
        display.note("what to do: make room, or lower the marks in [guard]; the same command goes on from there")
    total = ready = failed = 0
    refused = False
    for dataset in view.datasets:
        done = sum(episode.markers.ready for episode in dataset.episodes)
        total, ready = total + len(dataset.episodes), ready + done
        failed += sum(episode.markers.failed for episode in dataset.episodes)
        refused |= dataset.listing.refusal is not None
        if done:
            display.say("output", f"{dataset.output}: {done} of {plural(len(dataset.episodes), 'episode')} ready")
    if failed:
        where = f"{target}" + (
            f" --output {target.drop.output}" if target.drop.output and not target.configured else ""
        )
        display.say("failed", f"{plural(failed, 'episode')}; once mended: episoded retry {where}", "red")
    all_ready = total > 0 and ready == total and not refused
    if limited and total and not refused and not run.stops and not run.objection:
        all_ready = all(ending.ended in ("ready", "tidied") for ending in run.endings)
    words = f"{ready} of {plural(total, 'episode')} ready" if total else "no episode here"
    display.say("done" if all_ready else "not done", f"{words}, {duration(seconds)}", "green" if all_ready else "red")
    return ExitCode.OK if all_ready else ExitCode.FAILED
