"""`episoded push --fallback-encode`: the server is out of reach. What is encoded here, kept here, and sent later."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from commandline import COMMAND, environment, episoded, finish
from conftest import eventually
from episoded.processors import simulation, simulation_v3
from push_site import digest, padded, site, sshd  # noqa: F401 - fixtures
from recordings import Originals, tiny

if TYPE_CHECKING:
    from pathlib import Path

    from push_site import Site

ALL = ("--delete-after", "confirmed")


def out_of_reach(site: Site, until: Path | None = None) -> list[str]:
    """`--ssh` for a server that is not to be reached (until this file is there)."""
    program = site.recording.parent / "ssh"
    program.parent.mkdir(parents=True, exist_ok=True)
    condition = f"[ -e {until} ]" if until else "false"
    program.write_text(f'#!/bin/sh\n{condition} || exit 255\nexec {site.ssh} "$@"\n')
    program.chmod(0o755)
    return ["--ssh", str(program)]


def encode_here(site: Site) -> None:
    """What a push that reaches nobody does."""
    assert site.push("--fallback-encode", "--attempts", 1, *out_of_reach(site)).code == 75


def frames(root: Path) -> dict[Path, str]:
    return {path.relative_to(root): digest(path) for path in root.rglob("*.png")}


class TestEncodingHere:
    def test_it_is_encoded_and_every_frame_stays(self, site):
        """The built-in pipeline would remove them: a verified video is proof enough where it is all that there is."""
        tiny(site.recording, episodes=2)
        recorded = frames(site.recording)
        done = site.push("--fallback-encode", "--attempts", 1, *out_of_reach(site))
        assert (done.code, done.out.count("encoded  ")) == (75, 2)
        assert frames(site.recording) == recorded
        assert len(list(site.recording.rglob("*.mp4"))) == 4
        assert not list(site.drop.iterdir())

    def test_it_is_encoded_once(self, site):
        tiny(site.recording)
        encode_here(site)
        before = {path: path.stat().st_ino for path in site.recording.rglob("*.mp4")}
        assert "encoded  " not in site.push("--fallback-encode", "--attempts", 1, *out_of_reach(site)).out
        assert {path: path.stat().st_ino for path in site.recording.rglob("*.mp4")} == before

    def test_the_server_is_asked_again_after_each_episode(self, site):
        """It comes back while the first is being encoded: the others go as they are."""
        tiny(site.recording, episodes=3)
        back = site.recording / ".episoded/episode_000000/ready"
        done = site.push("--fallback-encode", "--attempts", 1, *out_of_reach(site, until=back))
        assert (done.code, done.out.count("encoded  "), done.out.count("confirmed  ")) == (0, 1, 3)
        assert {path.parent.name for path in site.there.rglob("*.png")} == {"episode_000001", "episode_000002"}

    def test_a_signal_to_stop_is_no_failure(self, site):
        simulation.record(site.recording, episodes=1, frames=150, size=(240, 320))
        process = subprocess.Popen(
            [*COMMAND, *site.words("--fallback-encode", "--attempts", 1, *out_of_reach(site))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        eventually(lambda: list(site.recording.glob(".episoded/*/g000001/*")), what="it is being encoded")
        os.kill(process.pid, signal.SIGINT)
        done = finish(process)
        assert "failed" not in done.out + done.err
        assert "stopped" in done.out or "encoded" in done.out
        assert not (site.recording / ".episoded/episode_000000/failed").exists()
        encode_here(site)
        assert (site.recording / ".episoded/episode_000000/ready").exists()

    def test_killed_while_it_encodes_it_goes_on(self, site):
        tiny(site.recording, frames=60)
        recorded = frames(site.recording)
        process = site.begin("--fallback-encode", "--attempts", 1, *out_of_reach(site))
        eventually(lambda: list(site.recording.glob(".episoded/*/g000001.claim")), what="it is being encoded")
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
        assert frames(site.recording) == recorded
        ready = site.recording / ".episoded/episode_000000/ready"
        eventually(lambda: ready.exists() or not encode_here(site), what="it is ready")
        assert site.push(*ALL).code == 0
        assert episoded("process", site.there).code == 0


class TestAfterwards:
    def test_the_videos_go_and_the_frames_once_the_server_has_confirmed(self, site):
        tiny(site.recording, episodes=2)
        originals, recorded = Originals.of(site.recording), frames(site.recording)
        encode_here(site)

        assert site.push().code == 0
        assert (len(list(site.there.rglob("*.mp4"))), frames(site.there)) == (4, {})
        assert frames(site.recording) == recorded
        before = site.wire.sent
        assert (site.push().code, site.wire.sent) == (0, before)

        assert "12 frames removed here" in site.push(*ALL).out
        assert frames(site.recording) == {}
        assert episoded("process", site.there).code == 0
        assert originals.missing_from(site.there) == []

    def test_killed_again_and_again_no_frame_goes_too_early(self, site):
        simulation.record(site.recording, episodes=2, frames=30, size=(240, 320))
        originals = Originals.of(site.recording)
        encode_here(site)
        kills = 0
        while site.kill_after(5_000 << kills, *ALL):
            kills += 1
            confirmed = {path.stem for path in site.recording.glob(".episoded/pushed/*/episode_*.json")}
            there = {path.parent.name for path in frames(site.recording)}
            assert confirmed | there == {"episode_000000", "episode_000001"}
            assert site.half_visible() == []
            assert kills < 10
        assert kills > 2
        assert frames(site.recording) == {}
        assert episoded("process", site.there).code == 0
        assert originals.missing_from(site.there) == []

    def test_a_frame_that_changed_since_is_sent_as_it_is_now(self, site):
        """The video holds another picture: all frames go, and the server makes its own video of them."""
        tiny(site.recording)
        encode_here(site)
        first, second = sorted(site.recording.rglob("observation.images.top/*/*.png"))[:2]
        shutil.copyfile(second, first)
        originals = Originals.of(site.recording)
        assert site.push().code == 0
        assert frames(site.there) == frames(site.recording)
        assert episoded("process", site.there).code == 0
        assert originals.missing_from(site.there) == []

    def test_frames_that_arrived_half_make_room_for_the_videos(self, site):
        padded(tiny(site.recording))
        originals = Originals.of(site.recording)
        assert site.kill_after(2 << 20)
        eventually(lambda: list(site.drop.glob(".episoded-push/**/*.png")), what="some of them are there")
        encode_here(site)
        assert site.push().code == 0
        assert not list(site.drop.rglob("*.png"))
        assert not list(site.drop.glob(".episoded-push/*"))
        assert episoded("process", site.there).code == 0
        assert originals.missing_from(site.there) == []

    @pytest.mark.parametrize("there", [("received", "pending"), ("received",)])
    def test_frames_that_had_arrived_whole_stand(self, site, there):
        """Cut off after the server had them, before we knew: they are no other recording."""
        tiny(site.recording)
        recorded = frames(site.recording)
        site.push()
        shutil.rmtree(site.recording / ".episoded/pushed")
        for name in {"received", "pending"} - set(there):
            (site.there / ".episoded/episode_000000" / name).unlink()
        encode_here(site)
        assert site.push(*ALL).code == 0
        assert frames(site.there) == recorded
        assert frames(site.recording) == {}
        assert site.pending() == {"episode_000000"}
        assert not list(site.there.rglob("*.mp4"))

    def test_a_video_that_is_damaged_by_then_stands_for_nothing(self, site):
        tiny(site.recording)
        encode_here(site)
        video = next(site.recording.rglob("*.mp4"))
        content = bytearray(video.read_bytes())
        content[len(content) // 2] ^= 1
        video.write_bytes(content)
        done = site.push(*ALL)
        assert (done.code, "video_damaged" in done.out, len(frames(site.recording))) == (1, True, 12)
        assert not site.pending()
        assert episoded("retry", site.recording, "--from", "encode").code == 0
        assert site.push(*ALL).code == 0
        assert frames(site.there) or list(site.there.rglob("*.mp4"))

    def test_while_watching_too_and_nothing_is_called_there_that_is_not(self, site):
        tiny(site.recording)
        originals = Originals.of(site.recording)
        watching = site.begin("--watch", "--fallback-encode", *out_of_reach(site))
        eventually((site.recording / ".episoded/episode_000000/ready").exists, what="it is encoded here")
        os.kill(watching.pid, signal.SIGINT)
        done = finish(watching)
        assert (done.code, "0 episodes on" in done.out, "episode_000000: not sent yet" in done.out) == (0, True, True)

        watching = site.begin("--watch", "--fallback-encode", *ALL)
        eventually(lambda: site.pending() == {"episode_000000"}, what="the videos are there")
        eventually(lambda: not frames(site.recording), what="the frames are removed here")
        os.kill(watching.pid, signal.SIGINT)
        assert "1 episode on" in finish(watching).out
        assert episoded("process", site.there).code == 0
        assert originals.missing_from(site.there) == []

    def test_a_dataset_whose_episodes_share_files(self, site):
        simulation_v3.record(site.recording, episodes=2, frames=6, size=(48, 64))
        recorded = frames(site.recording)
        encode_here(site)
        assert frames(site.recording) == recorded
        assert site.push(*ALL).code == 0
        assert (frames(site.there), frames(site.recording)) == ({}, {})
        videos = {path.relative_to(site.recording): digest(path) for path in site.recording.rglob("*.mp4")}
        assert videos == {path: digest(site.there / path) for path in videos}
        assert episoded("process", site.there).code == 0
        assert episoded("verify", site.there).code == 0
