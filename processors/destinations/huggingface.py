"""A dataset repo on the Hugging Face Hub, through huggingface_hub: xet where it is installed, LFS otherwise.

One commit for a batch, all or nothing. The bytes of large files move before it; what the server has already is not
sent again. Digests are compared three times: before the commit with what the client hashed while it moved the bytes,
by the server, and afterwards at the head of the branch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .base import GIT, SHA256, Remote, check_sizes, read_unchanged, unproven
from .card import MARK, dataset_card
from .errors import MutatedError, RefusedError
from .hub_client import connect
from .hub_errors import classify
from .hub_groups import GROUPS_IN_FLIGHT, in_groups, once_each
from .secrets import without

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .base import File

#: Paths in one question: a server refuses more than a thousand.
PATHS_AT_ONCE: Final = 500
#: Small files that are read at a time.
READ_AT_ONCE: Final = 16
#: Files up to this size are read once, checked, and committed from memory.
SMALL: Final = 64 << 10
#: Files that are kept in mind between moving their bytes and committing them; of the others it is found out again.
KEPT: Final = 2000
#: Above this, a file that a server wants to keep in git itself would be sent as text in one request.
LARGEST_REGULAR: Final = 10 << 20
#: What belongs into LFS. A new repo knows most of them; of .mkv it was seen not to.
LARGE_KINDS: Final = ("mp4", "mkv", "webm", "parquet", "npz", "npy", "h5", "png", "wav", "safetensors", "tiff")

DEFAULT_ENDPOINT: Final = "https://huggingface.co"


class HuggingFaceParams(BaseModel):
    """[destinations.NAME] of kind "huggingface".

    `repo`: OWNER/NAME, with `{dataset}` and `{shard}` where there are several. `token_file`: else a systemd credential
    called `huggingface-token`, else the login of huggingface_hub. `timeout_s`: a server that is silent for so long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str
    private: bool = True
    endpoint: str = DEFAULT_ENDPOINT
    token_file: Path | None = None
    xet: bool = True
    timeout_s: Annotated[float, Field(gt=0)] = 180.0

    @field_validator("repo")
    @classmethod
    def _owned(cls, repo: str) -> str:
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise ValueError('expected OWNER/NAME, such as "my-lab/{dataset}"')
        return repo

    @property
    def template(self) -> str:
        """The address of the repo, as a person would open it."""
        return f"{self.endpoint.rstrip('/')}/datasets/{self.repo}"


def environment(params: Any, folder: Path, *, without_xet: bool = False) -> dict[str, str]:
    """What huggingface_hub and hf_xet read once. The cache makes an interrupted upload go on in its middle."""
    assert isinstance(params, HuggingFaceParams)
    settings = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_XET_CACHE": str(folder / "xet"),
        "HF_XET_SHARD_CACHE_SIZE_LIMIT": "2gb",
    }
    return settings | ({"HF_HUB_DISABLE_XET": "1"} if without_xet or not params.xet else {})


