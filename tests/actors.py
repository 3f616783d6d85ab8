"""Processes that the tests play against each other: `python actors.py ROLE ARG...`.

They say what they did in lines on stdout. Where one has to wait, it waits until its stdin is closed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING

import publishing
import recordings
import sites
from episoded.daemon import chain, config, finish, fsio, locks, logs, scan, service, temps
from episoded.daemon.claim import take
from episoded.daemon.control import ControlDir
from episoded.daemon.dispatch import Dispatcher
from episoded.daemon.errors import NotAvailableError
from episoded.daemon.guard import Guard
from episoded.daemon.identity import process_started
from episoded.daemon.jobs import Job
from episoded.daemon.publisher import lane, receipts
from episoded.daemon.scan import Scanner
from episoded.daemon.supervisor import Supervisor
from episoded.daemon.watch import Watcher
from episoded.processors import destinations
from episoded.processors.destinations.errors import BlockedError, TransientError
from forks import in_child, killed_at
from recordings import EPISODE

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.api import BaseObserver

    from episoded.daemon.publisher.jobs import Answer


def say(*words: object) -> None:
    """One line in one write: lines of a process that is killed are whole or absent."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def wait_for_go() -> None:
    sys.stdin.read()


def publish(path: str, text: str) -> None:
    """Publish a file; armed crash points stop or kill it on the way."""
    fsio.publish(Path(path), text.encode())
    say("published")


def replace(path: str, times: str) -> None:
    """Replace a file many times, with contents that would show a torn read."""
    target = Path(path)
    for number in range(int(times)):
        fsio.replace(target, f"word{number % 10}".encode() * 4096, expected=target.read_bytes())


def set_aside(path: str, keep: str) -> None:
    """Move a file out of the way."""
    fsio.set_aside(Path(path), Path(keep))


def fork_and_name() -> None:
    """Name a temporary file, fork, and say what the child names one, its pid and its start."""
    temps.new_name()
    in_child(lambda: say(temps.new_name(), os.getpid(), process_started(os.getpid())))


def hold(control: str) -> None:
    """Claim an episode and keep it."""
    claim = take(ControlDir(Path(control)))
    say("claimed", claim.generation)
    wait_for_go()


def write(path: str) -> None:
    """Have a file open for writing, as a recorder has it for a whole session."""
    with Path(path).open("ab"):
        say("open")
        wait_for_go()


def leave(*controls: str) -> None:
    """Claim episodes and die without a word."""
    for control in controls:
        take(ControlDir(Path(control)))
    os.kill(os.getpid(), signal.SIGKILL)


