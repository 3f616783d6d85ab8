"""Whatever the Hub, or the way to it, does: one commit for a batch, no byte sent twice, no episode lost or doubled.

The real huggingface_hub against tests/hub_server.py; each test is a row of what was seen to happen.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from conftest import eventually
from episoded.daemon.control import ControlDir
from episoded.daemon.publisher import receipts
from episoded.processors.destinations import hub_groups
from episoded.processors.destinations.errors import BlockedError, MutatedError, RefusedError, TransientError
from hub_repository import regular
from hub_server import READ_TOKEN, WRITE_TOKEN, HubServer
from publishing import Sender, dataset, items, names, ready, receipt
from recordings import EPISODE, copy
from sites import HubSite, files, opened, without_xet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

COMMIT = r"POST .*/commit/"
PUT = r"PUT /objects/"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready(tmp_path_factory.mktemp("made") / "arm")


@pytest.fixture
def arm(made: Path, tmp_path: Path) -> Path:
    return copy(made, tmp_path / "arm")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    without_xet(monkeypatch, tmp_path, wanted=True)
    with HubServer(tmp_path / "hub") as server:
        yield server


class Repo(Sender):
    """The repo `me/arm`, made and looked at, so that a fault meets the batch and not its preparation."""

    def __init__(self, hub: HubServer, folder: Path, **more: Any) -> None:
        self.hub, self.site = hub, HubSite(hub, folder, dataset="arm")
        self.site.settings |= {key: more.pop(key) for key in ("timeout_s",) if key in more}
        super().__init__(self.site, folder / "state", **more)
        with self.places.held():
            self.places.at(self.site.place)
        self.before = len(self.commits)
        hub.log.clear()

    @property
    def commits(self) -> list[Any]:
        return self.hub.repositories["me/arm"].commits

    @property
    def batches(self) -> int:
        """Commits that changed something, since the repo was made."""
        return sum(bool(commit.changes) for commit in self.commits[self.before :])

    def retried(self, root: Path, episodes: int = 2) -> Any:
        """Again, as the service does it: with new clients."""
        self.places.forget()
        return self.commit(root, episodes)

    def troubled(self, root: Path) -> TransientError:
        with pytest.raises(TransientError) as raised:
            self.commit(root)
        assert receipt(root, EPISODE) is None
        return raised.value

    def blocked(self, root: Path) -> BlockedError:
        with pytest.raises(BlockedError) as raised:
            self.commit(root)
        assert receipt(root, EPISODE) is None
        return raised.value

    def whole(self, root: Path) -> bool:
        """Everything is there once, and has its receipt."""
        wanted = {
            entry["target"]: entry for n in range(2) for entry in (receipt(root, f"episode_{n:06d}") or {})["files"]
        }
        assert wanted.keys() <= self.site.names()
        added = [path for commit in self.commits for path in commit.added if path in wanted]
        assert sorted(added) == sorted(wanted), "a file was committed twice"
        assert [count for count in self.hub.puts().values() if count > 1] == [], "a blob was sent twice"
        return self.batches == 1


@pytest.fixture
def repo(hub: HubServer, tmp_path: Path) -> Repo:
    return Repo(hub, tmp_path)


class TestAllIsWell:
    def test_one_commit_for_a_batch(self, repo: Repo, arm: Path) -> None:
        assert len(repo.commit(arm).proven) == 2
        assert repo.whole(arm)

    def test_the_repo_is_private_and_knows_what_is_large(self, repo: Repo) -> None:
        assert repo.hub.repositories["me/arm"].private
        attributes = (repo.hub.content(".gitattributes", "me/arm") or b"").decode()
        for kind in ("mp4", "mkv", "parquet", "npz"):
            assert f"*.{kind} filter=lfs" in attributes

    def test_it_has_a_card_and_the_tag_of_lerobot(self, repo: Repo, arm: Path) -> None:
        repo.commit(arm)
        card = (repo.site.read("README.md") or b"").decode()
        assert "LeRobot" in card
        assert "observation.images.top" in card
        repository = repo.hub.repositories["me/arm"]
        assert repository.tags == {"v2.1": repository.head}

    def test_the_tag_waits_until_the_dataset_is_whole(self, repo: Repo, arm: Path) -> None:
        repo.commit(arm, episodes=1)
        assert repo.hub.repositories["me/arm"].tags == {}
        repo.commit(arm)
        assert list(repo.hub.repositories["me/arm"].tags) == ["v2.1"]

    def test_the_tag_moves_with_what_comes_later(self, repo: Repo, arm: Path) -> None:
        repo.commit(arm)
        repository = repo.hub.repositories["me/arm"]
        first = repository.tags["v2.1"]
        (arm / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "another"}\n')
        with repo.places.held():
            repo.transfer.shared([dataset(arm)])
        assert repository.tags["v2.1"] == repository.head != first

    def test_a_card_that_a_person_wrote_stays(self, repo: Repo, arm: Path) -> None:
        repo.commit(arm, episodes=1)
        repo.site.overwrite("README.md", b"# my own words\n")
        repo.commit(arm)
        assert repo.site.read("README.md") == b"# my own words\n"

    def test_groups_under_way_at_a_time_send_equal_contents_once(
        self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_groups, "FILES_IN_GROUP", 1)
        contents = {f"{number}.mp4": bytes([number // 3]) * 3_000_000 for number in range(9)}
        listed = files(tmp_path / "source", contents)
        moved: list[int] = []
        destination = opened(repo.site)
        destination.stage(listed, moved.append)
        assert sorted(repo.hub.puts().values()) == [1, 1, 1]
        assert sum(moved) == sum(map(len, contents.values()))
        destination.commit(listed, "a batch")
        assert {name: repo.site.read(name) for name in contents} == contents

    @pytest.mark.parametrize(
        "quirk",
        ["no_paths_info", "no_preupload_oid", "create_answers_200", "bare_404", "ignores_parent", "regular_by_default"],
    )
    def test_servers_that_differ(self, hub: HubServer, tmp_path: Path, arm: Path, quirk: Any) -> None:
        hub.quirks.add(quirk)
        repo = Repo(hub, tmp_path)
        assert len(repo.commit(arm).proven) == 2
        assert repo.whole(arm)
        assert repo.commit(arm).commit == ""


class TestTransient:
    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 409, 412])
    def test_a_commit_that_is_answered_with_trouble(self, repo: Repo, arm: Path, status: int) -> None:
        repo.hub.fail(COMMIT, status=status, error="in progress")
        repo.troubled(arm)
        assert len(repo.retried(arm).proven) == 2
        assert repo.whole(arm)

    def test_a_commit_that_was_made_and_the_answer_lost(self, repo: Repo, arm: Path) -> None:
        """The next look finds it done: no second commit."""
        repo.hub.fail(COMMIT, lose_response=True)
        repo.troubled(arm)
        assert repo.retried(arm).commit == ""
        assert repo.whole(arm)
        assert receipt(arm, EPISODE)["commit"] == "found there"

    def test_a_server_that_is_silent(self, hub: HubServer, tmp_path: Path, arm: Path) -> None:
        repo = Repo(hub, tmp_path, timeout_s=0.5)
        hub.fail(COMMIT, hang=True)
        assert repo.troubled(arm).code == "connection_lost"
        repo.retried(arm)
        assert repo.whole(arm)

    @pytest.mark.parametrize("url", [COMMIT, r"POST .*/preupload/", r"POST .*/paths-info/", r"POST .*/objects/batch"])
    @pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"RateLimit": '"api";r=0;t=3600'}])
    def test_a_server_that_asks_for_an_hour(self, repo: Repo, arm: Path, url: str, headers: dict[str, str]) -> None:
        """Obeyed by the publisher: nothing sleeps for an hour where nobody can stop it."""
        repo.hub.fail(url, status=429, headers=headers)
        started = time.monotonic()
        error = repo.troubled(arm)
        assert (error.code, error.after_s) == ("rate_limited", 3600.0)
        assert time.monotonic() - started < 10
        repo.retried(arm)
        assert repo.whole(arm)

    @pytest.mark.parametrize("fault", [{"status": 503}, {"drop_after": 1000}, {"lose_response": True}])
    def test_bytes_that_do_not_get_through_at_once(self, repo: Repo, arm: Path, fault: dict[str, Any]) -> None:
        """The client tries that again by itself."""
        repo.hub.fail(PUT, **fault)
        assert len(repo.commit(arm).proven) == 2
        assert repo.batches == 1

    def test_an_upload_address_that_expired(self, repo: Repo, arm: Path) -> None:
        repo.hub.fail(PUT, status=403, error="Request has expired")
        assert repo.troubled(arm).code == "upload_expired"
        repo.retried(arm)
        assert repo.whole(arm)

    def test_a_lost_update_is_noticed(self, repo: Repo, arm: Path) -> None:
        """Answered with 200, and not in the head."""
        repo.hub.repositories["me/arm"].commits_to_lose = 1
        assert repo.troubled(arm).code == "not_proven"
        repo.retried(arm)
        assert repo.whole(arm)

    def test_nobody_there(self, repo: Repo, arm: Path) -> None:
        repo.hub.stop()
        error = repo.troubled(arm)
        assert error.offline
        repo.hub.start()
        repo.retried(arm)
        assert repo.whole(arm)

    def test_a_repo_that_is_being_made_by_somebody_else(self, hub: HubServer, tmp_path: Path) -> None:
        """The library asks again without a pause, for ever."""
        said = "Cannot create repo: another conflicting operation is in progress"
        hub.fail(r"POST /api/repos/create", status=409, error=said, times=100)
        destination = opened(HubSite(hub, tmp_path, dataset="arm"))
        with pytest.raises(TransientError) as raised:
            destination.probe()
        assert raised.value.code == "contended"
        assert hub.count(r"POST /api/repos/create") == 1
        hub.faults.clear()
        destination.probe()
        assert "me/arm" in hub.repositories

    def test_a_repo_that_somebody_else_has_made_meanwhile(self, hub: HubServer, tmp_path: Path) -> None:
        """It was not there when we looked, and is when we make it: 409, and as good as made."""
        other = opened(HubSite(hub, tmp_path, dataset="arm"))
        other.probe()
        hub.fail(r"GET /api/datasets/me/arm$", status=404, headers={"X-Error-Code": "RepoNotFound"})
        opened(HubSite(hub, tmp_path, dataset="arm")).probe()
        assert [logged.status for logged in hub.requests(r"POST /api/repos/create")] == [200, 409]


class TestBlocked:
    @pytest.mark.parametrize(("status", "code"), [(401, "token_refused"), (402, "forbidden"), (403, "forbidden")])
    def test_until_a_person_has_mended_it(self, repo: Repo, arm: Path, status: int, code: str) -> None:
        repo.hub.fail(COMMIT, status=status, error="storage patterns tripped our internal systems")
        error = repo.blocked(arm)
        assert error.code == code
        assert "episoded resume" in error.hint
        assert repo.hub.count(COMMIT) == 1, "no loop over what will not pass"
        repo.retried(arm)
        assert repo.whole(arm)

    def test_a_token_that_may_only_read(self, repo: Repo, arm: Path, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(READ_TOKEN)
        repo.places.forget()
        assert repo.blocked(arm).code == "forbidden"
        (tmp_path / "token").write_text(WRITE_TOKEN)
        repo.retried(arm)
        assert repo.whole(arm)

    @pytest.mark.parametrize("how", ["gone", "empty", "wrong"])
    def test_a_token_that_is_none(self, repo: Repo, arm: Path, tmp_path: Path, how: str) -> None:
        path = tmp_path / "token"
        path.unlink() if how == "gone" else path.write_text("" if how == "empty" else "hf_nobodyKnowsThis")
        repo.places.forget()
        error = repo.blocked(arm)
        assert error.code in ("token_missing", "token_refused", "repo_missing")
        assert "hf_nobody" not in str(error)
        path.write_text(WRITE_TOKEN)
        repo.retried(arm)
        assert repo.whole(arm)

    def test_nobody_is_logged_in(self, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
        site = HubSite(hub, tmp_path)
        del site.settings["token_file"]
        with pytest.raises(BlockedError) as raised:
            opened(site)
        assert raised.value.code == "token_missing"

    def test_systemd_hands_the_token_over(
        self, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "huggingface-token").write_text(WRITE_TOKEN + "\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        site = HubSite(hub, tmp_path)
        del site.settings["token_file"]
        destination = opened(site)
        destination.probe()
        assert "me/towel" in hub.repositories

    def test_a_repo_that_was_deleted_is_not_made_anew_by_itself(self, repo: Repo, arm: Path) -> None:
        """Perhaps somebody wanted it gone. It is when a person says so."""
        repo.commit(arm, episodes=1)
        repo.hub.delete("me/arm")
        receipts.withdraw(ControlDir.of(arm, EPISODE))
        assert repo.blocked(arm).code == "repo_missing"
        repo.places.forget()
        with repo.places.held(), pytest.raises(BlockedError):
            repo.places.at(repo.site.place)
        assert "me/arm" not in repo.hub.repositories
        with repo.places.held():
            repo.places.at(repo.site.place, create=True)
        assert len(repo.commit(arm).proven) == 2


class TestRefused:
    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_batch_that_is_refused_is_tried_episode_by_episode(self, repo: Repo, arm: Path, status: int) -> None:
        repo.hub.fail(COMMIT, status=status, error="too much of it")
        assert len(repo.commit(arm).proven) == 2
        assert repo.batches == 2

    def test_an_episode_that_is_refused_alone_is_blocked_alone(self, repo: Repo, arm: Path) -> None:
        repo.hub.fail(COMMIT, status=400, error="too many files in videos/chunk-000", times=2)
        outcome = repo.commit(arm)
        assert [path.name for path in outcome.blocked] == [EPISODE]
        assert [path.name for path in outcome.proven] == ["episode_000001"]
        told = receipts.read_block(ControlDir.of(arm, EPISODE), "there")
        assert "too many files" in told["message"]
        assert "{chunk}" in told["hint"]
        assert receipts.unblock(ControlDir.of(arm, EPISODE), "there")
        assert [path.name for path in repo.commit(arm, episodes=1).proven] == [EPISODE]

    def test_a_folder_that_is_full(self, hub: HubServer, tmp_path: Path, arm: Path) -> None:
        repo = Repo(hub, tmp_path)
        hub.files_per_folder = 4
        others = {f"data/chunk-000/{n}.json": regular(f"data/chunk-000/{n}.json", b"{}") for n in range(3)}
        hub.repositories["me/arm"].commit("by somebody else", "", dict(others))
        outcome = repo.commit(arm)
        assert [path.name for path in outcome.proven] == [EPISODE]
        (stuck,) = outcome.blocked
        assert "`{shard}` in `repo`" in receipts.read_block(ControlDir(stuck), "there")["hint"]
        assert "blocked.there" in names(arm, stuck.name)
        receipts.unblock(ControlDir(stuck), "there")
        parts = HubSite(hub, tmp_path, repo="me/arm-{shard}")
        wider = Sender(parts, tmp_path / "state", max_files_per_shard=4)
        assert stuck in wider.commit(arm).proven

    def test_a_large_file_that_is_to_lie_in_git_itself(self, hub: HubServer, tmp_path: Path) -> None:
        """It would be sent as text in one request, out of memory."""
        hub.quirks.add("regular_by_default")
        destination = opened(site := HubSite(hub, tmp_path))
        destination.probe()
        (file,) = files(tmp_path / "source", {"a.unknown": b"x" * (11 << 20)})
        with pytest.raises(RefusedError) as raised:
            destination.stage([file], lambda _: None)
        assert raised.value.code == "not_lfs"
        assert site.names() == set()
        assert ".gitattributes" in raised.value.hint
        repository = hub.repositories[site.repo]
        attributes = (
            hub.content(".gitattributes", site.repo) or b""
        ) + b"*.unknown filter=lfs diff=lfs merge=lfs -text\n"
        repository.commit("by hand", "", {".gitattributes": regular(".gitattributes", attributes)})
        destination.commit([file], "a batch")
        assert destination.verify([file]) == {}


@pytest.mark.parametrize("xet", [False, True])
def test_a_file_that_grows_while_it_is_sent(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xet: bool
) -> None:
    """Appended to after the look at its size: xet would commit the new bytes under the old size."""
    without_xet(monkeypatch, tmp_path, wanted=not xet)
    destination = opened(site := HubSite(hub, tmp_path))
    destination.probe()
    (file,) = files(tmp_path / "source", {"a.mp4": b"frame" * 100_000})
    fault = hub.fail(r"POST .*/preupload/", delay_s=0.3)

    def grow() -> None:
        eventually(lambda: fault.times == 0)
        with file.source.open("ab") as grown:
            grown.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    with pytest.raises(MutatedError):
        destination.stage([file], lambda _: None)
    thread.join()
    assert site.names() == set()


class TestXet:
    """The real hf_xet, with a folder for its store."""

    @pytest.fixture
    def repo(self, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
        without_xet(monkeypatch, tmp_path, wanted=False)
        return Repo(hub, tmp_path)

    def test_one_commit_for_a_batch(self, repo: Repo, arm: Path) -> None:
        assert len(repo.commit(arm).proven) == 2
        assert repo.batches == 1
        assert repo.hub.puts() == {}, "nothing went the plain way"
        assert repo.hub.count("xet-write-token") > 0

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_xet_token_that_is_refused_is_no_network_trouble(self, repo: Repo, arm: Path, status: int) -> None:
        """It looks like one: the client says ConnectionError."""
        repo.hub.fail(r"GET .*/xet-write-token/", status=status, times=50)
        repo.blocked(arm)
        repo.hub.faults.clear()
        repo.retried(arm)
        assert repo.batches == 1

    def test_a_commit_that_was_made_and_the_answer_lost(self, repo: Repo, arm: Path) -> None:
        repo.hub.fail(COMMIT, lose_response=True)
        repo.troubled(arm)
        assert repo.retried(arm).commit == ""
        assert repo.batches == 1

    def test_a_repo_that_lost_what_it_held(
        self, repo: Repo, arm: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Deleted and made anew: xet believes that the bytes are still there. The plain way brings them."""
        repo.hub.fail(COMMIT, status=400, error="LFS pointer pointed to a file that does not exist")
        assert repo.troubled(arm).code == "xet_stale"
        repo.hub.objects.forget()
        without_xet(monkeypatch, tmp_path, wanted=True)
        assert len(repo.retried(arm).proven) == 2
        assert repo.hub.puts()


def test_the_token_is_in_no_message(repo: Repo, arm: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when a server says it."""
    repo.hub.fail(COMMIT, status=403, error=f"the token {WRITE_TOKEN} may not")
    error = repo.blocked(arm)
    assert WRITE_TOKEN not in str(error)
    assert "***" in error.message
    assert WRITE_TOKEN not in caplog.text
    told = [path.read_text(errors="replace") for path in arm.rglob("*") if path.is_file() and ".episoded" in path.parts]
    assert not any(WRITE_TOKEN in text for text in told)
    assert items(arm)[0].control.path.is_dir()
