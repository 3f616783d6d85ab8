"""GPUs: which are ours, who gets which, and what happens where there are none."""

from pathlib import Path

import pytest

from commandline import configure, episoded
from episoded.daemon import gpus
from episoded.daemon.chain import Work
from episoded.daemon.config import Config
from episoded.daemon.control import ControlDir, read_json
from episoded.daemon.gpus import Gpu, Gpus, Room
from episoded.daemon.jobs import Job
from episoded.daemon.supervisor import Supervisor
from recordings import tiny

TWO = (Gpu("0", "GPU-aa11", "NVIDIA H100", 81559), Gpu("1", "GPU-bb22", "NVIDIA H100", 81559))
DEPTH = {"pipelines": {"default": {"stages": ["encode", "metadata", "depth"]}}}


def configured(**workers: object) -> Config:
    return Config.model_validate(DEPTH | {"workers": workers})


def ours(**workers: object) -> Gpus:
    config = configured(**workers)
    return Gpus.of(config.workers, config.pipelines.values())


def job(root: Path, devices: tuple[str, ...]) -> Job:
    return Job(
        "work", Work(root, root, "episode_000000", "lerobot", configured().pipelines["default"], devices=devices)
    )


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that lists two GPUs, as a program on the PATH."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = "\n".join(f"{gpu.index}, {gpu.uuid}, {gpu.name}, {gpu.memory_mib}" for gpu in TWO)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    gpus.installed.cache_clear()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    gpus.installed.cache_clear()


@pytest.fixture(autouse=True)
def asked_anew() -> object:
    yield
    gpus.installed.cache_clear()


@pytest.mark.parametrize(
    ("wanted", "visible", "chosen"),
    [
        ("auto", None, "01"),
        (0, None, ""),
        ((1,), None, "1"),
        (("GPU-bb",), None, "1"),
        ((1, 0), None, "10"),
        ("auto", "1", "1"),
        ("auto", "1,0", "10"),
        ("auto", "GPU-bb22", "1"),
        ("auto", "", ""),
        ("auto", "-1", ""),
        ("auto", "0,7,1", "0"),  # as CUDA reads it: what follows an unknown one does not count
        ((0,), "1", ""),
        ((0, 1), "1", "1"),
    ],
)
def test_which_are_ours(wanted: object, visible: str | None, chosen: str) -> None:
    environment = {} if visible is None else {gpus.VISIBLE: visible}
    assert "".join(gpu.index for gpu in gpus.choose(wanted, TWO, environment)) == chosen  # type: ignore[arg-type]


@pytest.mark.usefixtures("two_gpus")
class TestWithGpus:
    def test_the_driver_is_asked(self) -> None:
        assert gpus.installed() == TWO
        assert ours().devices == ("cuda:0", "cuda:1")

    def test_nobody_is_asked_where_no_pipeline_needs_one(self) -> None:
        found = Gpus.of(Config().workers, [Config().pipelines["default"]])
        assert (found.ids, found.in_words) == ((), "")

    def test_workers_see_the_chosen_ones_and_the_others_none(self) -> None:
        found = ours(gpus=[1])
        assert found.environment(gpu=True)[gpus.VISIBLE] == "1"
        assert found.environment(gpu=False)[gpus.VISIBLE] == ""
        assert found.devices == ("cuda:0",)

    def test_a_stage_that_needs_one_is_for_them_alone(self) -> None:
        found, pipeline = ours(), configured().pipelines["default"]
        assert not found.wanted_by(pipeline, set())
        assert not found.wanted_by(pipeline, {"encode"})
        assert found.wanted_by(pipeline, {"encode", "metadata"})
        assert not found.wanted_by(pipeline, {"encode", "metadata", "depth"})
        assert found.without(pipeline) == ()

    def test_each_belongs_to_one_job(self, tmp_path: Path) -> None:
        found = ours()
        assert found.free([job(tmp_path, ("cuda:1",))]) == ("cuda:0",)
        assert found.free([job(tmp_path, ("cuda:0", "cuda:1"))]) == ()
        assert found.free([job(tmp_path, ("cpu",)), job(tmp_path, ())]) == ("cuda:0", "cuda:1")

    def test_or_to_as_many_as_it_has_workers(self, tmp_path: Path) -> None:
        found = ours(per_gpu=2)
        assert found.free([]) == ("cuda:0", "cuda:1", "cuda:0", "cuda:1"), "a second job on one once all have a first"
        assert found.free([job(tmp_path, ("cuda:0",))]) == ("cuda:0", "cuda:1", "cuda:1")
        assert found.free([job(tmp_path, ("cuda:0", "cuda:1")), job(tmp_path, ("cuda:1",))]) == ("cuda:0",)
        assert found.in_words == "2 for the stages that need one (number 0, 1, 2 workers on each)"


