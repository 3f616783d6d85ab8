"""The metadata stage: what LeRobot would have written beside the videos, and the quality report.

Light to import: numpy, libav and pyarrow are loaded when the first episode is finished.
"""

from __future__ import annotations

import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..base import Artifact, Edit, Needs, Unit
from ..errors import from_os_error
from ..formats.lerobot_info import EPISODES, EPISODES_STATS, INFO, TASKS, parse_info, read_lengths, read_object
from ..formats.lerobot_table import read_table
from .edits import EPISODE_STATS_NAME, episode_edits
from .params import MetadataParams
from .quality import control_path, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from ..base import StageContext
    from ..episode import Episode
    from ..lerobot.episode_stats import Stats

#: The parquet file before its picture columns went. Not `.parquet`: LeRobot's recorder counts those.
AS_RECORDED_NAME: Final = "table_as_recorded"


class MetadataProcessor:
    """One unit for the episode: `quality.json` and `stats.json` beside the markers, and edits to `meta/`.

    With an output of its own, also the episode's parquet file and sound files, so that the output is a whole dataset.
    """

    name = "metadata"
    version = 1
    needs = Needs(memory=300 << 20)
    Params: type[BaseModel] = MetadataParams

    def applies(self, episode: Episode) -> bool:
        """Every episode of a LeRobot dataset."""
        return episode.table is not None

    def units(self, episode: Episode, params: BaseModel) -> Sequence[Unit]:  # noqa: ARG002 - part of the contract
        """One, which depends on the table; the videos are the encode stage's, before this one.

        In v3.0 the table is shared: it changes when other episodes are recorded, this one's rows do not.
        """
        assert episode.table is not None
        return [Unit("episode", (episode.table,) if episode.first_row is None else ())]

    def run(self, unit: Unit, ctx: StageContext) -> Sequence[Artifact | Edit]:  # noqa: ARG002 - there is only one
        """Finish the metadata of one episode.

        Raises `InputError` (`table_missing`, `table_unreadable`, `meta_invalid`) and `RetryableError`
        (`meta_unsettled`, and what the machine says).
        """
        ctx.check_cancelled()
        try:
            if ctx.episode.first_row is not None:
                from .stage_v3 import finish_recorded

                files, edits = finish_recorded(ctx, encoded(ctx))
                return [*files, *edits]
            return _Finishing(ctx).results()
        except OSError as error:
            raise from_os_error(error) from error


def encoded(ctx: StageContext) -> dict[str, Mapping[str, Any]]:
    """The facts of the encode stage by camera key."""
    made = {artifact.target: artifact.facts for artifact in ctx.earlier.get("encode", ())}
    return {camera.key: made[camera.video] for camera in ctx.episode.cameras if camera.video in made}


