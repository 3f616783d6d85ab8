"""config.toml -> frozen models. Every mistake is named with file, key and remedy, all of them at once."""

from __future__ import annotations

import difflib
import itertools
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .attempts import AttemptPolicy
from .errors import ConfigError
from .stages import STAGES, params_model

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENVIRONMENT = "EPISODED_CONFIG"
SYSTEM_CONFIG = Path("/etc/episoded/config.toml")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def _parse_size(value: object) -> object:
    """Bytes from a size as people write it: 20 GB, 512 MiB."""
    if not isinstance(value, str):
        return value
    number = value.strip().rstrip("BbKkMmGgTtIi ")
    unit = value.strip()[len(number) :].strip().upper() or "B"
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        raise ValueError('expected a size such as "20 GB" or "512 MiB"') from None


def _absolute(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_absolute():
        raise ValueError("expected an absolute path: a service has no working directory to start from")
    return Path(os.path.normpath(path))


Size = Annotated[int, BeforeValidator(_parse_size), Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServiceConfig(_Model):
    """[service]: the loop and the signals."""

    state_dir: AbsolutePath = Path("/var/lib/episoded")
    rescan_s: Seconds = 30.0
    drain_s: Seconds = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class WorkersConfig(_Model):
    """[workers]: processes that work, and what becomes of one that fails.

    `cpu`: number of processes, "auto" = one for each usable core. `stall_s`: a worker without progress for so long is
    killed. `recycle_after`: episodes after which a worker is replaced by a fresh one.
    """

    cpu: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    stall_s: Seconds = 600.0
    recycle_after: Annotated[int, Field(ge=1)] = 200
    attempts: Annotated[int, Field(ge=1)] = 3
    retry_delay_s: Annotated[float, Field(ge=0)] = 30.0

    @property
    def slots(self) -> int:
        """Worker processes to run on this machine."""
        return len(os.sched_getaffinity(0)) if self.cpu == "auto" else self.cpu

    @property
    def policy(self) -> AttemptPolicy:
        """How often and when failures are tried again."""
        return AttemptPolicy(self.attempts, self.retry_delay_s)


class GuardConfig(_Model):
    """[guard]: when to stop claiming. Resumes at the high-water marks, so that it does not flap."""

    disk_low: Size = 5 * 10**9
    disk_high: Size = 10 * 10**9
    memory_low: Size = 500 * 10**6

    @model_validator(mode="after")
    def _ordered(self) -> GuardConfig:
        if self.disk_high < self.disk_low:
            raise ValueError("disk_high must not be below disk_low: claiming stops at low, resumes at high")
        return self


class DropConfig(_Model):
    """[[drop]]: a watched root directory, its pipeline, and its rule for "upload complete"."""

    path: AbsolutePath
    pipeline: str = "default"
    complete: Literal["marker", "rename", "quiet"] = "marker"
    quiet_s: Seconds = 60.0
    incomplete_s: Seconds = 600.0
    output: AbsolutePath | None = None


class Pipeline(_Model):
    """[pipelines.NAME]: stages in order, what becomes of the inputs, and a table of settings for each stage."""

    name: str
    stages: tuple[str, ...] = ("encode", "metadata")
    remove_inputs: Literal["keep", "after_ready"] = "after_ready"
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect_params(cls, value: dict[str, Any]) -> dict[str, Any]:
        """The tables named after stages become their parameter models."""
        plain = {key: item for key, item in value.items() if key not in STAGES}
        stages = plain.get("stages", ("encode", "metadata"))
        if not isinstance(stages, (list, tuple)) or not stages:
            raise ValueError("stages: expected a list of stage names, in order")
        for stage in stages:
            if stage not in STAGES:
                raise ValueError(f"stages: there is no stage {stage!r}; there are {', '.join(STAGES)}")
        if len(set(stages)) != len(stages):
            raise ValueError("stages: each stage at most once")
        for stage in STAGES:
            if stage in value and stage not in stages:
                raise ValueError(f"{stage}: settings for a stage that is not in this pipeline's stages")
        return plain | {"params": {stage: _stage_params(stage, value.get(stage, {})) for stage in stages}}


class Config(_Model):
    """The whole configuration. `source` is the file it came from, None for the built-in defaults."""

    source: Path | None = None
    service: ServiceConfig = ServiceConfig()
    workers: WorkersConfig = WorkersConfig()
    guard: GuardConfig = GuardConfig()
    drops: tuple[DropConfig, ...] = Field(default=(), alias="drop")
    pipelines: dict[str, Pipeline] = Field(default_factory=dict, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _name_pipelines(cls, value: dict[str, Any]) -> dict[str, Any]:
        tables = {"default": {}, **value.get("pipelines", {})}
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise ValueError(f"pipelines.{name}: expected a table [pipelines.{name}]")
        return value | {"pipelines": {name: {**table, "name": name} for name, table in tables.items()}}

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for number, drop in enumerate(self.drops, 1):
            if drop.pipeline not in self.pipelines:
                known = ", ".join(self.pipelines)
                raise ValueError(f"drop {number} ({drop.path}): no pipeline {drop.pipeline!r}; there are {known}")
        _refuse_nesting([path for drop in self.drops for path in (drop.path, drop.output) if path])
        return self


def _stage_params(stage: str, table: object) -> BaseModel:
    try:
        return params_model(stage).model_validate(table)
    except ValidationError as error:
        raise ValueError("; ".join(f"{stage}.{_describe(item)}" for item in error.errors())) from None


def _refuse_nesting(roots: list[Path]) -> None:
    """Two roots, one inside the other, would find (and finish) the same episodes twice."""
    resolved = sorted(((root.resolve(), root) for root in roots), key=lambda pair: pair[0].parts)
    for (outer, outer_name), (inner, inner_name) in itertools.pairwise(resolved):
        if outer == inner or outer in inner.parents:
            raise ValueError(
                f"{inner_name} lies inside {outer_name}: drop and output folders must not be nested or named twice"
            )


def find(explicit: Path | None = None) -> Path | None:
    """The configuration file to use: --config, $EPISODED_CONFIG, /etc/episoded/config.toml, or None: the defaults."""
    if explicit:
        return explicit
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    return SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None


def load(path: Path | None) -> Config:
    """Read and check the configuration. Raises ConfigError that names every mistake in it."""
    if path is None:
        return Config()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"create it from the commented config.toml of the project, or unset ${ENVIRONMENT}"
        raise ConfigError("config_unreadable", f"{path}: {error.strerror}", hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config_syntax", f"{path}: {error}", "mend the TOML syntax at that place") from error
    try:
        return Config.model_validate({**table, "source": path})
    except ValidationError as error:
        mistakes = [_describe(item) for item in error.errors()]
        raise ConfigError(
            "config_invalid",
            "\n".join(f"{path}: {mistake}" for mistake in mistakes),
            "docs/configuration.md describes every key; `episoded doctor` checks the file",
        ) from error


def _describe(error: ErrorDetails) -> str:
    """One mistake: key, what was found, what was expected."""
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), _known_keys(), n=1)
        return f"{key}: there is no such key" + (f"; did you mean {near[0]!r}?" if near else "")
    message = error["msg"].removeprefix("Value error, ")
    found = "" if error["type"] in ("value_error", "missing") else f" (found {error['input']!r})"
    return f"{key}: {message}{found}" if key else message


def _known_keys() -> list[str]:
    models = (Config, ServiceConfig, WorkersConfig, GuardConfig, DropConfig, Pipeline)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    for stage in STAGES:
        keys |= {stage, *params_model(stage).model_fields}
    return sorted(keys - {"source", "name", "params"})
