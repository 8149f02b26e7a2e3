"""Who may call: who has one of the deployment's keys, or an account that the server lets in."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

from starlette.types import Scope

from penstock.client.connection import path
from penstock.client.transport import Transport
from penstock.errors import Forbidden, NotFound, PenstockError, Unauthenticated, Unavailable
from penstock.ids import digest_of
from penstock.model.deployment import Plan

PATIENCE = 10.0
"""Seconds that the server has to say whether somebody may."""

MOST_KNOWN = 10_000
ASKED_AT_ONCE = 4
Finding = tuple[float, type[PenstockError] | None, str]
"""Until when it holds; what is raised, with which words, for somebody who may not."""


class Callers:
    """Those of one deployment. Where no key is needed, everybody who reaches the service."""

    def __init__(self, plan: Plan) -> None:
        self._needed = plan.auth
        self._keys = plan.keys
        self._accounts = Accounts(plan) if plan.settings.auth == "server" else None

    async def check(self, scope: Scope) -> None:
        """Raises `Unauthenticated`, `Forbidden`, or `Unavailable` if nobody can say."""
        if not self._needed:
            return
        shown = _bearer(scope)
        if self._has_key(shown):
            return
        if self._accounts is None:
            raise Unauthenticated("Send a key of this deployment: 'Authorization: Bearer <key>'.")
        await self._accounts.check(shown)

    def _has_key(self, shown: str) -> bool:
        """Whether this is a key that holds. All of them are compared, in the same time."""
        digest = digest_of(shown.encode("latin-1"))  # the bytes that were sent: a key may have letters beyond ASCII
        fitting = [one for one in self._keys if hmac.compare_digest(digest, one.digest)]
        at = datetime.now(UTC)
        return any(one.valid_until is None or one.valid_until > at for one in fitting)


class Accounts:
    """What the server says of callers, for as long as the settings let it hold. Credentials are not kept, only their hashes."""

    def __init__(self, plan: Plan) -> None:
        self._server = plan.server
        self._path = path("deployments", plan.deployment_id, "admission")
        self._holds = plan.settings.auth_cache
        self._known: OrderedDict[str, Finding] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Finding]] = {}
        self._pool = ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="penstock-callers")

    async def check(self, credential: str) -> None:
        """Raises what the server says against this caller. Many who ask about one at once are one question."""
        if not credential:  # without one, the owner's door of the server would let everybody in
            raise Unauthenticated(
                "Send an API key of the server, or the token of a login: 'Authorization: Bearer <key>'."
            )
        name = digest_of(credential.encode("latin-1"))
        found = self._known.get(name)
        if found is None or found[0] < time.monotonic():
            asking = self._asking.get(name)
            if asking is None:
                asking = self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name, credential))
                asking.add_done_callback(lambda _: self._asking.pop(name))
            found = await asyncio.shield(asking)
        _, refused, told = found
        if refused is not None:
            raise refused(told)

    async def _ask(self, name: str, credential: str) -> Finding:
        refused: PenstockError | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._look, credential)
        except (Unauthenticated, Forbidden) as error:
            refused = error
        except NotFound:  # the server does not tell others what there is, and neither do we tell what they may not see
            refused = Forbidden("This account may not call this deployment: it takes the right to run its pipeline.")
        except PenstockError as error:
            told = "The server that knows who may call cannot be asked now. Come back later."
            raise Unavailable(told, headers={"Retry-After": "2"}) from error
        kind = None if refused is None else type(refused)
        found = (time.monotonic() + self._holds, kind, "" if refused is None else refused.detail)
        self._known[name] = found
        self._known.move_to_end(name)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return found

    def _look(self, credential: str) -> None:
        if not self._server:
            raise Unavailable("This service has no server.")
        with closing(Transport(self._server, credential, timeout=PATIENCE)) as transport:
            transport.request("GET", self._path)


def _bearer(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, credential = value.decode("latin-1").partition(" ")
            return str(credential.strip()) if kind.lower() == "bearer" else ""
    return ""
