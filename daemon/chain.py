"""The stages of one claimed episode, in order: resume, run, verify, publish, finish.

The order of durable steps is what makes a SIGKILL at any point harmless: artifacts are synced and linked before the
checkpoint that lists them, all checkpoints before `ready`, `ready` before an input is removed.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

import structlog

from episoded.processors import formats
from episoded.processors.base import Artifact, Edit, StageContext

from . import attempts, checkpoint, finish, stages
from .checkpoint import Output, Record
from .claim import Claim, Leases, take
from .errors import Cancelled, ClaimLostError, EpisodedError, HandedOver, RetryableError
from .origin import origin_of
from .parts import KeptParts
from .publication import apply_edit, discard_unpublished, publish_artifact
from .publisher import receipts
from .work import UNHEARD, Hooks, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from episoded.processors.base import Processor, Unit
    from episoded.processors.episode import Episode

    from .origin import Origin

log = structlog.get_logger()

__all__ = ["Chain", "Ended", "Hooks", "Work", "work_on"]

Ended = Literal["ready", "failed", "waiting", "released", "handed_over", "lost", "vanished"]


def work_on(work: Work, hooks: Hooks = UNHEARD, leases: Leases | None = None) -> Ended:
    """Claim one episode, run its chain, record how it ended. Raises NotAvailableError when it cannot be claimed."""
    claim = take(work.control, leases, work.lapsed, work.pipeline.name)
    chain = Chain(work, claim, hooks)
    episode_log = log.bind(dataset=str(work.root), episode=work.episode_id, generation=claim.generation)
    episode_log.info("claimed")
    try:
        with claim.heartbeats():
            chain.run()
        episode_log.info("ready")
        return "ready"
    except Exception as error:
        try:
            return _ended_early(chain, error, episode_log)
        except ClaimLostError as lost:
            episode_log.warning(lost.code, reason=lost.message)
            return "vanished" if lost.code == "vanished" else "lost"
    finally:
        claim.close()


def _ended_early(chain: Chain, error: Exception, episode_log: structlog.stdlib.BoundLogger) -> Ended:
    """Record why the chain did not come to its end. Raises ClaimLostError where that is nobody's business any more."""
    work, claim = chain.work, chain.claim
    claim.check()
    with suppress(OSError):  # what cannot be removed now goes with the next attempt
        discard_unpublished(claim.scratch)
    if isinstance(error, (Cancelled, HandedOver)):
        ended: Ended = "handed_over" if isinstance(error, HandedOver) else "released"
        claim.end("released", {"at": time.time(), "reason": ended})
        episode_log.info(ended)
        return ended
    if isinstance(error, ClaimLostError):
        raise error
    known = attempts.as_episoded_error(error)
    if known.code == "internal":
        episode_log.exception("unexpected", exc_info=error)
    final = attempts.record_failure(work.control, claim.generation, error, chain.stage, work.policy)
    episode_log.error("failed", code=known.code, message=known.message, hint=known.hint, stage=chain.stage, final=final)
    return "failed" if final else "waiting"


