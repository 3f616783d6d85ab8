"""Multipart uploads that go on where another process was killed, and are seen by nobody until they are completed."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from .errors import MutatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .base import File

_AT_ONCE: Final = 4
_MOST_PARTS: Final = 10_000


@dataclass
class Upload:
    """One upload: its id, and what the server knows of each part that it has (number -> ETag, size, checksum).

    `resumed`: somebody else began it, and said what it is to be described as.
    """

    id: str
    parts: dict[int, dict[str, Any]] = field(default_factory=dict)
    resumed: bool = False


class Parts:
    """The multipart uploads in one bucket."""

    def __init__(self, client: Any, bucket: str, *, checksums: bool, part_bytes: int) -> None:
        self._client = client
        self._bucket = bucket
        self._checksum = {"ChecksumAlgorithm": "SHA256"} if checksums else {}
        self._part_bytes = part_bytes

    def send(
        self, file: File, key: str, described: Mapping[str, Any], moved: Callable[[int], None], *, anew: bool = False
    ) -> Upload:
        """See to it that every part is there; those that are, and are ours, are not sent, unless `anew`.

        Raises MutatedError when the bytes are not those of the checkpoint; the upload is given up then.
        """
        begun = None if anew else self._begun(key)
        upload = begun or Upload(self._create(key, described))
        digest = hashlib.sha256()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            sending: deque[Future[None]] = deque()
            for number, content in enumerate(self._read(file), 1):
                digest.update(content)
                if not _is_there(upload.parts.get(number), content):
                    sending.append(pool.submit(self._send_part, key, upload, number, content, moved))
                if len(sending) >= _AT_ONCE:
                    sending.popleft().result()
            for part in sending:
                part.result()
        if digest.hexdigest() != file.sha256:
            self.abort(key, upload.id)
            raise MutatedError.of(file.target, "its content is not what was recorded when it was made")
        last = -(-file.size // self._size_of_part(file))
        upload.parts = {number: part for number, part in upload.parts.items() if number <= last}
        return upload

    def complete(self, key: str, upload: Upload) -> None:
        """Make the object visible."""
        parts = [{"PartNumber": number, **_named(part)} for number, part in sorted(upload.parts.items())]
        told: Any = {"Parts": parts}
        self._client.complete_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload.id, MultipartUpload=told)

    def abort(self, key: str, upload_id: str) -> None:
        """Give an upload up; it may be gone already."""
        with suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    def abort_older(self, prefix: str, seconds: float) -> int:
        """Give up all uploads below `prefix` that began so long ago, by the server's own clock; how many."""
        count = 0
        for page in self._pages(prefix):
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for upload in page.get("Uploads", []):
                if now - upload["Initiated"] > timedelta(seconds=seconds):
                    self.abort(upload["Key"], upload["UploadId"])
                    count += 1
        return count

    def _begun(self, key: str) -> Upload | None:
        """The youngest upload of this key that is going on, with its parts."""
        found = [upload for page in self._pages(key) for upload in page.get("Uploads", []) if upload["Key"] == key]
        if not found:
            return None
        youngest = max(found, key=lambda upload: (upload["Initiated"], upload["UploadId"]))
        upload = Upload(youngest["UploadId"], resumed=True)
        pages = self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload.id)
        for page in pages:
            upload.parts |= {part["PartNumber"]: part for part in page.get("Parts", [])}
        return upload

    def _create(self, key: str, described: Mapping[str, Any]) -> str:
        made = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, **described, **self._checksum)
        return str(made["UploadId"])

    def _pages(self, prefix: str) -> Iterator[Any]:
        pages = self._client.get_paginator("list_multipart_uploads")
        yield from pages.paginate(Bucket=self._bucket, Prefix=prefix)

    def _size_of_part(self, file: File) -> int:
        return max(self._part_bytes, -(-file.size // _MOST_PARTS))

    def _read(self, file: File) -> Iterator[bytes]:
        try:
            with file.source.open("rb") as source:
                while content := source.read(self._size_of_part(file)):
                    yield content
        except FileNotFoundError:
            raise MutatedError.of(file.target, "is gone") from None

    def _send_part(self, key: str, upload: Upload, number: int, content: bytes, moved: Callable[[int], None]) -> None:
        sent = self._client.upload_part(
            Bucket=self._bucket, Key=key, UploadId=upload.id, PartNumber=number, Body=content, **self._checksum
        )
        upload.parts[number] = {
            "ETag": sent["ETag"],
            "Size": len(content),
            "ChecksumSHA256": sent.get("ChecksumSHA256"),
        }
        moved(len(content))


def _is_there(part: Mapping[str, Any] | None, content: bytes) -> bool:
    """Whether the server's part is this content: by its checksum, or by its ETag where that is the MD5."""
    if part is None or part["Size"] != len(content):
        return False
    if known := part.get("ChecksumSHA256"):
        return bool(known == base64.b64encode(hashlib.sha256(content).digest()).decode())
    return bool(part["ETag"].strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest())


def _named(part: Mapping[str, Any]) -> dict[str, Any]:
    known = part.get("ChecksumSHA256")
    return {"ETag": part["ETag"]} | ({"ChecksumSHA256": known} if known else {})
