"""Where finished episodes go, one kind each. Cheap to import: clients are loaded when a destination is opened."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from .base import Destination

#: kind -> (module, class of its settings, class of the destination)
KINDS: Final = {
    "huggingface": ("episoded.processors.destinations.huggingface", "HuggingFaceParams", "HuggingFace"),
    "folder": ("episoded.processors.destinations.folder", "FolderParams", "Folder"),
    "rsync": ("episoded.processors.destinations.rsync", "RsyncParams", "Rsync"),
    "s3": ("episoded.processors.destinations.s3", "S3Params", "S3"),
}


class Params(Protocol):
    """The settings of a kind: a pydantic model that names the place of each dataset."""

    @property
    def template(self) -> str:
        """The place, with `{dataset}` and `{shard}` (what one place cannot hold goes to the next) still in it."""


def environment(kind: str, params: BaseModel, folder: Path, *, without_xet: bool = False) -> dict[str, str]:
    """What the process of a destination needs in its environment, where its client reads it once, when imported.

    `folder`: of its own, for what is worth keeping. `without_xet`: of two ways to move bytes, take the plain one.
    """
    asked = getattr(import_module(KINDS[kind][0]), "environment", None)
    answer: dict[str, str] = asked(params, folder, without_xet=without_xet) if asked else {}
    return answer


def params_model(kind: str) -> type[BaseModel]:
    """The model of the settings of a kind (cheap to import). Raises KeyError for a kind that is none."""
    module, params, _ = KINDS[kind]
    model: type[BaseModel] = getattr(import_module(module), params)
    return model


def open_destination(kind: str, params: BaseModel, place: str) -> Destination:
    """The destination at `place`, which is the template of `params` filled in. Imports its client."""
    module, _, name = KINDS[kind]
    made: Any = getattr(import_module(module), name)
    destination: Destination = made(params, place)
    return destination
