"""An export that is one more video beside the depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ..base import Artifact

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path, PurePosixPath
    from types import TracebackType

    from ..media.writer import VideoWriter
    from .codes import Codes


@dataclass(frozen=True)
class Stored:
    """How the depth video stores its frames, which is known before there are any. `size`: (height, width)."""

    size: tuple[int, int]
    rate: Fraction
    codes: Codes


class VideoExport:
    """What such exports have in common: `_writer` writes to `_path`, and the file belongs at `_target`."""

    _writer: VideoWriter
    _path: Path
    _target: PurePosixPath

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def artifacts(self) -> list[Artifact]:
        """The video."""
        return [Artifact(self._path, self._target)]
