"""Whatever xet's own servers do, or its cache: the batch is committed once, or the trouble is what it is called.

The real hf_xet in a process of its own, which reads its settings once. It tries again by itself, five times, before it
says anything.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hub_server import HubServer
from publishing import fill, ready, receipt
from recordings import EPISODE, copy
from sites import HubSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Actor

pytest.importorskip("hf_xet")

XORBS, SHARDS = r"POST /cas/v1/xorbs/", r"POST /cas/v1/shards"
#: More often than xet tries by itself, and less often than two times that.
TOO_OFTEN = 8
#: Batches are tried so often here.
TRIES = 3
QUICK = {"HF_HUB_DISABLE_XET": "0", "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready(tmp_path_factory.mktemp("made") / "arm")


@pytest.fixture
def arm(made: Path, tmp_path: Path) -> Path:
    return copy(made, tmp_path / "arm")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        server.xet_over_http = True
        yield server


@pytest.fixture
def publish(hub: HubServer, arm: Path, tmp_path: Path, actor: Callable[..., Actor]) -> Callable[..., list[str]]:
    """Publishes, and answers the codes of what went wrong on the way."""
    site = HubSite(hub, tmp_path, dataset="arm")

    def run(**env: str) -> list[str]:
        cache = {"HF_XET_CACHE": str(tmp_path / "xet")}
        state = tmp_path / "state"
        one = actor("publish_alone", site.kind, json.dumps(site.settings), arm, state, TRIES, env=QUICK | cache | env)
        one.go()
        assert one.heard() == "begun"
        return one.rest()

    return run


def committed_once(hub: HubServer, arm: Path) -> bool:
    """Every file of the batch, in one commit, and nothing went the plain way."""
    targets = [entry["target"] for n in range(2) for entry in (receipt(arm, f"episode_{n:06d}") or {})["files"]]
    commits = hub.repositories["me/arm"].commits
    assert [sum(path in commit.added for commit in commits) for path in targets] == [1] * len(targets)
    assert hub.puts() == {}
    return sum(targets[0] in commit.added or targets[-1] in commit.added for commit in commits) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 429, "headers": {"Retry-After": "1"}}, "rate_limited"),
        ({"status": 503}, "server_error"),
        ({"drop_after": 100}, "connection_lost"),
        ({"lose_response": True}, "connection_lost"),
    ],
    ids=["429", "503", "cut", "answer lost"],
)
def test_what_passes(
    hub: HubServer, arm: Path, publish: Callable[..., list[str]], fault: dict[str, Any], code: str
) -> None:
    """Once, xet mends it by itself; more often, the batch is tried again."""
    hub.fail(XORBS, **fault)
    hub.fail(SHARDS, **fault, times=TOO_OFTEN)
    assert publish() == [code]
    assert committed_once(hub, arm)


def test_a_server_that_is_silent(hub: HubServer, arm: Path, publish: Callable[..., list[str]]) -> None:
    """Xet's own patience, five minutes, is shortened here. With shards it has no end: the service kills the process."""
    hub.fail(XORBS, hang=True)
    assert publish(HF_XET_CLIENT_READ_TIMEOUT="300ms") == []
    assert committed_once(hub, arm)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("url", [XORBS, SHARDS])
def test_what_a_person_has_to_mend(
    hub: HubServer, arm: Path, publish: Callable[..., list[str]], url: str, status: int
) -> None:
    hub.fail(url, status=status, times=100)
    assert publish() == ["blocked forbidden"]
    assert receipt(arm, EPISODE) is None
    hub.faults.clear()
    assert publish() == []
    assert committed_once(hub, arm)


def test_what_it_refuses_is_sent_anew(hub: HubServer, arm: Path, publish: Callable[..., list[str]]) -> None:
    """So says a store that lost what the cache here believes to be there. The service goes the plain way then."""
    hub.fail(SHARDS, status=400)
    assert publish() == ["xet_stale"]
    assert committed_once(hub, arm)


def test_a_cache_on_a_full_disk(hub: HubServer, arm: Path, publish: Callable[..., list[str]], small_disk: Path) -> None:
    """It says so, and is not taken for a broken disk."""
    filled = fill(small_disk)
    said = publish(HF_XET_CACHE=str(small_disk / "xet"))
    assert set(said) == {"xet_cache_full", "given up"}
    assert receipt(arm, EPISODE) is None
    filled.unlink()
    assert publish(HF_XET_CACHE=str(small_disk / "xet")) == []
    assert committed_once(hub, arm)
