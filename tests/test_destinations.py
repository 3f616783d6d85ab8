"""What every destination promises, held against a real place of each kind.

A new kind joins with a class in tests/sites.py and a line in `sites`.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from episoded.processors.destinations.errors import BlockedError, MutatedError
from hub_elsewhere import elsewhere
from hub_server import HubServer
from moto_server import moto_server  # noqa: F401 - a fixture
from sites import FolderSite, HubSite, RsyncSite, S3Site, Site, as_json, files, opened, without_xet
from sshd import sshd  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Actor
    from episoded.processors.destinations.base import Destination

CONTENTS = {
    "data/chunk-000/episode_000000.parquet": b"PAR1" + bytes(range(256)) * 300,
    "videos/chunk-000/observation.images.top/episode_000000.mp4": random.Random(1).randbytes(3 << 20),
    "videos/a name with blanks & ünïcödé/100%.mp4": random.Random(2).randbytes(200_000),
    "meta/info.json": b'{"codebase_version": "v2.1"}\n',
    "meta/empty": b"",
}


#: huggingface_hub calls its HTTP library in ways that the latter has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["folder", "hub, lfs", "hub, multipart", "hub, xet", "hub elsewhere", "rsync", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    kind, _, way = request.param.partition(", ")
    match kind:
        case "folder":
            yield FolderSite(tmp_path / "folder")
        case "rsync":
            yield RsyncSite(request.getfixturevalue("sshd"), tmp_path / "folder")
        case "s3":
            yield S3Site(request.getfixturevalue("moto_server"), f"bucket-{uuid.uuid4().hex}")
        case "hub elsewhere":
            yield from elsewhere(tmp_path)
        case _:
            without_xet(monkeypatch, tmp_path, wanted=way != "xet")
            with HubServer(tmp_path / "hub") as hub:
                hub.part_size = 1 << 20 if way == "multipart" else None
                hub.xet_over_http = True  # a folder as its store lies in the hands of the client, which is killed
                yield HubSite(hub, tmp_path)


@pytest.fixture
def destination(site: Site) -> Iterator[Destination]:
    made = opened(site)
    made.probe()
    yield made
    made.close()


def deposit(destination: Destination, listed: list) -> None:
    destination.stage(listed, lambda _: None)
    destination.commit(listed, "a batch")


def what_is_there(site: Site, contents: dict[str, bytes]) -> dict[str, bytes | None]:
    return {target: site.read(target) for target in contents}


class TestArriving:
    def test_files_arrive_as_they_are(self, site: Site, destination: Destination, tmp_path: Path) -> None:
        listed = files(tmp_path / "source", CONTENTS)
        deposit(destination, listed)
        assert what_is_there(site, CONTENTS) == CONTENTS
        assert destination.verify(listed) == {}

    def test_nobody_sees_what_is_only_staged(self, site: Site, destination: Destination, tmp_path: Path) -> None:
        destination.stage(files(tmp_path / "source", CONTENTS), lambda _: None)
        assert site.names() & CONTENTS.keys() == set()

    def test_bytes_are_told_as_they_move(self, destination: Destination, tmp_path: Path) -> None:
        listed = files(tmp_path / "source", CONTENTS)
        moved: list[int] = []
        destination.stage(listed, moved.append)
        assert 0 < sum(moved) <= sum(map(len, CONTENTS.values()))

    def test_a_commit_alone_is_enough(self, site: Site, destination: Destination, tmp_path: Path) -> None:
        """Another process staged them, and what it knew is gone with it."""
        assert destination.commit(files(tmp_path / "source", CONTENTS), "a batch")
        assert what_is_there(site, CONTENTS) == CONTENTS

    def test_the_same_again_changes_nothing(self, site: Site, destination: Destination, tmp_path: Path) -> None:
        listed = files(tmp_path / "source", CONTENTS)
        deposit(destination, listed)
        names = site.names()
        deposit(destination, listed)
        assert site.names() == names
        assert destination.verify(listed) == {}

    def test_equal_contents_under_two_names(self, site: Site, destination: Destination, tmp_path: Path) -> None:
        twins = {"a/one.mp4": b"the same" * 1000, "b/two.mp4": b"the same" * 1000}
        deposit(destination, files(tmp_path / "source", twins))
        assert what_is_there(site, twins) == twins

    def test_a_new_content_takes_the_place_of_the_old(
        self, site: Site, destination: Destination, tmp_path: Path
    ) -> None:
        deposit(destination, files(tmp_path / "old", CONTENTS))
        changed = {target: data + b"!" for target, data in CONTENTS.items()}
        listed = files(tmp_path / "new", changed)
        deposit(destination, listed)
        assert what_is_there(site, changed) == changed
        assert destination.verify(listed) == {}

    @pytest.mark.parametrize("count", [1, 99, 101])
    def test_any_number_of_files(self, site: Site, destination: Destination, tmp_path: Path, count: int) -> None:
        contents = {f"many/{number:03d}.json": b'{"number": %d}' % number for number in range(count)}
        listed = files(tmp_path / "source", contents)
        deposit(destination, listed)
        assert site.names() >= contents.keys()
        assert destination.verify(listed) == {}

    def test_another_one_finds_what_this_one_brought(
        self, site: Site, destination: Destination, tmp_path: Path
    ) -> None:
        listed = files(tmp_path / "source", CONTENTS)
        deposit(destination, listed)
        other = opened(site)
        try:
            assert other.verify(listed) == {}
            there = other.stat([*CONTENTS, "not/there"])
            assert {target: remote.size for target, remote in there.items()} == {
                target: len(data) for target, data in CONTENTS.items()
            }
            if other.strong_digest or site.kind == "s3":
                assert all(there[file.target].holds(file) for file in listed)
        finally:
            other.close()


class TestReading:
    def test_contents_come_back_and_what_is_not_there_is_left_out(
        self, site: Site, destination: Destination, tmp_path: Path
    ) -> None:
        small = {"a/one+two ünï.json": b'{"a": 1}\n', "b/zero": b"\0\n\xff\0", "b/empty": b""}
        deposit(destination, files(tmp_path / "source", small))
        other = opened(site)  # which was not probed: reading makes nothing
        try:
            assert other.read([*small, "a/not there", "b"]) == small
            assert other.read([]) == {}
        finally:
            other.close()

    def test_of_a_place_that_was_never_made_nothing_is_read(self, site: Site) -> None:
        made = opened(site)
        try:
            with suppress(BlockedError):  # of a repo
                assert made.read(["a"]) == {}
            assert site.names() == set()
        finally:
            made.close()


class TestProof:
    @pytest.fixture
    def listed(self, destination: Destination, tmp_path: Path) -> list:
        made = files(tmp_path / "source", CONTENTS)
        deposit(destination, made)
        return made

    @pytest.mark.parametrize("target", list(CONTENTS)[:4])
    def test_a_changed_file_is_found(self, site: Site, destination: Destination, listed: list, target: str) -> None:
        data = bytearray(CONTENTS[target])
        data[len(data) // 2] ^= 1
        site.overwrite(target, bytes(data))
        assert list(destination.verify(listed)) == [target]

    def test_a_shortened_file_is_found(self, site: Site, destination: Destination, listed: list) -> None:
        target = "videos/chunk-000/observation.images.top/episode_000000.mp4"
        site.overwrite(target, CONTENTS[target][:-1])
        assert list(destination.verify(listed)) == [target]

    def test_a_missing_file_is_found(self, site: Site, destination: Destination, listed: list) -> None:
        site.remove("meta/info.json")
        assert list(destination.verify(listed)) == ["meta/info.json"]

    def test_what_was_damaged_is_mended_by_bringing_it_again(
        self, site: Site, destination: Destination, listed: list
    ) -> None:
        site.overwrite("meta/info.json", b"damaged")
        deposit(destination, listed)
        assert what_is_there(site, CONTENTS) == CONTENTS


class TestMutation:
    @pytest.mark.parametrize("target", list(CONTENTS)[:4])
    @pytest.mark.parametrize("how", ["grown", "flipped", "gone"])
    def test_a_source_that_changed_is_never_sent(
        self, site: Site, destination: Destination, tmp_path: Path, target: str, how: str
    ) -> None:
        listed = files(tmp_path / "source", CONTENTS)
        file = next(file for file in listed if file.target == target)
        if how == "gone":
            file.source.unlink()
        elif how == "grown":
            file.source.write_bytes(CONTENTS[target] + b"more")
        else:
            file.source.write_bytes(bytes([CONTENTS[target][0] ^ 1]) + CONTENTS[target][1:])
        with pytest.raises(MutatedError) as raised:
            deposit(destination, listed)
        assert raised.value.target == target
        assert target not in site.names()

    def test_a_wrong_checkpoint_is_no_excuse(self, site: Site, destination: Destination, tmp_path: Path) -> None:
        (file,) = files(tmp_path / "source", {"a.mp4": b"x" * 100_000})
        with pytest.raises(MutatedError):
            deposit(destination, [replace(file, sha256="0" * 64)])
        assert "a.mp4" not in site.names()


class TestKills:
    def test_killed_again_and_again_it_arrives_whole_and_once(
        self, site: Site, tmp_path: Path, actor: Callable[..., Actor]
    ) -> None:
        """SIGKILL at random moments; each next process starts at the beginning, with nothing but the place."""
        contents = {**CONTENTS, **{f"many/{n}.bin": random.Random(n).randbytes(300_000) for n in range(20)}}
        listed = files(tmp_path / "source", contents)
        (tmp_path / "files.json").write_text(as_json(listed))
        chance, kills = random.Random(7), 0
        rounds, within_s = site.kills
        for _ in range(rounds):
            depositor = actor("deposit", site.kind, json.dumps(site.settings), site.place, tmp_path / "files.json")
            assert depositor.heard() == "begun"
            time.sleep(chance.uniform(0, within_s))  # a moment like any other: no condition is waited for
            depositor.kill()
            kills += 1
            whole = {target for target, data in contents.items() if site.read(target) == data}
            assert site.names() <= contents.keys() | {".gitattributes"}
            assert site.names() & contents.keys() == whole, "somebody saw a half file"
            if len(whole) == len(contents):
                break
        last = actor("deposit", site.kind, json.dumps(site.settings), site.place, tmp_path / "files.json")
        assert last.rest() == ["begun", "proven"]
        assert what_is_there(site, contents) == contents
        assert kills >= 1
        assert {file.source.read_bytes() for file in listed} == set(contents.values())
