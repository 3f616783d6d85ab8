"""What tests/hub_server.py and its routes say to each other: a request, an answer, an answer that is an error."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub_repository import Entry, Repository
    from hub_server import HubServer


@dataclass(frozen=True)
class Answer:
    """A response; `body` may be a file."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    @property
    def body_is_file(self) -> bool:
        return isinstance(self.body, Path)

    def chunks(self) -> Iterator[bytes]:
        if not self.body_is_file:
            yield self.body
            return
        with self.body.open("rb") as file:
            while chunk := file.read(1 << 16):
                yield chunk


class Refusal(Exception):  # noqa: N818 - an answer, raised
    """An answer that is an error."""

    def __init__(self, status: int, error: str, code: str = "", **more: Any) -> None:
        super().__init__(error)
        headers = {"X-Error-Message": error} | ({"X-Error-Code": code} if code else {})
        self.answer = Answer.json({"error": error, **more}, status, headers)


@dataclass
class Asked:
    """One request, before its body is read."""

    hub: HubServer
    method: str
    path: str
    query: str
    token: str
    chunks: Iterator[bytes]

    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)

    def json(self) -> Any:
        return json.loads(self.body())

    def may(self, role: str) -> None:
        """Refuse who has no token of this role."""
        has = self.hub.tokens.get(self.token)
        if has is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        if role == "write" and has != "write":
            raise Refusal(403, "Forbidden: you must use a write token")

    def repository(self, name: str, role: str) -> Repository:
        """The repository, for somebody who may use it so."""
        self.may(role)
        if name not in self.hub.repositories:
            raise Refusal(404, "Repository not found", self.code("RepoNotFound"))
        return self.hub.repositories[name]

    def files(self, name: str, revision: str) -> dict[str, Entry]:
        """The files at a revision."""
        files = self.repository(name, "read").at(unquote(revision))
        if files is None:
            raise Refusal(404, "Invalid rev id", self.code("RevisionNotFound"))
        return files

    def code(self, name: str) -> str:
        """The error code, where this server gives them."""
        return "" if "bare_404" in self.hub.quirks else name
