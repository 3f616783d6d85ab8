"""Real places to publish to, one class for each kind of destination: what the tests need to know and to break there."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from episoded.processors import destinations
from episoded.processors.destinations.base import File
from hub_repository import large, regular
from hub_server import WRITE_TOKEN

if TYPE_CHECKING:
    from episoded.processors.destinations.base import Destination
    from hub_server import HubServer
    from moto_server import MotoServer
    from sshd import Sshd


#: sha256 -> content of every file that `files` made.
WRITTEN: dict[str, bytes] = {}


class Site(Protocol):
    """One empty place of a kind, with a back door for the tests."""

    kind: str
    settings: dict[str, Any]
    place: str
    #: How often a depositor is killed in a test, and within how many seconds: about as long as it takes.
    kills: tuple[int, float]

    def read(self, target: str) -> bytes | None:
        """What lies there under a name, None when nothing does. Not through the destination."""

    def names(self) -> set[str]:
        """Every name that a reader sees there; nothing of what is only staged."""

    def overwrite(self, target: str, data: bytes) -> None:
        """Another writer changed what lies there."""

    def remove(self, target: str) -> None:
        """Another writer removed it."""


def opened(site: Site) -> Destination:
    """The destination, as the publisher opens it."""
    params = destinations.params_model(site.kind).model_validate(site.settings)
    return destinations.open_destination(site.kind, params, site.place)


class FolderSite:
    """A folder on this machine."""

    kind = "folder"
    kills = (5, 0.15)

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root, self.place = root, str(root)
        self.settings = {"path": str(root)}

    def read(self, target: str) -> bytes | None:
        path = self.root / target
        return path.read_bytes() if path.is_file() else None

    def names(self) -> set[str]:
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith((".episoded/staged/", ".episoded/writer"))}

    def overwrite(self, target: str, data: bytes) -> None:
        (self.root / target).write_bytes(data)

    def remove(self, target: str) -> None:
        (self.root / target).unlink()


class HubSite:
    """A dataset repo on the small Hub of tests/hub_server.py."""

    kind = "huggingface"
    kills = (5, 0.15)

    def __init__(self, hub: HubServer, folder: Path, repo: str = "me/{dataset}", dataset: str = "towel") -> None:
        self.hub, self.repo = hub, repo.replace("{dataset}", dataset)
        token = folder / "token"
        token.write_text(WRITE_TOKEN + "\n")
        self.settings = {"repo": repo, "endpoint": hub.url, "token_file": str(token)}
        self.place = f"{hub.url}/datasets/{self.repo}"

    def read(self, target: str) -> bytes | None:
        """What xet stored is known by its digest: the server refuses a commit of bytes that never arrived."""
        repository = self.hub.repositories.get(self.repo)
        if repository is None or target not in repository.files:
            return None
        content = self.hub.content(target, self.repo)
        return WRITTEN.get(repository.files[target].sha256 or "", b"?") if content is None else content

    def names(self) -> set[str]:
        repository = self.hub.repositories.get(self.repo)
        return set(repository.files) - {".gitattributes"} if repository else set()

    def overwrite(self, target: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        (self.hub.objects.lfs / digest).write_bytes(data)
        repository = self.hub.repositories[self.repo]
        was = repository.files[target]
        now = large(target, digest, len(data)) if was.sha256 else regular(target, data)
        repository.commit("by somebody else", "", {target: now})

    def remove(self, target: str) -> None:
        self.hub.repositories[self.repo].commit("by somebody else", "", {target: None})


class S3Site:
    """A bucket of a real S3 server (tests/moto_server.py), below a prefix."""

    kind = "s3"
    kills = (4, 1.0)

    def __init__(self, server: MotoServer, bucket: str) -> None:
        self.client, self.bucket = server.client(), bucket
        self.client.create_bucket(Bucket=bucket)
        self.place = f"s3://{bucket}/robots/towel"
        self.settings: dict[str, Any] = {"url": f"s3://{bucket}/robots/{{dataset}}", "endpoint": server.url}

    def read(self, target: str) -> bytes | None:
        with suppress(self.client.exceptions.NoSuchKey):
            found = self.client.get_object(Bucket=self.bucket, Key=self._key(target))
            return bytes(found["Body"].read())
        return None

    def names(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {item["Key"].removeprefix(self._key("")) for page in pages for item in page.get("Contents", [])}

    def overwrite(self, target: str, data: bytes) -> None:
        """With what a changed byte on a disk would leave as it was: the sha256 that goes along."""
        key = self._key(target)
        known = self.client.head_object(Bucket=self.bucket, Key=key)["Metadata"]
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data, Metadata=known)

    def remove(self, target: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self._key(target))

    def _key(self, target: str) -> str:
        return f"{self.place.removeprefix(f's3://{self.bucket}/')}/{target}"


class RsyncSite(FolderSite):
    """A folder behind a real sshd (tests/sshd.py)."""

    kind = "rsync"
    kills = (3, 2.0)

    def __init__(self, server: Sshd, root: Path) -> None:
        super().__init__(root)
        self.place = f"{server.host}:{root}"
        self.settings = {"address": self.place, "ssh": server.command}


def files(folder: Path, contents: dict[str, bytes]) -> list[File]:
    """Source files with these contents, as their checkpoints would list them; sources have names of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, (target, data) in enumerate(contents.items()):
        source = folder / f"source{number}"
        source.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        WRITTEN[digest] = data
        made.append(File(source, target, len(data), digest))
    return made


def as_json(listed: list[File]) -> str:
    """Files for another process."""
    return json.dumps([[str(file.source), file.target, file.size, file.sha256] for file in listed])


def from_json(text: str) -> list[File]:
    return [File(Path(source), target, size, sha256) for source, target, size, sha256 in json.loads(text)]


def without_xet(monkeypatch: pytest.MonkeyPatch, folder: Path, *, wanted: bool) -> None:
    """How large files travel to a Hub, here and in processes that are started: huggingface_hub reads it once."""
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", wanted)
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setattr(constants, name, True)
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1" if wanted else "0")
    monkeypatch.setenv("HF_XET_CACHE", str(folder / "xet"))
