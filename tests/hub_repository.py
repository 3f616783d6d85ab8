"""The repositories of tests/hub_server.py: commits, files, and the bytes of large files by sha256."""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from pathlib import Path

#: What the Hub commits into a new dataset repository, in its order of kinds; shortened.
DEFAULT_ATTRIBUTES: Final = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n"
    for suffix in ("7z", "arrow", "bin", "gz", "h5", "npy", "npz", "parquet", "pt", "safetensors", "zip", "wav")
)
#: Larger files are stored as LFS objects whatever .gitattributes says.
LARGE: Final = 10 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a repository. `oid`: sha1 of the git blob; `sha256`: of an LFS object, else None."""

    path: str
    size: int
    oid: str
    sha256: str | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Commit:
    """`changes`: path -> its entry, None for a deleted one."""

    sha: str
    title: str
    message: str
    changes: dict[str, Entry | None]

    @property
    def added(self) -> list[str]:
        """The paths that it wrote."""
        return [path for path, entry in self.changes.items() if entry]


def git_oid(content: bytes) -> str:
    """The sha1 that git gives a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def regular(path: str, content: bytes) -> Entry:
    """A file that lies in git itself."""
    return Entry(path, len(content), git_oid(content), content=content)


def large(path: str, sha256: str, size: int) -> Entry:
    """A file of which git has the LFS pointer."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return Entry(path, size, git_oid(pointer.encode()), sha256)


@dataclass
class Repository:
    """One dataset repository with a branch `main`."""

    id: str
    private: bool
    commits: list[Commit] = field(default_factory=list)
    files: dict[str, Entry] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: So many coming commits are answered as made and change nothing: a lost update.
    commits_to_lose: int = 0

    @property
    def head(self) -> str:
        """The sha of the last commit."""
        return self.commits[-1].sha

    def commit(self, title: str, message: str, changes: dict[str, Entry | None]) -> Commit:
        """Apply a commit."""
        if self.commits_to_lose > 0:
            self.commits_to_lose -= 1
            changes = {}
        seed = f"{self.id} {len(self.commits)} {title} {sorted(changes)}"
        made = Commit(hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest(), title, message, changes)
        self.commits.append(made)
        _apply(self.files, changes)
        return made

    def at(self, revision: str) -> dict[str, Entry] | None:
        """The files of a branch, tag or commit; None for a revision that there is not."""
        revision = self.tags.get(revision, revision)
        if revision in ("main", self.head):
            return self.files
        shas = [commit.sha for commit in self.commits]
        if revision not in shas:
            return None
        files: dict[str, Entry] = {}
        for commit in self.commits[: shas.index(revision) + 1]:
            _apply(files, commit.changes)
        return files

    def upload_mode(self, path: str, size: int) -> Literal["lfs", "regular"]:
        """How this file is to be uploaded: by size and by the .gitattributes that are committed."""
        attributes = self.files.get(".gitattributes")
        lines = (attributes.content or b"").decode().splitlines() if attributes else []
        patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
        name = path.rpartition("/")[2]
        listed = any(fnmatch.fnmatch(path if "/" in pattern else name, pattern) for pattern in patterns)
        return "lfs" if listed or size > LARGE else "regular"

    def fullest_folder(self, changes: dict[str, Entry | None]) -> tuple[int, str]:
        """The number of files in the fullest of the folders that `changes` touch, and its name."""
        touched = {path.rpartition("/")[0] for path in changes}
        counts = dict.fromkeys(touched, 0)
        for path in self.files.keys() | changes.keys():
            folder = path.rpartition("/")[0]
            if folder in touched and changes.get(path, self.files.get(path)):
                counts[folder] += 1
        return max(((count, folder) for folder, count in counts.items()), default=(0, ""))


def _apply(files: dict[str, Entry], changes: dict[str, Entry | None]) -> None:
    for path, entry in changes.items():
        if entry is None:
            files.pop(path, None)
        else:
            files[path] = entry


class ObjectStore:
    """The bytes of large files: LFS objects as files, and what hf_xet put into its local store."""

    def __init__(self, folder: Path) -> None:
        self.lfs = folder / "lfs"
        self.incoming = folder / "incoming"
        self.xet = folder / "cas"
        self.xorbs = folder / "xorbs"
        self._stored: dict[str, Stored] = {}
        self._read: set[Path] = set()
        for path in (self.lfs, self.incoming, self.xet, self.xorbs):
            path.mkdir(parents=True, exist_ok=True)

    def has(self, sha256: str) -> bool:
        """Whether the bytes arrived, by either way."""
        return (self.lfs / sha256).exists() or self.xet_hash(sha256) is not None

    def size(self, sha256: str) -> int:
        """How many bytes really arrived."""
        path = self.lfs / sha256
        return path.stat().st_size if path.exists() else self._stored[sha256].size

    def xet_hash(self, sha256: str) -> str | None:
        """What xet calls the file with this digest; None when xet has none."""
        if sha256 not in self._stored:
            for shard in set(self.xet.rglob("*.mdb")) - self._read:
                self._read.add(shard)
                self._stored |= files_in_shard(shard.read_bytes())
        found = self._stored.get(sha256)
        return found.hash if found else None

    def xorb_names(self) -> set[str]:
        """The blocks that came over HTTP."""
        return {path.name for path in self.xorbs.iterdir()}

    def forget(self) -> None:
        """Lose every object, as when a repository is deleted: clients may think that they are still here."""
        for path in (self.lfs, self.incoming, self.xet, self.xorbs):
            shutil.rmtree(path)
            path.mkdir()
        self._stored.clear()
        self._read.clear()


@dataclass(frozen=True)
class Stored:
    """A file that xet has: its name for it, its size in bytes, and the xorbs that hold its chunks."""

    hash: str
    size: int
    xorbs: frozenset[str]


def files_in_shard(shard: bytes) -> dict[str, Stored]:
    """sha256 -> what a shard of xet's metadata says of that file.

    Layout: a header of 48 bytes; then for each file 48 bytes (hash, flags, number of segments), 48 bytes a segment
    (xorb hash, flags, unpacked bytes, ...), with flag 31 as many again to verify them, with flag 30 another 48 that
    begin with the sha256; a hash of ones ends the list. Hashes are four little-endian words, printed as numbers.
    """
    found, at = {}, 48
    while at + 48 <= len(shard) and shard[at : at + 32] != b"\xff" * 32:
        flags, count = struct.unpack_from("<II", shard, at + 32)
        segments = [shard[at + 48 * k : at + 48 * (k + 1)] for k in range(1, count + 1)]
        size = sum(struct.unpack_from("<I", segment, 36)[0] for segment in segments)
        end = at + 48 * (1 + count * (2 if flags & 1 << 31 else 1))
        if flags & 1 << 30:
            xorbs = frozenset(_printed(segment[:32]) for segment in segments)
            found[_printed(shard[end : end + 32])] = Stored(_printed(shard[at : at + 32]), size, xorbs)
            end += 48
        at = end
    return found


def _printed(words: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", words))
