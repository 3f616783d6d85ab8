"""The stages that a pipeline can name. Imported only when one is used: a status command needs no encoder."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

    from episoded.processors.base import Needs, Processor

#: stage -> (module and class of its settings, module and class of its processor)
STAGES: Final = {
    "encode": ("episoded.processors.encode.params:EncodeParams", "episoded.processors.encode.stage:EncodeProcessor"),
    "depth": ("episoded.processors.depth.params:DepthParams", "episoded.processors.depth.stage:DepthProcessor"),
    "metadata": (
        "episoded.processors.metadata.params:MetadataParams",
        "episoded.processors.metadata.stage:MetadataProcessor",
    ),
    "tracks": ("episoded.processors.tracks.params:TracksParams", "episoded.processors.tracks.stage:TracksProcessor"),
}


def params_model(stage: str) -> type[BaseModel]:
    """The model of a stage's settings (cheap to import)."""
    model: type[BaseModel] = _load(STAGES[stage][0])
    return model


def processor(stage: str) -> Processor:
    """The processor of a stage (may import encoders)."""
    made: Processor = _load(STAGES[stage][1])()
    return made


@lru_cache(maxsize=32)
def needs(stage: str) -> Needs:
    """What a stage asks of the worker that runs it."""
    return processor(stage).needs


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
