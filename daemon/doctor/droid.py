"""What the tracks stage needs where a drop folder uses it: HDF5, and calibrations that were indexed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from episoded.processors.errors import EpisodedError

from .finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..config import Config


def tracks(config: Config) -> Iterator[Finding]:
    """Nothing where no drop folder has the stage in its pipeline."""
    used = {drop.pipeline: config.pipelines[drop.pipeline] for drop in config.drops}
    used = {name: pipeline for name, pipeline in used.items() if "tracks" in pipeline.stages}
    if used and find_spec("h5py") is None:
        found = f"h5py is not installed: raw DROID episodes fail in {', '.join(used)}"
        yield Finding("warn", "DROID", found, "pip install 'episoded[droid]', where such episodes are expected")
    for name, pipeline in used.items():
        params = pipeline.params["tracks"]
        for folder in filter(None, (params.calibration, params.stereolabs)):
            if not folder.is_dir():
                yield Finding(
                    "fail", "DROID", f"{folder} of the pipeline {name} is no folder", "correct it, or leave it out"
                )
        if params.calibration and params.calibration.is_dir():
            yield _index(params.calibration)


def _index(folder: Path) -> Finding:
    from episoded.processors.calibration.index import CalibrationIndex

    try:
        CalibrationIndex(folder).close()
    except EpisodedError as error:
        return Finding("fail", "DROID", error.message, error.hint)
    return Finding("ok", "DROID", f"the calibrations in {folder} are indexed")
