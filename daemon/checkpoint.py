"""Checkpoints: the durable record that a stage, or a unit inside it, is done.

A checkpoint on disk means that its outputs are on disk, whole. It says what they were made from and with, so that a
finished stage never runs again and a changed setting is noticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from . import fsio
from .control import SCHEMA, ControlDir, read_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Output:
    """A published artifact: `path` relative to the output root, size in bytes, sha256, and what was measured."""

    path: str
    size: int
    sha256: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """What a `.done` file holds.

    `gen`: the generation that made it. `params`, `inputs`: digests of the settings and of the input files' names, sizes
    and times. `edits`: dataset-level files that the stage brought up to date (shared, so without a digest).
    """

    gen: int
    processor: str
    version: int
    params: str
    inputs: str
    outputs: tuple[Output, ...]
    edits: tuple[str, ...] = ()
    seconds: float = 0.0
    at: float = 0.0

    def made_with(self, version: int, params: str) -> bool:
        """Whether the same processor version and settings would make it again."""
        return (self.version, self.params) == (version, params)


def stage_path(control: ControlDir, stage: str) -> Path:
    """Where the checkpoint of a whole stage lies."""
    return control.path / f"{stage}.done"


def unit_path(control: ControlDir, stage: str, unit: str) -> Path:
    """Where the checkpoint of one unit of a stage lies."""
    return control.path / stage / f"{unit}.done"


def write(control: ControlDir, path: Path, record: Record) -> None:
    """Publish a checkpoint. Raises FileExistsError when there is one."""
    fsio.make_dirs(path.parent, below=control.path)
    fsio.publish(path, to_json({"schema": SCHEMA, **asdict(record)}))


def read(path: Path) -> Record | None:
    """The checkpoint at `path`, or None when there is none."""
    value = read_json(path)
    if not value:
        return None
    value.pop("schema", None)
    outputs = tuple(Output(**output) for output in value.pop("outputs"))
    return Record(outputs=outputs, edits=tuple(value.pop("edits")), **value)


def supersede(path: Path, generation: int) -> None:
    """Take a checkpoint out of force; it stays readable as `<name>.g<generation>`."""
    fsio.set_aside(path, path.with_name(f"{path.name}.g{generation:06d}"))


def supersede_stage(control: ControlDir, stage: str, generation: int) -> None:
    """Take the checkpoints of a stage and of its units out of force; the stage's own goes first."""
    for path in (stage_path(control, stage), *sorted((control.path / stage).glob("*.done"))):
        if path.exists():
            supersede(path, generation)


def superseded(control: ControlDir, stage: str) -> Iterator[Record]:
    """The unit records of a stage that are out of force."""
    for path in (control.path / stage).glob("*.done.g*"):
        if record := read(path):
            yield record


def read_all(control: ControlDir, stages: Iterable[str]) -> Iterator[tuple[str, Record]]:
    """The checkpoints of those of `stages` that are done, in order."""
    for stage in stages:
        if record := read(stage_path(control, stage)):
            yield stage, record


def damage(record: Record, root: Path) -> list[str]:
    """Re-read every listed output below `root`: what is missing or differs, in words. Empty = all as published."""
    found = []
    for output in record.outputs:
        path = root / output.path
        try:
            size = path.stat().st_size
        except OSError as error:
            found.append(f"{output.path}: {error.strerror}")
            continue
        if size != output.size:
            found.append(f"{output.path}: {size} bytes, {output.size} were published")
        elif sha256(path) != output.sha256:
            found.append(f"{output.path}: content differs from what was published")
    return found


def params_digest(params: BaseModel) -> str:
    """Digest of a stage's settings, independent of the order in which they were written."""
    settings = json.dumps(params.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def inputs_digest(paths: Iterable[Path]) -> str | None:
    """Digest of the names, sizes and mtimes of a unit's inputs; None when one of them is gone.

    Not of their content: 600 stats cost a millisecond, and the content is checked by the stage that reads it.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def sha256(path: Path) -> str:
    """Hex digest of a file's content, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
