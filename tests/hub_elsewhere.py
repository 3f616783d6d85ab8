"""A Hub that is not ours: the tests of destinations against any real server, where one is named.

    EPISODED_TEST_HUB_URL=https://hub.example EPISODED_TEST_HUB_TOKEN=hf_... pytest tests/test_destinations.py

Each test has a private repo of its own in the account of the token, which is deleted at its end.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

URL, TOKEN = "EPISODED_TEST_HUB_URL", "EPISODED_TEST_HUB_TOKEN"


class ElsewhereSite:
    """A dataset repo on the server that the environment names."""

    kind = "huggingface"
    kills = (3, 2.0)

    def __init__(self, folder: Path) -> None:
        from huggingface_hub import HfApi

        url, token = os.environ[URL].rstrip("/"), os.environ[TOKEN]
        self._api, self._folder = HfApi(url, token=token), folder
        self.repo = f"{self._api.whoami()['name']}/episoded-test-{uuid.uuid4().hex[:12]}"
        (folder / "token").write_text(token)
        self.settings: dict[str, Any] = {"repo": self.repo, "endpoint": url, "token_file": str(folder / "token")}
        self.place = f"{url}/datasets/{self.repo}"

    def read(self, target: str) -> bytes | None:
        if target not in self.names():
            return None
        got = self._api.hf_hub_download(self.repo, target, repo_type="dataset", local_dir=self._folder / "got")
        return Path(got).read_bytes()

    def names(self) -> set[str]:
        if not self._api.repo_exists(self.repo, repo_type="dataset"):
            return set()
        return set(self._api.list_repo_files(self.repo, repo_type="dataset")) - {".gitattributes"}

    def overwrite(self, target: str, data: bytes) -> None:
        self._api.upload_file(path_or_fileobj=data, path_in_repo=target, repo_id=self.repo, repo_type="dataset")

    def remove(self, target: str) -> None:
        self._api.delete_file(target, self.repo, repo_type="dataset")


def elsewhere(folder: Path) -> Iterator[ElsewhereSite]:
    """A site on the server that is named; skips where none is."""
    if URL not in os.environ or TOKEN not in os.environ:
        pytest.skip(f"no server is named ({URL}, {TOKEN})")
    site = ElsewhereSite(folder)
    yield site
    try:
        site._api.delete_repo(site.repo, repo_type="dataset", missing_ok=True)
    except Exception as error:  # a server that deletes no repos: said, and no fault of what is tested
        print(f"{site.repo} is left behind: {error}")
