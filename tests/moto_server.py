"""A real S3 server on loopback, moto's, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Any keys will do.
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "secretOfTheTests", "AWS_DEFAULT_REGION": "us-east-1"}


class MotoServer:
    """The server, and a client that goes past whatever is tested."""

    def __init__(self) -> None:
        for module in ("boto3", "moto", "flask"):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed (pip install 'episoded[dev]')")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._listens, what="moto listens")

    def client(self) -> Any:
        import boto3

        keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, **keys)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process.poll() is None, "moto's server ended at once"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """One for all tests; each has a bucket of its own."""
    before = {key: os.environ.get(key) for key in KEYS}
    os.environ.update(KEYS)
    server = MotoServer()
    yield server
    server.stop()
    for key, value in before.items():
        os.environ.pop(key)
        if value is not None:
            os.environ[key] = value
