"""The files of a converted dataset, each made and read back.

A video is made by copying packets, and checked packet for packet and by decoding its first and last frames where
LeRobot will look for them. Only what begins between two keyframes is encoded again, and then every frame is compared.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.parquet as pq

from ...encode.encoders import Sibling, plan
from ...encode.params import EncodeParams
from ...errors import EpisodedError, RetryableError
from ...media.clip import Clip, frames_of
from ...media.concat import digest, join
from ...media.pixels import plane
from ...media.video import probe
from ...media.writer import VideoWriter
from .examine import picture_digest
from .rows import write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from av.video.frame import VideoFrame

    from .examine import Examined, Part, Source
    from .plan import Product

#: Luma PSNR in dB below which a frame that had to be encoded again is not what it was.
LEAST_PSNR: Final = 28.0


def make(
    product: Product, source: Source, episodes: Mapping[int, Examined], path: Path, tick: Callable[[], None]
) -> int:
    """Make the file at `path` and read it back; returns how many of its episodes were encoded anew.

    `tick` is called once a packet, frame or episode. Raises InputError (`video_unlike`, `table_unlike`, and as the
    reading of the source), RetryableError (`verify_failed`) and the family of what the system says.
    """
    wanted = [episodes[index] for index in product.episodes]
    if not product.key:
        _rows(wanted, source, path, tick)
        return 0
    parts = [episode.parts[product.key] for episode in wanted]
    if any(not part.packets for part in parts):
        _encode(parts[0], source, path, tick)
        return len(parts)
    join([source.clip(part) for part in parts], path, source.rate, tick)
    _check_packets(parts, source, path, tick)
    return 0


def _rows(wanted: Sequence[Examined], source: Source, path: Path, tick: Callable[[], None]) -> None:
    def tables() -> Iterator[pa.Table]:
        for one in wanted:
            tick()
            yield source.rows(one.table, one.first_row, one.length, one.index, one.start)

    write_rows(path, tables())
    metadata = pq.read_metadata(path)
    found = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if found != [one.length for one in wanted]:
        raise _not_as_written(path, f"holds episodes of {found} rows")


def _check_packets(parts: Sequence[Part], source: Source, path: Path, tick: Callable[[], None]) -> None:
    """Every packet of every episode, and its first and last picture, as they were in the source."""
    first = 0
    for part in parts:
        if digest(Clip(path, first, part.frames), source.rate, tick) != part.packets:
            raise _not_as_written(path, f"other packets than {part.path}")
        for number, known in zip((first, first + part.frames - 1), part.pictures, strict=True):
            with closing(frames_of(Clip(path, number, 1), source.rate)) as frames:
                if picture_digest(next(frames)) != known:
                    raise _not_as_written(path, f"frame {number} is another picture than in {part.path}")
            tick()
        first += part.frames


def _encode(part: Part, source: Source, path: Path, tick: Callable[[], None]) -> None:
    """One clip that begins between keyframes, encoded like the file it is cut from."""
    clip = source.clip(part)
    info = probe(clip.path)
    planned = plan(EncodeParams(), (info.width, info.height), 1, Sibling(clip.path, info))
    writer = VideoWriter(path, planned.encoding, width=info.width, height=info.height, rate=source.rate)
    with closing(frames_of(clip, source.rate)) as frames, writer:
        for frame in frames:
            writer.write(
                frame if frame.format.name == planned.encoding.pix_fmt else _as(frame, planned.encoding.pix_fmt)
            )
            tick()
    again = frames_of(Clip(path, 0, part.frames), source.rate)
    with closing(frames_of(clip, source.rate)) as before, closing(again) as after:
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            if (found := _psnr(one, other)) < LEAST_PSNR:
                raise EpisodedError(
                    "low_psnr",
                    f"frame {number} of {path.name} has a PSNR of {found:.1f} dB against {part.path}",
                    "encode the source with more keyframes, or convert from where it was recorded",
                )
            tick()


def _as(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    return frame.reformat(format=pix_fmt)


def _psnr(one: VideoFrame, other: VideoFrame) -> float:
    """Of the luma, in dB."""
    difference = plane(one).astype(np.float64) - plane(other)
    return 10 * float(np.log10(255.0**2 / max(float(np.mean(difference**2)), 1e-9)))


def _not_as_written(path: Path, what: str) -> RetryableError:
    return RetryableError(
        "verify_failed",
        f"{path}: what was just written does not read back: {what}",
        "the source is untouched; if it happens again, check the disk and the memory of this machine",
    )
