"""What publishing costs, against `upload_folder` of huggingface_hub on the same server: `python benchmarks/publish.py`.

A Hub of our own (tests/hub_server.py) in a process of its own, on loopback: the network costs nothing, so that what is
left is what client and protocol cost. Every contestant is a fresh process. Ours also compares the sources with their
checkpoints, reads everything back from the head, and writes receipts.

    speed    a dataset of large files and small ones, sent once: bytes per second, commits, requests; by the sending
             alone, and by the whole process, imports included, which the service starts once
    again    the same once more, with nothing left to send
    memory   peak memory for one large file against a small one: it must not grow with the file
    many     thousands of small episodes to a folder: planned, batched, proven
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import machine, ratio, rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

FILES, FILE_BYTES = 20, 11 << 20  # above 10 MiB every kind goes to LFS, also without our .gitattributes
SMALL = 60
LARGE = 1 << 30


def serve(folder: str) -> None:
    """The Hub; says its address, then one line of counts for each line on stdin."""
    from hub_server import HubServer

    with HubServer(Path(folder)) as hub:
        print(hub.url, flush=True)
        for _ in sys.stdin:
            commits = sum(bool(commit.changes) for repo in hub.repositories.values() for commit in repo.commits)
            print(json.dumps({"requests": len(hub.log), "commits": commits}), flush=True)


class Hub:
    """The server process."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, "--role", "serve", str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()

    def counts(self) -> dict[str, int]:
        assert self.process.stdin
        assert self.process.stdout
        print("?", file=self.process.stdin, flush=True)
        counted: dict[str, int] = json.loads(self.process.stdout.readline())
        return counted

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def episode(root: Path, name: str, contents: dict[str, Path]) -> None:
    """A ready episode with these outputs, as the chain would have left it."""
    from episoded.daemon import checkpoint
    from episoded.daemon.control import ControlDir, to_json

    control = ControlDir.of(root, name)
    control.path.mkdir(parents=True)
    outputs = []
    for target, path in contents.items():
        size, digest = path.stat().st_size, checkpoint.sha256(path)
        outputs.append({"path": target, "size": size, "sha256": digest, "facts": {}})
    record = {
        "schema": 1,
        "gen": 1,
        "processor": "encode",
        "version": 1,
        "params": "",
        "inputs": "",
        "outputs": outputs,
    }
    (control.path / "encode.done").write_bytes(to_json({**record, "edits": [], "seconds": 0.0, "at": 0.0}))
    (control.path / "ready").write_bytes(to_json({"schema": 1, "stages": ["encode"], "inputs": {}}))


def dataset(root: Path, files: int, size: int, small: int, seed: int = 0) -> list[str]:
    """Episodes of one large file each, the small files with the first of them; metadata for the listing."""
    chance = random.Random(seed)
    (root / "meta").mkdir(parents=True)
    info = {"codebase_version": "v2.1", "fps": 30, "features": {}, "total_episodes": files, "chunks_size": 1000}
    info |= {
        "data_path": "data/{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = [json.dumps({"episode_index": k, "tasks": [], "length": 1}) for k in range(files)]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    names = [f"episode_{k:06d}" for k in range(files)]
    for number, name in enumerate(names):
        path = root / "payload" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for _ in range(0, size, 1 << 20):
                file.write(chance.randbytes(min(size, 1 << 20)))
        contents = {f"payload/{path.name}": path}
        for extra in range(small if number == 0 else 0):
            little = root / "payload" / f"{extra:04d}.json"
            little.write_text(json.dumps({"number": extra}))
            contents[f"payload/{little.name}"] = little
        episode(root, name, contents)
    return names


def ours(root: str, url: str, repo: str, state: str) -> dict[str, float]:
    """One batch through the publisher's own steps, in this process. What it took."""
    import huggingface_hub.hf_api  # noqa: F401 - as it is in a process that runs already

    from episoded.daemon import logs
    from episoded.daemon.publisher.jobs import Dataset
    from episoded.daemon.publisher.manifest import Item
    from episoded.daemon.publisher.now import Listener, Sender
    from episoded.daemon.publisher.settings import DestinationConfig
    from hub_server import WRITE_TOKEN

    logs.configure("error")
    token = Path(state) / "token"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.write_text(WRITE_TOKEN)
    place = Path(root)
    settings = {"name": "hub", "kind": "huggingface", "repo": repo, "endpoint": url, "token_file": str(token)}
    limits = {"max_files": 10_000, "xet": os.environ.get("HF_HUB_DISABLE_XET") != "1"}
    config = DestinationConfig.model_validate({**settings, **limits, "folder": ""})
    what = Dataset(place.name, place, place, "lerobot")
    names = sorted(path.name for path in (place / ".episoded").iterdir() if (path / "ready").exists())
    spent = spending()
    items = [(Item(place.name, place, place, name, "lerobot"), what) for name in names]
    result = Sender(config, Path(state), Listener()).send(items)
    assert len(result.proven) == len(items), result
    return spent()


def theirs(root: str, url: str, repo: str, state: str) -> dict[str, float]:  # noqa: ARG001 - the same call for both
    """`upload_folder` of the library. What it took."""
    from huggingface_hub import HfApi

    from hub_server import WRITE_TOKEN

    spent = spending()
    api = HfApi(url, token=WRITE_TOKEN)
    api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=root, repo_type="dataset", ignore_patterns=[".episoded/*"])
    return spent()