class HuggingFace:
    """The `Destination` of one repo, and a `Catalogue`."""

    atomic_batch = True
    strong_digest = True

    def __init__(self, params: HuggingFaceParams, place: str) -> None:
        self.place = place
        self._params = params
        self._repo = place.removeprefix(params.endpoint.rstrip("/")).removeprefix("/datasets/")
        with self._in_our_words():
            self._api, self._token = connect(params.endpoint, params.token_file, params.timeout_s)
        self._where: dict[str, Any] = {"repo_id": self._repo, "repo_type": "dataset"}
        self._ready: dict[str, Any] = {}

    def probe(self, *, create: bool = True) -> None:
        """Be let in; make the repo and complete its .gitattributes where that is to be done.

        Raises BlockedError (`repo_missing`) for one that was there and is gone.
        """
        with self._in_our_words():
            if create:
                self._make()
            else:
                self._api.repo_info(**self._where)
            self._complete_attributes()

    def stat(self, targets: Sequence[str]) -> Mapping[str, Remote]:
        """What the head of the branch holds: sha256 of large files, git's digest of small ones."""
        found: dict[str, Remote] = {}
        with self._in_our_words():
            for names in _grouped(targets, PATHS_AT_ONCE):
                found |= self._ask(names)
        return found

    def read(self, targets: Sequence[str]) -> Mapping[str, bytes]:
        """Their contents at the head of the branch: one question for five hundred, and one for each that is there."""
        there = list(self.stat(targets))
        with self._in_our_words(), ThreadPoolExecutor(READ_AT_ONCE) as pool:
            contents = zip(there, pool.map(self._read, there), strict=True)
            return {target: content for target, content in contents if content is not None}

    def stage(self, files: Sequence[File], moved: Callable[[int], None]) -> None:
        """Move the bytes of what is large; what the server has already is not sent."""
        check_sizes(files)
        todo = [file for file in files if file.target not in self._ready]
        with self._in_our_words():
            for alike in once_each(todo):
                with ThreadPoolExecutor(GROUPS_IN_FLIGHT) as pool:
                    for group in pool.map(self._send, in_groups(alike)):
                        for file in group:
                            moved(file.size)

    def commit(self, files: Sequence[File], message: str) -> str:
        """One commit. A repetition of one whose answer was lost makes no second one: nothing would change."""
        self._forget_others(files)
        self.stage(files, lambda _: None)
        check_sizes(files)
        operations = [self._ready.pop(file.target) for file in files]
        with self._in_our_words():
            done = self._api.create_commit(
                **self._where, operations=operations, commit_message=message, revision="main"
            )
        return str(done.oid)

    def verify(self, files: Sequence[File]) -> Mapping[str, str]:
        """Read sizes and digests back from the head of the branch."""
        return unproven(files, self.stat([file.target for file in files]))

    def card(self, name: str, info: Mapping[str, Any]) -> bytes | None:
        """The card; None where the repo has one that is not ours."""
        with self._in_our_words():
            there = self._read("README.md")
        return dataset_card(name, info) if there is None or MARK.encode() in there else None

    def tag(self, name: str) -> None:
        """Have the tag stand for the head; it is deleted and set again where it stood for another commit."""
        with self._in_our_words():
            refs = self._api.list_repo_refs(**self._where)
            head = next((ref.target_commit for ref in refs.branches if ref.name == "main"), None)
            known = next((ref.target_commit for ref in refs.tags if ref.name == name), None)
            if known == head:
                return
            if known is not None:
                self._api.delete_tag(**self._where, tag=name)
            self._api.create_tag(**self._where, tag=name, revision="main", exist_ok=True)

    def close(self) -> None:
        """Forget what was moved but not committed: it is found again."""
        self._ready.clear()

    def _make(self) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self._api.repo_info(**self._where)
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            self._api.create_repo(**self._where, private=self._params.private, exist_ok=True)

    def _complete_attributes(self) -> None:
        """Before any byte moves: what is not named there, a server may want to keep in git itself."""
        from huggingface_hub import CommitOperationAdd

        current = (self._read(".gitattributes") or b"").decode(errors="replace")
        named = {line.split()[0] for line in current.splitlines() if line.strip()}
        lacking = [f"*.{kind}" for kind in LARGE_KINDS if f"*.{kind}" not in named]
        if not lacking:
            return
        lines = [f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in lacking]
        content = current + ("" if current.endswith("\n") or not current else "\n") + "".join(lines)
        operation = CommitOperationAdd(".gitattributes", content.encode())
        self._api.create_commit(
            **self._where, operations=[operation], commit_message="Keep large files out of git", revision="main"
        )

    def _ask(self, names: Sequence[str]) -> dict[str, Remote]:
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            entries: Iterable[Any] = self._api.get_paths_info(**self._where, paths=list(names), revision="main")
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            wanted = set(names)  # a server without this question: look through the whole tree
            entries = self._api.list_repo_tree(**self._where, recursive=True, revision="main")
            entries = (entry for entry in entries if entry.path in wanted)
        return {entry.path: _as_remote(entry) for entry in entries if hasattr(entry, "size")}

    def _send(self, group: list[File]) -> list[File]:
        """Move the bytes of a few files, and keep in mind what a commit needs to know of them."""
        operations = [self._operation(file) for file in group]
        try:
            self._api.preupload_lfs_files(
                self._repo, operations, repo_type="dataset", revision="main", free_memory=False
            )
        except Exception:
            check_sizes(group)  # a file that grew meanwhile makes errors that say anything but that
            raise
        for file, operation in zip(group, operations, strict=True):
            _check_moved(file, operation)
            self._ready[file.target] = operation
        return group

    def _operation(self, file: File) -> Any:
        from huggingface_hub import CommitOperationAdd

        return CommitOperationAdd(file.target, read_unchanged(file) if file.size <= SMALL else str(file.source))

    def _forget_others(self, files: Sequence[File]) -> None:
        """What was moved for batches that came to nothing must not pile up."""
        if len(self._ready) <= KEPT:
            return
        targets = {file.target for file in files}
        self._ready = {target: operation for target, operation in self._ready.items() if target in targets}

    def _read(self, path: str) -> bytes | None:
        """A small file at the head, None when there is none."""
        from huggingface_hub.utils import get_session, hf_raise_for_status

        url = f"{self._params.endpoint.rstrip('/')}/datasets/{self._repo}/resolve/main/{quote(path)}"
        answer = get_session().get(url, headers=self._api._build_hf_headers())
        if answer.status_code == 404 and answer.headers.get("x-error-code", "EntryNotFound") == "EntryNotFound":
            return None
        hf_raise_for_status(answer)
        content: bytes = answer.content
        return content

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """Whatever the client raises becomes one of our errors, without the token in it."""
        try:
            yield
        except Exception as error:
            known = classify(error, getattr(self, "_repo", self.place))
            known.message = without(getattr(self, "_token", None), known.message)
            raise known from (None if known is error else error)


def _as_remote(entry: Any) -> Remote:
    return Remote(entry.size, SHA256 + entry.lfs.sha256 if entry.lfs else GIT + entry.blob_id)


def _check_moved(file: File, operation: Any) -> None:
    """Compare what the client hashed while the bytes moved with the checkpoint.

    Of a file that grows meanwhile, xet was seen to commit the new content under the old size.
    """
    info = operation.upload_info
    if not info.is_hashed:
        if file.size > LARGEST_REGULAR:
            raise RefusedError(
                "not_lfs",
                f"the server wants to keep {file.target} ({file.size} bytes) in git itself",
                "add its kind to .gitattributes of the repo, then `episoded resume`",
            )
        read_unchanged(file)
    elif (info.size, info.sha256.hex()) != (file.size, file.sha256):
        raise MutatedError.of(file.target, "its content is not what was recorded when it was made")


def _grouped(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
