"""S3 and what speaks it: AWS, MinIO, Ceph, the gateway of Hugging Face's buckets.

A large file is staged as the parts of a multipart upload, which nobody sees until `commit` completes it, and which any
process finds again: parts that are there are not sent anew. Small files are put at the commit. The sha256 goes along as
metadata; what proves an object is reading it back.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field

from .base import Remote, check_sizes, read_unchanged, unproven
from .errors import BlockedError
from .s3_errors import in_our_words
from .s3_parts import Parts
from .secrets import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .base import File

#: Files up to this size are put whole; a part of a multipart upload may be no smaller than 5 MiB, but for the last.
SMALL: Final = 1 << 20
#: An upload that nobody has gone on with for so long belongs to a batch that will not come back.
ORPHANED_S: Final = 24 * 3600
_AT_ONCE: Final = 8
_CHUNK: Final = 1 << 20


def _bucket_url(url: str) -> str:
    if not url.startswith("s3://") or not url.removeprefix("s3://").split("/")[0]:
        raise ValueError('expected "s3://BUCKET" or "s3://BUCKET/PREFIX"')
    return url.rstrip("/")


class S3Params(BaseModel):
    """[destinations.NAME] of kind "s3". Keys and secrets come from boto3's own chain, or from `credentials_file`.

    `url`: "s3://BUCKET/PREFIX", `{dataset}` in it stands for the dataset's name. `endpoint`: of a server that is not
    AWS. `proof`: "read" reads every object back, "metadata" believes size and the sha256 that was sent along.
    `metadata`, `checksums`: False for servers that keep no user metadata, or know no checksum headers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_bucket_url)]
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    credentials_file: Path | None = None
    proof: Literal["read", "metadata"] = "read"
    metadata: bool = True
    checksums: bool = True
    part_bytes: Annotated[ByteSize, Field(ge=5 << 20)] = ByteSize(16 << 20)

    @property
    def template(self) -> str:
        """What names the place of a dataset, with `{dataset}` and `{shard}` still in it."""
        return self.url


