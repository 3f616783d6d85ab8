"""config.toml -> frozen models. Every mistake is named with file, key and remedy, all of them at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from .attempts import AttemptPolicy
from .built_in import BUILT_IN, built_upon
from .consistency import fed_back, nested, unknown_destinations, unknown_pipelines
from .errors import ConfigError, UsageError
from .mistakes import Mistake, MistakesError, below, in_words, mistakes_in
from .publisher.settings import DestinationConfig, known_keys
from .quantities import AbsolutePath, Count, Devices, Seconds, Size
from .stages import STAGES, params_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


ENVIRONMENT = "EPISODED_CONFIG"
SYSTEM_CONFIG = Path("/etc/episoded/config.toml")


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

    `cpu`: number of processes, "auto" = one for each usable core. `gpus`: which GPUs have a worker of their own, by
    number or UUID, "auto" = all that CUDA_VISIBLE_DEVICES shows, 0 = none. `per_gpu`: how many workers each has.
    `without_gpu`: stages that need a GPU run on the "cpu" where there is none, or "wait" for one. `stall_s`: a worker
    without progress for so long is killed. `recycle_after`: episodes after which a worker is replaced by a fresh one.
    """

    cpu: Count = "auto"
    gpus: Devices = "auto"
    per_gpu: Annotated[int, Field(ge=1)] = 1
    without_gpu: Literal["cpu", "wait"] = "cpu"
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
    _takes_videos: bool = PrivateAttr(default=False)

    @property
    def takes_videos(self) -> bool:
        """Whether a video that lies in it by itself is an episode: its pipeline has something to do for one."""
        return self._takes_videos

    def through(self, pipeline: Pipeline) -> DropConfig:
        """The same folder with this pipeline."""
        changed = self.model_copy(update={"pipeline": pipeline.name})
        changed._takes_videos = "depth" in pipeline.stages
        return changed


class Pipeline(_Model):
    """[pipelines.NAME]: stages in order, what becomes of the inputs, and a table of settings for each stage.

    `destinations`: names of [destinations.NAME] tables. `grace_s`: how long after the last receipt inputs that go
    `after_published` are still kept. `lerobot_version`: a LeRobot dataset is exported in this version as well.
    """

    name: str
    stages: tuple[str, ...] = ("encode", "metadata")
    remove_inputs: Literal["keep", "after_ready", "after_published"] = "after_ready"
    lerobot_version: Literal["v2.1", "v3.0"] | None = None
    destinations: tuple[str, ...] = ()
    grace_s: Annotated[float, Field(ge=0)] = 3600.0
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect_params(cls, value: Any) -> Any:
        """The tables named after stages become their parameter models."""
        if not isinstance(value, dict):
            return value
        plain = {key: item for key, item in value.items() if key not in STAGES}
        stages = plain.get("stages", ("encode", "metadata"))
        if mistakes := list(_stage_list_mistakes(stages)):
            raise MistakesError(mistakes)
        idle = [stage for stage in STAGES if stage in value and stage not in stages]
        mistakes = [(stage, "settings for a stage that is not in this pipeline's stages") for stage in idle]
        params = {}
        for stage in stages:
            try:
                params[stage] = params_model(stage).model_validate(value.get(stage, {}))
            except ValidationError as error:
                mistakes += below(stage, mistakes_in(error, _known_keys()))
        if plain.get("remove_inputs") == "after_published" and not plain.get("destinations"):
            mistakes.append(("remove_inputs", '"after_published" needs `destinations`: without any, nothing ever is'))
        if mistakes:
            raise MistakesError(mistakes)
        return plain | {"params": params}


