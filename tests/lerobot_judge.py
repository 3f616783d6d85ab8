"""LeRobot itself as the judge of finished datasets.

    python tests/lerobot_judge.py build [v21] [v30]      the virtual environments that are not there yet (1.5 GB each)
    python tests/lerobot_judge.py build v06              the one that must be asked for: 6 GB, and a python3.12
    VENV/bin/python tests/lerobot_judge.py judge < JOBS  inside one: a JSON list of jobs in, a JSON list of verdicts out

The environments lie in $EPISODED_LEROBOT_CACHE or ~/.cache/episoded-lerobot. Nothing of LeRobot is stubbed; the pins
are those that were found to work on a machine without a GPU. Outside of these environments this file imports nothing.

v21 is lerobot 0.3.3, the last that reads v2.1, v30 is 0.4.4, v06 is 0.6.1, which knows depth cameras. Jobs, each an
object with `do` and a dataset `root`; each verdict has `ok`, and what was found or `error`:

    open     read the first and last frame of every episode with both video backends: PSNR in dB of the picture against
             its own PNG below `source`, and the best against a neighbour's. torchcodec needs the libraries of a system
             ffmpeg; `backends` says which were asked
    resume   continue the recording by one episode of three frames, as LeRobot's own recorder does
    stats    what LeRobot computes of each episode from `source`'s PNGs and the table
    probe    what LeRobot says of each camera's first video
    read     every row with both video backends: what it holds, or why it cannot be read; statistics and shapes
    record   LeRobot's own recorder is given what `source` holds, and leaves the encoding for later; see there
    depth    (v06) every frame of each depth camera, as it is read, into `work`/CAMERA.npy; and one batch to train with
    convert  (v30) LeRobot's converter to v3.0 on a copy below `work`, which is then opened like any other
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import venv
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("EPISODED_LEROBOT_CACHE") or Path.home() / ".cache/episoded-lerobot")

# torchvision: the wheels of the package index are CUDA builds; 0.15.2 is one that imports beside a CPU torch.
RECIPES = {
    "v21": [
        ["torch==2.13.0", "numpy", "pillow"],
        ["--no-deps", "torchvision==0.15.2", "torchcodec==0.13.0", "lerobot==0.3.3"],
        ["av>=14.2,<16", "datasets<=3.6.0", "huggingface-hub>=0.34.2,<1", "jsonlines", "packaging", "requests"],
    ],
    "v30": [
        ["torch==2.13.0", "numpy", "pillow"],
        ["--no-deps", "torchvision==0.15.2", "torchcodec==0.13.0", "lerobot==0.4.4", "accelerate"],
        [
            "av>=15,<16",
            "datasets>=4,<5",
            "numpy<2.3",
            "huggingface-hub>=0.34.2,<0.36",
            "jsonlines",
            "psutil",
            "safetensors",
        ],
    ],
    "v06": [["torch==2.11.0", "torchvision==0.26.0", "lerobot[dataset]==0.6.1"]],
}
#: What a bare `build` makes. 0.6 wants Python 3.12, for which the package index has torch with CUDA only.
USUAL = ("v21", "v30")
#: Environment -> the interpreter it needs, where it is not this one; $EPISODED_PYTHON312 may say where it is.
INTERPRETERS = {"v06": os.environ.get("EPISODED_PYTHON312", "python3.12")}


#: Features that the recorder fills in itself.
OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def python_of(name: str) -> Path:
    return CACHE / name / "bin/python"


def is_built(name: str) -> bool:
    return (CACHE / name / "built").is_file()


def build(name: str) -> None:
    folder = CACHE / name
    if name in INTERPRETERS:
        subprocess.run([INTERPRETERS[name], "-m", "venv", "--clear", str(folder)], check=True)
    else:
        venv.create(folder, clear=True, with_pip=True)
    for packages in RECIPES[name]:
        subprocess.run([python_of(name), "-m", "pip", "install", "--quiet", *packages], check=True)
    (folder / "built").touch()


def ask(name: str, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have the jobs judged by the environment `name`, off the network and with caches of their own."""
    if not is_built(name):
        raise RuntimeError(f"{CACHE / name} is not there: python tests/lerobot_judge.py build {name}")
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": home, "PYTHONWARNINGS": "ignore"}
        command = [str(python_of(name)), str(Path(__file__)), "judge"]
        done = subprocess.run(
            command, input=json.dumps(jobs), env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    verdicts: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return verdicts


# From here on: inside of the environment.


def judge(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    verdicts = []
    for job in jobs:
        try:
            verdicts.append({"ok": True, **DO[job["do"]](job)})
        except BaseException as error:  # LeRobot also asserts, and calls the Hub for what it does not find
            verdicts.append({"ok": False, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
    return verdicts


def opened(root: str, backend: str, **settings: Any) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("judge/local", root=root, video_backend=backend, **settings)


def backends() -> list[str]:
    try:
        import torchcodec.decoders  # noqa: F401
    except Exception:  # whatever the loader says of libraries that are not there
        return ["pyav"]
    return ["pyav", "torchcodec"]


def open_(job: dict[str, Any]) -> dict[str, Any]:
    psnr = {}
    for backend in backends():
        dataset = opened(job["root"], backend)
        bounds, rows = [], [int(index) for index in dataset.hf_dataset["episode_index"]]
        for episode in sorted(set(rows)):
            first = rows.index(episode)
            bounds.append((episode, first, first + rows.count(episode) - 1))
        for episode, first, last in bounds:
            for row in {first, last}:
                item, frame = dataset[row], row - first
                for key in dataset.meta.video_keys:
                    near = {number: frame_path(job, key, episode, number) for number in (frame, frame - 1, frame + 1)}
                    found = {number: psnr_db(item[key], path) for number, path in near.items() if path.is_file()}
                    psnr[f"{backend} {key} {episode} {frame}"] = [found.pop(frame), max(found.values(), default=0)]
    return {
        "episodes": dataset.num_episodes,
        "frames": dataset.num_frames,
        "cameras": dataset.meta.video_keys,
        "stats": sorted(dataset.meta.stats or ()),
        "backends": backends(),
        "psnr": psnr,
    }


def depth(job: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import torch

    dataset = opened(job["root"], "pyav")
    items = [dataset[row] for row in range(dataset.num_frames)]
    for key in dataset.meta.depth_keys:
        np.save(Path(job["work"]) / f"{key}.npy", np.stack([item[key].numpy() for item in items]))
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)))
    return {
        "cameras": dataset.meta.camera_keys,
        "depth_cameras": dataset.meta.depth_keys,
        "episodes": [int(item["episode_index"]) for item in items],
        "batch": {key: [str(batch[key].dtype), *batch[key].shape] for key in dataset.meta.camera_keys},
        "stats": {key: float(dataset.meta.stats[key]["mean"].item()) for key in dataset.meta.depth_keys},
    }


def is_v30() -> bool:
    from lerobot.datasets.lerobot_dataset import CODEBASE_VERSION

    return CODEBASE_VERSION == "v3.0"


def add_frame(dataset: Any, frame: dict[str, Any], task: str) -> None:
    if is_v30():
        dataset.add_frame({**frame, "task": task})
    else:
        dataset.add_frame(frame, task=task)


def resume(job: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    # SVT-AV1 run as root takes the real-time priority over everything else on the machine.
    dataset = opened(job["root"], "pyav", **({"vcodec": "h264"} if is_v30() else {}))
    before = dataset.num_episodes
    for _ in range(3):
        frame = {}
        for key, feature in dataset.features.items():
            if feature["dtype"] == "video":
                frame[key] = np.full(feature["shape"], 99, np.uint8)
            elif key not in OWN:
                frame[key] = np.zeros(feature["shape"], feature["dtype"])
        add_frame(dataset, frame, "Carry on.")
    dataset.save_episode()
    if is_v30():
        dataset.finalize()
    again = opened(job["root"], "pyav")
    item = again[len(again) - 1]
    return {
        "before": before,
        "episodes": again.num_episodes,
        "last_frame": int(item["frame_index"]),
        "task": item["task"],
    }


def record(job: dict[str, Any]) -> dict[str, Any]:
    """`batch`: episodes that are encoded together, more than there are for never. `episodes`: which of `source`'s.

    `end` (v30): "finalize"; "kill", by SIGKILL; "leave", without a word, or with the exception that came first. A
    session that does not end well has a process of its own. A dataset that is there is continued.
    """
    if job.get("end") in ("kill", "leave") and "alone" not in job:
        alone = json.dumps({**job, "alone": True})
        done = subprocess.run(
            [sys.executable, __file__, "record"], input=alone, capture_output=True, text=True, check=False
        )
        return {"code": done.returncode, "said": done.stderr[-2000:]}
    dataset, tasks = recorder(job)
    tables = sorted(Path(job["source"]).glob("data/*/*.parquet"))
    for episode in range(*job.get("episodes", [0, len(tables)])):
        record_episode(dataset, job, episode, tables[episode], tasks)
    if job.get("end") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.get("end") == "finalize":
        dataset.finalize()
    return {"episodes": dataset.num_episodes}


def recorder(job: dict[str, Any]) -> tuple[Any, list[str]]:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    source, batch = Path(job["source"]), job.get("batch", 1000)
    info = json.loads((source / "meta/info.json").read_text())
    tasks = [json.loads(line)["task"] for line in (source / "meta/tasks.jsonl").read_text().splitlines()]
    # SVT-AV1 run as root takes the real-time priority over everything else on the machine.
    settings: dict[str, Any] = {"vcodec": "h264"} if is_v30() else {}
    if Path(job["root"]).exists():
        return opened(job["root"], "pyav", batch_encoding_size=batch, **settings), tasks
    features = {
        key: {**feature, "shape": tuple(feature["shape"])}
        for key, feature in info["features"].items()
        if key not in OWN
    }
    dataset = LeRobotDataset.create(
        "judge/local", info["fps"], features, root=job["root"], robot_type=info["robot_type"], **settings
    )
    dataset.batch_encoding_size = batch
    return dataset, tasks


def record_episode(dataset: Any, job: dict[str, Any], episode: int, table: Path, tasks: list[str]) -> None:
    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image

    for number, row in enumerate(pq.read_table(table).to_pylist()):
        frame = {
            key: np.asarray(Image.open(frame_path(job, key, episode, number)))
            if feature["dtype"] == "video"
            else np.asarray(row[key], feature["dtype"])
            for key, feature in dataset.features.items()
            if key not in OWN
        }
        add_frame(dataset, frame, tasks[row["task_index"]])
    dataset.save_episode()


def stats(job: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    from lerobot.datasets.compute_stats import compute_episode_stats
    from lerobot.datasets.utils import serialize_dict

    dataset = opened(job["root"], "pyav")
    table, found = dataset.hf_dataset.with_format("numpy")[:], {}
    for episode in sorted(set(table["episode_index"].tolist())):
        rows = np.flatnonzero(table["episode_index"] == episode)
        data: dict[str, Any] = {}
        for key, feature in dataset.features.items():
            if feature["dtype"] == "video":
                paths = [frame_path(job, key, episode, frame) for frame in range(len(rows))]
                if all(path.is_file() for path in paths):
                    data[key] = [str(path) for path in paths]
            elif key == "timestamp":
                data[key] = np.stack([frame / dataset.fps for frame in range(len(rows))])
            else:
                data[key] = np.stack([np.asarray(table[key][row]) for row in rows])
        found[str(episode)] = serialize_dict(compute_episode_stats(data, dataset.features))
    return {"stats": found}


def probe(job: dict[str, Any]) -> dict[str, Any]:
    from lerobot.datasets.video_utils import get_video_info

    dataset = opened(job["root"], "pyav")
    first = {key: dataset.root / dataset.meta.get_video_file_path(0, key) for key in dataset.meta.video_keys}
    return {"info": {key: get_video_info(path) for key, path in first.items()}}


def read(job: dict[str, Any]) -> dict[str, Any]:
    rows, failed = [], []
    for backend in backends():
        dataset = opened(job["root"], backend)
        for number in range(dataset.num_frames):
            try:
                item = dataset[number]
            except Exception as error:
                failed.append([backend, number, f"{type(error).__name__}: {error}"[:200]])
                continue
            counters = [float(item[key]) for key in ("index", "episode_index", "frame_index", "timestamp")]
            pictures = [round(float(item[key].mean()), 4) for key in dataset.meta.video_keys]
            rows.append([*counters, item["task"], pictures])
    known = dataset.meta.stats or {}
    stats = {key: {name: value.tolist() for name, value in one.items()} for key, one in known.items()}
    shapes = {key: [*feature["shape"]] for key, feature in dataset.features.items()}
    return {"rows": rows, "failed": failed, "stats": stats, "shapes": shapes}


def convert(job: dict[str, Any]) -> dict[str, Any]:
    from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset

    copy = Path(job["work"]) / "judge/local"
    shutil.copytree(job["root"], copy)
    convert_dataset("judge/local", root=job["work"], push_to_hub=False)
    return open_({**job, "root": str(copy)})


def frame_path(job: dict[str, Any], key: str, episode: int, frame: int) -> Path:
    underscored = Path(job["source"]) / "images" / key / f"episode_{episode:06d}" / f"frame_{frame:06d}.png"
    hyphened = underscored.parent.with_name(f"episode-{episode:06d}") / f"frame-{frame:06d}.png"  # v3.0
    return hyphened if hyphened.is_file() else underscored


def psnr_db(picture: Any, path: Path) -> float:
    """Of a (3, H, W) tensor in 0..1 against a PNG."""
    import numpy as np
    from PIL import Image

    ours = picture.numpy().transpose(1, 2, 0) * 255.0
    error = float(np.mean((ours - np.asarray(Image.open(path).convert("RGB"), np.float64)) ** 2))
    return 10 * float(np.log10(255.0**2 / max(error, 1e-9)))


DO = {
    "open": open_,
    "resume": resume,
    "record": record,
    "stats": stats,
    "probe": probe,
    "depth": depth,
    "read": read,
    "convert": convert,
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["build"]:
        for wanted in sys.argv[2:] or USUAL:
            if not is_built(wanted):
                build(wanted)
        if shutil.which("ffmpeg") is None:
            print("there is no system ffmpeg: torchcodec does not load, LeRobot reads with pyav only")
    elif sys.argv[1:] == ["record"]:
        record(json.load(sys.stdin))
    elif sys.argv[1:] == ["judge"]:
        with contextlib.redirect_stdout(sys.stderr):
            result = judge(json.load(sys.stdin))
        print(json.dumps(result))
    else:
        sys.exit(__doc__)