class S3:
    """The `Destination` in a bucket, below a prefix."""

    atomic_batch = False
    strong_digest = False

    def __init__(self, params: S3Params, place: str) -> None:
        self.place = place
        self._params = params
        self._bucket, _, prefix = place.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _client(params)
        self._parts = Parts(self._client, self._bucket, checksums=params.checksums, part_bytes=params.part_bytes)

    def probe(self, *, create: bool = True) -> None:  # noqa: ARG002 - a bucket is for its owner to make
        """Reach the bucket and be allowed to write; give up uploads that nobody will go on with."""
        with in_our_words(self.place):
            self._client.head_bucket(Bucket=self._bucket)
            trial = self._client.create_multipart_upload(Bucket=self._bucket, Key=f"{self._prefix}.episoded-trial")
            self._parts.abort(f"{self._prefix}.episoded-trial", trial["UploadId"])
            self._parts.abort_older(self._prefix, ORPHANED_S)

    def stat(self, targets: Sequence[str]) -> Mapping[str, Remote]:
        """Size, and the sha256 that was sent along; an object without one has no digest."""
        with in_our_words(self.place), ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = zip(targets, pool.map(self._head, targets), strict=True)
            return {target: remote for target, remote in answers if remote}

    def read(self, targets: Sequence[str]) -> Mapping[str, bytes]:
        """Their contents. What of them is there is looked up in a listing: a thousand names in one answer."""
        keys = {self._key(target): target for target in targets}
        if not keys:
            return {}
        with in_our_words(self.place), ThreadPoolExecutor(_AT_ONCE) as pool:
            prefix = os.path.commonprefix([*keys])  # noqa: RUF071 - of characters: so does a bucket list
            there = [keys[key] for key in self._listed(prefix) if key in keys]
            return dict(zip(there, pool.map(self._content, there), strict=True))

    def stage(self, files: Sequence[File], moved: Callable[[int], None]) -> None:
        """Send the parts of large files that are not there yet."""
        check_sizes(files)
        with in_our_words(self.place):
            for file in files:
                if file.size > SMALL:
                    self._parts.send(file, self._key(file.target), self._described(file), moved)

    def commit(self, files: Sequence[File], message: str) -> str:  # noqa: ARG002 - a bucket keeps no messages
        """Complete or put the objects, in order."""
        check_sizes(files)
        for file in files:
            key = self._key(file.target)
            with in_our_words(self.place, file.target):
                if file.size > SMALL:
                    self._complete(file, key)
                else:
                    self._put(file, key)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def verify(self, files: Sequence[File]) -> Mapping[str, str]:
        """Read every object back, unless `proof` says that its metadata will do."""
        there = self.stat([file.target for file in files]) if self._params.proof == "metadata" else self._read(files)
        return unproven(files, there)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, target: str) -> str:
        return self._prefix + target

    def _listed(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return (item["Key"] for page in pages for item in page.get("Contents", ()))

    def _content(self, target: str) -> bytes:
        content: bytes = self._client.get_object(Bucket=self._bucket, Key=self._key(target))["Body"].read()
        return content

    def _described(self, file: File) -> dict[str, Any]:
        return {"Metadata": {"sha256": file.sha256}} if self._params.metadata else {}

    def _complete(self, file: File, key: str) -> None:
        """An upload that was begun for an older content of this file carries the sha256 of that one: not for long."""
        upload = self._parts.send(file, key, self._described(file), lambda _: None)
        self._parts.complete(key, upload)
        if upload.resumed and self._params.metadata and not self.stat([file.target])[file.target].holds(file):
            self._parts.complete(key, self._parts.send(file, key, self._described(file), lambda _: None, anew=True))

    def _put(self, file: File, key: str) -> None:
        checksum = {"ChecksumAlgorithm": "SHA256"} if self._params.checksums else {}
        content = read_unchanged(file)
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content, **self._described(file), **checksum)

    def _head(self, target: str) -> Remote | None:
        from botocore.exceptions import ClientError

        try:
            found = self._client.head_object(Bucket=self._bucket, Key=self._key(target))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        known = found.get("Metadata", {}).get("sha256")
        return Remote(found["ContentLength"], f"sha256:{known}" if known else None)

    def _read(self, files: Sequence[File]) -> Mapping[str, Remote]:
        with in_our_words(self.place), ThreadPoolExecutor(_AT_ONCE // 2) as pool:
            answers = zip(files, pool.map(lambda file: self._read_back(file.target), files), strict=True)
            return {file.target: remote for file, remote in answers if remote}

    def _read_back(self, target: str) -> Remote | None:
        digest, size = hashlib.sha256(), 0
        with suppress(self._client.exceptions.NoSuchKey):
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(target))["Body"]
            with body:
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
            return Remote(size, f"sha256:{digest.hexdigest()}")
        return None


def _client(params: S3Params) -> Any:
    """A boto3 client with deadlines: without them it would wait for ever."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise BlockedError("extra_missing", "boto3 is not installed", "pip install 'episoded[s3]'") from error

    wanted: Any = "when_supported" if params.checksums else "when_required"
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
        request_checksum_calculation=wanted,
        response_checksum_validation=wanted,
        s3={"addressing_style": "path"} if params.endpoint else {},
        max_pool_connections=_AT_ONCE + 4,
    )
    with _credentials(params), in_our_words(params.url):
        session = boto3.Session(profile_name=params.profile, region_name=params.region)
        default = "us-east-1" if params.endpoint and not session.region_name else None
        client = session.client("s3", endpoint_url=params.endpoint, region_name=default, config=config)
        client.meta.events  # noqa: B018 - made now, while the credentials are named
        return client


class _credentials:  # noqa: N801 - a context manager that reads as what it does
    """Points boto3 at a file with keys: the one of the settings, else the one that systemd handed to the service."""

    def __init__(self, params: S3Params) -> None:
        handed = Path(os.environ.get(CREDENTIALS, "/nonexistent"), "aws-credentials")
        self._file = params.credentials_file or (handed if handed.is_file() else None)
        self._before = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")

    def __enter__(self) -> None:
        if self._file:
            if not self._file.is_file():
                raise BlockedError(
                    "credentials_missing", f"{self._file} is not there", "create it for the service user"
                )
            os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(self._file)

    def __exit__(self, *_: object) -> None:
        if self._file:
            os.environ.pop("AWS_SHARED_CREDENTIALS_FILE")
            if self._before is not None:
                os.environ["AWS_SHARED_CREDENTIALS_FILE"] = self._before
