"""`episoded push` by night: what is wrong with the network or the server, in words, and nothing lost by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from episoded.daemon.cli.push_progress import Lines
from episoded.daemon.push import server
from episoded.daemon.push.pusher import Pusher
from episoded.daemon.push.server import Server
from episoded.processors.destinations.ssh import Address, Ssh
from push_site import padded, site, sshd  # noqa: F401 - fixtures
from recordings import tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestTheNetwork:
    def test_one_that_swallows_everything(self, site):
        """No end of a connection comes through: ssh notices by itself, here sooner than by default."""
        padded(tiny(site.recording))
        site.wire.swallow_after(1 << 20)
        impatient = f"{site.ssh} -o ServerAliveInterval=3 -o ServerAliveCountMax=1"
        ended = site.push("--ssh", impatient)
        assert ended.code == 0
        assert "held  " in ended.out
        assert site.differences() == []


class TestTheServer:
    def test_its_disk_is_full(self, site, small_disk):
        padded(tiny(site.recording, episodes=2), 250_000)
        site.drop = small_disk
        ended = site.push("--attempts", 1)
        assert (ended.code, "No space left" in ended.err, "free disk space on the server" in ended.err) == (
            75,
            True,
            True,
        )
        assert not list(small_disk.glob("towel/.episoded/episode_000001"))
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=5000", small_disk], check=True)
        site.there = small_disk / "towel"
        ended = site.push()
        assert ended.code == 0
        assert site.differences() == []

    def test_its_drop_folder_is_mounted_read_only(self, site, read_only: Callable[[Path], None]):
        tiny(site.recording)
        read_only(site.drop)
        ended = site.push()
        assert ended.code == 1
        assert "read-only" in ended.err

    def test_what_reads_the_files_there_is_killed(self, site, monkeypatch):
        """By a server short of memory, say. A file that nobody found wrong is not one that was found right."""
        tiny(site.recording)
        script = b"sha256sum() { sh -c 'kill -9 $$'; }\n" + server._script()
        with monkeypatch.context() as patched:
            patched.setattr(server, "_script", lambda: script)
            ended = site.push("--attempts", 1)
        assert (ended.code, "not every file was read" in ended.err) == (75, True)
        assert not site.there.exists()
        assert site.push().code == 0

    def test_its_key_is_another_one(self, site, tmp_path):
        tiny(site.recording)
        known = (site.server.folder / "known_hosts").read_text().split()
        other = (site.server.folder / "user.pub").read_text().split()
        (tmp_path / "known").write_text(f"{known[0]} {other[0]} {other[1]}\n")
        ended = site.push("--ssh", site.ssh.replace(str(site.server.folder / "known_hosts"), str(tmp_path / "known")))
        assert ended.code == 1
        assert "ssh-keygen -R" in ended.err
        assert "@" not in ended.err.partition("ssh-keygen -R")[2].split("`")[0]
        assert not site.there.exists()


class TestTheClock:
    @pytest.mark.parametrize("year", [1975, 2105])
    def test_of_this_computer_is_wrong(self, site, year):
        tiny(site.recording)
        for number, path in enumerate(sorted(site.recording.rglob("*.png"))):
            os.utime(path, (0, (year - 1970) * 31_557_600 + number + 0.123456789))
        assert site.push().code == 0
        before = site.wire.sent
        assert (site.push().code, site.wire.sent) == (0, before)
        assert site.differences() == []
        assert "12 frames removed" in site.push("--delete-after", "confirmed").out


class TestTheRecorder:
    def test_writes_a_frame_anew_while_it_is_sent(self, site):
        """Then what was sent is not what the receipt would list: it is looked at, and sent, once more."""
        tiny(site.recording)
        frame = sorted(site.recording.rglob("*.png"))[3]

        class Overtaken(Server):
            def send(self, *args, **kwargs):
                super().send(*args, **kwargs)
                sends.append(args)
                if len(sends) == 1:
                    frame.write_bytes(sorted(site.recording.rglob("*.png"))[4].read_bytes())

        sends: list[object] = []
        with closing(Ssh(site.server.host, site.server.ssh)) as ssh:
            pusher = Pusher(site.recording, Overtaken(ssh, Address.parse(site.destination), "towel"), Lines())
            assert pusher.push_all(["episode_000000"]) == 0
            assert pusher.refused["episode_000000"].code == "changed_while_sent"
            assert not site.there.exists()
            assert pusher.push_all(["episode_000000"]) == 1
        assert site.differences() == []
        assert "12 frames removed" in site.push("--delete-after", "confirmed").out


class TestTwo:
    def test_from_two_computers_the_same_recording(self, site, tmp_path):
        """A copy of it: each has its own staging area, and what the other has placed counts as there."""
        tiny(site.recording, episodes=2)
        copy = tmp_path / "other" / "towel"
        shutil.copytree(site.recording, copy)

        class Elsewhere(Server):
            def _staging(self, shipment):
                return super()._staging(shipment).replace("towel@", "towel@other-")

        def push(root: Path, kind: type[Server]) -> None:
            with closing(Ssh(site.server.host, site.server.ssh)) as ssh:
                pusher = Pusher(root, kind(ssh, Address.parse(site.destination), "towel"), Lines())
                pusher.patiently(lambda: pusher.push_all(pusher.finished(still=False)[0]), attempts=5)
                assert pusher.refused == {}
                ended.append(root)

        ended: list[Path] = []
        threads = [threading.Thread(target=push, args=both) for both in ((site.recording, Server), (copy, Elsewhere))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 2
        assert site.pending() == {"episode_000000", "episode_000001"}
        assert site.differences() == site.half_visible() == []
        assert not list(site.drop.glob(".episoded-push/*"))
