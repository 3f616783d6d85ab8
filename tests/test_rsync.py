"""What only the destination "rsync" does, against a real sshd."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from commandline import configure, episoded
from episoded.processors.destinations.errors import BlockedError, TransientError
from publishing import artifacts, ready, table
from recordings import EPISODE
from sites import RsyncSite, files, opened
from sshd import sshd  # noqa: F401 - a fixture
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from episoded.processors.destinations.base import Destination
    from sshd import Sshd

LARGE = random.Random(9).randbytes(6 << 20)


@pytest.fixture
def site(sshd: Sshd, tmp_path: Path) -> RsyncSite:
    return RsyncSite(sshd, tmp_path / "folder")


@pytest.fixture
def place() -> Iterator[Callable[[RsyncSite], Destination]]:
    """Opens a site, as one process of the publisher does."""
    made: list[Destination] = []

    def open_it(site: RsyncSite) -> Destination:
        made.append(opened(site))
        return made[-1]

    yield open_it
    for one in made:
        one.close()


def staged(site: RsyncSite) -> list[Path]:
    return [path for path in site.root.glob(".episoded/staged/*") if path.is_file()]


def test_a_transfer_that_was_cut_goes_on_from_there(site, place, sshd, tmp_path):
    listed = files(tmp_path / "source", {"a.mp4": LARGE})
    place(site).probe()
    with Wire(sshd.port) as wire:
        alias = f"-p {wire.port} -o HostKeyAlias=[127.0.0.1]:{sshd.port}"
        site.settings["ssh"] = sshd.command.replace(f"-p {sshd.port}", alias)
        wire.cut_after(4 << 20)
        with pytest.raises(TransientError):
            place(site).stage(listed, lambda _: None)
        before = wire.sent
        other = place(site)
        other.stage(listed, lambda _: None)
        assert wire.sent - before < 4 << 20
        other.commit(listed, "")
    assert site.read("a.mp4") == LARGE


def test_bytes_damaged_there_are_found_before_they_get_a_name(site, place, tmp_path):
    listed = files(tmp_path / "source", {"a.mp4": LARGE})
    destination = place(site)
    destination.probe()
    destination.stage(listed, lambda _: None)
    (path,) = staged(site)
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes([LARGE[1000] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    later = place(site)
    with pytest.raises(TransientError) as raised:
        later.commit(listed, "")
    assert raised.value.code == "damaged"
    assert site.names() == set()
    later.commit(listed, "")
    assert site.read("a.mp4") == LARGE
    assert staged(site) == []


def test_a_folder_that_is_gone_is_not_made_anew_unasked(site, place):
    site.root.rmdir()
    with pytest.raises(BlockedError) as raised:
        place(site).probe()
    assert raised.value.code == "folder_missing"
    site.settings["address"] = site.place.replace("/folder", "/{dataset}")
    with pytest.raises(BlockedError):
        place(site).probe(create=False)
    place(site).probe()
    assert site.root.is_dir()


def test_the_publisher_brings_a_dataset_there(site, tmp_path):
    (tmp_path / "drop").mkdir()
    arm = ready(tmp_path / "drop/arm")
    pipeline = '[pipelines.default]\ndestinations = ["there"]\n'
    config = configure(tmp_path, tmp_path / "drop", more=pipeline + table("there", site.kind, site.settings))
    done = episoded("publish", arm, config=config)
    assert (done.code, done.err) == (0, "")
    assert artifacts(site.root / "arm") == artifacts(arm)
    assert (site.root / "arm" / f".episoded/{EPISODE}/manifest.json").exists()
    (site.root / "arm/meta/info.json").write_text("{}")
    (site.root / "arm/data/chunk-000" / f"{EPISODE}.parquet").unlink()
    assert episoded("verify", arm, "--remote", config=config).code == 1


def test_nobody_there(site, place, sshd):
    site.settings["ssh"] = sshd.command.replace(f"-p {sshd.port}", "-p 9")
    with pytest.raises(TransientError) as raised:
        place(site).probe()
    assert raised.value.offline


def test_a_host_that_is_not_known_and_an_account_that_is_not_let_in(site, place, sshd, tmp_path):
    known, key = tmp_path / "known_hosts", tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    command = sshd.command.replace(str(sshd.folder / "known_hosts"), str(known))
    site.settings["ssh"] = command.replace(str(sshd.folder / "user"), str(key))
    with pytest.raises(BlockedError) as raised:
        place(site).probe()
    assert (raised.value.code, "check its key" in raised.value.hint) == ("host_key_unknown", True)
    shutil.copy(sshd.folder / "known_hosts", known)
    with pytest.raises(BlockedError) as raised:
        place(site).probe()
    assert (raised.value.code, "authorized_keys" in raised.value.hint) == ("no_access", True)
    for suffix in ("", ".pub"):
        shutil.copy(f"{sshd.folder}/user{suffix}", f"{key}{suffix}")
    place(site).probe()


def test_a_name_cannot_lead_out(site, place, tmp_path):
    listed = files(tmp_path / "source", {"../a.mp4": b"x"})
    with pytest.raises(BlockedError):
        place(site).stat(["../a.mp4"])
    destination = place(site)
    destination.probe()
    with pytest.raises(BlockedError):
        destination.commit(listed, "")
