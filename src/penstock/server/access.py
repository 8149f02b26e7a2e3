"""Who asks, and whether they may: every route names its permission in its signature."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer

from penstock.control import accounts, deployments, reach, sessions, trusts
from penstock.control.audit import deed
from penstock.control.installation import Installation
from penstock.errors import Forbidden, PenstockError, Unauthenticated
from penstock.model.account import OWNER, Permission, Principal
from penstock.server import cookies

_bearer = HTTPBearer(auto_error=False, description="An API key, or the token of a login.")

WHERE = {"run": "reference", "template": "reference", "step run": "step_run_id", "artifact": "reference"}
WHERE |= {"decision": "decision_id", "callback": "callback_id"}
"""What an address is about -> the part of it that says which one."""

_FOR_SERVICES = frozenset({"deployments", "code", "artifacts"})

About = Literal["run", "template", "step run", "artifact", "decision", "callback", "list", "any"]


@dataclass(frozen=True)
class Rule:
    """What a route asks of its caller."""

    permission: Permission
    about: About | None = None
    """How a caller who is confined to some templates is held to them. None: such a caller has no business here.

    The noun: the object in the address is looked at before the route is called. "list": the route answers with, or acts
    on, nothing outside of `Principal.within`. "any": what it answers is nobody's.
    """

    runs: bool = False
    """Whether a run may come here with its own token. Of other runs it sees those that its steps have started."""


async def installation(request: Request) -> Installation:
    """The installation that this application serves."""
    found: Installation = request.app.state.installation
    return found


Here = Annotated[Installation, Depends(installation)]


def may(permission: Permission, about: About | None = None, *, runs: bool = False) -> Any:
    """A dependency: the caller, if the route is theirs to use; otherwise 401, 403, or 404 for what is not theirs to see."""
    rule = Rule(permission, about, runs)

    async def check(request: Request, here: Here) -> Principal:
        request.state.rule = rule
        who = _recognised(request, here)
        if who is not None and _unconfined(who, rule):  # the store need not be asked: most requests are such
            return _admitted(request, here, rule, who)
        return await run_in_threadpool(_checked, request, here, rule)

    check.rule = rule  # type: ignore[attr-defined]  # the test of the route table reads it
    return Depends(check)


def rule_of(dependency: Callable[..., Any] | None) -> Rule | None:
    """What a dependency made by `may` asks for."""
    return getattr(dependency, "rule", None)


Reader = Annotated[Principal, may(Permission.READ)]
Runner = Annotated[Principal, may(Permission.RUN)]
Writer = Annotated[Principal, may(Permission.WRITE)]
Manager = Annotated[Principal, may(Permission.MANAGE)]
Self = Annotated[Principal, may(Permission.SELF)]
Worker = Annotated[Principal, may(Permission.EXECUTE, runs=True)]
WorkReader = Annotated[Principal, may(Permission.READ, runs=True)]
WorkRunner = Annotated[Principal, may(Permission.RUN, runs=True)]

AnyReader = Annotated[Principal, may(Permission.READ, "any")]
ListReader = Annotated[Principal, may(Permission.READ, "list")]
ListRunner = Annotated[Principal, may(Permission.RUN, "list")]
Starter = Annotated[Principal, may(Permission.RUN, "list", runs=True)]

TemplateReader = Annotated[Principal, may(Permission.READ, "template", runs=True)]
TemplateWriter = Annotated[Principal, may(Permission.WRITE, "template")]
TemplateRunner = Annotated[Principal, may(Permission.RUN, "template", runs=True)]

RunReader = Annotated[Principal, may(Permission.READ, "run", runs=True)]
RunRunner = Annotated[Principal, may(Permission.RUN, "run", runs=True)]
RunWriter = Annotated[Principal, may(Permission.WRITE, "run")]

StepReader = Annotated[Principal, may(Permission.READ, "step run")]
DecisionReader = Annotated[Principal, may(Permission.READ, "decision")]
CallbackReader = Annotated[Principal, may(Permission.READ, "callback")]
CallbackRunner = Annotated[Principal, may(Permission.RUN, "callback")]
ArtifactReader = Annotated[Principal, may(Permission.READ, "artifact", runs=True)]
ArtifactRunner = Annotated[Principal, may(Permission.RUN, "artifact", runs=True)]


class Standing:
    """Whether a caller who waits may still have what they wait for: a key that is withdrawn is worth nothing a second later."""

    EVERY = 0.8
    """Seconds after which it is asked again."""

    def __init__(self, request: Request, here: Installation) -> None:
        self._look = partial(_checked, request, here, request.state.rule)
        self._asked = time.monotonic()

    async def hold(self) -> None:
        """Raise what the caller's next request would, if that is an error. To be called at least every `EVERY` seconds."""
        if time.monotonic() - self._asked >= self.EVERY:
            self._asked = time.monotonic()
            await run_in_threadpool(self._look)


