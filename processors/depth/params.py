"""Settings of the depth stage. Imports neither torch nor libav: reading a configuration must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: The ways to get depth for a camera: what each needs, and what it gives, is told in docs/depth.md.
Way = Literal["stereo", "video", "frame", "none"]
Model = Literal["vits", "vitb", "vitl", "metric-vits", "metric-vitb", "metric-vitl"]
Export = Literal["png16", "lerobot"]


class Scale(BaseModel):
    """[pipelines.NAME.depth.measured_scale.CAMERA]: what turns disparity d into metres, 1 / z = a * d + b."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: float
    b: float


class DepthParams(BaseModel):
    """[pipelines.NAME.depth] in config.toml; docs/configuration.md describes every key.

    `ways`: tried in this order for each camera; the first that is possible is taken. `model`, `weights`, `input_size`,
    `align`: of the video model; `frame_model`: of the transformers library, for the way "frame". `calibration`: for the
    way "stereo"; `side_by_side`: cameras whose pictures show both eyes; `right`: left camera -> right camera, where
    each eye has a video of its own. `read`: make depth of the finished "video", or of the PNG "frames" while they are
    there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ways: tuple[Way, ...] = ("video",)
    cameras: tuple[str, ...] = ("*",)
    read: Literal["video", "frames"] = "video"

    model: Model = "vits"
    weights: Path | None = None
    input_size: Annotated[int, Field(ge=14, le=2072)] = 518
    align: Literal["auto", "anchored", "none", "scale", "rma"] = "auto"
    precision: Literal["auto", "fp32", "tf32", "fp16"] = "auto"
    frame_model: str | None = None
    calibration: Path | None = None
    side_by_side: Literal["auto"] | tuple[str, ...] = "auto"
    right: dict[str, str] = Field(default_factory=dict)

    depth_scale: Annotated[int, Field(ge=1000, le=65535)] = 1000
    measured_scale: dict[str, Scale] = Field(default_factory=dict)
    preview: bool = True
    export: tuple[Export, ...] = ()
    segment_frames: Annotated[int, Field(ge=1)] = 440

    @field_validator("ways")
    @classmethod
    def _each_once(cls, ways: tuple[str, ...]) -> tuple[str, ...]:
        if not ways or len(set(ways)) != len(ways):
            raise ValueError("expected at least one way, each at most once")
        if "none" in ways[:-1]:
            raise ValueError('"none" stands last: nothing is tried after it')
        return ways

    @field_validator("input_size")
    @classmethod
    def _whole_patches(cls, size: int) -> int:
        if size % 14:
            raise ValueError(f"expected a multiple of 14, the side of the model's patches, such as {size // 14 * 14}")
        return size

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "frame" in self.ways and self.frame_model is None:
            raise ValueError('the way "frame" needs a frame_model, the id of a model in the table of docs/depth.md')
        return self
