"""What only the destination "s3" does, against a real S3 server."""

from __future__ import annotations

import hashlib
import random
import socket
import uuid
from typing import TYPE_CHECKING

import pytest

from commandline import configure, episoded
from episoded.daemon.control import ControlDir
from episoded.daemon.publisher import receipts
from episoded.processors.destinations.errors import BlockedError, TransientError
from moto_server import moto_server  # noqa: F401 - a fixture
from publishing import Sender, artifacts, ready, table
from recordings import EPISODE
from sites import S3Site, files, opened

if TYPE_CHECKING:
    from moto_server import MotoServer

PART = 5 << 20
LARGE = random.Random(9).randbytes(2 * PART + 1000)


@pytest.fixture
def site(moto_server: MotoServer) -> S3Site:
    made = S3Site(moto_server, f"bucket-{uuid.uuid4().hex}")
    made.settings["part_bytes"] = "5 MiB"
    return made


def uploads(site: S3Site) -> int:
    return len(site.client.list_multipart_uploads(Bucket=site.bucket).get("Uploads", []))


class TestParts:
    def test_parts_that_arrived_are_not_sent_again(self, site, tmp_path):
        listed = files(tmp_path / "source", {"a.mp4": LARGE})

        class Killed(Exception):  # noqa: N818
            pass

        def die(_: int) -> None:
            raise Killed

        with pytest.raises(Killed):
            opened(site).stage(listed, die)
        arrived = sum(part["Size"] for part in parts(site))
        assert arrived > 0

        moved: list[int] = []
        other = opened(site)
        other.stage(listed, moved.append)
        assert sum(moved) == len(LARGE) - arrived
        assert site.names() == set()
        other.commit(listed, "")
        assert (site.read("a.mp4"), uploads(site)) == (LARGE, 0)
        assert other.verify(listed) == {}

    def test_an_upload_begun_for_an_older_content_does_not_lend_its_digest(self, site, tmp_path):
        old = files(tmp_path / "old", {"a.mp4": LARGE})
        opened(site).stage(old, lambda _: None)
        new = files(tmp_path / "new", {"a.mp4": LARGE[:-1] + b"!"})
        destination = opened(site)
        destination.commit(new, "")
        assert destination.stat(["a.mp4"])["a.mp4"].holds(new[0])
        assert destination.verify(new) == {}

    def test_uploads_that_nobody_goes_on_with_are_given_up(self, site, tmp_path):
        """This server says of every upload that it began in 2010."""
        destination = opened(site)
        destination.stage(files(tmp_path / "source", {"a.mp4": LARGE}), lambda _: None)
        assert destination._parts.abort_older("robots/towel/", seconds=100 * 365 * 86400) == 0
        assert destination._parts.abort_older("robots/other/", seconds=86400) == 0
        assert uploads(site) == 1
        destination.probe()
        assert uploads(site) == 0


class TestServersThatKnowLess:
    def test_without_metadata_only_reading_proves(self, site, tmp_path):
        """The gateway of Hugging Face's buckets keeps no user metadata and knows no checksum headers."""
        site.settings |= {"metadata": False, "checksums": False}
        listed = files(tmp_path / "source", {"a.mp4": LARGE, "b.json": b"{}"})
        destination = opened(site)
        destination.probe()
        destination.stage(listed, lambda _: None)
        destination.commit(listed, "")
        assert not destination.strong_digest
        assert {remote.digest for remote in destination.stat(["a.mp4", "b.json"]).values()} == {None}
        assert destination.verify(listed) == {}
        site.overwrite("b.json", b"[]")
        assert list(destination.verify(listed)) == ["b.json"]

    def test_believing_the_metadata_is_for_those_who_ask_for_it(self, site, tmp_path):
        site.settings["proof"] = "metadata"
        listed = files(tmp_path / "source", {"b.json": b"{}"})
        destination = opened(site)
        destination.commit(listed, "")
        site.overwrite("b.json", b"[]")
        assert destination.verify(listed) == {}
        site.overwrite("b.json", b"[  ]")
        assert list(destination.verify(listed)) == ["b.json"]


