"""Weights come from a file or the Hub, are what they say they are, or the message says what to do."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from episoded.processors.depth import weights
from episoded.processors.errors import EpisodedError

torch = pytest.importorskip("torch")

from depth_golden import loaded  # noqa: E402

VITS = weights.checkpoint("vits")


@pytest.fixture(scope="module")
def state() -> dict[str, "torch.Tensor"]:
    return loaded().state_dict()


@pytest.fixture(scope="module")
def file(state: dict[str, "torch.Tensor"], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / VITS.file
    torch.save(state, path)
    return path


class TestTable:
    def test_each_model_has_its_file_and_its_licence(self) -> None:
        files = {name: (c.repo, c.file, c.licence, c.metric) for name, c in weights.CHECKPOINTS.items()}
        assert files["vits"] == (
            "depth-anything/Video-Depth-Anything-Small",
            "video_depth_anything_vits.pth",
            "Apache-2.0",
            False,
        )
        assert files["metric-vitl"] == (
            "depth-anything/Metric-Video-Depth-Anything-Large",
            "metric_video_depth_anything_vitl.pth",
            "CC-BY-NC-4.0",
            True,
        )
        assert len(files) == 6

    def test_what_is_not_for_commercial_use_or_not_certain_is_said(self) -> None:
        notes = {name: checkpoint.licence_note for name, checkpoint in weights.CHECKPOINTS.items()}
        assert notes["vits"] == notes["metric-vits"] == "", "their pages say Apache-2.0"
        assert all("not for commercial use" in notes[name] for name in ("vitb", "vitl", "metric-vitb", "metric-vitl"))
        assert all("not checked" in notes[name] for name in ("metric-vitb", "metric-vitl"))

    def test_an_unknown_model_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(EpisodedError, match="vitg") as caught:
            weights.checkpoint("vitg")
        assert "metric-vitb" in caught.value.hint


class TestLoading:
    def test_the_weights_arrive_and_the_file_is_known_by_its_digest(
        self, file: Path, state: dict[str, "torch.Tensor"]
    ) -> None:
        net, digest = weights.load(VITS, file)
        assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
        assert not net.training
        assert not any(value.is_meta for value in net.state_dict().values())

    @pytest.mark.parametrize(
        ("spoil", "why"),
        [
            (lambda state: state.pop("pretrained.norm.bias"), "1 names differ, the first is pretrained.norm.bias"),
            (lambda state: state.update({"head.more": torch.zeros(1)}), "the first is head.more"),
            (lambda state: state.update({"pretrained.norm.bias": torch.zeros(5)}), r"norm.bias is \(5,\)"),
            (
                lambda state: state["pretrained.cls_token"].fill_(torch.nan),
                "cls_token holds values that are not finite",
            ),
        ],
    )
    def test_other_weights_are_refused(
        self, spoil: object, why: str, state: dict[str, "torch.Tensor"], tmp_path: Path
    ) -> None:
        spoiled = dict(state) | {"pretrained.cls_token": state["pretrained.cls_token"].clone()}
        spoil(spoiled)  # type: ignore[operator]
        torch.save(spoiled, tmp_path / "a.pth")
        with pytest.raises(EpisodedError, match=why) as caught:
            weights.load(VITS, tmp_path / "a.pth")
        assert caught.value.code == "wrong_checkpoint"
        assert not caught.value.retryable

    @pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n"])
    def test_a_file_that_is_no_checkpoint_is_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(EpisodedError, match="cannot be read") as caught:
            weights.load(VITS, tmp_path / "a.pth")
        assert caught.value.code == "wrong_checkpoint"

    def test_code_in_a_checkpoint_is_not_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "owned"),)

        torch.save({"x": Evil()}, tmp_path / "a.pth")
        with pytest.raises(EpisodedError, match="cannot be read"):
            weights.load(VITS, tmp_path / "a.pth")
        assert not (tmp_path / "owned").exists()

    def test_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(EpisodedError, match=r"a\.pth is not there") as caught:
            weights.find(VITS, tmp_path / "a.pth")
        assert caught.value.code == "model_missing"
        assert f"hf download {VITS.repo} {VITS.file}" in caught.value.hint


class Hub(BaseHTTPRequestHandler):
    """One model repository with one small file, as huggingface_hub asks for it."""

    content = b"weights"

    def do_HEAD(self) -> None:
        if self.path != f"/{VITS.repo}/resolve/main/{VITS.file}":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "4" * 40)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestHub:
    @staticmethod
    def found(home: Path, model: str = "vits", **environment: str) -> list[str]:
        """What `weights.find` says in a process of its own, the client reads its environment once."""
        pytest.importorskip("huggingface_hub")
        code = (
            "import sys, time; from episoded.processors.depth import weights\n"
            "time.sleep = lambda _: None  # the client waits 15 s in all before it gives up a network\n"
            "try: print('found', weights.find(weights.checkpoint(sys.argv[1])).read_text())\n"
            "except weights.EpisodedError as error: print(error.code, error.retryable, error.hint)"
        )
        settings = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
        done = subprocess.run(
            [sys.executable, "-c", code, model],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip().split(" ", 2)

    def test_it_is_fetched_once_and_found_offline_after_that(self, hub: str, tmp_path: Path) -> None:
        assert self.found(tmp_path, HF_ENDPOINT=hub) == ["found", "weights"]
        assert self.found(tmp_path, HF_HUB_OFFLINE="1") == ["found", "weights"]

    def test_offline_without_it_the_command_is_named_that_fetches_it(self, tmp_path: Path) -> None:
        code, retryable, hint = self.found(tmp_path, "metric-vitb", HF_HUB_OFFLINE="1")
        assert (code, retryable) == ("model_missing", "False")
        assert (
            "hf download depth-anything/Metric-Video-Depth-Anything-Base metric_video_depth_anything_vitb.pth" in hint
        )
        assert "CC-BY-NC-4.0: not for commercial use" in hint

    def test_a_network_that_is_away_may_come_back(self, tmp_path: Path) -> None:
        code, retryable, _ = self.found(tmp_path, HF_ENDPOINT="http://127.0.0.1:1")
        assert (code, retryable) == ("model_download", "True")

    def test_a_hub_that_does_not_have_it(self, hub: str, tmp_path: Path) -> None:
        code, retryable, _ = self.found(tmp_path, "vitl", HF_ENDPOINT=hub)
        assert (code, retryable) == ("model_missing", "False")
