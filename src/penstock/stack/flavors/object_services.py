"""The three object services, through their fsspec file systems: what differs between them."""

from __future__ import annotations

import json
import os
import uuid
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from penstock.errors import Unavailable

_CONNECT, _ANSWER, _STALLED, _LEAVE = 5, 30, 300, 1
"""Seconds until a connection stands, until the service answers, for one request that crawls on, and to say goodbye."""

_AT_ONCE = 1024 * 1024


@dataclass(frozen=True)
class Location:
    """Where a store is and how one gets in. Credentials are names of environment variables, never values."""

    scheme: str
    bucket: str
    endpoint: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False

    def secrets(self) -> dict[str, str]:
        """The credentials' values, from this process's environment."""
        missing = {name: variable for name, variable in self.credentials.items() if not os.environ.get(variable)}
        if missing:
            wanted = ", ".join(f"{variable} (for '{name}')" for name, variable in missing.items())
            raise Unavailable(
                f"The credentials of the artifact store in {self.scheme}://{self.bucket} are to be read from environment "
                f"variables that this process does not have: {wanted}. Set them where the server and the runs start."
            )
        return {name: os.environ[variable] for name, variable in self.credentials.items()}


class Upload(Protocol):
    """A blob that arrives in parts, in order; nobody sees it before the end."""

    def part(self, offset: int, data: bytes) -> None:
        """Send the bytes from `offset` on. May be repeated for the part that was sent last."""

    def commit(self) -> None:
        """Make the blob visible, if the last part has not done so."""

    def abort(self) -> None:
        """Take back what was sent, as far as the service allows."""


class Service:
    """One bucket. All calls raise what the service's packages raise; `object_errors.judge` reads that. None of them tries again."""

    extra = ""
    packages: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """What `credentials` may name."""

    def __init__(self, files: Any, bucket: str) -> None:
        self._files = files
        self._bucket = bucket

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The object's bytes, or those from `start` to `end`, which must not be empty."""
        content: bytes = self._files.cat_file(f"{self._bucket}/{key}", start=start, end=end)
        return content

    def write(self, key: str, data: bytes) -> None:
        """Make an object in one request."""
        raise NotImplementedError

    def inside(self, folder: str) -> list[str]:
        """The last parts of the names in this folder."""
        found = self._files.ls(f"{self._bucket}/{folder}", detail=False)
        return [str(name).rstrip("/").rpartition("/")[2] for name in found]

    def facts(self, key: str) -> tuple[int, datetime]:
        """The object's size in bytes, and when it was written."""
        raise NotImplementedError

    def remove(self, key: str) -> None:
        """Remove the object."""
        raise NotImplementedError

    def look(self) -> None:
        """Ask for the bucket itself: `FileNotFoundError` or its like if there is none."""
        raise NotImplementedError

    def begin(self, key: str, size: int) -> Upload:
        """Begin an object of this size, in parts."""
        raise NotImplementedError


