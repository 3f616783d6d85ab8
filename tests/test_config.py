"""config.toml: the commented default, and every mistake named with its key, all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commandline import episoded
from episoded.daemon import config
from episoded.daemon.config import Config, DropConfig, GuardConfig, Pipeline, ServiceConfig, WorkersConfig
from episoded.daemon.errors import ConfigError, UsageError
from episoded.daemon.publisher.settings import known_keys as destination_keys
from episoded.daemon.stages import STAGES, params_model
from episoded.processors.encode.params import EncodeParams

REPOSITORY = Path(__file__).parent.parent
COMMENTED = REPOSITORY / "config.toml"
TABLES = {
    "service": ServiceConfig,
    "workers": WorkersConfig,
    "guard": GuardConfig,
    "drop": DropConfig,
    "pipelines.default": Pipeline,
    **{f"pipelines.default.{stage}": params_model(stage) for stage in ("encode", "metadata")},
    **{f"pipelines.metadata-only.{stage}": params_model(stage) for stage in STAGES if stage == "tracks"},
    "pipelines.depth.depth": params_model("depth"),
}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.hint
    return [line.removeprefix(f"{path}: ") for line in caught.value.message.splitlines()]


class TestTheCommentedDefault:
    def test_says_what_applies_without_it(self) -> None:
        shipped, built_in = config.load(COMMENTED), config.load(None)
        assert (shipped.service, shipped.workers, shipped.guard) == (
            built_in.service,
            built_in.workers,
            built_in.guard,
        )
        assert shipped.pipelines == built_in.pipelines
        (drop,) = shipped.drops
        assert drop == DropConfig(path=drop.path)

    @pytest.mark.parametrize(("table", "model"), TABLES.items(), ids=TABLES)
    def test_shows_every_key(self, table: str, model: type) -> None:
        sections = re.split(r"^(?:# )?\[+([\w.-]+)\]+$", COMMENTED.read_text(), flags=re.MULTILINE)
        body = dict(zip(sections[1::2], sections[2::2], strict=True))[table]
        shown = set(re.findall(r"^(?:# )?(\w+) = ", body, flags=re.MULTILINE))
        assert shown == set(model.model_fields) - {"name", "params", "source"}

    @pytest.mark.parametrize(("table", "model"), TABLES.items(), ids=TABLES)
    def test_every_key_is_in_the_documentation(self, table: str, model: type) -> None:
        page = (REPOSITORY / "docs" / "configuration.md").read_text()
        for key in set(model.model_fields) - {"name", "params", "source"}:
            assert f"`{key}`" in page, f"{table}.{key}"

    def test_every_key_of_a_destination_is_documented(self) -> None:
        page = (REPOSITORY / "docs" / "configuration.md").read_text()
        assert [key for key in destination_keys() if f"`{key}`" not in page] == []
        assert [key for key in destination_keys() if not re.search(rf"^# {key} = ", COMMENTED.read_text(), re.M)] == []

    def test_a_setting_that_is_written_out_is_the_same_setting(self, tmp_path: Path) -> None:
        spelled = written(tmp_path, '[pipelines.default.encode]\nprofile = "training"\n')
        assert config.load(spelled).pipelines == config.load(None).pipelines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[service]\nstate_dirr = '/x'", "service.state_dirr: there is no such key; did you mean 'state_dir'?"),
        ("[pipelines.a.encode]\nproflie = 'brief'", "pipelines.a.encode.proflie: there is no such key; did you mean"),
        ("xyzzy = 1", "xyzzy: there is no such key"),
        ("[service]\nrescan_s = 'fast'", "service.rescan_s: expected a number (found 'fast')"),
        ("[service]\nrescan_s = 0", "service.rescan_s: must be greater than 0 (found 0)"),
        ("[workers]\ncpu = 0", 'workers.cpu: expected "auto" or a whole number from 1 on (found 0)'),
        ("[workers]\ncpu = 'all'", "workers.cpu: expected \"auto\" or a whole number from 1 on (found 'all')"),
        ("[workers]\nattempts = 2.5", "workers.attempts: expected a whole number (found 2.5)"),
        ("[guard]\ndisk_low = '20 QB'", 'guard.disk_low: expected a size such as "20 GB"'),
        ("[guard]\ndisk_low = '20 GB'\ndisk_high = '2 GB'", "guard: disk_high must not be below disk_low"),
        ("[[drop]]\npipeline = 'default'", "drop.1.path: is missing"),
        ("[[drop]]\npath = 'here'", "drop.1.path: expected an absolute path"),
        ("[[drop]]\npath = 3", "drop.1.path: expected a path in quotes (found 3)"),
        ("[[drop]]\npath = '/a'\ncomplete = 'done'", "drop.1.complete: must be 'marker', 'rename' or 'quiet'"),
        ("[drop]\npath = '/a'", "drop: expected tables in double brackets, such as [[drop]]"),
        ("service = 3", "service: expected a table with keys of its own (found 3)"),
        ("pipelines = 3", "pipelines: expected a table with keys of its own (found 3)"),
        ("[pipelines]\nfast = 3", "pipelines.fast: expected a table with keys of its own (found 3)"),
        ("[[drop]]\npath = '/a'\npipeline = 'fast'", "drop.1.pipeline: there is no pipeline 'fast'; there are default"),
        ("[pipelines.a]\nstages = ['encode', 'fly']", "pipelines.a.stages: there is no stage 'fly'; there are encode"),
        ("[pipelines.a]\nstages = 'encode'", "pipelines.a.stages: expected a list of stage names, in order"),
        ("[pipelines.a]\nstages = ['encode', 'encode']", "pipelines.a.stages: each stage at most once"),
        ("[pipelines.a]\nstages = ['encode']\n[pipelines.a.metadata]", "pipelines.a.metadata: settings for a stage"),
        ("[pipelines.a.encode]\ncrf = 60", "pipelines.a.encode: crf 60 is out of range: libx264 takes 0 (best) to 51"),
        ("[pipelines.a.encode]\npreset = 'warp'", "pipelines.a.encode: preset 'warp' is none of libx264's: ultrafast,"),
        ("[[drop]]\npath = '/a'\n[[drop]]\npath = '/a/b'", "drop: /a/b lies inside /a"),
        ("[[drop]]\npath = '/a'\n[[drop]]\npath = '/a'", "drop: /a lies inside /a"),
        ("[[drop]]\npath = '/a'\noutput = '/a/out'", "drop: /a/out lies inside /a"),
        (
            "[destinations.a]\nkind = 'fax'",
            "destinations.a.kind: there is no kind 'fax'; there are hug",
        ),
        ("[destinations.a]\nkind = 'folder'", "destinations.a.path: is missing"),
        ("[destinations.a]\nkind = 'huggingface'\nrepo = 'me'", "destinations.a.repo: expected OWNER/NAME"),
        (
            "[destinations.a]\nkind = 'folder'\npath = '/x'\nintervall_s = 3",
            "destinations.a.intervall_s: there is",
        ),
        ("[destinations.'A.b']\nkind = 'folder'\npath = '/x'", "destinations.A.b: its name may hold a-z"),
        ("[pipelines.a]\ndestinations = ['b']", "pipelines.a.destinations: there is no destination 'b'; there is no"),
        ("[pipelines.a]\nremove_inputs = 'after_published'", 'pipelines.a.remove_inputs: "after_published" needs'),
        (
            "[[drop]]\npath = '/a'\n[destinations.d]\nkind = 'folder'\npath = '/a/x'",
            "destinations.d.path: lies inside",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, expected: str) -> None:
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith(expected)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = """
        colour = "red"
        [service]
        rescan_s = "fast"
        [guard]
        disk_low = "much"
        [[drop]]
        path = "here"
        pipeline = "quick"
        [[drop]]
        path = "/data"
        [[drop]]
        path = "/data/inner"
        [pipelines.full.encode]
        crf = 60
        odd_dimensions = "shrink"
        [pipelines.bad]
        stages = ["fly"]
    """
    found = mistakes(tmp_path, text)
    for key in (
        "colour",
        "service.rescan_s",
        "guard.disk_low",
        "drop.1.path",
        "drop.1.pipeline",
        "drop",
        "pipelines.full.encode.odd_dimensions",
        "pipelines.bad.stages",
    ):
        assert sum(line.startswith(f"{key}: ") for line in found) == 1, (key, found)
    assert len(found) == 8


def test_a_built_in_pipeline_with_stages_of_ones_own_loses_the_settings_of_the_others(tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, "[pipelines.full]\nstages = ['encode', 'metadata']"))
    assert loaded.pipelines["full"].stages == ("encode", "metadata")
    assert set(loaded.pipelines["full"].params) == {"encode", "metadata"}


def test_a_setting_of_a_built_in_stage_leaves_its_others_as_they_are(tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, "[pipelines.full.depth]\npreview = false"))
    depth = loaded.pipelines["full"].params["depth"]
    assert (depth.ways, depth.preview) == (("stereo", "video", "none"), False)
    loaded = config.load(written(tmp_path, "[pipelines.full.depth]\nways = ['video']"))
    assert loaded.pipelines["full"].params["depth"].ways == ("video",)


def test_the_pipelines_that_there_are_are_named_once(tmp_path: Path) -> None:
    text = "[guard]\ndisk_low = 'much'\n[pipelines.full.encode]\ncrf = 20\n[[drop]]\npath = '/data'\npipeline = 'quick'"
    (line,) = [line for line in mistakes(tmp_path, text) if line.startswith("drop.1.pipeline")]
    assert line.endswith("there are default, metadata-only, depth, full")


def test_folders_that_are_nested_by_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    (mistake,) = mistakes(tmp_path, f"[[drop]]\npath = '{tmp_path}/real'\n[[drop]]\npath = '{tmp_path}/link'")
    assert mistake.startswith(f"drop: {tmp_path}/link lies inside {tmp_path}/real")


def test_wrong_syntax_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "[service]\nlog_level = info\n")
    with pytest.raises(ConfigError, match=r"config\.toml: .*line 2"):
        config.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/none.toml: No such file") as caught:
        config.load(tmp_path / "none.toml")
    assert "config.toml" in caught.value.hint


@pytest.mark.parametrize("command", [("run",), ("status",), ("process", "/nowhere"), ("wait", "/nowhere")])
def test_every_command_refuses_a_wrong_file_with_78(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = episoded(*command, config=written(tmp_path, "[service]\nrescan = 1\n[guard]\ndisk_low = 'x'\n"))
    assert done.code == 78
    assert "service.rescan: there is no such key; did you mean 'rescan_s'?" in done.err
    assert "guard.disk_low: expected a size" in done.err
    assert "what to do: " in done.err


@pytest.mark.parametrize(
    ("text", "size"), [('"20 GB"', 20 * 10**9), ('"512 MiB"', 512 << 20), ('"1.5kb"', 1500), ("7", 7), ('"7"', 7)]
)
def test_sizes_are_read_as_people_write_them(tmp_path: Path, text: str, size: int) -> None:
    assert config.load(written(tmp_path, f"[guard]\nmemory_low = {text}\n")).guard.memory_low == size


class TestWhereItIsFound:
    def test_the_option_goes_before_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(config.ENVIRONMENT, "/from/environment.toml")
        assert config.find(tmp_path / "option.toml") == tmp_path / "option.toml"
        assert config.find() == Path("/from/environment.toml")

    def test_without_either_it_is_the_one_of_the_system_or_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(config.ENVIRONMENT, raising=False)
        assert config.find() == (config.SYSTEM_CONFIG if config.SYSTEM_CONFIG.exists() else None)

    @pytest.mark.parametrize("place", ["before", "after"])
    def test_the_option_may_stand_before_and_after_the_command(self, tmp_path: Path, place: str) -> None:
        state = f"[service]\nstate_dir = '{tmp_path}/here'\n"
        option = ("--config", str(written(tmp_path, state)))
        args = (*option, "status", "--json") if place == "before" else ("status", "--json", *option)
        assert episoded(*args).json["service"]["state_dir"] == f"{tmp_path}/here"


class TestSettingsForOneCall:
    def test_only_what_is_named_changes(self) -> None:
        base = Config.model_validate({"pipelines": {"default": {"encode": {"crf": 20, "min_psnr_db": 30}}}})
        changed = config.with_stage_settings(base, "default", "encode", {"gop": 10})
        assert changed.pipelines["default"].params["encode"] == EncodeParams(crf=20, min_psnr_db=30, gop=10)
        assert base.pipelines["default"].params["encode"] == EncodeParams(crf=20, min_psnr_db=30)

    def test_a_wrong_value_is_a_wrong_command_line(self) -> None:
        with pytest.raises(UsageError, match="crf 60 is out of range"):
            config.with_stage_settings(Config(), "default", "encode", {"crf": 60})

    def test_so_is_a_stage_that_the_pipeline_does_not_have(self) -> None:
        base = Config.model_validate({"pipelines": {"lean": {"stages": ["metadata"]}}})
        with pytest.raises(UsageError, match="'lean' has no stage 'encode'"):
            config.with_stage_settings(base, "lean", "encode", {"crf": 20})