def race(root: str, episodes: str, tries: str, seed: str, ending: str) -> None:
    """Claim whatever can be claimed, in an order of its own.

    `ending`: what becomes of a claim that was won. "keep": held to the end. "any": closed, given back, or, with an odd
    seed, the process kills itself. Every winner also takes an exclusive kernel lock on the episode: who does not get
    it has found another owner alive, which must never be.
    """
    chance = random.Random(int(seed))
    order = [number % int(episodes) for number in range(int(tries))]
    chance.shuffle(order)
    say("ready")
    wait_for_go()
    for number in order:
        control = ControlDir.of(Path(root), f"episode_{number:06d}")
        # Opened before the claim: a dying process closes its descriptors in order, and this one must not be the last.
        inside = os.open(Path(root) / f"inside_{number:06d}", os.O_RDWR | os.O_CREAT)
        try:
            claim = take(control)
        except NotAvailableError:
            os.close(inside)
            continue
        try:
            fcntl.flock(inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("OVERLAP", number, claim.generation)
        say("won", number, claim.generation)
        if ending == "keep":
            continue
        fate = chance.choice(["close", "release"] * 8 + ["die"] * (int(seed) % 2))
        if fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(inside)
        if fate == "release":
            claim.end("released", {})
        claim.close()
    say("end")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def work(root: str, episode: str = EPISODE) -> None:
    """Claim one episode and run its chain."""
    logs.configure("error")
    say(chain.work_on(recordings.work(Path(root), episode)))


def crash(source: str, folder: str, first: str, step: str) -> None:
    """Kill the work on a fresh copy of `source` at its n-th crash point, n = first, first + step, ...; then resume.

    Says for each n the point and what was wrong, until an n that is never reached. A process is forked for each try:
    everything is imported once, and nothing runs in this one.
    """
    logs.configure("critical")
    _import_what_is_used(recordings.copy(Path(source), Path(folder) / f"import{first}"), _finish)
    original = recordings.Originals.of(Path(source))
    for number in range(int(first), 1 << 20, int(step)):
        root = recordings.copy(Path(source), Path(folder) / str(number))
        if not killed_at(number, root, _finish):
            break
        wrong = recordings.broken_laws(root)
        if number % 3 == 0 and killed_at(number // 2 + 1, root, _finish):  # and now and then once more while it resumes
            wrong += recordings.broken_laws(root)
        if in_child(lambda root=root: _finish(root)):
            wrong.append("the resumed work failed")
        wrong += recordings.broken_laws(root) + recordings.leftovers(root) + original.missing_from(root)
        say(number, "; ".join(wrong) or "ok")
        shutil.rmtree(root)


def crash_recognise(settings: str, raw: str, folder: str) -> None:
    """Kill, at its n-th crash point, n = 1, 2, ..., who finds an episode at its destination; then go on.

    What was left must be pending or published, never finished without a receipt; then it is recognised, or made.
    """
    from episoded.daemon import recognise, target, work
    from episoded.daemon.publisher.ask import ask

    logs.configure("critical")
    chosen = config.load(Path(settings))

    def view_of(output: Path) -> scan.DropView:
        return target.find(Path(raw), chosen, pipeline="metadata-only", output=output).view()

    def work_on(output: Path) -> work.Work:
        (dataset,) = view_of(output).datasets
        return work.work_for(dataset, dataset.episodes[0].id, chosen.pipelines["metadata-only"], chosen.workers.policy)

    def found_in(output: Path) -> list[Answer]:
        asked = ask([view_of(output)], chosen)
        path = work_on(output).control.path
        return [dataclasses.replace(one, control=path) for one in asked.get(path, ())]

    def recognised(output: Path) -> None:
        assert recognise.recognise(work_on(output), answers) == "found"

    (first := Path(folder) / "0").mkdir()
    answers = found_in(first)
    in_child(lambda: recognised(first))
    for number in range(1, 1 << 20):
        (output := Path(folder) / str(number)).mkdir()
        if not killed_at(number, output, recognised):
            break
        markers, wrong = work_on(output).control.markers(), []
        if markers.ready and markers.receipts != {"there"}:
            wrong.append("ready without a receipt")
        if not markers.ready and number % 2:
            wrong += ["its chain failed"] * (in_child(lambda output=output: chain.work_on(work_on(output))) != 0)
            after = work_on(output).control.markers()
            wrong += ["what was made says that it was found"] * bool(after.found or after.receipts or not after.ready)
        elif not markers.ready:
            wrong += ["it was not recognised"] * (in_child(lambda output=output: recognised(output)) != 0)
        else:
            control = work_on(output).control
            receipts.seal(control, ["there"])
            finish.tidy(control, Path(raw), output)
            after = control.markers()
            wrong += ["it is not published"] * (not (after.published and after.cleaned and after.found))
        say(number, "; ".join(wrong) or "ok")


def crash_convert(source: str, before: str, folder: str, first: str, step: str) -> None:
    """Kill the conversion of `source` to v3.0 at its n-th crash point, n = first, first + step, ...; then resume.

    Each goes into a fresh copy of `before`, a conversion of fewer episodes, or into nothing when there is none. Says
    for each n what was wrong: the result must be what a conversion in one go gives, made of as few new files.
    """
    logs.configure("critical")
    whole = Path(folder) / f"whole{first}"
    _import_what_is_used(whole, lambda root: _converted(Path(source), root))
    in_child(lambda: _converted(Path(source), whole))
    grows = Path(before).exists()  # the last file of each kind takes the new episodes in
    untouched, expected = recordings.snapshot(Path(source)), recordings.contents(whole)
    for number in range(int(first), 1 << 20, int(step)):
        output = Path(folder) / str(number)
        if grows:
            recordings.copy(Path(before), output)
        if not killed_at(number, output, lambda root: _converted(Path(source), root)):
            break
        wrong = recordings.half_converted(output)
        finished = recordings.made_files(output)
        if in_child(lambda output=output: _converted(Path(source), output)):
            wrong.append("the resumed conversion failed")
        now = recordings.made_files(output)
        wrong += [f"{name} was made again" for name in finished if not grows and finished[name] != now[name]]
        wrong += ["the result differs"] * (recordings.contents(output) != expected)
        wrong += ["the source was touched"] * (recordings.snapshot(Path(source)) != untouched)
        say(number, "; ".join(wrong) or "ok")
        shutil.rmtree(output)


def _converted(source: Path, output: Path) -> None:
    from episoded.daemon.convert.conversion import convert

    convert(source, output, "v3.0")


def crash_repair(source: str, folder: str) -> None:
    """Kill the repair of a fresh copy of `source` at its n-th crash point, n = 1, 2, ...; then repair again.

    Says for each n what was wrong: the result must be that of a repair in one go, and every file be there or be kept.
    """
    whole = Path(folder) / "whole"
    recordings.copy(Path(source), whole)
    before = recordings.contents(whole)
    _repaired(whole)
    expected = recordings.contents(whole)
    for number in range(1, 1 << 20):
        root = recordings.copy(Path(source), Path(folder) / str(number))
        if not killed_at(number, root, _repaired):
            break
        wrong = []
        if number % 3 == 0:  # and now and then once more while it goes on
            killed_at(number // 2 + 1, root, _repaired)
        if in_child(lambda root=root: _repaired(root)):
            wrong.append("the second repair failed")
        everything = {path.read_bytes() for path in root.rglob("*") if path.is_file()}
        wrong += [f"lost: {name}" for name, content in before.items() if content not in everything]
        wrong += ["it came out otherwise"] * (recordings.contents(root) != expected)
        wrong += [f"of ours: {path}" for path in (root / ".episoded").rglob("*") if path.suffix in (".mp4", ".parquet")]
        wrong += ["still marked"] * (root / ".episoded/repairing").exists()
        say(number, "; ".join(wrong) or "ok")
        shutil.rmtree(root)


def _repaired(root: Path) -> None:
    from episoded.daemon import repair

    repair.repair(root, deep=False, planned=lambda *_: None, progress=lambda *_: None)


def _import_what_is_used(root: Path, task: Callable[[Path], None]) -> None:
    """Import here, without running anything, what a run imports on the way: each fork would do it again."""
    listing = root.with_suffix(".modules")
    in_child(lambda: (task(root), listing.write_text("\n".join(sys.modules))))
    for name in listing.read_text().split():
        if name.partition(".")[0] in ("episoded", "av", "pyarrow"):
            importlib.import_module(name)
    shutil.rmtree(root)


def _finish(root: Path) -> None:
    """What the service does with an episode that it finds: work on it, or tidy up after a finisher that died."""
    work = recordings.work(root)
    if work.control.markers().ready:
        assert finish.tidy(work.control, root, root)
    else:
        assert chain.work_on(work) == "ready"


def watch(*paths: str) -> None:
    """Watch folders and say what there is to complain of."""
    watcher = Watcher(lambda: None)
    for complaint in watcher.follow(map(Path, paths)).complaints:
        say(complaint)
    watcher.stop()


def supervise(root: str) -> None:
    """Give one worker one episode, say its pid, and wait."""
    supervisor = Supervisor(config.Config.model_validate({"workers": {"cpu": 1}}))
    supervisor.assign(Job("work", recordings.work(Path(root))))
    (slot,) = supervisor.slots
    assert slot.process is not None
    say(slot.process.pid)
    wait_for_go()


def look(drop: str) -> None:
    """Scan a drop folder for what is renamed in, and say as JSON what would be begun and what is in the way."""
    loaded = config.Config.model_validate({"drop": [{"path": drop, "complete": "rename"}]})
    scanner, dispatcher = (
        Scanner(loaded.drops),
        Dispatcher(loaded, Guard(loaded.guard, lambda _: 1 << 50, lambda: 1 << 40)),
    )
    dispatcher.take_in(scanner.scan())
    dispatcher.take_in(views := scanner.scan())
    offers = sorted(str(job.work.root) for job in dispatcher.next_jobs([], 99))
    say(json.dumps({"offers": offers, "problems": dispatcher.problems, "error": views[0].error}))


def try_work(root: str, episode: str) -> None:
    """Work on an episode and say as JSON how it ended, or why it failed."""
    logs.configure("critical")
    task = recordings.work(Path(root), episode)
    ended = chain.work_on(task)
    say(json.dumps(task.control.failure(task.control.markers()) or {"ended": ended}))


def serve(settings: str, deaf: str) -> None:
    """Run the service. `deaf`: on a kernel that has no inotify instance left."""
    if deaf:

        def none_left() -> BaseObserver:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        service.Watcher = functools.partial(Watcher, make_observer=none_left)
    lane.QUICK_S = lane.SLOW_S = (0.2, 0.5, 1.0)  # what went wrong at a destination is tried again sooner
    logs.configure("info")
    service.Service(config.load(Path(settings))).run()


def writer(name: str) -> None:
    """Be the one of this machine for a name, until killed."""
    mine = locks.first_on_this_machine(name)
    say("mine")
    wait_for_go()
    del mine


def publish_alone(kind: str, settings: str, root: str, state: str, tries: str = "200") -> None:
    """Publish a dataset as the service of another machine would: what may pass is done again, with new clients."""
    logs.configure("critical")
    locks.first_on_this_machine = lambda _: None
    site = types.SimpleNamespace(kind=kind, settings=json.loads(settings))
    sender = publishing.Sender(site, Path(state))
    say("begun")
    wait_for_go()
    for _ in range(int(tries)):
        try:
            sender.commit(Path(root))
        except TransientError as error:
            say(error.code)
            sender.places.forget()
            time.sleep(0.05)  # "busy" is said at once: two hundred tries without a pause are over in no time
        except BlockedError as error:
            say("blocked", error.code)
            break
        if all(publishing.receipt(Path(root), item.episode) for item in publishing.items(Path(root))):
            break
    else:
        say("given up")
    sender.places.forget()


def deposit(kind: str, settings: str, place: str, listing: str) -> None:
    """Bring files to a destination as the publisher does, and say when they are proven to be there."""
    params = destinations.params_model(kind).model_validate(json.loads(settings))
    destination = destinations.open_destination(kind, params, place)
    files = sites.from_json(Path(listing).read_text())
    destination.probe()
    say("begun")
    there = destination.stat([file.target for file in files])
    todo = [file for file in files if not (file.target in there and there[file.target].holds(file))]
    destination.stage(todo, lambda _: None)
    if todo:
        destination.commit(todo, "a batch")
    say(destination.verify(files) or "proven")
    destination.close()


ROLES = {
    role.__name__: role
    for role in (
        publish,
        replace,
        set_aside,
        fork_and_name,
        hold,
        leave,
        write,
        race,
        work,
        crash,
        crash_recognise,
        crash_convert,
        crash_repair,
        watch,
        supervise,
        look,
        try_work,
        serve,
        writer,
        publish_alone,
        deposit,
    )
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
