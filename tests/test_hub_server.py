"""Our own small Hub, driven by the real huggingface_hub: what publishing is tested against must itself be right."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub_repository import git_oid
from hub_server import READ_TOKEN, WRITE_TOKEN, HubServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
http = pytest.importorskip("huggingface_hub.utils._http")

#: huggingface_hub calls its HTTP library in ways that the latter has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

REPO = "me/towel"
COMMIT = r"POST .*/commit/"


def api_of(server: HubServer, token: str = WRITE_TOKEN) -> HfApi:
    return huggingface_hub.HfApi(server.url, token=token)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """With the library's own HTTP client: a destination that an earlier test made has set its own in this process."""
    http.set_client_factory(http.default_client_factory)
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture(params=["lfs", "multipart", "xet"])
def way(request: pytest.FixtureRequest, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """How large files travel."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param != "xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    hub.part_size = 1 << 20 if request.param == "multipart" else None
    return request.param


@pytest.fixture
def no_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """A client with a repository."""
    api = api_of(hub)
    api.create_repo(REPO, repo_type="dataset", private=True)
    return api


def add(path: str, content: bytes | str) -> object:
    return huggingface_hub.CommitOperationAdd(path, content)


def publish(api: HfApi, *operations: object, **more: object) -> str:
    done = api.create_commit(REPO, list(operations), commit_message="episodes", repo_type="dataset", **more)
    return done.oid


@pytest.mark.usefixtures("way")
class TestFiles:
    def test_large_and_small_files_arrive_by_every_way(self, hub, api, way, tmp_path):
        big = tmp_path / "episode.parquet"
        big.write_bytes(os.urandom(3 << 20))
        digest = hashlib.sha256(big.read_bytes()).hexdigest()

        oid = publish(api, add("data/episode.parquet", str(big)), add("meta/Ü b.json", b"{}"), add("empty", b""))

        assert hub.digests(REPO) | {".gitattributes": ""} == {
            ".gitattributes": "",
            "data/episode.parquet": digest,
            "meta/Ü b.json": git_oid(b"{}"),
            "empty": git_oid(b""),
        }
        assert oid == hub.repositories[REPO].head
        puts = {"lfs": 1, "multipart": 3, "xet": 0}[way]
        assert hub.count(r"PUT /objects/") == puts

    def test_what_is_there_is_not_sent_again(self, hub, api, tmp_path):
        big = tmp_path / "episode.parquet"
        big.write_bytes(os.urandom(3 << 20))
        first = publish(api, add("a.parquet", str(big)))
        sent = hub.count("PUT /objects/")

        assert publish(api, add("a.parquet", str(big))) == first
        assert hub.count(COMMIT) == 1
        publish(api, add("b.parquet", str(big)))
        assert hub.count("PUT /objects/") == sent

    def test_reading_back(self, api, tmp_path):
        big = os.urandom(2 << 20)
        publish(api, add("a/b.parquet", big), add("a/c.txt", b"c"))

        found = {
            file.path: file for file in api.get_paths_info(REPO, ["a/b.parquet", "a/c.txt", "no"], repo_type="dataset")
        }

        assert found["a/b.parquet"].lfs.sha256 == hashlib.sha256(big).hexdigest()
        assert (found["a/c.txt"].blob_id, found["a/c.txt"].size) == (git_oid(b"c"), 1)
        assert found.keys() == {"a/b.parquet", "a/c.txt"}
        path = api.hf_hub_download(REPO, "a/b.parquet", repo_type="dataset", local_dir=tmp_path / "down")
        assert Path(path).read_bytes() == big

    def test_a_folder_and_its_listing_in_pages(self, hub, api, tmp_path):
        for number in range(7):
            (tmp_path / "out" / f"d{number % 2}").mkdir(parents=True, exist_ok=True)
            (tmp_path / "out" / f"d{number % 2}" / f"{number}.txt").write_text(str(number))
        hub.page_size = 3

        api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=tmp_path / "out")

        listed = [entry.path for entry in api.list_repo_tree(REPO, recursive=True, repo_type="dataset")]
        assert " ".join(listed) == (
            ".gitattributes d0 d0/0.txt d0/2.txt d0/4.txt d0/6.txt d1 d1/1.txt d1/3.txt d1/5.txt"
        )
        assert hub.count("GET .*/tree/.*cursor") == 3


@pytest.mark.usefixtures("no_xet")
class TestRepository:
    def test_creating_twice(self, api):
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="409"):
            api.create_repo(REPO, repo_type="dataset")
        api.create_repo(REPO, repo_type="dataset", exist_ok=True)
        assert api.repo_info(REPO, repo_type="dataset").private

    def test_tags_move_and_old_revisions_stay(self, hub, api):
        first = publish(api, add("a", b"1"))
        api.create_tag(REPO, tag="v2.1", repo_type="dataset")
        publish(api, add("a", b"2"), add("b", b""))
        publish(api, huggingface_hub.CommitOperationDelete("b"))

        assert hub.content("a", REPO, "v2.1") == hub.content("a", REPO, first) == b"1"
        assert hub.files(REPO).keys() == {".gitattributes", "a"}
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="409"):
            api.create_tag(REPO, tag="v2.1", repo_type="dataset")
        api.delete_tag(REPO, tag="v2.1", repo_type="dataset")
        assert [tag.name for tag in api.list_repo_refs(REPO, repo_type="dataset").tags] == []
        assert len(api.list_repo_commits(REPO, repo_type="dataset")) == 4

    @pytest.mark.usefixtures("api")
    def test_tokens(self, hub):
        reader, nobody = api_of(hub, READ_TOKEN), api_of(hub, "hf_wrong")
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="403"):
            publish(reader, add("a", b"1"))
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="401"):
            publish(nobody, add("a", b"1"))
        assert reader.whoami()["auth"]["accessToken"]["role"] == "read"

    def test_what_is_not_there(self, api):
        with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
            api.repo_info("me/other", repo_type="dataset")
        with pytest.raises(huggingface_hub.errors.RevisionNotFoundError):
            api.repo_info(REPO, revision="v9", repo_type="dataset")
        assert not api.file_exists(REPO, "no", repo_type="dataset")
        assert not api.repo_exists("me/other", repo_type="dataset")
        api.auth_check(REPO, repo_type="dataset")

    def test_a_stale_parent_and_a_full_folder_are_refused(self, hub, api):
        head = publish(api, add("a", b"1"))
        publish(api, add("b", b"1"))
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="412"):
            publish(api, add("c", b"1"), parent_commit=head)
        hub.files_per_folder = 2
        with pytest.raises(huggingface_hub.errors.BadRequestError, match="too many files per directory"):
            publish(api, add("d/1", b""), add("d/2", b""), add("d/3", b""))

    def test_bytes_that_were_lost_are_missed_at_the_commit(self, hub, api):
        operation = add("a.parquet", os.urandom(1000))
        api.preupload_lfs_files(REPO, [operation], repo_type="dataset", free_memory=False)
        hub.objects.forget()
        with pytest.raises(huggingface_hub.errors.BadRequestError, match="does not exist"):
            publish(api, operation)

    def test_a_lost_update(self, hub, api):
        hub.repositories[REPO].commits_to_lose = 1
        publish(api, add("a", b"1"))
        assert "a" not in hub.files(REPO)

    def test_attributes_decide_what_is_large(self, hub, api):
        hub.quirks.add("regular_by_default")
        operation = add("a.mkv", os.urandom(11 << 20))
        publish(api, add(".gitattributes", b"*.mkv filter=lfs diff=lfs merge=lfs -text\n"))
        publish(api, operation)
        assert hub.repositories[REPO].files["a.mkv"].sha256


@pytest.mark.usefixtures("no_xet")
class TestQuirks:
    """What other servers do differently, and we must not rely on."""

    def test_missing_routes_and_error_codes(self, hub, api):
        hub.quirks |= {"no_paths_info", "bare_404", "create_answers_200"}
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="404"):
            api.get_paths_info(REPO, ["a"], repo_type="dataset")
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as caught:
            api.repo_info("me/other", repo_type="dataset")
        assert type(caught.value) is huggingface_hub.errors.HfHubHTTPError
        api.create_repo(REPO, repo_type="dataset")

    def test_a_server_that_does_not_say_what_it_has(self, hub, api):
        hub.quirks.add("no_preupload_oid")
        publish(api, add("a", b"1"))
        publish(api, add("a", b"1"))
        assert hub.count(COMMIT) == 2

    def test_a_server_that_compares_no_parents(self, hub, api):
        head = publish(api, add("a", b"1"))
        publish(api, add("b", b"1"))
        hub.quirks.add("ignores_parent")
        publish(api, add("c", b"1"), parent_commit=head)
        assert hub.files(REPO).keys() >= {"a", "b", "c"}


@pytest.mark.usefixtures("no_xet")
class TestFaults:
    def test_an_answer_a_number_of_times(self, hub, api):
        hub.fail(COMMIT, status=429, headers={"Retry-After": "7"}, times=2)
        for _ in range(2):
            with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="429") as caught:
                publish(api, add("a", b"1"))
            assert caught.value.response.headers["Retry-After"] == "7"
        publish(api, add("a", b"1"))
        assert [logged.status for logged in hub.requests(COMMIT)] == [429, 429, 200]

    def test_done_but_the_response_is_lost(self, hub, api):
        hub.fail(COMMIT, lose_response=True)
        with pytest.raises(huggingface_hub.utils.httpx.RemoteProtocolError):
            publish(api, add("a", b"1"))
        assert hub.content("a", REPO) == b"1"

    def test_the_connection_drops_in_a_body(self, hub, api):
        hub.fail("PUT /objects/", drop_after=100_000)
        content = os.urandom(1 << 20)
        publish(api, add("a.parquet", content))  # the client tries such a PUT again by itself
        assert hub.content("a.parquet", REPO) == content
        assert [logged.received for logged in hub.requests("PUT /objects/")] == [100_000, 1 << 20]
        assert set(hub.puts().values()) == {1}

    def test_no_answer_until_the_server_goes(self, hub, api):
        hub.fail(COMMIT, hang=True)
        stopping = threading.Timer(0.3, hub.stop)
        stopping.start()
        with pytest.raises(huggingface_hub.utils.httpx.TransportError):
            publish(api, add("a", b"1"))
        stopping.join()
        with pytest.raises(huggingface_hub.utils.httpx.ConnectError):
            api.repo_info(REPO, repo_type="dataset")
        hub.start()
        publish(api, add("a", b"1"))

    def test_skipping_and_slowness(self, hub, api):
        hub.fail(COMMIT, skip=1, status=409)
        hub.fail(COMMIT, skip=1, times=1, delay_s=0.01)
        publish(api, add("a", b"1"))
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="409"):
            publish(api, add("a", b"2"))
        publish(api, add("a", b"3"))
        assert hub.content("a", REPO) == b"3"
