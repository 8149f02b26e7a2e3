"""Callbacks: which addresses are taken, who is told of which run, and the secret that receivers check it with."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec

from penstock.control import outbound
from penstock.control.bell import ENDED
from penstock.control.installation import Installation, now
from penstock.errors import Conflict
from penstock.ids import new_id
from penstock.model import callback as rules
from penstock.model.address import allowed_by
from penstock.model.callback import MOST, Callback, CallbackSecret, CallbackState, checked_url, parts_of, secret_text
from penstock.model.run import Run
from penstock.store import callbacks as stored
from penstock.store import runs
from penstock.store.callbacks import Rotation
from penstock.store.session import ReadSession, WriteSession

_PATIENCE = 3.0
"""Seconds that a caller waits for a name server; one that is slower is asked again before anything is sent."""

_FIRST = Rotation(id="", created=datetime(1970, 1, 1, tzinfo=UTC))
"""What stands for the secret that was never rotated."""


def accepted(installation: Installation, url: str) -> str:
    """`url` if it may be called back. Asks a name server: not to be called in a transaction.

    Raises `InvalidInput` for what is no address, is not found, or must not be called. It is looked at again before each try.
    """
    _, host, port = parts_of(checked_url(url))
    try:
        addresses = outbound.look_up(host, port, _PATIENCE).result(_PATIENCE)
        outbound.check(addresses, allowed_by(installation.settings))
    except outbound.NotAllowed as error:
        raise rules.refused(f"It is not called: {error}.") from error
    except socket.gaierror as error:
        if error.errno != socket.EAI_AGAIN:  # then the name server is away, which says nothing about the name
            raise rules.refused(f"Its host cannot be found: {error.strerror}.") from error
    except TimeoutError:
        pass
    except (OSError, UnicodeError) as error:
        raise rules.refused(f"Its host cannot be found: {error}.") from error
    return url


def register(ws: WriteSession, installation: Installation, run: Run, url: str) -> Callback:
    """Have the address told of the run's end, at once if it has ended; once, however often it is asked for.

    The run was read in this transaction. Raises `Conflict` if it tells as many as one run may.
    """
    known = stored.find(ws, run.id, url)
    if known is not None:
        return known
    if stored.count(ws, run.id) >= MOST:
        raise Conflict(f"Run {run.name} tells {MOST} addresses of its end already; one run tells no more.")
    at = now()
    ended = run.state.terminal
    callback = Callback(
        id=new_id(),
        run_id=run.id,
        url=url,
        state=CallbackState.PENDING if ended else CallbackState.WAITING,
        next_try=at if ended else None,
        created=at,
    )
    stored.insert(ws, callback)
    if ended:
        ws.after_commit(lambda: installation.bell.ring(ENDED))
    return callback


def redeliver(ws: WriteSession, installation: Installation, callback_id: str) -> Callback:
    """Send it (again) now, with all its tries, under the id that it has. Raises `Conflict` before the end of its run."""
    before = stored.get(ws, callback_id)
    if before.state is CallbackState.WAITING:
        raise Conflict("Its run has not ended: it is sent then.")
    if before.state is CallbackState.SENDING:
        raise Conflict("It is being sent right now. Look at it again.")
    due = replace(before, state=CallbackState.PENDING, attempts=0, next_try=now(), ended=None)
    stored.save(ws, before, due)
    ws.after_commit(lambda: installation.bell.ring(ENDED))
    return due


def message(rs: ReadSession, installation: Installation, callback: Callback) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a try. Raises `NotFound` if the run was removed."""
    body = msgspec.json.encode(rules.content(runs.get(rs, callback.run_id)))
    return body, rules.headers(callback.id, now(), body, signing(rs, installation))


def secret(rs: ReadSession, installation: Installation) -> CallbackSecret:
    """The secret in force, for those who set up receivers."""
    last = next(iter(stored.rotated(rs)), None)
    if last is None:
        return CallbackSecret(secret=_text(installation, _FIRST))
    return CallbackSecret(secret=_text(installation, last), created=last.created, previous_until=last.previous_until)


def signing(rs: ReadSession, installation: Installation) -> list[str]:
    """The secrets that sign now: the one in force, and those before it that are good for a while yet."""
    return [_text(installation, one) for one in _in_force(stored.rotated(rs), now())]


def rotate(ws: WriteSession, installation: Installation, *, retain: timedelta) -> CallbackSecret:
    """Make another secret; until `retain` has passed, the one before signs as well."""
    at = now()
    until = at + retain if retain > timedelta() else None
    stored.rotate(ws, Rotation(id=new_id(), created=at, previous_until=until))
    # One more than sign: the oldest says until when the one before it does.
    needed = [one for one in _in_force(stored.rotated(ws), at) if one is not _FIRST]
    stored.forget_rotations(ws, needed[-1].id)
    return secret(ws, installation)


def _in_force(rotated: Sequence[Rotation], at: datetime) -> list[Rotation]:
    whole = [*rotated, _FIRST]
    found = whole[:1]
    for newer, older in pairwise(whole):
        if newer.previous_until is None or newer.previous_until <= at:
            break
        found.append(older)
    return found


def _text(installation: Installation, rotation: Rotation) -> str:
    """Worked out, and kept nowhere: whoever gets hold of the database alone can sign nothing."""
    return secret_text(installation.signer.derived(f"callback secret {rotation.id}"))
