"""Settings of the metadata stage."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class MetadataParams(BaseModel):
    """The `metadata` table of a pipeline.

    `drop_picture_columns`: where a camera's pictures are in its video now, drop the column of the parquet file that
    held nothing but the recorder's paths to them. The file as it was recorded is kept beside `quality.json`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop_picture_columns: bool = True
