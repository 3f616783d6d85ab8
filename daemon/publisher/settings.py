"""[destinations.NAME] of config.toml: one place (or a family of places) where finished episodes go."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from episoded.processors.destinations import KINDS, params_model

from ..mistakes import MistakesError, mistakes_in
from ..quantities import Seconds, Size
from ..state import DESTINATION

#: Placeholders of a template; `{shard}` and `{chunk}` count up where one place, one folder, cannot hold it all.
PLACEHOLDERS: Final = ("{dataset}", "{shard}", "{chunk}")


class DestinationConfig(BaseModel):
    """The keys that every kind has; `params` holds those of its own.

    `include`, `exclude`: patterns of paths below the dataset, `*` matches `/` too. `folder`: where below the place,
    `{dataset}` unless the place names it. A batch is committed when its oldest episode has waited `interval_s`, or it
    holds `max_files` files or `max_bytes` bytes. `min_rate`: bytes per second below which a transfer counts as hung.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = (".episoded/*/table_as_recorded",)
    folder: str | None = None
    interval_s: Annotated[float, Field(ge=0)] = 600.0
    max_files: Annotated[int, Field(ge=1)] = 100
    max_bytes: Annotated[Size, Field(gt=0)] = 20 * 10**9
    remote_check: bool = True
    on_conflict: Literal["block", "overwrite"] = "block"
    stall_s: Seconds = 600.0
    min_rate: Annotated[Size, Field(gt=0)] = 100_000
    max_files_per_shard: Annotated[int, Field(ge=1)] = 90_000
    params: Any = None

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """The keys that are not ours are those of the kind."""
        if not isinstance(value, dict) or "params" in value:
            return value
        kind = value.get("kind")
        if kind not in KINDS:
            words = f"there is no kind {kind!r}" if "kind" in value else "is missing"
            raise MistakesError([("kind", f"{words}; there are {', '.join(KINDS)}")])
        common = {key: item for key, item in value.items() if key in cls.model_fields}
        own = {key: item for key, item in value.items() if key not in cls.model_fields}
        try:
            params = params_model(kind).model_validate(own)
        except ValidationError as error:
            raise MistakesError(mistakes_in(error, known_keys())) from error
        return common | {"params": params}

    @model_validator(mode="after")
    def _nameable(self) -> DestinationConfig:
        if not DESTINATION.fullmatch(self.name):
            raise ValueError("its name may hold a-z, 0-9, - and _, and begins with a letter: markers are called by it")
        return self

    @property
    def subfolder(self) -> str:
        """`folder`, or what keeps two datasets apart where nothing was said."""
        if self.folder is not None:
            return self.folder.strip("/")
        return "" if "{dataset}" in self.params.template else "{dataset}"

    @property
    def sharded(self) -> bool:
        """Whether what one place or folder cannot hold goes to the next."""
        return any(part in self.params.template + self.subfolder for part in PLACEHOLDERS[1:])


def known_keys() -> set[str]:
    """Every key that a destination of any kind may have."""
    keys = set(DestinationConfig.model_fields) - {"name", "params"}
    return keys.union(*(params_model(kind).model_fields for kind in KINDS))
