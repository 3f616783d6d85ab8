"""`episoded push`: the real command against a real sshd, cut and killed where it hurts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from commandline import episoded, finish, in_this_process
from conftest import eventually
from episoded.daemon.cli.push_progress import Lines
from episoded.daemon.push.pusher import Pusher
from episoded.daemon.push.server import Server
from episoded.processors import simulation_v3
from episoded.processors.destinations.ssh import Address, Ssh
from episoded.processors.simulation_droid import record_droid
from push_site import digest, files, lines, padded, set_aside, site, sshd  # noqa: F401 - fixtures
from recordings import Originals, tiny

if TYPE_CHECKING:
    from episoded.daemon.push.server import Seen
    from episoded.daemon.push.shipment import Shipment


class TestArriving:
    def test_all_that_is_recorded_appears_as_it_is_and_is_marked(self, site):
        tiny(site.recording, episodes=2)
        done = site.push()
        assert (done.code, done.err) == (0, "")
        assert site.differences() == site.half_visible() == []
        assert site.pending() == {"episode_000000", "episode_000001"}
        assert not list(site.drop.glob(".episoded-push/*"))

    def test_what_was_confirmed_is_not_asked_about_again(self, site):
        tiny(site.recording)
        site.push()
        before = site.wire.sent
        done = site.push()
        assert (done.code, site.wire.sent) == (0, before)

    def test_a_lost_receipt_costs_a_question(self, site):
        padded(tiny(site.recording))
        site.push()
        shutil.rmtree(site.recording / ".episoded")
        before = site.wire.sent
        assert "was there already" in site.push().out
        assert site.wire.sent - before < 20_000

    def test_the_next_episode_joins_what_the_server_has_made_of_the_first(self, site):
        tiny(site.recording, episodes=2)
        originals = Originals.of(site.recording)
        second = set_aside(site.recording, "episode_000001")
        assert site.push().code == 0
        assert episoded("process", site.there).code == 0
        info = json.loads((site.there / "meta/info.json").read_text())
        assert (info["total_episodes"], info["total_frames"]) == (1, 6)
        assert not list(site.there.rglob("*.png"))

        second()
        assert site.push().code == 0
        grown = json.loads((site.there / "meta/info.json").read_text())
        assert grown["features"] == info["features"]
        assert (grown["total_episodes"], grown["splits"]) == (2, {"train": "0:2"})
        assert episoded("process", site.there).code == 0
        assert originals.missing_from(site.there) == []

    def test_the_statistics_of_a_v20_recorder_follow_its_episodes(self, site):
        """In `meta/stats.json`, which is one for all: of cameras the server's, of all else the recorder's."""
        tiny(site.recording, episodes=2, version="v2.0")
        camera = "observation.images.top"
        recorded = {"action": {"max": [1.0]}, camera: {"max": [[[0.5]]]}}
        (site.recording / "meta/stats.json").write_text(json.dumps(recorded))
        second = set_aside(site.recording, "episode_000001")
        assert site.push().code == 0
        assert episoded("process", site.there).code == 0
        made = json.loads((site.there / "meta/stats.json").read_text())
        second()
        assert made[camera] != recorded[camera]
        recorded["action"]["max"] = [2.0]
        (site.recording / "meta/stats.json").write_text(json.dumps(recorded))
        (site.recording / "raw.bag").touch()
        os.truncate(site.recording / "raw.bag", 1 << 30)
        done = site.push()
        assert (done.code, "raw.bag" in done.out) == (1, True)
        merged = json.loads((site.there / "meta/stats.json").read_text())
        assert (merged["action"], merged[camera]) == ({"max": [2.0]}, made[camera])

    def test_a_dataset_whose_episodes_share_files_goes_as_a_whole(self, site):
        simulation_v3.record(site.recording, episodes=2, frames=6, size=(48, 64))
        assert site.push().code == 0
        assert site.differences() == []
        assert (site.there / ".episoded/pending").exists()
        before = site.wire.sent
        assert (site.push().code, site.wire.sent) == (0, before)

    def test_droid_episodes_go_by_folder(self, site):
        record_droid(site.recording, episodes=2, rows=20)
        assert site.push().code == 0
        assert site.differences() == []
        assert len(site.pending()) == 2

    def test_nothing_goes_of_a_recording_whose_first_episode_is_not_finished(self, site):
        tiny(site.recording)
        for path in site.recording.glob("meta/episodes*.jsonl"):
            path.unlink()
        done = site.push()
        assert (done.code, site.wire.sent) == (1, 0)
        assert "no line in meta/episodes.jsonl" in done.out

    def test_another_name(self, site):
        tiny(site.recording)
        assert site.push("--name", "lab/fold").code == 0
        assert (site.drop / "lab/fold/.episoded/episode_000000/pending").exists()


class TestCut:
    """Nothing is half visible, nothing is lost, nothing is sent twice in full."""

    def test_killed_again_and_again_it_arrives_once(self, site):
        """Each call may send twice as much as the last: within the first episode, between two, in the last."""
        padded(tiny(site.recording, episodes=3), 40_000)
        kills = 0
        while site.kill_after(20_000 << kills):
            kills += 1
            assert site.half_visible() == []
            assert kills < 10
        assert site.push().code == 0
        assert kills > 2
        assert site.differences() == []

    def test_killed_in_the_middle_of_a_large_file_it_goes_on_from_there(self, site):
        padded(tiny(site.recording), 12 << 20, "observation.images.top/*/frame_000000.png")
        assert site.kill_after(8 << 20)
        eventually(lambda: list(site.drop.rglob("*.rsync-partial/*.png")), what="the server keeps the part")
        before = site.wire.sent
        assert site.push().code == 0
        assert site.differences() == []
        assert site.wire.sent - before < 8 << 20

    def test_a_wire_that_breaks_is_waited_for(self, site):
        padded(tiny(site.recording))
        site.wire.cut_after(1 << 20)
        done = site.push()
        assert (done.code, site.wire.was_cut) == (0, True)
        assert "held" in done.out
        assert site.differences() == []

    def test_bytes_damaged_on_the_server_are_found_and_sent_again(self, site):
        padded(tiny(site.recording))
        site.kill_after(3 << 20)
        staged = next(path for path in site.drop.rglob("frame_*.png") if ".rsync-partial" not in path.parts)
        times, content = staged.stat(), bytearray(staged.read_bytes())
        content[len(content) // 2] ^= 1
        staged.write_bytes(content)
        os.utime(staged, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert site.push().code == 0
        assert site.differences() == []

    def test_a_server_that_died_at_any_step_is_brought_on(self, site):
        """What a power cut leaves behind there, made by taking away what would have come later."""
        tiny(site.recording, episodes=2)
        second = set_aside(site.recording, "episode_000001")
        site.push()
        before = {path: (site.there / path).read_bytes() for path in ("meta/info.json", "meta/episodes.jsonl")}
        second()
        site.push()
        control = site.there / ".episoded/episode_000001"
        steps = ["received", "meta/info.json", "meta/episodes.jsonl", "pending"]
        for number in range(len(steps)):
            for later in steps[number:]:
                if later in before:
                    (site.there / later).write_bytes(before[later])
                else:
                    (control / later).unlink()
            shutil.rmtree(site.recording / ".episoded/pushed")
            assert site.push().code == 0
            assert site.differences() == site.half_visible() == []
            assert site.pending() == {"episode_000000", "episode_000001"}

    def test_a_server_that_works_on_the_same_files_meanwhile(self, site):
        """Its own edit of `meta/info.json`, made between our look and our word, is not undone."""
        tiny(site.recording, episodes=2)
        second = set_aside(site.recording, "episode_000001")
        assert site.push().code == 0
        second()
        info = site.there / "meta/info.json"

        class Busy(Server):
            def look(self, shipment: Shipment) -> Seen:
                seen = super().look(shipment)
                value = json.loads(info.read_text())
                if value.setdefault("edits", 0) < 2:
                    info.write_text(json.dumps(value | {"edits": value["edits"] + 1}))
                return seen

        with closing(Ssh(site.server.host, site.server.ssh)) as ssh:
            server = Busy(ssh, Address.parse(site.destination), "towel")
            assert Pusher(site.recording, server, Lines()).push("episode_000001")
        value = json.loads(info.read_text())
        assert (value["edits"], value["total_episodes"]) == (2, 2)


class TestRefusals:
    def test_an_episode_that_changed_after_it_was_confirmed(self, site):
        tiny(site.recording, episodes=2)
        site.push()
        frame = next(site.recording.rglob("episode_000000/*.png"))
        frame.write_bytes(frame.read_bytes() + b"!")
        done = site.push()
        assert done.code == 1
        assert "changed_after_push" in done.out
        assert digest(site.there / frame.relative_to(site.recording)) != digest(frame)

    def test_another_recording_of_the_same_name(self, site):
        """It also keeps the episodes to itself that the other has not."""
        tiny(site.recording, seed=1)
        site.push()
        before = {path: digest(path) for path in site.there.rglob("*") if path.is_file()}
        shutil.rmtree(site.recording)
        tiny(site.recording, episodes=2, seed=2)
        done = site.push()
        assert done.code == 1
        assert "has another episode_000000" in done.err
        assert "--name" in done.err
        assert {path: digest(path) for path in site.there.rglob("*") if path.is_file()} == before

    def test_one_that_came_by_hand_and_is_finished_gets_no_frames_again(self, site):
        tiny(site.recording)
        shutil.copytree(site.recording, site.there)
        assert episoded("process", site.there).code == 0
        done = site.push()
        assert (done.code, "did not come by push" in done.err) == (1, True)
        assert not list(site.there.rglob("*.png"))

    def test_an_episode_that_is_not_whole_stays_here_and_is_named(self, site):
        tiny(site.recording, episodes=2)
        next(site.recording.rglob("episode_000001/frame_000003.png")).unlink()
        done = site.push()
        assert done.code == 1
        assert "frame_000003.png" in done.out
        assert site.pending() == {"episode_000000"}
        assert [value["episode_index"] for value in lines(site.there / "meta/episodes.jsonl")] == [0]

    def test_a_server_that_is_not_there(self, site):
        tiny(site.recording)
        site.wire.__exit__()
        done = site.push("--attempts", 1)
        assert done.code == 75
        assert "server_unreachable" not in done.out
        assert "what to do" in done.err

    def test_a_server_that_does_not_know_us_or_that_we_do_not_know(self, site, tmp_path):
        tiny(site.recording)
        stranger = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True, capture_output=True)
        other = site.ssh.replace(f"-i {site.server.folder / 'user'}", f"-i {stranger}")
        done = in_this_process("push", site.recording, site.destination, "--ssh", other)
        assert (done.code, "authorized_keys" in done.err) == (1, True)
        unknown = site.ssh.replace(str(site.server.folder / "known_hosts"), "/dev/null")
        done = in_this_process("push", site.recording, site.destination, "--ssh", unknown)
        assert (done.code, "check its key" in done.err) == (1, True)

    def test_a_drop_folder_that_is_not_there(self, site):
        tiny(site.recording)
        site.drop.rmdir()
        done = site.push()
        assert done.code == 1
        assert "has no folder" in done.err

    @pytest.mark.parametrize("address", ["server", "server:relative", "-oProxyCommand=x:/drop", "user@:/drop"])
    def test_an_address_that_is_none(self, site, address):
        tiny(site.recording)
        done = in_this_process("push", site.recording, "--", address)
        assert done.code == 2, done.err

    def test_two_at_once(self, site):
        padded(tiny(site.recording))
        first = site.begin("--limit", "200k")
        eventually(lambda: list(site.drop.rglob(".episoded-push/*/*/tree")))
        assert site.push().code == 75
        os.killpg(first.pid, signal.SIGKILL)
        finish(first)


class TestWatching:
    def test_each_episode_goes_as_soon_as_it_is_recorded(self, site):
        tiny(site.recording, episodes=2)
        second = set_aside(site.recording, "episode_000001")
        watching = site.begin("--watch")
        eventually(lambda: site.pending() == {"episode_000000"}, what="the first is there")
        second()
        eventually(lambda: len(site.pending()) == 2, what="the second is there")
        watching.send_signal(signal.SIGINT)
        done = finish(watching)
        assert (done.code, done.err) == (0, "")
        assert site.differences() == site.half_visible() == []

    def test_it_waits_for_a_recording_that_has_not_begun(self, site):
        site.recording.mkdir(parents=True)
        watching = site.begin("--watch")
        tiny(site.recording)
        eventually(lambda: site.pending() == {"episode_000000"})
        watching.send_signal(signal.SIGTERM)
        assert finish(watching).code == 0


class TestRemovingFrames:
    def test_frames_go_only_after_the_server_has_confirmed(self, site):
        padded(tiny(site.recording))
        frames = sorted(site.recording.rglob("*.png"))
        assert site.kill_after(2 << 20, "--delete-after", "confirmed")
        assert sorted(site.recording.rglob("*.png")) == frames
        kept = {path.relative_to(site.recording): digest(path) for path in frames}

        assert "12 frames removed here" in site.push("--delete-after", "confirmed").out
        assert not list(site.recording.rglob("*.png"))
        assert {path: digest(site.there / path) for path in kept} == kept
        assert site.push().code == 0

    def test_they_may_go_later_too_if_the_server_still_says_so(self, site):
        tiny(site.recording)
        site.push()
        (site.there / ".episoded/episode_000000/received").unlink()
        assert site.push("--delete-after", "confirmed").code == 0
        assert not list(site.recording.rglob("*.png"))
        assert (site.there / ".episoded/episode_000000/received").exists()


def test_it_needs_nothing_heavy() -> None:
    """Recording computers are small: no libav, no tables, no numpy to push."""
    script = (
        "import sys; from episoded.daemon.cli import app; "
        "from episoded.daemon.push import fallback, pusher, receipts, server; "
        "from episoded.processors.destinations import ssh; "
        "print(*sorted({'torch', 'av', 'pyarrow', 'numpy', 'watchdog'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
