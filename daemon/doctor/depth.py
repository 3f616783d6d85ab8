"""GPUs, and what the depth stage needs on them: a torch that can use them, and the models."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from ..gpus import choose, installed, needs_gpu
from .finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config, Pipeline

_TORCH: Final = "import torch; print(torch.__version__, torch.cuda.device_count() if torch.cuda.is_available() else 0)"
_IMPORTING_TAKES_S: Final = 120.0


def gpus(config: Config) -> Iterator[Finding]:
    """Which GPUs the driver shows and which are ours; and whether torch can use them where a drop folder needs them."""
    names = sorted({drop.pipeline for drop in config.drops if needs_gpu(config.pipelines[drop.pipeline])})
    found = installed()
    ours = choose(config.workers.gpus, found, os.environ)
    if not found:
        if not names:
            yield Finding("ok", "GPU", "no driver shows one; no drop folder needs one")
        else:
            yield _without_gpu(config, names)
    else:
        words = "; ".join(f"{gpu.index}: {gpu.name}, {gpu.memory_mib} MiB" for gpu in ours) or "none is for the workers"
        hidden = len(found) - len(ours)
        rest = f" ({hidden} more, kept back by [workers] gpus or CUDA_VISIBLE_DEVICES)" if hidden else ""
        yield Finding("ok", "GPU", words + rest)
    if names:
        yield from _torch(len(ours), names)
        for name in names:
            yield from _model(config.pipelines[name])


def _without_gpu(config: Config, names: list[str]) -> Finding:
    used = f"pipeline {', '.join(names)} has a stage that needs one"
    if config.workers.without_gpu == "wait":
        remedy = 'episodes wait before that stage: check the driver (nvidia-smi), or set [workers] without_gpu = "cpu"'
        return Finding("fail", "GPU", f"no driver shows one, and {used}", remedy)
    return Finding(
        "warn",
        "GPU",
        f"no driver shows one, and {used}",
        "the CPU does it, slowly; nvidia-smi tells why no GPU is seen",
    )


def _torch(count: int, names: list[str]) -> Iterator[Finding]:
    """In a process of its own: it takes seconds to import, and a broken driver can take its process with it."""
    try:
        command = [sys.executable, "-P", "-c", _TORCH]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORTING_TAKES_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("fail", "torch", f"for {', '.join(names)}: {error}", "pip install --force-reinstall torch")
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding("fail", "torch", f"for {', '.join(names)}: {last}", "pip install 'episoded[depth]'")
        return
    version, usable = done.stdout.split()
    if count and not int(usable):
        remedy = "install a build of torch for the driver of this machine: pytorch.org/get-started"
        yield Finding("fail", "torch", f"{version} cannot use the GPU that the driver shows", remedy)
    else:
        yield Finding("ok", "torch", f"{version}, {usable} GPUs usable" if count else version)


def _model(pipeline: Pipeline) -> Iterator[Finding]:
    """Whether the weights of the pipeline's video model are here. Downloads nothing."""
    params = pipeline.params.get("depth")
    if params is None or "video" not in params.ways:
        return
    from episoded.processors.depth import weights

    wanted = weights.checkpoint(params.model)
    what, remedy = f"depth model {wanted.name}", weights.remedy_for(wanted)
    if params.weights is not None:
        there = params.weights.is_file()
        words = f"{params.weights}{'' if there else ' is not there'}, for {pipeline.name}"
        yield Finding("ok" if there else "fail", what, words, "" if there else remedy)
        return
    try:
        import huggingface_hub as hub
    except ImportError:
        yield Finding("fail", what, "huggingface_hub is not installed", "pip install 'episoded[depth]'")
        return
    cached = hub.try_to_load_from_cache(wanted.repo, wanted.file)
    if isinstance(cached, str):
        yield Finding("ok", what, f"{cached}, for {pipeline.name}")
    elif hub.constants.HF_HUB_OFFLINE:
        yield Finding("fail", what, f"not in the cache, and HF_HUB_OFFLINE is set, for {pipeline.name}", remedy)
    else:
        yield Finding("warn", what, f"not here yet: the first episode of {pipeline.name} downloads it", remedy)
