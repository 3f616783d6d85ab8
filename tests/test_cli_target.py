"""PATH on a command line: what it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from commandline import configure
from episoded.daemon import config, target
from episoded.daemon.errors import UnknownTargetError, UsageError
from recordings import tiny

if TYPE_CHECKING:
    from episoded.daemon.config import Config


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


@pytest.fixture
def root(drop: Path) -> Path:
    return tiny(drop / "ds", episodes=2)


@pytest.fixture
def chosen(tmp_path: Path, drop: Path) -> Config:
    table = f"[[drop]]\npath = '{drop}'\noutput = '{tmp_path}/out'\npipeline = 'lean'\n"
    return config.load(configure(tmp_path, table, more="[pipelines.lean]\nstages = ['metadata']\n"))


@pytest.mark.parametrize(
    "inside",
    [
        "episode_000001",
        ".episoded/episode_000001",
        ".episoded/episode_000001/encode.done",
        "data/chunk-000/episode_000001.parquet",
        "videos/chunk-000/observation.images.top/episode_000001.mp4",
        "images/observation.images.top/episode_000001",
        "images/observation.images.top/episode_000001/frame_000002.png",
        "images/observation.images.top/episode-000001",
    ],
)
def test_every_way_to_name_an_episode(root: Path, chosen: Config, inside: str) -> None:
    found = target.find(root / inside, chosen)
    assert (found.root, found.episode) == (root, "episode_000001")
    (dataset,) = found.view().datasets
    assert [episode.id for episode in dataset.episodes] == ["episode_000001"]


def test_a_dataset_of_a_drop_folder_has_its_pipeline_and_output(tmp_path: Path, root: Path, chosen: Config) -> None:
    found = target.find(root, chosen)
    assert (found.configured, found.episode, found.drop.pipeline) == (True, None, "lean")
    assert [dataset.output for dataset in found.view().datasets] == [tmp_path / "out" / "ds"]


def test_the_output_of_a_dataset_stands_for_the_dataset(tmp_path: Path, root: Path, chosen: Config) -> None:
    assert target.find(tmp_path / "out" / "ds", chosen).root == root
    assert target.find(tmp_path / "out" / "ds" / "episode_000001", chosen).episode == "episode_000001"


def test_relative_paths_and_links_lead_to_the_same(
    tmp_path: Path, root: Path, chosen: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short").symlink_to(root.parent)
    monkeypatch.chdir(root.parent)
    assert target.find(Path("ds/episode_000001"), chosen).root == root
    assert target.find(tmp_path / "short" / "ds", chosen).root == root


def test_a_folder_stands_for_the_datasets_in_it(drop: Path, root: Path, chosen: Config) -> None:
    inner = tiny(drop / "owner" / "ds2")
    assert [dataset.root for dataset in target.find(drop, chosen).view().datasets] == [root, inner]
    assert [dataset.root for dataset in target.find(drop / "owner", chosen).view().datasets] == [inner]


def test_elsewhere_it_is_finished_in_place_by_the_default_pipeline(tmp_path: Path, chosen: Config) -> None:
    root = tiny(tmp_path / "elsewhere" / "ds")
    found = target.find(root, chosen)
    assert (found.configured, found.drop.pipeline, found.drop.output) == (False, "default", None)
    assert [dataset.output for dataset in found.view().datasets] == [root]


@pytest.mark.parametrize("hidden", ["a/b/c/ds", ".trash/ds", "ds.part"])
def test_what_no_scan_finds_belongs_to_no_drop_folder(drop: Path, chosen: Config, hidden: str) -> None:
    assert not target.find(tiny(drop / hidden), chosen).configured


def test_pipeline_and_output_can_be_overridden(tmp_path: Path, root: Path, chosen: Config) -> None:
    found = target.find(root, chosen, pipeline="default", output=tmp_path / "there")
    assert (found.drop.pipeline, found.drop.output) == ("default", tmp_path / "there")
    with pytest.raises(UsageError, match="no pipeline 'quick'; there are default, metadata-only, depth, full, lean"):
        target.find(root, chosen, pipeline="quick")
    with pytest.raises(UsageError, match="lies inside"):
        target.find(root, chosen, output=root / "out")


class TestUnknown:
    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("nothing", "there is no such dataset or episode"),
            ("ds/episode_000009", "no episode of"),
            ("ds/meta", "no episode of"),
            ("notes", "no dataset here"),
        ],
    )
    @pytest.mark.usefixtures("root")
    def test_it_is_said(self, drop: Path, chosen: Config, path: str, words: str) -> None:
        (drop / "notes").mkdir()
        with pytest.raises(UnknownTargetError, match=words) as caught:
            target.find(drop / path, chosen).view()
        assert caught.value.hint

    def test_the_hint_names_the_episodes_there_are(self, root: Path, chosen: Config) -> None:
        with pytest.raises(UnknownTargetError) as caught:
            target.find(root / "episode_000009", chosen)
        assert caught.value.hint == "its episodes: episode_000000 to episode_000001"

    def test_an_orphan_is_named_as_what_it_is(self, root: Path, chosen: Config) -> None:
        top = root / "images" / "observation.images.top"
        (top / "episode_000001").rename(top / "episode_000005")
        with pytest.raises(UnknownTargetError, match=r"episode_000005 of .*frames of observation.images.top"):
            target.find(root / "episode_000005", chosen)

    def test_a_dataset_that_goes_away_while_it_is_looked_at(self, root: Path, chosen: Config) -> None:
        found = target.find(root, chosen)
        root.rename(root.with_name("renamed"))
        with pytest.raises(UnknownTargetError, match="the dataset is gone"):
            found.view()

    def test_a_drop_folder_that_is_not_there_is_still_a_drop_folder(self, tmp_path: Path) -> None:
        chosen = config.load(configure(tmp_path, tmp_path / "unmounted"))
        assert target.find(tmp_path / "unmounted", chosen).view().error


class TestOneEpisode:
    def test_a_dataset_with_a_single_one_will_do(self, tmp_path: Path, chosen: Config) -> None:
        root = tiny(tmp_path / "elsewhere" / "ds")
        assert target.find_episode(root, chosen).episode == "episode_000000"

    def test_a_dataset_with_several_will_not(self, root: Path, chosen: Config) -> None:
        with pytest.raises(UnknownTargetError, match="one episode is wanted") as caught:
            target.find_episode(root, chosen)
        assert f"{root}/episode_000000" in caught.value.hint