def test_the_publisher_brings_a_dataset_there(site, tmp_path):
    (tmp_path / "drop").mkdir()
    towel = ready(tmp_path / "drop/towel")
    pipeline = '[pipelines.default]\ndestinations = ["there"]\n'
    config = configure(tmp_path, tmp_path / "drop", more=pipeline + table("there", site.kind, site.settings))
    done = episoded("publish", towel, config=config)
    assert (done.code, done.err) == (0, "")
    listed = artifacts(towel)
    assert {path: hashlib.sha256(site.read(path) or b"").hexdigest() for path in listed} == listed
    site.overwrite(f"data/chunk-000/{EPISODE}.parquet", b"damaged")
    assert episoded("verify", towel, "--remote", config=config).code == 1


class TestWhatIsThere:
    """Of a batch that is brought again: after a kill, or because `verify --remote` said so."""

    @pytest.fixture
    def towel(self, tmp_path):
        return ready(tmp_path / "towel")

    def forgotten(self, root):
        for episode in (EPISODE, "episode_000001"):
            receipts.withdraw_one(ControlDir.of(root, episode), "there")

    def test_damage_that_the_metadata_does_not_tell_is_mended(self, site, towel, tmp_path):
        sender = Sender(site, tmp_path / "state")
        sender.commit(towel)
        target = f"data/chunk-000/{EPISODE}.parquet"
        whole = site.read(target)
        site.overwrite(target, bytes([whole[0] ^ 1]) + whole[1:])
        self.forgotten(towel)
        assert len(sender.commit(towel).proven) == 2
        assert site.read(target) == whole

    def test_a_server_without_digests_is_read_before_it_is_called_a_stranger(self, site, towel, tmp_path):
        """Killed after some of the objects were put: nothing but their content says whose they are."""
        site.settings |= {"metadata": False, "checksums": False}
        sender = Sender(site, tmp_path / "state")
        sender.commit(towel)
        for path in (towel / ".episoded").glob("*/published.there"):
            path.unlink()
        site.remove("data/chunk-000/episode_000001.parquet")
        outcome = sender.commit(towel)
        assert (len(outcome.proven), outcome.blocked) == (2, ())
        for path in (towel / ".episoded").glob("*/published.there"):
            path.unlink()
        site.client.put_object(Bucket=site.bucket, Key=f"robots/towel/data/chunk-000/{EPISODE}.parquet", Body=b"other")
        outcome = sender.commit(towel)
        assert [path.name for path in outcome.blocked] == [EPISODE]


class TestTrouble:
    def test_no_bucket(self, site):
        site.client.delete_bucket(Bucket=site.bucket)
        with pytest.raises(BlockedError) as raised:
            opened(site).probe()
        assert raised.value.code == "bucket_missing"
        assert "create the bucket" in raised.value.hint
        site.client.create_bucket(Bucket=site.bucket)
        opened(site).probe()

    def test_nobody_there(self, site):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            site.settings["endpoint"] = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(TransientError) as raised:
            opened(site).probe()
        assert raised.value.offline

    def test_keys_come_from_a_file_and_are_in_no_message(self, site, tmp_path, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        with pytest.raises(BlockedError) as raised:
            opened(site).probe()
        assert raised.value.code == "no_credentials"

        keys = tmp_path / "aws-credentials"
        keys.write_text("[default]\naws_access_key_id = tests\naws_secret_access_key = tellNobody\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        opened(site).probe()
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        site.settings["credentials_file"] = str(keys)
        opened(site).probe()
        site.client.delete_bucket(Bucket=site.bucket)
        with pytest.raises(BlockedError) as raised:
            opened(site).probe()
        assert "tellNobody" not in repr(raised.value) + str(raised.value)

        site.settings["credentials_file"] = str(tmp_path / "none")
        with pytest.raises(BlockedError) as raised:
            opened(site)
        assert raised.value.code == "credentials_missing"
        site.client.create_bucket(Bucket=site.bucket)
        keys.rename(tmp_path / "none")
        opened(site).probe()


def parts(site: S3Site) -> list[dict[str, int]]:
    (upload,) = site.client.list_multipart_uploads(Bucket=site.bucket)["Uploads"]
    named = {"Bucket": site.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    return site.client.list_parts(**named).get("Parts", [])
