"""Raw DROID episodes for tests: simulated trees, the real episode, and ways to spoil them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors import formats
from episoded.processors.simulation_droid import record_droid

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(os.environ.get("EPISODED_TEST_DATA") or Path(__file__).parents[1] / "../shared/data").resolve()
DROID = formats.by_name("droid")
REAL_UUID = "AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s"
WRIST, EXT1, EXT2 = "18026681", "22008760", "24400334"


def tree(root: Path, **settings: Any) -> Path:
    """One simulated episode of 20 rows in a tree, unless told otherwise."""
    record_droid(root, **{"episodes": 1, "rows": 20, **settings})
    return root


def real_episode(root: Path) -> Path:
    """A copy of the one real episode, where the data set would have it below `root`; its folder."""
    source = DATA / "droid/AUTOLab_reduced"
    if not source.is_dir():
        pytest.skip(f"needs the real recordings ({source})")
    folder = root / "AUTOLab/success/2023-08-12/Sat_Aug_12_16:26:07_2023"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        shutil.copyfile(path, folder / path.name)
    return folder


def episode_folder(root: Path, number: int = 0) -> Path:
    """The folder of an episode of `tree`."""
    return sorted(path.parent for path in root.rglob("trajectory.h5"))[number]


def uuid_of(folder: Path) -> str:
    (path,) = folder.glob("metadata_*.json")
    return path.stem.removeprefix("metadata_")


def change_metadata(folder: Path, **changes: Any) -> None:
    """Set keys of an episode's metadata; None removes one."""
    path = folder / f"metadata_{uuid_of(folder)}.json"
    value = {**json.loads(path.read_bytes()), **changes}
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def change_state(folder: Path, **changes: Any) -> None:
    """Replace data sets of an episode's trajectory, by the last part of their path; None removes one."""
    import h5py

    with h5py.File(folder / "trajectory.h5", "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for key, value in changes.items():
            (name,) = (name for name in names if name.endswith(f"/{key}"))
            del file[name]
            if value is not None:
                file[name] = value


def finish(root: Path, output: Path, **params: Any) -> dict[str, Path]:
    """Run the real chain over every episode below `root`; uuid -> the folder of its outputs."""
    output.mkdir(exist_ok=True)
    pipeline = Pipeline.model_validate({"name": "test", "stages": ["tracks"], "tracks": params})
    for uuid in DROID.listing(root).episodes:
        assert work_on(Work(root, output, uuid, "droid", pipeline)) == "ready", failure(output, uuid)
    return {uuid: output / uuid for uuid in DROID.listing(root).episodes}


def finish_one(root: Path, output: Path, **params: Any) -> Path:
    """The same where there is one."""
    (folder,) = finish(root, output, **params).values()
    return folder


def failure(output: Path, uuid: str) -> dict[str, Any]:
    """Why an episode failed."""
    path = output / ".episoded" / uuid / "failed"
    value: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return value


def fails_with(root: Path, output: Path, **params: Any) -> dict[str, Any]:
    """Run the chain over the one episode below `root`, which must fail for good; the record of its failure."""
    output.mkdir(exist_ok=True)
    pipeline = Pipeline.model_validate({"name": "test", "stages": ["tracks"], "tracks": params})
    (uuid,) = DROID.listing(root).episodes
    assert work_on(Work(root, output, uuid, "droid", pipeline)) == "failed"
    return failure(output, uuid)


def write_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A video at 60 fps, as the collection code writes them: that is the camera's rate, not the recording's."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=60)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def tracks(folder: Path) -> dict[str, NDArray[Any]]:
    """`tracks.npz`, as anybody would load it."""
    with np.load(folder / "tracks.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def extrinsics(folder: Path) -> dict[str, NDArray[Any]]:
    with np.load(folder / "extrinsics.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def quality(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "quality.json").read_bytes())
    return value


def everything(root: Path) -> dict[str, tuple[int, int, int]]:
    """What lies below a folder: path -> inode, size and mtime, folders too."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        found[str(path)] = status.st_ino, status.st_size, status.st_mtime_ns
    return found