@pytest.mark.usefixtures("no_gpu")
class TestWithout:
    def test_the_cpu_does_it_and_says_so(self) -> None:
        config, found = configured(), ours()
        assert found.without(config.pipelines["default"]) == ("cpu",)
        assert not found.wanted_by(config.pipelines["default"], {"encode", "metadata"})
        assert found.in_words == "none: stages that need one run on the CPU, slowly"

    def test_or_it_waits(self) -> None:
        config, found = configured(), ours(without_gpu="wait")
        assert found.without(config.pipelines["default"]) == ()
        assert found.wanted_by(config.pipelines["default"], {"encode", "metadata"})
        assert found.in_words == "none: stages that need one wait"


def test_a_lone_episode_gets_all_a_backlog_one_each() -> None:
    for jobs, shares in ((1, [("a", "b", "c")]), (2, [("a", "c"), ("b",)]), (5, [("a",), ("b",), ("c",)])):
        room = Room(0, ("a", "b", "c"))
        taken = [room.takes(gpu=True) for _ in range(jobs)]
        assert sum(taken) == min(jobs, 3)
        assert room.shares() == shares


def test_no_job_gets_a_gpu_twice() -> None:
    for jobs, shares in ((1, [("a", "b")]), (2, [("a",), ("b",)]), (4, [("a",), ("b",), ("a",), ("b",)])):
        room = Room(0, ("a", "b", "a", "b"))
        assert sum(room.takes(gpu=True) for _ in range(jobs)) == jobs
        assert room.shares() == shares


def test_workers_and_gpus_do_not_take_each_others_places() -> None:
    room = Room(1, ("a",))
    assert [room.takes(gpu=gpu) for gpu in (False, False, True, True)] == [True, False, True, False]


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@pytest.mark.usefixtures("two_gpus")
class TestWorkers:
    def test_a_job_with_a_gpu_has_a_worker_that_sees_it(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "data", episodes=2)
        supervisor = Supervisor(configured(cpu=1, gpus=[1]), gpus=ours(gpus=[1]))
        try:
            assert [slot.name for slot in supervisor.slots] == ["cpu0", "gpu0"]
            assert supervisor.assign(job(root, ("cuda:0",)))
            assert not supervisor.assign(job(root, ("cuda:0",))), "its worker is busy, and no other one has a GPU"
            assert supervisor.assign(job(root, ()))
            seen = {}
            for slot in supervisor.slots:
                assert slot.process is not None
                seen[slot.name] = environment_of(slot.process.pid)[gpus.VISIBLE]
            assert seen == {"cpu0": "", "gpu0": "1"}
        finally:
            supervisor.close(0)

    def test_jobs_share_a_gpu_where_it_has_workers_for_them(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "data", episodes=3)
        supervisor = Supervisor(configured(cpu=1, gpus=[1], per_gpu=2), gpus=ours(gpus=[1], per_gpu=2))
        try:
            assert [supervisor.assign(job(root, ("cuda:0",))) for _ in range(3)] == [True, True, False]
            pids = {slot.process.pid for slot in supervisor.slots if slot.process}
            assert [environment_of(pid)[gpus.VISIBLE] for pid in pids] == ["1", "1"]
        finally:
            supervisor.close(0)

    def test_the_chain_is_handed_over_to_the_worker_with_the_gpu(self, tmp_path: Path) -> None:
        """A driver without a GPU behind it, and a torch for CPUs: the words for that, and nothing done is lost."""
        root = tiny(tmp_path / "data", frames=4)
        config = configure(tmp_path, more='[pipelines.default]\nstages = ["encode", "metadata", "depth"]\n')
        with config.open("a") as file:
            file.write(f'[pipelines.default.depth]\nweights = "{tmp_path / "vits.pth"}"\n')
        done = episoded("process", root, config=config)
        assert done.code == 1
        assert "gpu_unusable" in done.out
        control = ControlDir.of(root, "episode_000000")
        assert control.markers().stages_done == {"encode", "metadata"}
        assert read_json(control.outcome(1, "released")) is not None
        assert [control.outcome(2, kind).exists() for kind in ("failed", "released")] == [True, False]


@pytest.mark.usefixtures("no_gpu")
def test_a_batch_that_shall_wait_for_a_gpu_says_so_and_ends(tmp_path: Path) -> None:
    root = tiny(tmp_path / "data", frames=4)
    pipeline = '[pipelines.default]\nstages = ["encode", "metadata", "depth"]\n[workers]\nwithout_gpu = "wait"\n'
    done = episoded("process", root, config=configure(tmp_path, more=pipeline))
    assert done.code == 1
    assert "its next stage needs a GPU" in done.out
    assert ControlDir.of(root, "episode_000000").markers().stages_done == {"encode", "metadata"}
