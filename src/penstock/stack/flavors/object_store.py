"""An artifact store in a bucket of S3, Google Cloud Storage or Azure: each blob is an object (`sha256/ab/cdef...`)."""

from __future__ import annotations

import io
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Literal, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from penstock.errors import ArtifactError, InvalidInput, NotFound, StorageFull, Unavailable, fault, pointer
from penstock.ids import is_digest
from penstock.stack.flavors.object_errors import Trouble, judge
from penstock.stack.flavors.object_services import SERVICES, Location, Service, connect

P = ParamSpec("P")
T = TypeVar("T")

_MIB = 1024 * 1024
_PART = 8 * _MIB
_MOST_PARTS = 9_000  # S3 takes 10,000
_CHUNK = _MIB
_FRESH = timedelta(minutes=30)
"""So long after it was stored, storing the same content again is left out. Less than the age at which blobs may be removed."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")


class ObjectStore:
    """Blobs in a bucket that any number of processes on any machine share.

    A blob becomes visible when the service has all of it, and not before: small ones go in one request, others in parts
    that are joined at the end. What is in memory at a time is one part (8 MiB; more only for blobs over 72 GB).
    """

    def __init__(
        self,
        url: str,
        endpoint: str | None = None,
        credentials: Mapping[str, str] | Literal["anonymous"] | None = None,
        retry_for: float = 10.0,
    ) -> None:
        """`url` is `s3://bucket/prefix`, `gs://...` or `az://container/...`; nothing is asked or imported yet.

        `endpoint` is the address of the service if it is not the provider's own (for Azure: of the account).
        `credentials` names environment variables, never secrets: `{"access_key": "VARIABLE", ...}`; without it the
        provider's own chain is used, and with "anonymous" none. `retry_for` is for how many seconds after the first
        failure a request that may yet succeed is tried again.
        """
        self._place, self._prefix = _read_options(url, endpoint, credentials, retry_for)
        self._url = url.rstrip("/")
        self._retry_for = retry_for
        self._bucket_is_there = False
        # By process: an event loop does not survive a fork. What the parent had is kept, so that nothing of it is closed.
        self._services: dict[int, Service] = {}
        self._locks: dict[int, threading.Lock] = {}

    @property
    def extra(self) -> str:
        """The extra of Penstock that brings the packages it needs."""
        return SERVICES[self._place.scheme].extra

    def put(self, data: bytes | Path) -> tuple[str, int]:
        """Store bytes or a file's content. A file larger than one part is read twice: its name is its digest."""
        if isinstance(data, Path):
            with data.open("rb") as source:
                return self._put(source)
        return self._put(io.BytesIO(data))

    def get(self, digest: str) -> bytes:
        """The blob's bytes, checked against the digest."""
        key = self._key(digest)
        try:
            data = self._patiently(self._service().read, key)
        except FileNotFoundError:
            raise self._absent(digest) from None
        self._check(digest, sha256(data).hexdigest())
        return data

    def fetch(self, digest: str, target: Path) -> None:
        """Write the blob to `target`, which is there when it is whole and checked, and not before."""
        temporary = target.with_name(f".{os.urandom(12).hex()}")
        found = sha256()
        with self.open(digest) as blob:
            try:
                with temporary.open("xb") as copy:
                    while chunk := blob.read(_CHUNK):
                        found.update(chunk)
                        copy.write(chunk)
                self._check(digest, found.hexdigest())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def exists(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self._facts(self._key(digest)) is not None

    def open(self, digest: str) -> BinaryIO:
        """A reader of the blob, unchecked. It asks for a part at a time, and again if the connection is lost."""
        key = self._key(digest)
        size, _ = self.facts(digest)

        def read(start: int, end: int) -> bytes:
            try:
                return self._patiently(self._service().read, key, start, end)
            except FileNotFoundError:
                raise self._absent(digest) from None

        return cast(BinaryIO, io.BufferedReader(_Blob(read, size), _PART))

    def facts(self, digest: str) -> tuple[int, datetime]:
        """The blob's size in bytes, and when it was stored last."""
        found = self._facts(self._key(digest))
        if found is None:
            raise self._absent(digest)
        return found

    def delete(self, digest: str, *, stored_before: datetime) -> bool:
        """Remove the blob. The services have no way to look and remove in one go: between the two there is a moment."""
        key = self._key(digest)
        found = self._facts(key)
        if found is None or found[1] >= stored_before:
            return False
        with suppress(FileNotFoundError):
            self._patiently(self._service().remove, key)
        return True

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in no order."""
        for folder in self._inside("sha256"):
            for blob in self._inside(f"sha256/{folder}"):
                if is_digest(folder + blob):
                    yield folder + blob

    def _put(self, source: BinaryIO) -> tuple[str, int]:
        start = source.read(_PART)
        found, size = sha256(start), len(start)
        while chunk := source.read(_CHUNK):
            found.update(chunk)
            size += len(chunk)
        digest = found.hexdigest()
        key = self._key(digest)
        there = self._facts(key)
        if there is not None and there[0] == size and datetime.now(UTC) - there[1] < _FRESH:
            return digest, size  # an older one is written again, since its age is what keeps it from being removed
        try:
            if size == len(start):
                self._patiently(self._service().write, key, start)
            else:
                source.seek(0)
                self._put_in_parts(source, digest, size)
        except FileNotFoundError as error:
            raise Unavailable(f"The artifact store in {self._url} has lost an upload: {error}. Try again.") from error
        return digest, size

    def _put_in_parts(self, source: BinaryIO, digest: str, size: int) -> None:
        key = self._key(digest)
        length = max(_PART, -(-size // _MOST_PARTS // _MIB) * _MIB)
        upload = self._patiently(self._service().begin, key, size)
        try:
            found, sent = sha256(), 0
            while sent < size:
                part = source.read(min(length, size - sent))
                found.update(part)
                # Before the last part goes: with it, some services show the blob.
                if not part or (sent + len(part) == size and found.hexdigest() != digest):
                    raise ArtifactError(
                        "The file changed while it was stored. Write it under another name, then move it."
                    )
                self._patiently(upload.part, sent, part)
                sent += len(part)
            self._patiently(upload.commit)
        except BaseException as error:
            # The answer to the last request may have been lost; or somebody else stored the same in the meantime.
            with suppress(Exception):
                if isinstance(error, Exception) and self._service().facts(key)[0] == size:
                    return
            with suppress(Exception):
                upload.abort()
            raise

    def _key(self, digest: str) -> str:
        if not is_digest(digest):
            problem = fault("", "A blob is named by its SHA-256: 64 digits of lower-case hexadecimal.")
            raise InvalidInput(f"{digest[:100]!r} names no blob.", errors=[problem])
        return f"{self._prefix}sha256/{digest[:2]}/{digest[2:]}"

    def _facts(self, key: str) -> tuple[int, datetime] | None:
        try:
            return self._patiently(self._service().facts, key)
        except FileNotFoundError:
            self._require_bucket()
            return None

    def _inside(self, folder: str) -> list[str]:
        try:
            return self._patiently(self._service().inside, self._prefix + folder)
        except FileNotFoundError:
            self._require_bucket()
            return []

    def _require_bucket(self) -> None:
        """Tell a missing bucket from a missing blob, once."""
        if self._bucket_is_there:
            return
        service = self._service()

        def look() -> None:
            try:
                service.look()
            except Exception as error:
                # Who may use objects need not be allowed to look at the bucket.
                if judge(error) is not Trouble.REFUSED:
                    raise

        try:
            self._patiently(look)
        except FileNotFoundError:
            raise Unavailable(
                f"There is no bucket '{self._place.bucket}' at {self._where()}, where {self._url} keeps its artifacts. "
                "Create it, or correct the option 'url' of the artifact store."
            ) from None
        self._bucket_is_there = True

    def _absent(self, digest: str) -> NotFound:
        self._require_bucket()
        return NotFound(f"The artifact store in {self._url} has no blob {digest}.")

    def _check(self, digest: str, found: str) -> None:
        if found != digest:
            raise ArtifactError(
                f"Blob {digest} in {self._url} is damaged: its content has the SHA-256 {found}. "
                "Put it back from a copy, or run again the step that made it."
            )

    def _service(self) -> Service:
        process = os.getpid()
        service = self._services.get(process)
        if service is None:
            # One lock a process: a lock that another thread held when we were forked stays locked for ever.
            with self._locks.setdefault(process, threading.Lock()):
                service = self._services.get(process)
                if service is None:
                    service = self._services[process] = self._patiently(connect, self._place)
        return service

    def _patiently(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it, again and again while that may help; `FileNotFoundError` if what is asked for is not there."""
        pause, tries, give_up = _FIRST_PAUSE, 0, 0.0
        while True:
            try:
                return act(*args, **kwargs)
            except Unavailable:
                raise
            except Exception as error:
                trouble = judge(error)
                if trouble is Trouble.ABSENT:
                    raise FileNotFoundError(str(error)) from error
                if trouble is not Trouble.PASSING:
                    raise self._told(trouble, error) from error
                tries += 1
                give_up = give_up or time.monotonic() + self._retry_for
                rest = pause * random.uniform(0.5, 1)  # noqa: S311 - so that writers who failed together come back apart
                if time.monotonic() + rest > give_up:
                    raise self._unreachable(tries, error) from error
            time.sleep(rest)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _told(self, trouble: Trouble, error: Exception) -> Exception:
        if trouble is Trouble.REFUSED:
            return self._refused(error)
        if trouble is Trouble.FULL:
            return StorageFull(f"There is no room left for artifacts in {self._url}: {_words(error)}.")
        return Unavailable(
            f"The artifact store in {self._url} cannot be used: {self._where()} does not take the request "
            f"({_words(error)}). Check the options 'url' and 'endpoint' of the artifact store."
        )

    def _refused(self, error: Exception) -> Unavailable:
        if self._place.anonymous:
            used = "no credentials, as its option 'credentials' says"
        elif self._place.credentials:
            used = f"the credentials from {', '.join(self._place.credentials.values())}"
        else:
            used = "the credentials that this process finds by the provider's own rules"
        return Unavailable(
            f"The artifact store in {self._url} does not let us in with {used}: {_words(error)}. They must be valid and "
            f"allow to read, write and list objects of '{self._place.bucket}', in the server's process and in the runs'."
        )

    def _unreachable(self, tries: int, error: Exception) -> Unavailable:
        return Unavailable(
            f"The artifact store in {self._url} cannot be reached: {_words(error)} (tried {tries} times, for "
            f"{self._retry_for:g} seconds). Check that {self._where()} answers from this machine."
        )

    def _where(self) -> str:
        return (
            self._place.endpoint or {"s3": "Amazon S3", "gs": "Google Cloud Storage", "az": "Azure"}[self._place.scheme]
        )


class _Blob(io.RawIOBase):
    """An object as a file: each read is a request of its own."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        end = min(self._position + len(target), self._size)
        if end == self._position:
            return 0
        data = self._read(self._position, end)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        # Python's own asks for 8 KiB at a time.
        return b"".join(iter(lambda: self.read(_PART) or b"", b""))


def _words(error: Exception) -> str:
    """What the error says, without the queries of URLs: tokens and signatures stand there."""
    text = " ".join(re.sub(r"\?[^\s'\")]+", "", str(error)).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _read_options(
    url: str, endpoint: str | None, credentials: Mapping[str, str] | str | None, retry_for: float
) -> tuple[Location, str]:
    """The place that the options name, and the prefix of its keys. What is refused is not repeated: it may be a secret."""
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    faults = []
    if parts.scheme not in SERVICES:
        faults.append(
            fault(pointer("url"), "The URL begins with the service.", allowed=[f"{one}://" for one in SERVICES])
        )
    elif not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment or set(prefix.split("/")) & {".", ".."}:
        message = "A URL is scheme://bucket/prefix, without user, password, port or query."
        faults.append(fault(pointer("url"), message))
    if endpoint is not None and not _is_address(endpoint):
        faults.append(
            fault(pointer("endpoint"), "An endpoint is http(s)://host:port, without user, password or query.")
        )
    if retry_for < 0:
        faults.append(fault(pointer("retry_for"), "A number of seconds, 0 or more, is needed."))
    named = credentials if isinstance(credentials, Mapping) else {}
    if isinstance(credentials, str) and credentials != "anonymous":
        message = "Names of environment variables are needed, {credential: variable}, or 'anonymous'."
        faults.append(fault(pointer("credentials"), message))
    elif parts.scheme in SERVICES:
        faults += _credential_faults(named, SERVICES[parts.scheme].names)
    if faults:
        raise InvalidInput("The artifact store cannot be made with these options.", errors=faults)
    place = Location(parts.scheme, parts.netloc, endpoint, dict(named), anonymous=credentials == "anonymous")
    return place, f"{prefix}/" if prefix else ""


def _credential_faults(named: Mapping[str, str], allowed: tuple[str, ...]) -> Iterator[dict[str, object]]:
    for name, variable in named.items():
        at = pointer("credentials", name)
        if name not in allowed:
            yield fault(at, "The service has no such credential.", allowed=allowed, given=name)
        elif not _VARIABLE.fullmatch(variable):
            message = "The name of an environment variable is needed (A-Z, 0-9 and _), never the secret itself."
            yield fault(at, message)


def _is_address(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in text and not parts.query
