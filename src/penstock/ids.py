"""Identifiers: time-ordered UUIDs (version 7) as plain strings, and content digests."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from datetime import datetime

from penstock.errors import InvalidInput, fault

_lock = threading.Lock()
_last = 0
_chances: list[int] = []
"""Random numbers that nobody has used."""

_AT_ONCE = 64

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._+-]{0,126}[A-Za-z0-9_+-])?")


def new_id() -> str:
    """A new UUIDv7 (RFC 9562, section 5.7, method 3: sub-millisecond fraction in `rand_a`).

    Ids made in one process are strictly increasing, so sorting by id is sorting by creation.
    """
    global _last
    with _lock:
        # 60 bits: milliseconds (48) and a 12-bit fraction of the millisecond (about 0.24 microseconds).
        tick = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        _last = tick
        if not _chances:
            _chances.extend(
                memoryview(os.urandom(8 * _AT_ONCE)).cast("Q")
            )  # a system call costs more than all the rest
        random_bits = _chances.pop() & ((1 << 62) - 1)
    milliseconds, fraction = tick >> 12, tick & 0xFFF
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits
    return format_id(value)


def first_id(moment: datetime) -> str:
    """The smallest id that can have been made at this moment or later: what is sorted by id is sorted by time."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return format_id(milliseconds << 80 | 0x7 << 76 | 0b10 << 62)


def format_id(value: int) -> str:
    """A 128-bit number in the usual 8-4-4-4-12 form."""
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_from_digest(digest: str) -> str:
    """The UUID (version 8, RFC 9562 section 5.8) of content with this SHA-256: equal content, equal id."""
    value = int(digest[:32], 16)
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return format_id(value)


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id (a name never has)."""
    return _UUID.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` has the form of a SHA-256 in lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


def check_name(text: str, *, what: str, at: str = "/name") -> str:
    """`text` if it can be the name of a `what`; names stand in URLs, file listings and logs, so their form is narrow.

    Raises `InvalidInput` pointing to `at`.
    """
    if _NAME.fullmatch(text) and not is_id(text) and ".." not in text:
        return text
    message = (
        "A name has 1 to 128 letters, digits, spaces or . _ + -, begins and ends with a letter or digit, "
        "has no two dots in a row, and does not look like an id."
    )
    raise InvalidInput(f"{text[:80]!r} cannot be the name of a {what}.", errors=[fault(at, message)])


def digest_of(data: bytes) -> str:
    """The SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


# A forked child must not use what its parent and its siblings use.
os.register_at_fork(after_in_child=_chances.clear)