def spending() -> Callable[[], dict[str, float]]:
    """From now on: seconds on the wall, and CPU seconds of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def run(role: str, root: Path, url: str, repo: str, state: Path, *, xet: bool) -> dict[str, float]:
    """A contestant in a process of its own: `seconds` and `cpu` seconds of the sending, `peak_mb` of memory (MiB)."""
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_XET_CACHE": str(state / "xet")}
    env = {**os.environ, **quiet, "HF_HUB_DISABLE_XET": "0" if xet else "1"}
    command = [sys.executable, __file__, "--role", role, str(root), url, repo, str(state)]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def fresh(root: Path) -> None:
    """Without receipts and manifests, as if nothing had ever been published."""
    for path in [*root.glob(".episoded/*/published.*"), *root.glob(".episoded/*/manifest.*")]:
        path.unlink()
    for path in root.glob(".episoded/shared.*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)


@contextlib.contextmanager
def hub_in(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    try:
        yield hub
    finally:
        hub.stop()
        shutil.rmtree(folder, ignore_errors=True)


def speed(folder: Path, *, xet: bool, count: int) -> dict[str, Any]:
    """Both send the same files to a repo of their own on a Hub of their own, in turn."""
    root = folder / "arm"
    dataset(root, FILES, FILE_BYTES, SMALL)
    files = [*(root / "payload").iterdir()]
    total = sum(path.stat().st_size for path in files)
    told: dict[str, dict[str, int]] = {}
    sending: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    numbers = iter(range(10_000))

    def contest(role: str) -> None:
        fresh(root)
        number = next(numbers)
        with hub_in(folder / f"hub{number}") as hub:
            sending[role].append(run(role, root, hub.url, "me/arm", folder / f"state{number}", xet=xet))
            told[role] = hub.counts()

    samples = rounds({role: lambda role=role: contest(role) for role in ("ours", "theirs")}, count, 1, print)
    whole = ratio(samples["ours"], samples["theirs"])
    pairs = [
        (their["seconds"] / our["seconds"], their["cpu"] / our["cpu"])
        for our, their in zip(*sending.values(), strict=True)
    ]
    wall, cpu = zip(*pairs, strict=True)
    rates = {role: round(total / min(one["seconds"] for one in taken) / 1e6) for role, taken in sending.items()}
    print(f"  {total / 1e6:.0f} MB in {len(files)} files, best: {rates['ours']} MB/s, theirs {rates['theirs']} MB/s")
    print(f"  sending alone {statistics.median(wall):.2f} times as fast ({min(wall):.2f} to {max(wall):.2f})")
    print(f"  by CPU time {statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f})")
    print(f"  whole process {whole.median:.2f} times as fast ({whole.lowest:.2f} to {whole.highest:.2f})")
    print(f"  commits and requests: ours {told['ours']}, upload_folder {told['theirs']}")
    shutil.rmtree(root)
    medians = {"sending": statistics.median(wall), "cpu": statistics.median(cpu), "process": whole.median}
    return {"xet": xet, "mb_per_s": rates, **medians, "counts": told}


def again(folder: Path) -> dict[str, Any]:
    """A second call with nothing left to send, receipts lost."""
    root = folder / "again"
    dataset(root, FILES, FILE_BYTES, SMALL)
    spent = {}
    for role in ("ours", "theirs"):
        with hub_in(folder / f"hub-again-{role}") as hub:
            run(role, root, hub.url, "me/arm", folder / "state-again", xet=False)
            before = hub.counts()["commits"]
            fresh(root)
            started = time.perf_counter()
            run(role, root, hub.url, "me/arm", folder / "state-again", xet=False)
            spent[role] = round(time.perf_counter() - started, 2)
            assert hub.counts()["commits"] == before, "a second commit"
    print(f"  nothing left to send: ours {spent['ours']} s, upload_folder {spent['theirs']} s; no second commit")
    shutil.rmtree(root)
    return spent


def memory(folder: Path, size: int) -> dict[str, float]:
    """Peak memory of a process that sends one file."""
    peaks = {}
    for label, length, xet in (("64 MB", 64 << 20, False), ("large", size, False), ("large, xet", size, True)):
        root = folder / "one"
        dataset(root, 1, length, 0)
        with hub_in(folder / "hub-one") as hub:
            peaks[label] = run("ours", root, hub.url, "me/one", folder / "state-one", xet=xet)["peak_mb"]
        shutil.rmtree(root)
    print(f"  peak MiB by file (large = {size >> 20} MiB): {peaks}")
    return peaks


def many(folder: Path, count: int) -> dict[str, float]:
    """Small episodes of two files each to a folder: everything but the network."""
    from episoded.daemon import logs
    from episoded.daemon.publisher.jobs import Dataset
    from episoded.daemon.publisher.manifest import Item
    from episoded.daemon.publisher.now import Listener, Sender
    from episoded.daemon.publisher.settings import DestinationConfig

    logs.configure("error")
    root = folder / "many"
    names = dataset(root, count, 1 << 10, 0)
    (folder / "there").mkdir()
    settings = {"name": "nas", "kind": "folder", "path": str(folder / "there"), "folder": ""}
    config = DestinationConfig.model_validate(settings)
    what = Dataset("many", root, root, "lerobot")
    items = [(Item("many", root, root, name, "lerobot"), what) for name in names]
    before, started = peak_mb(), time.perf_counter()
    result = Sender(config, folder / "state-many", Listener()).send(items)
    spent = time.perf_counter() - started
    assert len(result.proven) == count
    grown = peak_mb() - before
    print(
        f"  {count} episodes proven in {spent:.0f} s, {1000 * spent / count:.1f} ms each; memory grew {grown:.0f} MiB"
    )
    return {"episodes": count, "seconds": round(spent, 1), "memory_mib": round(grown, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=("serve", "ours", "theirs"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--large-mib", type=int, default=LARGE >> 20)
    parser.add_argument("--only", choices=("speed", "again", "memory", "many"))
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("arguments", nargs="*")
    chosen = parser.parse_args()
    if chosen.role:
        if chosen.role == "serve":
            serve(*chosen.arguments)
            return
        took = {"ours": ours, "theirs": theirs}[chosen.role](*chosen.arguments)
        print(json.dumps({**took, "peak_mb": peak_mb()}))
        return
    results: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="publish-") as name:
        folder = Path(name)
        if chosen.only in (None, "speed"):
            for xet in (False, True):
                print(f"speed, {'xet' if xet else 'LFS'}")
                results[f"speed_{'xet' if xet else 'lfs'}"] = speed(folder, xet=xet, count=chosen.rounds)
        if chosen.only in (None, "again"):
            print("again")
            results["again"] = again(folder)
        if chosen.only in (None, "memory"):
            print("memory")
            results["memory"] = memory(folder, chosen.large_mib << 20)
        if chosen.only in (None, "many"):
            print("many")
            results["many"] = many(folder, chosen.episodes)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