class S3(Service):
    """Amazon S3 and everything that speaks its protocol."""

    extra = "s3"
    packages = ("s3fs",)
    names = ("access_key", "secret_key", "session_token")

    @classmethod
    def at(cls, place: Location) -> S3:
        """The bucket, with s3fs's and botocore's own retries switched off: ours are the same for all services."""
        secrets = place.secrets()
        config: dict[str, Any] = {
            "connect_timeout": _CONNECT,
            "read_timeout": _ANSWER,
            "retries": {"max_attempts": 0},
        }
        if place.endpoint:
            # Services like S3 do not all know the checksums that botocore adds unasked; we have our own.
            config |= {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        files = import_module("s3fs").S3FileSystem(
            anon=place.anonymous,
            key=secrets.get("access_key"),
            secret=secrets.get("secret_key"),
            token=secrets.get("session_token"),
            endpoint_url=place.endpoint,
            config_kwargs=config,
            max_concurrency=1,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        files.retries = 1
        files.connect()
        service = cls(files, place.bucket)
        _leave_orderly(service, files, partial(files._s3creator.__aexit__, None, None, None))  # noqa: SLF001
        return service

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One request of the S3 API for this bucket."""
        answer: dict[str, Any] = self._files.call_s3(method, Bucket=self._bucket, timeout=_STALLED, **arguments)
        return answer

    def write(self, key: str, data: bytes) -> None:
        """Make an object in one request."""
        self.call("put_object", Key=key, Body=data)

    def facts(self, key: str) -> tuple[int, datetime]:
        """The object's size in bytes, and when it was written."""
        head = self.call("head_object", Key=key)
        return int(head["ContentLength"]), head["LastModified"]

    def remove(self, key: str) -> None:
        """Remove the object; one that is not there is no error to S3."""
        self.call("delete_object", Key=key)

    def look(self) -> None:
        """Ask for the bucket itself."""
        self.call("head_bucket")

    def begin(self, key: str, size: int) -> Upload:
        """Begin a multipart upload."""
        return _S3Upload(self, key, self.call("create_multipart_upload", Key=key)["UploadId"])


class _S3Upload:
    def __init__(self, service: S3, key: str, upload: str) -> None:
        self._service = service
        self._names = {"Key": key, "UploadId": upload}
        self._parts: dict[int, dict[str, Any]] = {}

    def part(self, offset: int, data: bytes) -> None:
        number = len([known for known in self._parts if known < offset]) + 1
        tag = self._service.call("upload_part", PartNumber=number, Body=data, **self._names)["ETag"]
        self._parts[offset] = {"PartNumber": number, "ETag": tag}

    def commit(self) -> None:
        parts = {"Parts": list(self._parts.values())}
        self._service.call("complete_multipart_upload", MultipartUpload=parts, **self._names)

    def abort(self) -> None:
        self._service.call("abort_multipart_upload", **self._names)


class GCS(Service):
    """Google Cloud Storage."""

    extra = "gcs"
    packages = ("gcsfs",)
    names = ("service_account",)

    @classmethod
    def at(cls, place: Location) -> GCS:
        """The bucket. Not gcsfs's own file system of today, which asks a second service for the kind of each bucket."""
        core, aiohttp = import_module("gcsfs.core"), import_module("aiohttp")
        kind = core.GCSFileSystem
        files = kind(
            token="anon" if place.anonymous else cls._token(place.secrets()),
            endpoint_url=place.endpoint,
            session_kwargs={"timeout": aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_ANSWER)},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        # Each request is tried six times, for half a minute, with no option for less: take the function inside.
        files._request = kind._request.__wrapped__.__get__(files)  # noqa: SLF001
        import_module("fsspec.asyn").sync(files.loop, files._set_session)  # noqa: SLF001
        service = cls(files, place.bucket)
        _leave_orderly(service, files, files.session.close)
        return service

    @staticmethod
    def _token(secrets: Mapping[str, str]) -> Any:
        given = secrets.get("service_account", "").strip()
        if not given:
            return "google_default"
        if given.startswith("{"):
            return json.loads(given)
        # gcsfs takes a text that is no file for an access token, and sends it to the network to ask.
        if not Path(given).is_file():
            raise ValueError(
                "the variable holds neither a service account's key (JSON) nor the path of a file with one"
            )
        return given

    def call(self, method: str, path: str, *parts: str, **arguments: Any) -> tuple[Mapping[str, str], bytes]:
        """One request of the JSON API: headers and content of the answer."""
        headers, content = self._files.call(method, path, *parts, timeout=_STALLED, **arguments)
        return headers, content

    def write(self, key: str, data: bytes) -> None:
        """Make an object in one request."""
        kind = {"Content-Type": "application/octet-stream"}
        self.call("POST", self._uploads(), uploadType="media", name=key, headers=kind, data=BytesIO(data))

    def facts(self, key: str) -> tuple[int, datetime]:
        """The object's size in bytes, and when it was written."""
        _, content = self.call("GET", "b/{}/o/{}", self._bucket, key, fields="size,updated")
        told = json.loads(content)
        return int(told["size"]), datetime.fromisoformat(told["updated"])

    def remove(self, key: str) -> None:
        """Remove the object."""
        self.call("DELETE", "b/{}/o/{}", self._bucket, key)

    def look(self) -> None:
        """Ask for one name: who may use objects may do that, but not look at the bucket's own record."""
        self.call("GET", "b/{}/o", self._bucket, maxResults=1)

    def begin(self, key: str, size: int) -> Upload:
        """Begin a resumable upload."""
        headers, _ = self.call("POST", self._uploads(), uploadType="resumable", name=key, json={"name": key})
        return _GCSUpload(self, headers["Location"], size)

    def _uploads(self) -> str:
        return f"{self._files.base.removesuffix('storage/v1/')}upload/storage/v1/b/{self._bucket}/o"


class _GCSUpload:
    def __init__(self, service: GCS, address: str, size: int) -> None:
        self._service = service
        self._address = address
        self._size = size
        self._last = -1

    def part(self, offset: int, data: bytes) -> None:
        """The service may keep less than it was sent, and says how much; the part that ends at the size commits."""
        end = offset + len(data)
        again, self._last = offset == self._last, offset
        at = self._send("*") if again else offset
        while at < end:
            kept = self._send(f"{at}-{end - 1}", data[at - end :]) if at >= offset else 0
            if kept <= at:
                raise ConnectionError(f"Google Cloud Storage has {kept} bytes of {end} and goes no further.")
            at = kept

    def _send(self, span: str, data: bytes = b"") -> int:
        """Up to where the service has the object now. With `*` and no data: ask only, as an earlier answer was lost."""
        where = {"Content-Range": f"bytes {span}/{self._size}"}
        # Not PUT, which aiohttp sends again by itself if the connection breaks: the service then finds it out of place.
        headers, content = self._service.call("POST", self._address, headers=where, data=BytesIO(data))
        if content:
            return self._size  # the finished object's record
        return int(headers["Range"].rpartition("-")[2]) + 1 if "Range" in headers else 0

    def commit(self) -> None:
        """Nothing is left to do: the last part did it."""

    def abort(self) -> None:
        self._service.call("DELETE", self._address)


class Azure(Service):
    """Azure Blob Storage."""

    extra = "azure"
    packages = ("adlfs",)
    names = ("connection_string", "account_key", "sas_token")

    @classmethod
    def at(cls, place: Location) -> Azure:
        """The container, with the client's retries, which wait 15 seconds and more, switched off."""
        files = import_module("adlfs").AzureBlobFileSystem(
            **cls._account(place),
            connection_timeout=_CONNECT,
            read_timeout=_ANSWER,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        files.service_client._config.retry_policy.total_retries = 0  # noqa: SLF001
        service = cls(files, place.bucket)
        _leave_orderly(service, files, files.service_client.close)
        return service

    @staticmethod
    def _account(place: Location) -> dict[str, Any]:
        secrets = place.secrets()
        if "connection_string" in secrets:
            return {"connection_string": secrets["connection_string"]}
        if place.endpoint is None:
            # Without an endpoint adlfs takes the account, too, from AZURE_STORAGE_ACCOUNT_NAME or _CONNECTION_STRING.
            return {**secrets, "anon": place.anonymous}
        address = urlsplit(place.endpoint)
        host = address.hostname or ""
        own = address.path.strip("/")  # an emulator has the account in the path, the cloud in the host's name
        account = own or host.partition(".")[0]
        if not secrets:
            return {"account_name": account, "account_host": address.netloc, "anon": place.anonymous}
        string = f"DefaultEndpointsProtocol={address.scheme};BlobEndpoint={place.endpoint.rstrip('/')};"
        if "account_key" in secrets:
            string += f"AccountName={account};AccountKey={secrets['account_key']};"
        else:
            string += f"SharedAccessSignature={secrets['sas_token'].removeprefix('?')};"
        return {"connection_string": string}

    def call(self, method: str, key: str, *arguments: Any, **options: Any) -> Any:
        """One request of the client for this blob, carried out in the file system's event loop."""
        options |= {"connection_timeout": _CONNECT, "read_timeout": _ANSWER}

        async def request() -> Any:
            client = self._files.service_client.get_blob_client(self._bucket, key)
            return await getattr(client, method)(*arguments, **options)

        return import_module("fsspec.asyn").sync(self._files.loop, request, timeout=_STALLED)

    def write(self, key: str, data: bytes) -> None:
        """Make a blob in one request; in two if it is so big that the client would hold up the event loop."""
        if len(data) <= _AT_ONCE:
            self.call("upload_blob", key, data, overwrite=True)
        else:
            upload = self.begin(key, len(data))
            upload.part(0, data)
            upload.commit()

    def facts(self, key: str) -> tuple[int, datetime]:
        """The blob's size in bytes, and when it was written."""
        told = self.call("get_blob_properties", key)
        return int(told.size), told.last_modified

    def remove(self, key: str) -> None:
        """Remove the blob."""
        self.call("delete_blob", key)

    def look(self) -> None:
        """Ask for the container itself."""
        self._files.info(self._bucket)

    def begin(self, key: str, size: int) -> Upload:
        """Begin a list of blocks."""
        return _AzureUpload(self, key)


class _AzureUpload:
    def __init__(self, service: Azure, key: str) -> None:
        self._service = service
        self._key = key
        self._blocks: dict[int, str] = {}

    def part(self, offset: int, data: bytes) -> None:
        # Writers of the same blob share one list of uncommitted blocks: no name of ours may be one of theirs.
        name = uuid.uuid4().hex
        self._service.call("stage_block", self._key, name, BytesIO(data), len(data))
        self._blocks[offset] = name

    def commit(self) -> None:
        block = import_module("azure.storage.blob").BlobBlock
        self._service.call("commit_block_list", self._key, [block(name) for name in self._blocks.values()])

    def abort(self) -> None:
        """Nobody can take blocks back; the service forgets them after a week."""


SERVICES: dict[str, type[S3 | GCS | Azure]] = {"s3": S3, "gs": GCS, "az": Azure}


def connect(place: Location) -> Service:
    """The service of this place; `Unavailable` if its package is not installed or a variable is not set."""
    kind = SERVICES[place.scheme]
    for package in kind.packages:
        try:
            import_module(package)
        except ImportError as error:
            raise Unavailable(
                f"An artifact store in {place.scheme}:// needs the package '{package}', which cannot be imported "
                f"({error}). Install it where the server and the runs are: pip install 'penstock[{kind.extra}]'."
            ) from error
    try:
        return kind.at(place)
    except (KeyError, ValueError) as error:
        raise PermissionError(f"these credentials cannot be read ({error})") from error


def _leave_orderly(service: Service, files: Any, close: Callable[[], Any]) -> None:
    """Close the connections when the service is dropped or Python ends, in the process that made them.

    What the file systems do about it waits in a forked process for an event loop thread that is not there (adlfs),
    comes too late (gcsfs), or does not wait long enough (s3fs).
    """
    for ending in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001
        known = ending.peek()
        if known is not None and known[0] is files:
            ending.detach()
    _loops.add(files.loop)
    weakref.finalize(service, _close, os.getpid(), files.loop, close)


def _close(process: int, loop: Any, close: Callable[[], Any]) -> None:
    if os.getpid() != process or not loop.is_running():
        return
    # Only where a file system is in use, which has imported it long ago.
    import asyncio

    closing = asyncio.run_coroutine_threadsafe(close(), loop)
    if asyncio._get_running_loop() is not loop:  # noqa: SLF001 - the public one raises in all other threads
        with suppress(Exception):
            closing.result(_LEAVE)


_loops: set[Any] = set()


def _cut_off() -> None:
    """In a forked process: nothing that is collected here may reach into the event loop of the parent.

    The kernel's list of what a loop waits for is shared between parent and child. A connection that is closed here
    would be taken from it, and the parent would never hear of its answer.
    """
    for loop in _loops:
        with suppress(Exception):
            loop._selector.close()  # noqa: SLF001
    _loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_off)