class Chain:
    """One generation's pass over the stages of an episode."""

    def __init__(self, work: Work, claim: Claim, hooks: Hooks) -> None:
        self.work = work
        self.claim = claim
        self.hooks = hooks
        self.control = work.control
        self.stage: str | None = None
        self._artifacts: dict[str, Sequence[Artifact]] = {}

    def run(self) -> None:
        """Everything up to `ready`, then tidying up. Stages that are done are not run again."""
        self._check_stop()
        self._sweep()
        receipts.withdraw(self.control)
        episode = formats.by_name(self.work.format).load(self.work.root, self.work.episode_id, self.work.output)
        frames = finish.list_frames(episode)
        processors = {stage: stages.processor(stage) for stage in self.work.pipeline.stages}
        if not any(processor.applies(episode) for processor in processors.values()):
            raise _nothing_to_do(self.work)
        for stage, processor in processors.items():
            self.stage = stage
            self._run_stage(stage, processor, episode)
        self.stage = "ready"
        finish.make_ready(self.claim, self.work.pipeline, episode, frames, self._origin(processors, episode))
        self._tidy()

    def _sweep(self) -> None:
        """Remove what generations that died have left half-made, and make our own scratch."""
        for scratch in self.control.scratches():
            discard_unpublished(scratch)
        self.control.sweep()
        self.claim.scratch.mkdir(exist_ok=True)

    def _tidy(self) -> None:
        """Ready is ready, whatever is in the way of tidying up: the service tries that again at its next start."""
        try:
            finish.tidy(self.control, self.work.root, self.work.output)
        except OSError as error:
            log.warning("untidy", dataset=str(self.work.root), episode=self.work.episode_id, reason=str(error))

    def _run_stage(self, stage: str, processor: Processor, episode: Episode) -> None:
        if not processor.applies(episode):
            return
        units = processor.units(episode, self.work.pipeline.params[stage])
        record = checkpoint.read(checkpoint.stage_path(self.control, stage))
        if record is None or not self._fresh(record, processor, stage, units):
            if processor.needs.gpu and not self.work.devices:
                raise HandedOver
            self._supersede_after(stage)
            record = self._run_units(stage, processor, episode, units)
        self._artifacts[stage] = [_as_artifact(output, self.work.output) for output in record.outputs]

    def _run_units(self, stage: str, processor: Processor, episode: Episode, units: Sequence[Unit]) -> Record:
        records = [self._run_unit(stage, processor, episode, unit) for unit in units]
        return self._write(
            checkpoint.stage_path(self.control, stage),
            processor,
            inputs=_combined(unit.inputs for unit in records) or "",
            outputs=tuple(output for unit in records for output in unit.outputs),
            edits=tuple(edit for unit in records for edit in unit.edits),
            seconds=sum(unit.seconds for unit in records),
        )

    def _run_unit(self, stage: str, processor: Processor, episode: Episode, unit: Unit) -> Record:
        path = checkpoint.unit_path(self.control, stage, unit.name)
        record = checkpoint.read(path)
        if record and self._fresh(record, processor, stage, [unit]):
            return record
        if record:
            checkpoint.supersede(path, self.claim.generation)
        self._check_stop()
        digest = checkpoint.inputs_digest(unit.inputs)
        started = time.monotonic()
        parts = self._parts(processor, stage, unit, digest)
        results = processor.run(unit, self._context(stage, unit, episode, parts))
        if checkpoint.inputs_digest(unit.inputs) != digest:
            raise RetryableError(
                "inputs_changed",
                f"{stage} of {unit.name}: input files changed while they were being read",
                "the upload was not complete; the episode is tried again by itself",
            )
        outputs = tuple(self._publish(stage, result) for result in results if isinstance(result, Artifact))
        edits = tuple(self._edit(result) for result in results if isinstance(result, Edit))
        if any(self.work.output / edit in unit.inputs for edit in edits):
            digest = checkpoint.inputs_digest(unit.inputs)  # our own edit must not make it look stale
        seconds = round(time.monotonic() - started, 3)
        record = self._write(path, processor, inputs=digest or "", outputs=outputs, edits=edits, seconds=seconds)
        parts.discard()
        return record

    def _parts(self, processor: Processor, stage: str, unit: Unit, inputs: str | None) -> KeptParts:
        """What earlier generations have kept of this unit, made with the same version, settings and inputs."""
        params = checkpoint.params_digest(self.work.pipeline.params[stage])
        return KeptParts(self.claim, stage, unit.name, f"v{processor.version}-{params}-{inputs}")

    def _write(
        self,
        path: Path,
        processor: Processor,
        *,
        inputs: str,
        outputs: tuple[Output, ...],
        edits: tuple[str, ...],
        seconds: float,
    ) -> Record:
        """Publish the checkpoint of what was just done, if it is still ours to say so."""
        record = Record(
            gen=self.claim.generation,
            processor=processor.name,
            version=processor.version,
            params=checkpoint.params_digest(self.work.pipeline.params[processor.name]),
            inputs=inputs,
            outputs=outputs,
            edits=edits,
            seconds=seconds,
            at=time.time(),
        )
        self.claim.check()
        checkpoint.write(self.control, path, record)
        return record

    def _context(self, stage: str, unit: Unit, episode: Episode, parts: KeptParts) -> StageContext:
        scratch = self.claim.scratch / stage
        scratch.mkdir(exist_ok=True)
        return StageContext(
            episode=episode,
            scratch=scratch,
            params=self.work.pipeline.params[stage],
            log=log.bind(episode=episode.id, stage=stage, unit=unit.name),
            progress=lambda done, total: self.hooks.progress(stage, unit.name, done, total),
            cancelled=lambda: self.hooks.stop() > 1,
            earlier=self._artifacts,
            threads=self.work.threads,
            devices=self.work.devices,
            parts=parts,
        )

    def _publish(self, stage: str, artifact: Artifact) -> Output:
        self.claim.check()
        return publish_artifact(self.control, self.claim.generation, stage, artifact, self.work.output)

    def _edit(self, edit: Edit) -> str:
        apply_edit(self.work.output, edit)
        return str(edit.target)

    def _fresh(self, record: Record, processor: Processor, stage: str, units: Sequence[Unit]) -> bool:
        """Whether running the units would make again what the record lists.

        Inputs that are gone went after `ready`: they cannot have changed, and with other settings nothing could be made
        from them. A video that stands in for them is our own output: taking it for a new input would throw away what
        was measured on the frames.
        """
        own = {self.work.output / output.path for output in record.outputs}
        left = [unit.inputs for unit in units if not unit.inputs or not own.issuperset(unit.inputs)]
        digest = _combined(checkpoint.inputs_digest(inputs) for inputs in left) if len(left) == len(units) else None
        params = checkpoint.params_digest(self.work.pipeline.params[stage])
        return digest is None or (record.made_with(processor.version, params) and digest == record.inputs)

    def _origin(self, processors: Mapping[str, Processor], episode: Episode) -> Origin | None:
        """What the result may be known by at its destinations; None where nobody will ask.

        Of what the stages have read: inputs that are not those of the checkpoints any more say nothing of the outputs.
        """
        if not (self.work.pipeline.destinations and formats.by_name(self.work.format).standalone):
            return None
        origin = origin_of(episode, self.work.pipeline)
        for stage, record in checkpoint.read_all(self.control, origin or ()):
            units = processors[stage].units(episode, self.work.pipeline.params[stage])
            if not self._fresh(record, processors[stage], stage, units):
                raise RetryableError(
                    "inputs_changed",
                    f"{stage}: input files were replaced while the episode was being processed",
                    "the upload was not complete; the episode is tried again by itself",
                )
        return origin

    def _supersede_after(self, stage: str) -> None:
        """Take this stage's record and the later stages' out of force before the first unit runs.

        Before, not after: killed in between, a later stage would look fresh and keep what it made from the old outputs.
        """
        names = self.work.pipeline.stages
        later = names[names.index(stage) + 1 :]
        for name in reversed(later):
            checkpoint.supersede_stage(self.control, name, self.claim.generation)
        path = checkpoint.stage_path(self.control, stage)
        if path.exists():
            checkpoint.supersede(path, self.claim.generation)

    def _check_stop(self) -> None:
        if self.hooks.stop():
            raise Cancelled


def _nothing_to_do(work: Work) -> EpisodedError:
    """Ready without anything made of it would be a lie."""
    return EpisodedError(
        "nothing_to_do",
        f"no stage of the pipeline {work.pipeline.name!r} ({', '.join(work.pipeline.stages)}) is for episodes of the "
        f"layout {work.format!r}",
        "name another pipeline for this drop folder (DROID: metadata-only), then retry",
    )


def _combined(digests: Iterator[str | None]) -> str | None:
    """One digest for the inputs of all units; None when some are gone."""
    known = list(digests)
    return None if None in known else "-".join(str(digest) for digest in known)


def _as_artifact(output: Output, root: Path) -> Artifact:
    return Artifact(root / output.path, PurePosixPath(output.path), output.facts)