class Config(_Model):
    """The whole configuration. `source` is the file it came from, None for the built-in defaults."""

    source: Path | None = None
    service: ServiceConfig = ServiceConfig()
    workers: WorkersConfig = WorkersConfig()
    guard: GuardConfig = GuardConfig()
    drops: tuple[DropConfig, ...] = Field(default=(), alias="drop")
    pipelines: dict[str, Pipeline] = Field(default_factory=dict, validate_default=True)
    destinations: dict[str, DestinationConfig] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_pipelines(cls, value: dict[str, Any]) -> dict[str, Any]:
        given = value.get("pipelines", {})
        if not isinstance(given, dict):
            return value
        ours = {name: built_upon(name, table) for name, table in given.items() if isinstance(table, dict)}
        tables = {**BUILT_IN, **given, **ours}
        return value | {"pipelines": _named(tables)}

    @model_validator(mode="before")
    @classmethod
    def _name_destinations(cls, value: dict[str, Any]) -> dict[str, Any]:
        tables = value.get("destinations", {})
        return value | {"destinations": _named(tables)} if isinstance(tables, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        names = {number: drop.pipeline for number, drop in enumerate(self.drops, 1)}
        roots = [path for drop in self.drops for path in (drop.path, drop.output) if path]
        sends = {name: pipeline.destinations for name, pipeline in self.pipelines.items()}
        aims = unknown_destinations(sends, self.destinations)
        inside = fed_back(self.destinations.values(), roots)
        if mistakes := [*unknown_pipelines(names, self.pipelines), *aims, *nested(roots), *inside]:
            raise MistakesError(mistakes)
        for drop in self.drops:
            drop._takes_videos = "depth" in self.pipelines[drop.pipeline].stages
        return self

    def destinations_of(self, pipeline: str) -> tuple[DestinationConfig, ...]:
        """Where the episodes of a pipeline go."""
        return tuple(self.destinations[name] for name in self.pipelines[pipeline].destinations)

    def without_remote_check(self) -> Config:
        """The same, but destinations are not asked what they have: what is known here is trusted instead."""
        changes = {"remote_check": False}
        trusted = {name: one.model_copy(update=changes) for name, one in self.destinations.items()}
        return self.model_copy(update={"destinations": trusted})


def _named(tables: dict[str, Any]) -> dict[str, Any]:
    """Each table knows its own name."""
    return {name: {**table, "name": name} if isinstance(table, dict) else table for name, table in tables.items()}


def _stage_list_mistakes(stages: object) -> Iterator[Mistake]:
    if not isinstance(stages, (list, tuple)) or not stages:
        yield "stages", "expected a list of stage names, in order"
        return
    for stage in stages:
        if stage not in STAGES:
            yield "stages", f"there is no stage {stage!r}; there are {', '.join(STAGES)}"
    if len(set(map(str, stages))) != len(stages):
        yield "stages", "each stage at most once"


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
        mistakes = dict.fromkeys([*mistakes_in(error, _known_keys()), *_contradictions(table)])
        raise ConfigError(
            "config_invalid",
            "\n".join(f"{path}: {in_words(mistake)}" for mistake in mistakes),
            "docs/configuration.md describes every key; `episoded doctor` checks the file",
        ) from error


def _contradictions(table: dict[str, Any]) -> Iterator[Mistake]:
    """What does not fit together: asked of the model only once every value in it is right, so asked here as well."""
    pipelines, given = table.get("pipelines"), table.get("drop")
    tables = given if isinstance(given, list) else []
    drops = {number: drop for number, drop in enumerate(tables, 1) if isinstance(drop, dict)}
    names = {number: drop["pipeline"] for number, drop in drops.items() if isinstance(drop.get("pipeline"), str)}
    yield from unknown_pipelines(names, {**BUILT_IN, **(pipelines if isinstance(pipelines, dict) else {})})
    roots = [Path(str(drop[key])) for drop in drops.values() for key in ("path", "output") if key in drop]
    yield from nested([root for root in roots if root.is_absolute()])


def with_stage_settings(config: Config, name: str, stage: str, changes: Mapping[str, Any]) -> Config:
    """The configuration with other settings of a stage in the pipeline `name`. Raises UsageError for wrong ones."""
    pipeline = config.pipelines[name]
    if stage not in pipeline.params:
        message = f"the pipeline {name!r} has no stage {stage!r}; it has {', '.join(pipeline.stages)}"
        raise UsageError("no_such_stage", message, "choose another pipeline with --pipeline")
    given = pipeline.params[stage].model_dump(exclude_unset=True)
    try:
        params = params_model(stage).model_validate({**given, **changes})
    except ValidationError as error:
        words = "; ".join(in_words(mistake) for mistake in mistakes_in(error, _known_keys()))
        raise UsageError("wrong_setting", words, "docs/configuration.md has the values") from error
    changed = pipeline.model_copy(update={"params": {**pipeline.params, stage: params}})
    return config.model_copy(update={"pipelines": {**config.pipelines, name: changed}})


def with_inputs_kept(config: Config, name: str) -> Config:
    """The configuration with a pipeline `name` that removes no inputs."""
    changed = config.pipelines[name].model_copy(update={"remove_inputs": "keep"})
    return config.model_copy(update={"pipelines": {**config.pipelines, name: changed}})


def _known_keys() -> list[str]:
    models = (Config, ServiceConfig, WorkersConfig, GuardConfig, DropConfig, Pipeline)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    for stage in STAGES:
        keys |= {stage, *params_model(stage).model_fields}
    return sorted((keys | known_keys()) - {"source", "name", "params"})
