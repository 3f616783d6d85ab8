"""What boto3 raises, in the words of `errors`: which are worth another try, and which need a person."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from .errors import BlockedError, RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.exceptions import ClientError

    from ..errors import EpisodedError

_THEN: Final = ", reload the service, then `episoded resume`"
_BUSY: Final = (
    *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestTimeout", "InternalError"),
    *("ServiceUnavailable", "OperationAborted", "NoSuchUpload", "InvalidPart", "BadDigest", "IncompleteBody"),
)
_LOCKED_OUT: Final = (
    *("AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"),
    *("InvalidToken", "AccountProblem", "401", "403"),
)


@contextmanager
def in_our_words(place: str, target: str = "") -> Iterator[None]:
    """Translate what is raised inside. Keys and signatures are in none of these texts."""
    try:
        import botocore.exceptions as boto
    except ImportError:
        yield
        return
    where = f"{place}/{target}" if target else place
    try:
        yield
    except boto.ClientError as error:
        raise _translated(error, where) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound) as error:
        hint = "give `credentials_file`, a `profile`, or keys where boto3 looks for them, reload the service"
        raise BlockedError("no_credentials", f"{where}: {error}", f"{hint}, then `episoded resume`") from error
    except (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError) as error:
        raise TransientError("offline", f"{where}: {error}", "is the network up?", offline=True) from error
    except (boto.HTTPClientError, boto.ResponseStreamingError, boto.IncompleteReadError) as error:
        raise TransientError(
            "connection_lost", f"{where}: {error}", "tried again; parts that arrived are kept"
        ) from error
    except boto.FlexibleChecksumError as error:
        raise TransientError("damaged", f"{where}: {error}", "damaged on the way; tried again") from error
    except boto.BotoCoreError as error:
        raise BlockedError(
            "s3_misconfigured", f"{where}: {error}", f"mend the settings of this destination{_THEN}"
        ) from error


def _translated(error: ClientError, where: str) -> EpisodedError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    said = error.response.get("Error", {}).get("Message", "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = f"{where}: {said or code} [{code}, HTTP {status}]"
    if code in _BUSY or status in (408, 409, 425, 429) or status >= 500:
        return TransientError("s3_busy", what, "tried again", after_s=_retry_after(error))
    if code == "RequestTimeTooSkewed":
        return BlockedError("clock_skewed", what, "set this machine's clock (timedatectl), then `episoded resume`")
    if code == "NoSuchBucket" or (code == "404" and not said.startswith("The specified key")):
        return BlockedError("bucket_missing", what, "create the bucket, then `episoded resume`")
    if code in _LOCKED_OUT or status in (401, 402, 403):
        hint = (
            "allow s3:PutObject, GetObject, ListBucket, AbortMultipartUpload and ListMultipartUploadParts to these keys"
        )
        return BlockedError("s3_refuses", what, f"{hint}, then `episoded resume`")
    return RefusedError("s3_refused", what, "the server takes no such object: do what it says, then `episoded resume`")


def _retry_after(error: ClientError) -> float | None:
    value = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(value) if value.isdecimal() else None
