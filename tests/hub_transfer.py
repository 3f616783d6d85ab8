"""Routes of tests/hub_server.py that move the bytes of files: xet's token, LFS objects, downloads."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hub_protocol import Answer, Asked, Refusal
from hub_repository import files_in_shard

if TYPE_CHECKING:
    from pathlib import Path

    from hub_server import HubServer


def xet_token(asked: Asked, name: str, role: str, _revision: str) -> Answer:
    asked.repository(name, role)
    if "no_xet" in asked.hub.quirks:
        return Answer.json({"error": "no such route"}, 404)
    store = f"{asked.hub.url}/cas" if asked.hub.xet_over_http else f"local://{asked.hub.objects.xet}"
    expires = int(time.time()) + 3600
    headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)}
    return Answer.json({"accessToken": "xet", "exp": expires, "casUrl": store}, headers=headers)


def cas_missing(_asked: Asked, *_: str) -> Answer:
    """What hf_xet asks first, and does without: chunks known elsewhere, addresses to send xorbs to, newer shards."""
    return Answer.json({"error": "not here"}, 404)


def cas_xorb(asked: Asked, name: str) -> Answer:
    """A block of chunks."""
    path, temp = asked.hub.objects.xorbs / name, asked.hub.objects.incoming / uuid.uuid4().hex
    known = path.exists()
    _receive(asked, temp)
    temp.rename(path)
    return Answer.json({"was_inserted": not known})


def cas_shard(asked: Asked) -> Answer:
    """Which chunks of which xorbs are which files; they must have arrived."""
    shard = asked.body()
    missing = [xorb for file in files_in_shard(shard).values() for xorb in file.xorbs - asked.hub.objects.xorb_names()]
    if missing:
        raise Refusal(400, f"xorb {missing[0]} never arrived")
    (asked.hub.objects.xet / f"{uuid.uuid4().hex}.mdb").write_bytes(shard)
    return Answer.json({"result": 1})


def lfs_batch(asked: Asked, name: str) -> Answer:
    asked.repository(name, "write")
    wanted, objects = asked.json(), []
    for file in wanted["objects"]:
        oid, size = file["oid"], file["size"]
        said: dict[str, Any] = {"oid": oid, "size": size}
        if not asked.hub.objects.has(oid):
            verify = {"href": f"{asked.hub.url}/datasets/{name}.git/info/lfs/verify", "header": {}}
            said["actions"] = {"upload": _upload(asked.hub, oid, size), "verify": verify}
        objects.append(said)
    return Answer.json({"transfer": "basic", "objects": objects})


def _upload(hub: HubServer, oid: str, size: int) -> dict[str, Any]:
    href, header = f"{hub.url}/objects/{oid}", {}
    if hub.part_size and size > hub.part_size:
        parts = range(1, -(-size // hub.part_size) + 1)
        header = {"chunk_size": str(hub.part_size), **{str(k): f"{href}/{k}" for k in parts}}
    return {"href": href, "header": header}


def put_object(asked: Asked, oid: str) -> Answer:
    temp = asked.hub.objects.incoming / uuid.uuid4().hex
    _receive(asked, temp)
    return _accept(asked, temp, oid)


def put_part(asked: Asked, oid: str, number: str) -> Answer:
    temp = asked.hub.objects.incoming / uuid.uuid4().hex
    etag = _receive(asked, temp)
    temp.rename(asked.hub.objects.incoming / f"{oid}.{number}")
    return Answer(headers={"ETag": f'"{etag}"'})


def complete(asked: Asked, oid: str) -> Answer:
    temp = asked.hub.objects.incoming / uuid.uuid4().hex
    with temp.open("wb") as whole:
        for part in sorted(asked.json()["parts"], key=lambda part: part["partNumber"]):
            with (asked.hub.objects.incoming / f"{oid}.{part['partNumber']}").open("rb") as file:
                shutil.copyfileobj(file, whole)
    return _accept(asked, temp, oid)


def _receive(asked: Asked, path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        for chunk in asked.chunks:
            file.write(chunk)
            digest.update(chunk)
    return digest.hexdigest()


def _accept(asked: Asked, temp: Path, oid: str) -> Answer:
    with temp.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != oid:
            raise Refusal(400, "the content does not have this sha256")
    temp.rename(asked.hub.objects.lfs / oid)
    return Answer()


def verify(asked: Asked, name: str) -> Answer:
    asked.repository(name, "write")
    wanted = asked.json()
    if not asked.hub.objects.has(wanted["oid"]) or asked.hub.objects.size(wanted["oid"]) != wanted["size"]:
        raise Refusal(404, "object not found, or of another size")
    return Answer.json({})


def resolve(asked: Asked, name: str, revision: str, path: str) -> Answer:
    files, repository = asked.files(name, revision), asked.repository(name, "read")
    entry = files.get(unquote(path))
    if entry is None:
        raise Refusal(404, "Entry not found", asked.code("EntryNotFound"))
    headers = {"X-Repo-Commit": repository.tags.get(revision, repository.head), "ETag": f'"{entry.oid}"'}
    if entry.sha256 is None:
        return Answer(body=entry.content, headers=headers)
    headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    if (stored := asked.hub.objects.lfs / entry.sha256).exists():
        return Answer(body=stored, headers=headers)
    route = f"{asked.hub.url}/api/datasets/{name}/xet-read-token/{revision}"
    headers |= {"X-Xet-Hash": asked.hub.objects.xet_hash(entry.sha256) or "", "X-Xet-Refresh-Route": route}
    return Answer(headers=headers)