class _Finishing:
    """One episode with what its dataset says about it."""

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, MetadataParams)
        assert ctx.episode.table is not None
        self.ctx, self.episode, self.params, self.table = ctx, ctx.episode, ctx.params, ctx.episode.table
        path = self.episode.root / INFO
        self.raw = read_object(path)
        self.info = parse_info(self.raw, path)
        self.facts = encoded(ctx)

    def results(self) -> list[Artifact | Edit]:
        from ..lerobot.episode_stats import in_order, line, of_columns
        from .table import read_columns

        episode, features = self.episode, self.raw["features"]
        columns = read_columns(self.table, features)
        pictures: Stats = {key: facts["image_stats"] for key, facts in self.facts.items() if facts.get("image_stats")}
        stats = in_order({**of_columns(columns, episode.fps), **pictures}, features)
        results: list[Artifact | Edit] = [
            self._file("quality.json", self._quality(columns)),
            self._file(EPISODE_STATS_NAME, line(episode.index, stats, self._quantiles())),
            *self._tables(),
        ]
        if not episode.in_place:
            results += self._sounds()
        return [*results, *episode_edits(episode.root, episode.output, episode.index, stats)]

    def _quantiles(self) -> Stats:
        """Of the cameras that were encoded here: v2.1 has no place for them, a conversion to v3.0 wants them."""
        found = {key: facts.get("image_quantiles") for key, facts in self.facts.items()}
        return {key: quantiles for key, quantiles in found.items() if quantiles}

    def _quality(self, columns: Mapping[str, Any]) -> bytes:
        from ..formats import LEROBOT
        from .clock import judge

        episode, stamps = self.episode, columns.get("timestamp")
        timestamps = None if stamps is None else judge(stamps.reshape(-1), episode.fps)
        orphans = dict(LEROBOT.listing(episode.root).orphans)
        return report(episode, self.facts, timestamps, orphans, tuple(_findings(episode.root, self.raw))).to_json()

    def _file(self, name: str, content: bytes) -> Artifact:
        path = self.ctx.scratch / name
        path.write_bytes(content)
        return Artifact(path, control_path(self.episode.id, name))

    def _tables(self) -> list[Artifact | Edit]:
        """The parquet file: copied to an output of its own, and rid of columns that point to no picture any more.

        In place it is an edit, because the file must be there at every moment; what was recorded is kept first.
        """
        from .table import without_columns

        episode, target = self.episode, PurePosixPath(self.table.relative_to(self.episode.root))
        drop = self._dangling()
        if not episode.in_place:
            copy = self.ctx.scratch / "table"
            content = without_columns(self.table.read_bytes(), drop) if drop else None
            copy.write_bytes(content) if content else shutil.copyfile(self.table, copy)
            return [Artifact(copy, target)]
        kept = control_path(episode.id, AS_RECORDED_NAME)
        if drop:
            copy = self.ctx.scratch / AS_RECORDED_NAME
            shutil.copyfile(self.table, copy)
            return [Artifact(copy, kept), Edit(target, lambda now: now and without_columns(now, drop))]
        return [Artifact(episode.output / kept, kept)] if (episode.output / kept).is_file() else []

    def _dangling(self) -> frozenset[str]:
        """Cameras with a video and a column of mere paths."""
        if not self.params.drop_picture_columns:
            return frozenset()
        return read_table(self.table, self.facts).dangling

    def _sounds(self) -> list[Artifact]:
        """The sound files of the episode (DoRobot), copied."""
        sounds: list[Artifact] = []
        for key, feature in self.raw["features"].items():
            name = self.info.audio(key, self.episode.index) if feature.get("dtype") == "audio" else None
            if name is not None and (path := self.episode.root / name).is_file():
                copy = self.ctx.scratch / f"sound{len(sounds)}"
                shutil.copyfile(path, copy)
                sounds.append(Artifact(copy, name))
        return sounds


def _findings(root: Path, raw: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the dataset around this episode: LeRobot may refuse it, the episode itself is fine."""
    lengths = read_lengths(root / EPISODES)
    for key, counted in (("total_episodes", len(lengths)), ("total_frames", sum(lengths.values()))):
        if raw.get(key) != counted:
            yield f"meta/info.json says {key} {raw.get(key)}, meta/episodes.jsonl comes to {counted}"
    gap = next((index for index in range(len(lengths)) if index not in lengths), None)
    if gap is not None:
        yield f"meta/episodes.jsonl has no episode {gap}: LeRobot wants the indices without a gap"
    if not (root / TASKS).is_file():
        yield f"{TASKS} is missing: LeRobot looks for the dataset on the Hub instead"
    for number in _broken_lines(root / EPISODES_STATS):
        yield f"{EPISODES_STATS}: line {number} is no JSON object: LeRobot refuses the dataset"


def _broken_lines(path: Path) -> Iterator[int]:
    """Lines that cannot be objects, told by their ends: there may be 50 MB of them. The last may be being written."""
    if path.is_file():
        lines = path.read_bytes().split(b"\n")[:-1]
        for number, text in enumerate(lines, 1):
            if (text := text.strip()) and not (text.startswith(b"{") and text.endswith(b"}")):
                yield number
