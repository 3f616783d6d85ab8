"""Routes of tests/hub_server.py: those of the Hub that publishing needs.

Each is a function of the request and the parts of its address. Shapes are those that huggingface_hub 1.31 to 2.4 reads;
an error carries X-Error-Code, from which the client makes its exceptions.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, unquote

import hub_transfer as transfer
from hub_protocol import Answer, Asked, Refusal
from hub_repository import DEFAULT_ATTRIBUTES, Entry, Repository, large, regular

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_server import HubServer


def answer(asked: Asked) -> Answer:
    """Answer a request; its body is read to the end, whatever the answer."""
    try:
        for method, pattern, route in _ROUTES:
            if method == asked.method and (match := re.fullmatch(pattern, asked.path)):
                return route(asked, *match.groups())
        return Answer.json({"error": "no such route"}, 404)
    except Refusal as refusal:
        return refusal.answer
    finally:
        for _ in asked.chunks:
            pass


def whoami(asked: Asked) -> Answer:
    asked.may("read")
    role = asked.hub.tokens[asked.token]
    token = {"displayName": "tests", "role": role}
    return Answer.json({"type": "user", "id": "1", "name": "me", "orgs": [], "auth": {"accessToken": token}})


def create(asked: Asked) -> Answer:
    wanted = asked.json()
    asked.may("write")
    name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
    url = {"url": f"{asked.hub.url}/datasets/{name}", "id": name}
    if name in asked.hub.repositories:
        if "create_answers_200" in asked.hub.quirks:
            return Answer.json(url)
        raise Refusal(409, "You already created this dataset repo", **url)
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    repository = asked.hub.repositories[name] = Repository(name, private)
    repository.commit("initial commit", "", {".gitattributes": regular(".gitattributes", DEFAULT_ATTRIBUTES.encode())})
    return Answer.json(url)


def info(asked: Asked, name: str, revision: str | None) -> Answer:
    files, repository = asked.files(name, revision or "main"), asked.repository(name, "read")
    siblings = [{"rfilename": path} for path in sorted(files)]
    wanted = unquote(revision or "main")
    sha = repository.head if wanted == "main" else repository.tags.get(wanted, wanted)
    return Answer.json(
        {"id": name, "_id": "1", "sha": sha, "private": repository.private, "tags": [], "siblings": siblings}
    )


def auth_check(asked: Asked, name: str) -> Answer:
    asked.repository(name, "read")
    return Answer.json({})


def preupload(asked: Asked, name: str, revision: str) -> Answer:
    repository, files = asked.repository(name, "write"), asked.files(name, revision)
    modes = []
    for file in asked.json()["files"]:
        path, mode = file["path"], repository.upload_mode(file["path"], file["size"])
        if "regular_by_default" in asked.hub.quirks:
            mode = repository.upload_mode(path, 0)
        said: dict[str, Any] = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in files and "no_preupload_oid" not in asked.hub.quirks:
            said["oid"] = files[path].sha256 or files[path].oid
        modes.append(said)
    return Answer.json({"files": modes})


def commit(asked: Asked, name: str, revision: str) -> Answer:
    repository = asked.repository(name, "write")
    lines = [json.loads(line) for line in asked.body().splitlines() if line.strip()]
    header: dict[str, Any] = next(line["value"] for line in lines if line["key"] == "header")
    if unquote(revision) != "main":
        raise Refusal(404, "Invalid rev id", asked.code("RevisionNotFound"))
    if not repository.lock.acquire(blocking=False):
        raise Refusal(409, "Another commit operation is in progress for this repository")
    try:
        parent = header.get("parentCommit")
        if parent and parent != repository.head and "ignores_parent" not in asked.hub.quirks:
            raise Refusal(412, "The expected parent commit is not the head of the branch any more")
        changes = _changes(asked, repository, lines)
        made = repository.commit(header["summary"], header.get("description", ""), changes)
    finally:
        repository.lock.release()
    url = f"{asked.hub.url}/datasets/{name}/commit/{made.sha}"
    return Answer.json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def _changes(asked: Asked, repository: Repository, lines: list[Any]) -> dict[str, Entry | None]:
    changes: dict[str, Entry | None] = {}
    for line in lines:
        kind, value = line["key"], line["value"]
        if kind == "file":
            changes[value["path"]] = regular(value["path"], _decoded(value["content"]))
        elif kind == "lfsFile":
            if not asked.hub.objects.has(value["oid"]):
                raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
            size = value.get("size", asked.hub.objects.size(value["oid"]))
            changes[value["path"]] = large(value["path"], value["oid"], size)
        elif kind == "deletedFile":
            changes[value["path"]] = None
        elif kind == "deletedFolder":
            below = value["path"].rstrip("/") + "/"
            changes |= {path: None for path in repository.files if path.startswith(below)}
    count, folder = repository.fullest_folder(changes)
    if count > asked.hub.files_per_folder:
        limit = asked.hub.files_per_folder
        raise Refusal(400, f"Your push was rejected: too many files per directory ({count} > {limit}) in {folder!r}")
    return changes


def _decoded(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise Refusal(400, "content is not base64") from error


def tree(asked: Asked, name: str, revision: str, folder: str | None) -> Answer:
    files, below = asked.files(name, revision), f"{unquote(folder)}/" if folder else ""
    query = parse_qs(asked.query)
    found: dict[str, dict[str, Any]] = {}
    for path, entry in files.items():
        if not path.startswith(below):
            continue
        parents = path[len(below) :].split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            parent = below + "/".join(parents[:depth])
            found[parent] = {"type": "directory", "path": parent, "oid": "0" * 40, "size": 0}
        found[path] = _described(asked.hub, entry)
    if query.get("recursive") != ["true"] and query.get("recursive") != ["True"]:
        found = {path: said for path, said in found.items() if "/" not in path[len(below) :]}
    if folder and not found:
        raise Refusal(404, f"{folder} does not exist", asked.code("EntryNotFound"))
    start = int(query.get("cursor", ["0"])[0])
    rows = sorted(found.values(), key=lambda said: said["path"])
    headers = {}
    if (end := start + asked.hub.page_size) < len(rows):
        again = "&".join(f"{key}={quote(values[0])}" for key, values in query.items() if key != "cursor")
        headers["Link"] = f'<{asked.hub.url}{quote(asked.path)}?{again}&cursor={end}>; rel="next"'
    return Answer.json(rows[start:end], headers=headers)


def paths_info(asked: Asked, name: str, revision: str) -> Answer:
    if "no_paths_info" in asked.hub.quirks:
        return Answer.json({"error": "no such route"}, 404)
    files, paths = asked.files(name, revision), parse_qs(asked.body().decode()).get("paths", [])
    if len(paths) > 1000:
        raise Refusal(413, "too many paths")
    folders = [path for path in paths if any(file.startswith(f"{path}/") for file in files)]
    said = [_described(asked.hub, files[path]) for path in paths if path in files]
    return Answer.json(said + [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders])


def _described(hub: HubServer, entry: Entry) -> dict[str, Any]:
    said: dict[str, Any] = {"type": "file", "path": entry.path, "size": entry.size, "oid": entry.oid}
    if entry.sha256:
        said["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
        if xet := hub.objects.xet_hash(entry.sha256):
            said["xetHash"] = xet
    return said


def commits(asked: Asked, name: str, _revision: str) -> Answer:
    made = asked.repository(name, "read").commits
    by, date = [{"user": "me"}], "2026-01-01T00:00:00.000Z"
    said = [{"id": c.sha, "title": c.title, "message": c.message, "date": date, "authors": by} for c in made]
    return Answer.json(said[::-1])


def refs(asked: Asked, name: str) -> Answer:
    repository = asked.repository(name, "read")
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head}
    tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in repository.tags.items()]
    return Answer.json({"branches": [main], "tags": tags, "converts": [], "pullRequests": []})


def create_tag(asked: Asked, name: str, revision: str) -> Answer:
    repository, tag = asked.repository(name, "write"), asked.json()["tag"]
    if tag in repository.tags:
        raise Refusal(409, f"Tag {tag} exists already")
    repository.tags[tag] = repository.head if unquote(revision) == "main" else unquote(revision)
    return Answer.json({})


def delete_tag(asked: Asked, name: str, tag: str) -> Answer:
    repository = asked.repository(name, "write")
    if repository.tags.pop(unquote(tag), None) is None:
        raise Refusal(404, "Invalid rev id", asked.code("RevisionNotFound"))
    return Answer.json({})


def validate_yaml(_asked: Asked) -> Answer:
    return Answer.json({"errors": [], "warnings": []})


_REPO: Final = r"([^/]+/[^/]+)"
_API: Final = rf"/api/datasets/{_REPO}"
_ROUTES: Final[tuple[tuple[str, str, Callable[..., Answer]], ...]] = (
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", rf"{_API}(?:/revision/([^/]+))?", info),
    ("GET", rf"{_API}/auth-check", auth_check),
    ("POST", rf"{_API}/preupload/([^/]+)", preupload),
    ("GET", rf"{_API}/xet-(read|write)-token/([^/]+)", transfer.xet_token),
    ("POST", rf"{_API}/commit/([^/]+)", commit),
    ("GET", rf"{_API}/tree/([^/]+)(?:/(.+))?", tree),
    ("POST", rf"{_API}/paths-info/([^/]+)", paths_info),
    ("GET", rf"{_API}/commits/([^/]+)", commits),
    ("GET", rf"{_API}/refs", refs),
    ("POST", rf"{_API}/tag/([^/]+)", create_tag),
    ("DELETE", rf"{_API}/tag/([^/]+)", delete_tag),
    ("POST", rf"/datasets/{_REPO}\.git/info/lfs/objects/batch", transfer.lfs_batch),
    ("POST", rf"/datasets/{_REPO}\.git/info/lfs/verify", transfer.verify),
    ("PUT", r"/objects/(\w{64})", transfer.put_object),
    ("PUT", r"/objects/(\w{64})/(\d+)", transfer.put_part),
    ("POST", r"/objects/(\w{64})", transfer.complete),
    ("GET", r"/cas/v1/chunks/[^/]+/(\w+)", transfer.cas_missing),
    ("POST", r"/cas/v1/xorb-grants/[^/]+/(\w+)", transfer.cas_missing),
    ("POST", r"/cas/v1/xorbs/[^/]+/(\w+)", transfer.cas_xorb),
    ("POST", r"/cas/v2/shards", transfer.cas_missing),
    ("POST", r"/cas/v1/shards", transfer.cas_shard),
    ("GET", rf"/datasets/{_REPO}/resolve/([^/]+)/(.+)", transfer.resolve),
    ("HEAD", rf"/datasets/{_REPO}/resolve/([^/]+)/(.+)", transfer.resolve),
)