def known(request: Request, here: Installation) -> Principal | None:
    """The caller, whatever they may do here; None for somebody who cannot prove to be anybody. May ask the store."""
    with suppress(PenstockError):
        return _principal(request, here)
    return None


def _checked(request: Request, here: Installation, rule: Rule) -> Principal:
    return _admitted(request, here, rule, _principal(request, here))


def _unconfined(who: Principal, rule: Rule) -> bool:
    """Whether nothing about the caller hangs on what is asked for. Of a run, whether it goes on must be looked up."""
    whole = rule.permission in who.permissions and who.scopes is None and who.templates is None
    return whole and (who.kind != "run" or rule.permission is Permission.EXECUTE)


_CHANGING = frozenset({Permission.RUN, Permission.WRITE, Permission.MANAGE, Permission.SELF})
"""What reports of workers change is told by what they report for."""


def _admitted(request: Request, here: Installation, rule: Rule, who: Principal) -> Principal:
    """The caller as this route may take them. The noun is that of the route, never the look of the address."""
    template: str = request.scope["route"].path_format
    noun = template.removeprefix("/api/v1").lstrip("/").partition("/")[0]
    current = deed.get()
    if current is not None:
        current.who = who
        current.changing = rule.permission in _CHANGING
    within = who.reach(rule.permission, noun)
    if within is not None and (not within or rule.about is None):
        limits = f", being confined to {', '.join(sorted(within))}" if within else ""
        raise Forbidden(
            f"'{who.name}' may not {rule.permission.value} {noun.replace('_', ' ')} here{limits}: "
            "ask for a role, a grant or a key that includes it."
        )
    if who.kind == "deployment" and noun not in _FOR_SERVICES:
        raise Forbidden("A service comes here with its own token only for its code, its artifacts and its reports.")
    if who.kind == "run" and not rule.runs:
        raise Forbidden("A run does not come here with its own token: it reports for itself, and starts other runs.")
    if who.kind == "run" and rule.permission is not Permission.EXECUTE:  # who reports is told by the journal
        accounts.check_alive(here, who)
    if (within is not None or who.kind == "run") and rule.about in reach.CHECKS:
        reference = request.path_params[WHERE[rule.about]]
        with here.db.read() as session:
            if within is not None:
                reach.CHECKS[rule.about](session, within, reference)
            elif rule.about == "run":
                reach.family(session, str(who.run_id), reference)
    return replace(who, within=within) if within is not None else who


def _recognised(request: Request, here: Installation) -> Principal | None:
    """The caller, if that can be told without asking the store."""
    credential = _credential(request)
    if credential is None:
        return None if cookies.secret_in(request) is not None else _principal(request, here)
    if credential.count(".") != 2:
        return accounts.recognised(here, credential)
    try:
        return accounts.authenticate_run(here, credential)
    except Unauthenticated:
        return None


def _credential(request: Request) -> str | None:
    text = request.headers.get("authorization", "")
    kind, _, credential = text.partition(" ")
    if text and (kind.lower() != "bearer" or not credential.strip()):
        raise Unauthenticated("Send 'Authorization: Bearer <API key or token>'.")
    return credential.strip() or None


def _principal(request: Request, here: Installation) -> Principal:
    """The caller. Our Unix socket lies in the owner's private directory: who came through it is the owner."""
    credential = _credential(request)
    if credential is not None:
        return _by_credential(here, credential)
    secret = cookies.secret_in(request)
    if secret is not None:
        record, who = sessions.authenticate(here, secret)
        cookies.check(request, secret)
        request.state.session_id = record.id
        return who
    if request.scope.get("server") == (here.address.removeprefix("unix:"), None):
        return OWNER
    raise Unauthenticated("Send an API key or a token: 'Authorization: Bearer <key>'.")


def address_of(request: Request) -> str:
    """Where a request comes from: the connection's other end, or whom a trusted proxy names; `local` for the socket."""
    return request.client.host if request.client else "local"


def agent_of(request: Request) -> str | None:
    """What the program at the other end calls itself."""
    return request.headers.get("user-agent")


def _by_credential(here: Installation, credential: str) -> Principal:
    if credential.count(".") == 2:  # a signed token: of a run, or of a login
        for authenticate in (accounts.authenticate_run, deployments.authenticate):
            with suppress(Unauthenticated):
                return authenticate(here, credential)
        if trusts.is_foreign(credential):
            return trusts.authenticate(here, credential)
    return accounts.authenticate(here, credential)
