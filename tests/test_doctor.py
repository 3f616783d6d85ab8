"""`episoded doctor`: each thing that can be wrong is found by looking, named, and comes with what mends it."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from commandline import configure, episoded
from episoded.daemon import doctor, gpus, service_file
from episoded.daemon.service_file import ServiceReport
from recordings import snapshot, tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from episoded.daemon.doctor import Finding


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


def findings(config: Path | None, about: str) -> list[Finding]:
    return [finding for finding in doctor.examine(config) if about in finding.what]


def problems(config: Path | None) -> Iterator[Finding]:
    return (finding for finding in doctor.examine(config) if finding.level != "ok")


class TestHealthy:
    def test_nothing_to_mend(self, tmp_path: Path, drop: Path) -> None:
        (tmp_path / "state").mkdir()
        done = episoded("doctor", config=configure(tmp_path, drop))
        assert done.code == 0, done.out
        for words in (
            "configuration: ",
            "state folder: ",
            f"drop folder {drop}: ",
            "encoder libx264: works",
            "clock: ",
        ):
            assert words in done.out, words

    def test_it_takes_back_what_it_tried(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "ds"), configure(tmp_path, drop)
        before = snapshot(root), sorted(drop.iterdir())
        assert episoded("doctor", config=chosen).code == 0
        assert (snapshot(root), sorted(drop.iterdir())) == before

    def test_json(self, tmp_path: Path, drop: Path) -> None:
        printed = episoded("doctor", "--json", config=configure(tmp_path, drop, tmp_path / "gone"))
        assert printed.code == 1
        levels = {finding["level"] for finding in printed.json["findings"]}
        assert levels >= {"ok", "fail"}
        assert all(finding["remedy"] for finding in printed.json["findings"] if finding["level"] != "ok")


class TestConfiguration:
    def test_every_mistake_is_named_and_the_machine_is_examined_all_the_same(self, tmp_path: Path) -> None:
        chosen = configure(tmp_path, more='[workers]\ncpus = 2\nattempts = "many"\n')
        done = episoded("doctor", config=chosen)
        assert done.code == 1
        assert "workers.cpus: there is no such key; did you mean 'cpu'?" in done.out
        assert "workers.attempts: expected a whole number" in done.out
        assert "encoder libx264: works" in done.out

    def test_none_is_worth_a_word(self) -> None:
        assert [finding.level for finding in findings(None, "configuration")] == ["warn"]

    def test_so_is_one_that_watches_nothing(self, tmp_path: Path) -> None:
        assert [finding.level for finding in findings(configure(tmp_path), "configuration")] == ["ok", "warn"]


class TestFolders:
    def test_a_drop_folder_that_is_not_there(self, tmp_path: Path) -> None:
        (finding,) = findings(configure(tmp_path, tmp_path / "gone"), "drop folder")
        assert (finding.level, finding.remedy) == ("fail", f"mkdir -p {tmp_path}/gone, or mount it")

    def test_a_drop_folder_that_cannot_be_written(
        self, tmp_path: Path, drop: Path, read_only: Callable[[Path], None]
    ) -> None:
        read_only(drop)
        (finding,) = findings(configure(tmp_path, drop), "drop folder")
        assert finding.level == "fail"
        assert "cannot be read and written by " in finding.found

    def test_it_need_not_be_written_where_there_is_an_output(
        self, tmp_path: Path, drop: Path, read_only: Callable[[Path], None]
    ) -> None:
        read_only(drop)
        chosen = configure(tmp_path, f"[[drop]]\npath = '{drop}'\noutput = '{tmp_path}/out'\n")
        assert {finding.level for finding in findings(chosen, "drop folder")} == {"ok"}

    def test_markers_of_an_uploader_in_a_folder_that_is_closed_to_us(
        self, tmp_path: Path, drop: Path, read_only: Callable[[Path], None]
    ) -> None:
        (drop / "ds" / ".episoded").mkdir(parents=True)
        read_only(drop / "ds" / ".episoded")
        failed = [finding for finding in findings(configure(tmp_path, drop), "drop folder") if finding.level == "fail"]
        assert [f"{drop}/ds/.episoded" in finding.found for finding in failed] == [True]

    def test_too_little_room(self, tmp_path: Path, drop: Path) -> None:
        chosen = configure(tmp_path, drop)
        low = chosen.read_text().replace("disk_low = 0\ndisk_high = 0", 'disk_low = "{low}"\ndisk_high = "900 TB"')
        chosen.write_text(low.format(low="900 TB"))
        assert findings(chosen, "drop folder")[-1].level == "fail"
        chosen.write_text(low.format(low="1 KB"))
        assert findings(chosen, "drop folder")[-1].level == "warn"

    def test_a_state_folder_that_cannot_be_made(
        self, tmp_path: Path, drop: Path, read_only: Callable[[Path], None]
    ) -> None:
        read_only(drop)
        (finding,) = findings(configure(tmp_path, state=drop / "state"), "state folder")
        assert (finding.level, "cannot be made" in finding.found) == ("fail", True)


class TestMachine:
    def test_an_encoder_that_does_not_work_here(self, tmp_path: Path) -> None:
        chosen = configure(tmp_path, more='[pipelines.default.encode]\nhardware = "h264_qsv"\n')
        software, hardware = findings(chosen, "encoder")
        assert (software.what, software.level) == ("encoder libx264", "ok")
        if hardware.level == "ok":
            pytest.skip("this machine has the hardware that the test wants to miss")
        assert (hardware.what, hardware.level) == ("encoder h264_qsv", "warn")

    def test_every_codec_of_every_pipeline_is_tried(self, tmp_path: Path) -> None:
        more = '[pipelines.a.encode]\ncodec = "libx265"\n[pipelines.b.encode]\nprofile = "lerobot"\n'
        tried = {finding.what for finding in findings(configure(tmp_path, more=more), "encoder")}
        assert tried == {"encoder libx264", "encoder libx265", "encoder libsvtav1"}

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gets the real-time priority that this warns about")
    def test_svt_av1_run_by_root(self, tmp_path: Path) -> None:
        chosen = configure(tmp_path, more='[pipelines.default.encode]\nprofile = "lerobot"\n')
        assert [finding.level for finding in findings(chosen, "real-time")] == ["warn"]
        assert findings(configure(tmp_path), "real-time") == []

    def test_more_workers_than_memory(self, tmp_path: Path) -> None:
        (finding,) = findings(configure(tmp_path, more="[workers]\ncpu = 100000\n"), "memory")
        assert (finding.level, finding.remedy) == ("warn", "lower [workers] cpu")

    def test_files_from_the_future(self, tmp_path: Path, drop: Path) -> None:
        info = tiny(drop / "ds") / "meta" / "info.json"
        os.utime(info, (time.time() + 86400, time.time() + 86400))
        (finding,) = findings(configure(tmp_path, drop), "clock")
        assert (finding.level, str(info) in finding.found) == ("warn", True)


class TestService:
    def test_one_that_runs_with_another_configuration(self, tmp_path: Path, drop: Path) -> None:
        chosen = configure(tmp_path, drop)
        with service_file.only_one(tmp_path / "state"):
            report = ServiceReport(pid=os.getpid(), version="1", since=0.0, config="/other.toml")
            service_file.tell(tmp_path / "state", report)
            found = findings(chosen, "service")
        assert [finding.level for finding in found] == ["ok", "warn"]
        assert "it reads /other.toml" in found[1].found

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs a process of another user")
    def test_one_that_is_another_user(self, tmp_path: Path, drop: Path) -> None:
        with (
            service_file.only_one(tmp_path / "state"),
            subprocess.Popen(["sleep", "1000"], user=65534) as other,
        ):
            service_file.tell(
                tmp_path / "state", ServiceReport(pid=other.pid, version="1", since=0.0, config="/c.toml")
            )
            (finding,) = findings(configure(tmp_path, drop), "permissions")
            other.kill()
        assert finding.level == "warn"
        assert "episoded doctor" in finding.remedy


def test_no_finding_is_left_without_a_remedy(tmp_path: Path, drop: Path) -> None:
    info = tiny(drop / "ds") / "meta" / "info.json"
    os.utime(info, (time.time() + 86400, time.time() + 86400))
    chosen = configure(tmp_path, drop, tmp_path / "gone", more='[pipelines.a.encode]\nprofile = "lerobot"\nwrong = 1\n')
    found = list(problems(chosen))
    assert found
    assert all(finding.remedy for finding in found)


class TestDepth:
    """What the depth stage needs is looked for where a drop folder has it in its pipeline, and nowhere else."""

    def config(self, tmp_path: Path, drop: Path, more: str = "") -> Path:
        path = configure(tmp_path)
        path.write_text(f'{path.read_text()}\n[[drop]]\npath = "{drop}"\npipeline = "depth"\n{more}')
        return path

    @pytest.fixture(autouse=True)
    def no_driver(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Programs are found but for nvidia-smi, whatever this machine has."""
        monkeypatch.setenv("PATH", "/nowhere")
        gpus.installed.cache_clear()
        yield
        gpus.installed.cache_clear()

    def test_nothing_is_asked_for_where_no_drop_folder_has_depth(self, tmp_path: Path, drop: Path) -> None:
        chosen = configure(tmp_path, drop)
        assert [finding.level for finding in findings(chosen, "GPU")] == ["ok"]
        assert findings(chosen, "torch") == findings(chosen, "depth model") == []

    def test_no_gpu_is_a_warning_or_a_failure(self, tmp_path: Path, drop: Path) -> None:
        (finding,) = findings(self.config(tmp_path, drop), "GPU")
        assert (finding.level, "no driver shows one" in finding.found) == ("warn", True)
        (finding,) = findings(self.config(tmp_path, drop, '[workers]\nwithout_gpu = "wait"\n'), "GPU")
        assert finding.level == "fail"

    def test_weights_that_are_not_there(self, tmp_path: Path, drop: Path) -> None:
        setting = f'[pipelines.depth.depth]\nweights = "{tmp_path / "vits.pth"}"\n'
        (finding,) = findings(self.config(tmp_path, drop, setting), "depth model")
        assert (finding.level, "hf download" in finding.remedy) == ("fail", True)
        (tmp_path / "vits.pth").touch()
        (finding,) = findings(self.config(tmp_path, drop, setting), "depth model")
        assert finding.level == "ok"

    def test_the_library_is_really_imported(self, tmp_path: Path, drop: Path) -> None:
        (finding,) = findings(self.config(tmp_path, drop), "torch")
        assert (finding.level, finding.found[0].isdigit()) == ("ok", True)
