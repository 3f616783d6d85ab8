"""Settings of the encode stage: named profiles, and what may be changed on top of one.

Imports neither libav nor numpy: reading a configuration must stay cheap.

The profiles, on 200 frames of a 640x480 robot camera; the last column is what a training loader pays for one random
frame (benchmarks/random_access.py, docs/performance.md):

| profile    | settings                                | bytes/frame | RGB PSNR | CPU of one random frame |
|------------|-----------------------------------------|-------------|----------|-------------------------|
| `training` | x264 fast, crf 23, g 2, no B, CAVLC     | 8.9 kB      | 39.9 dB  | 3.0 ms                  |
| `brief`    | x264 fast, crf 23, g 250                | 1.9 kB      | 39.2 dB  | 54 ms                   |
| `lerobot`  | SVT-AV1 preset 12, crf 30, g 2          | 8.7 kB      | 41.4 dB  | 3.0 ms                  |
| `archive`  | x264 slow, crf 18, g 250                | -           | -        | for keeping             |

Why `training` is what it is: g 2 with x264's own B frames and CABAC costs 5.0 ms for a random frame; without B frames
3.9 ms at the same size; with CAVLC as well 3.0 ms for 17 % more bytes. `tune=fastdecode`, which also turns the
deblocking filter off, reaches 2.3 ms, but at 0.5 dB less for as many bytes; at equal PSNR it is 10 % larger. So the
two halves of fastdecode that cost no picture quality are taken, and the one that does is left to `tune`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Codec = Literal["libx264", "libx265", "libsvtav1"]
PixelFormat = Literal["yuv420p", "yuv422p", "yuv444p"]
ProfileName = Literal["training", "brief", "lerobot", "archive"]

_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
PRESETS: dict[str, tuple[str, ...]] = {
    "libx264": _X26X_PRESETS,
    "libx265": _X26X_PRESETS,
    "libsvtav1": tuple(str(n) for n in range(14)),
}
TUNES: dict[str, tuple[str, ...]] = {
    "libx264": ("film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"),
    "libx265": ("psnr", "ssim", "grain", "fastdecode", "zerolatency", "animation"),
    "libsvtav1": (),
}
WORST_CRF: dict[str, int] = {"libx264": 51, "libx265": 51, "libsvtav1": 63}
HARDWARE: dict[str, tuple[str, ...]] = {
    "libx264": ("h264_nvenc", "h264_qsv"),
    "libx265": ("hevc_nvenc", "hevc_qsv"),
    "libsvtav1": ("av1_nvenc", "av1_qsv"),
}
OWNED_OPTIONS = frozenset({"preset", "crf", "g", "bf", "tune", "threads", "thread_type", "pix_fmt", "r"})


class CodecSettings(BaseModel):
    """One encoder with every setting decided: what a profile and its overrides come to.

    `gop` is the largest distance between keyframes in frames, `bf` the number of consecutive B frames (None: the
    encoder's own choice), `options` further libavcodec options of that encoder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: Codec
    preset: str
    crf: int
    gop: int
    bf: int | None = None
    tune: str | None = None
    pix_fmt: PixelFormat = "yuv420p"
    options: dict[str, str] = {}

    @model_validator(mode="after")
    def _fits_the_codec(self) -> Self:
        codec = self.codec
        if self.preset not in PRESETS[codec]:
            raise ValueError(f"preset {self.preset!r} is none of {codec}'s: {', '.join(PRESETS[codec])}")
        if self.crf > WORST_CRF[codec]:
            raise ValueError(f"crf {self.crf} is out of range: {codec} takes 0 (best) to {WORST_CRF[codec]}")
        if self.tune is not None and self.tune not in TUNES[codec]:
            known = ", ".join(TUNES[codec]) or "none"
            raise ValueError(f"tune {self.tune!r} is none of {codec}'s: {known}")
        if codec == "libsvtav1" and self.pix_fmt != "yuv420p":
            raise ValueError(f"libsvtav1 writes yuv420p only, not {self.pix_fmt}")
        if codec == "libsvtav1" and self.bf is not None:
            raise ValueError("libsvtav1 has no B frame setting: leave `bf` out")
        return self


DEFAULTS: dict[str, CodecSettings] = {
    "libx264": CodecSettings(codec="libx264", preset="fast", crf=23, gop=2),
    "libx265": CodecSettings(codec="libx265", preset="fast", crf=28, gop=2),
    "libsvtav1": CodecSettings(codec="libsvtav1", preset="12", crf=30, gop=2),
}
PROFILES: dict[str, CodecSettings] = {
    "training": CodecSettings(codec="libx264", preset="fast", crf=23, gop=2, bf=0, options={"coder": "cavlc"}),
    "brief": CodecSettings(codec="libx264", preset="fast", crf=23, gop=250),
    "lerobot": CodecSettings(codec="libsvtav1", preset="12", crf=30, gop=2),
    "archive": CodecSettings(codec="libx264", preset="slow", crf=18, gop=250),
}


class EncodeParams(BaseModel):
    """The `encode` table of a pipeline: a profile, and what differs from it.

    `hardware`: "off", "auto" (the first encoder of the codec's family that really encodes, else software) or the name
    of one. `min_psnr_db`: luma PSNR below which a sampled frame fails the episode. `odd_dimensions`: what to do with a
    frame whose width or height is odd where 4:2:0 cannot hold it. `match_existing`: encode like the camera's videos
    that the dataset already holds, because LeRobot's converter joins them without encoding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: ProfileName = "training"
    codec: Codec | None = None
    preset: str | None = None
    crf: Annotated[int, Field(ge=0, le=63)] | None = None
    gop: Annotated[int, Field(ge=1, le=10_000)] | None = None
    bf: Annotated[int, Field(ge=0, le=16)] | None = None
    tune: str | None = None
    pix_fmt: PixelFormat | None = None
    options: dict[str, str] = {}
    hardware: str = "off"
    min_psnr_db: Annotated[float, Field(ge=0, le=100)] = 25.0
    odd_dimensions: Literal["fail", "yuv444p"] = "fail"
    match_existing: bool = True

    @field_validator("preset", mode="before")
    @classmethod
    def _preset_as_text(cls, value: object) -> object:
        """SVT-AV1 counts its presets: `preset = 12` in TOML is as good as `"12"`."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("options")
    @classmethod
    def _options_not_owned(cls, options: dict[str, str]) -> dict[str, str]:
        taken = sorted(OWNED_OPTIONS & options.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)}: has a setting of its own or is decided by the stage, not an option")
        return options

    @model_validator(mode="after")
    def _combination_works(self) -> Self:
        settings = self.settings
        family = HARDWARE[settings.codec]
        if self.hardware not in ("off", "auto", *family):
            raise ValueError(f"hardware {self.hardware!r}: {settings.codec} knows off, auto, {', '.join(family)}")
        return self

    @property
    def settings(self) -> CodecSettings:
        """The profile with the overrides applied.

        Naming another codec than the profile's takes that codec's own defaults, with the profile's keyframe distance:
        presets and crf of one encoder mean nothing to another.
        """
        return self.settings_for(self.codec or PROFILES[self.profile].codec)

    def settings_for(self, codec: str) -> CodecSettings:
        """The settings if `codec` has to be used: overrides count only when they were meant for it."""
        profile = PROFILES[self.profile]
        meant = self.codec or profile.codec
        base = profile if codec == profile.codec else DEFAULTS[codec].model_copy(update={"gop": profile.gop})
        named = ("preset", "crf", "gop", "bf", "tune", "pix_fmt") if codec == meant else ("gop",)
        changes = {name: value for name in named if (value := getattr(self, name)) is not None}
        options = {**base.options, **self.options} if codec == meant else base.options
        return CodecSettings.model_validate({**base.model_dump(), **changes, "options": options})
