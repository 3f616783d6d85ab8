"""LeRobot itself meets the broken datasets: what `verify` calls an error breaks there or lies, what it passes is read.

Needs LeRobot's own environments: `make test-lerobot`.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import lerobot_judge
from episoded.processors.lerobot.findings import Severity
from episoded.processors.lerobot.inspect import inspect_dataset
from lerobot_broken import V21, V30, VARIANTS
from lerobot_data import finish, recording
from lerobot_v30 import as_v30

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lerobot

JUDGES = {V21: "v21", V30: "v30"}
#: Errors that do not show when rows are read one by one: windows of several frames and samplers by episode are wrong.
SHOWS_LATER = {"ranges", "another rate, v3.0"}
WHOLE = {V21: "whole", V30: "whole, v3.0"}


@pytest.fixture(scope="module", params=[V21, V30])
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Name -> what LeRobot made of it, and the worst that `verify` had found before; one process for each version."""
    version = request.param
    if not lerobot_judge.is_built(JUDGES[version]):
        pytest.skip(f"needs LeRobot: python tests/lerobot_judge.py build {JUDGES[version]}")
    folder = tmp_path_factory.mktemp("broken")
    whole = finish(recording(folder / "v21", episodes=3, frames=6))
    whole = whole if version == V21 else as_v30(whole, folder / "v30")
    places = {WHOLE[version]: whole}
    for name, broken in VARIANTS.items():
        if broken.version == version:
            places[name] = folder / str(len(places))
            shutil.copytree(whole, places[name])
            broken.spoil(places[name])
    worst = {name: worst_in(root, deep=name in VARIANTS and VARIANTS[name].deep) for name, root in places.items()}
    verdicts = lerobot_judge.ask(JUDGES[version], [{"do": "read", "root": str(root)} for root in places.values()])
    return {
        name: {**verdict, "worst": worst[name], "same": seen_in(verdict) == seen_in(verdicts[0])}
        for name, verdict in zip(places, verdicts, strict=True)
    }


def worst_in(root: Path, *, deep: bool) -> Severity | None:
    return next((finding.severity for finding in inspect_dataset(root, deep=deep).findings), None)


def seen_in(verdict: dict[str, Any]) -> str:
    """All that LeRobot gives of a dataset, to compare; nothing where it does not even open."""
    return json.dumps([verdict.get(key) for key in ("rows", "stats", "shapes")])


def test_the_whole_one_is_read(judged: dict[str, dict[str, Any]]) -> None:
    name = next(name for name in judged if name in WHOLE.values())
    assert judged[name]["ok"], judged[name].get("trace")
    assert judged[name]["failed"] == []
    assert judged[name]["worst"] is None


def test_what_verify_passes_lerobot_reads(judged: dict[str, dict[str, Any]]) -> None:
    """Warnings and notes are no reason not to train: every row can be read."""
    passed = {name: one for name, one in judged.items() if one["worst"] is not Severity.ERROR}
    assert passed
    assert {name: one.get("error") or one["failed"] for name, one in passed.items() if not one["ok"]} == {}
    assert {name: one["failed"][:1] for name, one in passed.items() if one["failed"]} == {}


def test_what_verify_calls_an_error_breaks_or_lies(judged: dict[str, dict[str, Any]]) -> None:
    """It does not open, or fails at a row, or gives other rows, pictures, tasks or statistics than were recorded."""
    errors = {name: one for name, one in judged.items() if one["worst"] is Severity.ERROR}
    assert errors
    harmless = {name for name, one in errors.items() if one["ok"] and not one["failed"] and one["same"]}
    assert harmless == SHOWS_LATER & set(errors)


def test_what_lerobot_makes_of_some_is_what_the_report_says(judged: dict[str, dict[str, Any]]) -> None:
    said = {
        "json below data": "DatasetGenerationError",
        "no tasks": "OfflineModeIsEnabled",  # off the network; on it, what the Hub answers
        "a gap": "OfflineModeIsEnabled",
        "too many episodes, v3.0": "OfflineModeIsEnabled",
        "flat statistics": "must be (3,1,1)",
        "wall clock stamps": "violate the tolerance",
        "never encoded": "KeyError: 'videos/observation.images.top/chunk_index'",
        "no footer": "DatasetGenerationError",
    }
    for name, words in said.items():
        if name in judged:
            assert words in judged[name]["error"], name
    late = {"a picture short": [5], "25 fps": [1, 2, 3, 4, 5], "a joined file short": [16, 17]}
    late["drift"] = [*range(6, 18)]
    for name, rows in late.items():
        if name in judged:
            assert [row for backend, row, _ in judged[name]["failed"] if backend == "pyav"] == rows, name
    silent = ["episodes out of order", "tasks out of order", "tasks without an index", "a span of another"]
    for name in silent:
        if name in judged:
            assert judged[name]["failed"] == []
            assert not judged[name]["same"]
