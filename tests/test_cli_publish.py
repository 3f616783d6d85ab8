"""The commands around destinations: publish, flush, resume, reconcile, verify --remote, and what status says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from commandline import configure, episoded
from episoded.daemon.control import ControlDir
from episoded.daemon.errors import EpisodedError
from episoded.daemon.publisher import desk, receipts
from episoded.daemon.publisher.jobs import Trouble
from hub_server import WRITE_TOKEN, HubServer
from publishing import artifacts, names, ready, receipt, table
from recordings import EPISODE, copy
from sites import FolderSite, HubSite

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/status-schema.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready(tmp_path_factory.mktemp("made") / "arm")


@pytest.fixture
def arm(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return copy(made, tmp_path / "drop" / "arm")


@pytest.fixture
def site(tmp_path: Path) -> FolderSite:
    return FolderSite(tmp_path / "site")


def settings(folder: Path, site: Any, **more: object) -> Path:
    pipeline = '[pipelines.default]\ndestinations = ["there"]\n'
    return configure(folder, folder / "drop", more=pipeline + table("there", site.kind, site.settings, **more))


class TestPublish:
    def test_now_and_proven(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        done = episoded("publish", arm, config=config)
        assert (done.code, done.err) == (0, "")
        assert "there: 2 episodes published" in done.out
        assert artifacts(site.root / "arm") == artifacts(arm)
        assert {"published", "published.there"} <= names(arm, EPISODE)
        again = episoded("publish", arm, config=config)
        assert "2 episodes" in again.out
        assert "there before" in again.out
        told = episoded("show", arm / EPISODE, config=config).out
        assert "destinations" in told
        assert str(site.root) in told

    def test_one_episode_to_another_place(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        other = FolderSite(tmp_path / "other")
        config = settings(tmp_path, site)
        config.write_text(config.read_text() + table("other", "folder", other.settings))
        assert episoded("publish", arm / EPISODE, "--to", "other", config=config).code == 0
        assert receipt(arm, EPISODE, "other")
        assert receipt(arm, "episode_000001", "other") is None
        assert "published" not in names(arm, EPISODE), "the pipeline's own destination has not got it"

    def test_what_is_wrong_is_said_with_its_remedy(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        next(arm.glob(f"videos/*/*/{EPISODE}.mp4")).unlink()
        done = episoded("publish", arm, config=settings(tmp_path, site))
        assert done.code == 1
        assert "[mutated]" in done.err
        assert "what to do: " in done.err
        assert "1 episode published" in done.out

    def test_over_what_somebody_else_has_there_as_it_says(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        theirs = site.root / f"arm/data/chunk-000/{EPISODE}.parquet"
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(b"somebody else's")
        config = settings(tmp_path, site)
        done = episoded("publish", arm, config=config)
        assert (done.code, "[conflict]" in done.err) == (1, True)
        assert theirs.read_bytes() == b"somebody else's"
        (command,) = re.findall(r"`episoded (publish [^`]*)`", done.err)
        assert episoded(*shlex.split(command), config=config).code == 0
        assert artifacts(site.root / "arm") == artifacts(arm)
        assert episoded("verify", arm, "--remote", config=config).code == 0

    def test_a_destination_that_is_none(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        done = episoded("publish", arm, "--to", "nowhere", config=settings(tmp_path, site))
        assert done.code == 2
        assert "there are there" in done.err


class TestVerifyRemote:
    def test_reads_back_and_publish_again_mends(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        assert episoded("publish", arm, config=config).code == 0
        whole = episoded("verify", arm, "--remote", config=config)
        assert whole.code == 0
        assert "ready for training" in whole.out.splitlines()
        assert "at there: 2 episodes proven to be there" in whole.out.splitlines()
        table_there = "arm/data/chunk-000/episode_000000.parquet"
        site.remove(table_there)
        done = episoded("verify", arm, "--remote", "--json", config=config)
        assert done.code == 1
        found = {one["episode"]: (one["state"], one["wrong"]) for one in done.json["remote"]}
        assert found == {
            EPISODE: ("wrong", [f"{table_there} is not there"]),
            "episode_000001": ("there", []),
            "": ("there", []),
        }
        self.mended_as_it_says(arm, config)
        assert site.read(table_there)

    def mended_as_it_says(self, arm: Path, config: Path) -> None:
        """Do what it says is to be done; then all is well, here and there."""
        said = episoded("verify", arm, "--remote", config=config)
        assert said.code == 1
        assert "ready for training here" in said.out
        assert "at there: " in said.out
        _, _, command = said.out.partition("what to do: episoded ")
        done = episoded(*command.splitlines()[0].split(), config=config)
        assert (done.code, done.err) == (0, "")
        assert episoded("verify", arm, "--remote", config=config).code == 0

    def test_what_was_changed_there_is_mended_as_it_says(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        assert episoded("publish", arm, config=config).code == 0
        site.overwrite("arm/data/chunk-000/episode_000000.parquet", b"somebody else's")
        self.mended_as_it_says(arm, config)
        assert artifacts(site.root / "arm") == artifacts(arm)

    def test_what_the_episodes_share_is_read_back_too(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        """It is in no receipt, and without it nobody can load the dataset from there."""
        config = settings(tmp_path, site)
        assert episoded("publish", arm, config=config).code == 0
        site.remove("arm/meta/info.json")
        assert "shared files not as they should be" in episoded("verify", arm, "--remote", config=config).out
        self.mended_as_it_says(arm, config)
        (arm / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "pick"}\n')
        later = episoded("verify", arm, "--remote", config=config)
        assert (later.code, "shared files not published yet" in later.out) == (75, True)

    def test_what_is_not_published_yet_is_not_fine(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        assert episoded("publish", arm / EPISODE, config=config).code == 0
        done = episoded("verify", arm, "--remote", config=config)
        assert done.code == 75
        assert "episode_000001 at there: not published yet" in done.out
        assert "at there: 1 episode not published yet, 1 episode proven to be there" in done.out.splitlines()
        assert "ready for training here" in done.out.splitlines()
        site.root.rename(tmp_path / "unmounted")
        assert episoded("verify", arm, "--remote", config=config).code == 1, "somebody has to mount it"

    def test_what_cannot_get_there_says_what_to_do(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        receipts.block(ControlDir.of(arm, EPISODE), "there", EpisodedError("conflict", "in the way", "move it"))
        done = episoded("verify", arm, "--remote", config=config)
        assert done.code == 1
        assert "in the way [conflict]" in done.out
        assert "what to do: move it" in done.out
        receipts.unblock(ControlDir.of(arm, EPISODE), "there")
        desk.note_blocked(tmp_path / "state", "there", Trouble("blocked", "token_refused", "no", "renew it"))
        done = episoded("verify", arm, "--remote", config=config)
        assert (done.code, done.out.count("what to do: renew it")) == (1, 2)

    def test_a_destination_that_cannot_be_reached_may_be_back_later(self, arm: Path, tmp_path: Path) -> None:
        with HubServer(tmp_path / "hub") as hub:
            config = settings(tmp_path, HubSite(hub, tmp_path, dataset="arm"), xet=False)
            assert episoded("publish", arm, config=config).code == 0
        done = episoded("verify", arm, "--remote", config=config)
        assert done.code == 75
        assert "at there: 2 episodes that could not be read back" in done.out


class TestReconcile:
    def test_finds_what_is_there(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        assert episoded("publish", arm, config=config).code == 0
        for episode in (EPISODE, "episode_000001"):
            for name in ("published", "published.there"):
                (ControlDir.of(arm, episode).path / name).unlink()
        site.remove("arm/data/chunk-000/episode_000001.parquet")
        done = episoded("reconcile", arm, config=config)
        assert done.code == 0
        assert "1 of 2 episodes" in done.out
        assert "published" in names(arm, EPISODE)
        assert "published.there" not in names(arm, "episode_000001")


class TestResumeAndFlush:
    def test_leave_word_for_the_service(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config, state = settings(tmp_path, site), tmp_path / "state"
        desk.note_blocked(state, "there", Trouble("blocked", "token_refused", "no", "renew it"))
        receipts.block(ControlDir.of(arm, EPISODE), "there", EpisodedError("conflict", "in the way", "move it"))
        done = episoded("resume", "there", config=config)
        assert done.out == "there: is tried again, 1 episode no longer blocked\n"
        assert desk.blocked(state, "there") is None
        assert "blocked.there" not in names(arm, EPISODE)
        flushed = episoded("flush", config=config)
        assert flushed.code == 0
        assert "no service is running" in flushed.err
        assert desk.wants_flush(state, "there")


class TestWait:
    def test_for_published(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        late = episoded("wait", arm, "--for", "published", "--timeout", "0", config=config)
        assert late.code == 124
        assert "0 of 2 episodes published, 2 ready" in late.out
        assert episoded("publish", arm, config=config).code == 0
        assert episoded("wait", arm, "--for", "published", "--timeout", "0", config=config).code == 0

    def test_an_episode_that_cannot_get_there(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        receipts.block(ControlDir.of(arm, EPISODE), "there", EpisodedError("conflict", "in the way", "move it"))
        done = episoded("wait", arm, "--for", "published", config=settings(tmp_path, site))
        assert done.code == 1
        assert "in the way [conflict]" in done.err


class TestStatus:
    def test_each_destination(self, arm: Path, site: FolderSite, tmp_path: Path) -> None:
        config = settings(tmp_path, site)
        episoded("publish", arm / EPISODE, config=config)
        desk.note_blocked(tmp_path / "state", "there", Trouble("blocked", "token_refused", "no", "renew it"))
        receipts.block(ControlDir.of(arm, "episode_000001"), "there", EpisodedError("mutated", "is gone", "restore it"))
        told = episoded("status", "--json", config=config)
        assert told.code == 3, "somebody has to mend it"
        jsonschema.validate(told.json, SCHEMA)
        (one,) = told.json["destinations"]
        assert (one["name"], one["waiting"], one["published"]) == ("there", 0, 1)
        assert [blocked["code"] for blocked in one["blocked"]] == ["token_refused", "mutated"]
        picture = episoded("status", config=config).out
        for words in ("destinations", "1 published", "blocked", "what to do: renew it", "arm/episode_000001"):
            assert words in picture


class TestDoctor:
    def test_asks_each_destination(self, site: FolderSite, tmp_path: Path) -> None:
        good = episoded("doctor", config=settings(tmp_path, site))
        assert f"there: {site.root} can be reached" in good.out
        site.root.rename(tmp_path / "elsewhere")
        bad = episoded("doctor", config=settings(tmp_path, site))
        assert bad.code == 1
        assert "is not there" in bad.out
        assert not site.root.exists(), "it only looks"

    def test_a_repo_is_only_missed_once_it_was_there(self, arm: Path, tmp_path: Path) -> None:
        with HubServer(tmp_path / "hub") as hub:
            site = HubSite(hub, tmp_path, repo="me/arm", dataset="arm")
            config = settings(tmp_path, site, xet=False)
            before = episoded("doctor", config=config).out
            assert "is not there yet; it is made when it is needed" in before
            assert not hub.repositories, "it only looks"
            assert episoded("publish", arm / EPISODE, config=config).code == 0
            hub.delete("me/arm")
            gone = episoded("doctor", config=config)
            assert (gone.code, "episoded resume" in gone.out) == (1, True)


class TestTokens:
    @pytest.fixture
    def hub(self, tmp_path: Path) -> Iterator[HubServer]:
        with HubServer(tmp_path / "hub") as server:
            yield server

    def test_the_token_is_nowhere(self, arm: Path, hub: HubServer, tmp_path: Path) -> None:
        """In no output, no file of ours, whatever goes wrong."""
        site = HubSite(hub, tmp_path, dataset="arm")
        config = settings(tmp_path, site, xet=False)
        hub.fail(r"POST .*/commit/", status=403, error=f"{WRITE_TOKEN} may not", skip=1)
        said = [episoded("publish", arm, config=config, env={"HF_DEBUG": "1"}) for _ in range(2)]
        assert [done.code for done in said] == [1, 0]
        assert "***" in said[0].err
        said += [episoded("status", config=config), episoded("verify", arm, "--remote", config=config)]
        assert not any(WRITE_TOKEN in done.out + done.err for done in said)
        ours = [
            path for folder in (arm / ".episoded", tmp_path / "state") for path in folder.rglob("*") if path.is_file()
        ]
        assert ours
        assert not any(WRITE_TOKEN.encode() in path.read_bytes() for path in [*ours, config])

    def test_a_token_in_the_configuration_is_refused_unread(self, tmp_path: Path) -> None:
        text = '[destinations.hub]\nkind = "huggingface"\nrepo = "me/arm"\ntoken = "hf_verySecret"\n'
        done = episoded("status", config=configure(tmp_path, more=text))
        assert done.code == 78
        assert "destinations.hub.token: there is no such key" in done.err
        assert "hf_verySecret" not in done.out + done.err
