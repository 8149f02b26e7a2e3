"""Aliases of run templates: names for versions, moved in one step, with a gate before them and a way back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.control import templates
from penstock.control.differences import compare
from penstock.control.installation import now
from penstock.errors import BreakingChange, Conflict, NotFound, fault, pointer
from penstock.model.account import Principal
from penstock.model.difference import Difference
from penstock.model.template import AliasMove, Template, checked_alias
from penstock.store import templates as stored
from penstock.store.session import ReadSession, WriteSession

_MOST_TOLD = 20


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Which version an alias is to mean from now on."""

    version: int | str
    """A number, or another alias: what it means at this moment."""

    allow_breaking: bool = False
    expected: int | None = None
    """The version that it must mean until now; 0 for none. Unless it is so, nothing is moved."""

    note: str | None = None


def check(rs: ReadSession, reference: str, alias: str, wanted: Promotion) -> Promotion:
    """Hold a promotion against what callers of the alias have now. Returns it with all that was looked at in numbers.

    Looks through presets and recent runs, which takes a while: not to be done while others wait to write. Raises
    `BreakingChange`, with all that would break, if callers who are right today would be refused; `Conflict` if the alias
    does not mean what was `expected`.
    """
    checked_alias(alias)
    template, _ = templates.meant(rs, reference)
    target = templates.version_of(template, wanted.version).version
    current = template.aliases.get(alias, 0)
    if wanted.expected is not None and wanted.expected != current:
        raise _moved(template, alias, wanted.expected)
    # What callers of the alias had until now; those of a new alias had what the bare name means.
    before = current or template.current.version
    if not wanted.allow_breaking and target != before:
        _check(compare(rs, template, before, target))
    return replace(wanted, version=target, expected=current)


def promote(ws: WriteSession, reference: str, alias: str, checked: Promotion, who: Principal) -> Template:
    """Move an alias, which is made if there is none, as `check` has found right.

    Moving it to where it is changes nothing. Raises `Conflict` if somebody has moved it since.
    """
    template, _ = templates.meant(ws, reference)
    target = templates.version_of(template, checked.version).version
    current = template.aliases.get(alias, 0)
    if checked.expected is not None and current != checked.expected:
        raise _moved(template, alias, checked.expected)
    if target == current:
        return template
    stored.move(ws, template.id, alias, target, _by(alias, who, checked.note))
    return stored.get(ws, template.id)


def rollback(ws: WriteSession, reference: str, alias: str, who: Principal, *, note: str | None = None) -> Template:
    """Have the alias mean what it meant before its last move. Callers knew that version, so nothing is held against it.

    Rolling back twice is where it was at first. Raises `Conflict` if it never meant anything else.
    """
    template, _ = templates.meant(ws, reference)
    known = moves(ws, reference, alias)
    current = template.aliases.get(alias)
    before = next((one.version for one in known if one.version not in (None, current)), None)
    if before is None:
        raise Conflict(f"Alias '{alias}' of '{template.name}' never meant another version: there is no way back.")
    stored.move(ws, template.id, alias, before, _by(alias, who, note or "Rolled back."))
    return stored.get(ws, template.id)


def remove(ws: WriteSession, reference: str, alias: str, who: Principal) -> Template:
    """Take an alias away; its history stays. Whoever calls by it is refused from then on. Raises `NotFound`."""
    template, _ = templates.meant(ws, reference)
    if alias not in template.aliases:
        raise _unknown(template, alias)
    stored.move(ws, template.id, alias, None, _by(alias, who, None))
    return stored.get(ws, template.id)


def moves(rs: ReadSession, reference: str, alias: str) -> list[AliasMove]:
    """The history of an alias, newest first. Raises `NotFound` if it never meant anything."""
    template, _ = templates.meant(rs, reference)
    known = stored.moves(rs, template.id, alias)
    if not known:
        raise _unknown(template, alias)
    return known


def _check(difference: Difference) -> None:
    broken = [fault(pointer(f"{one.subject}s", one.name), one.detail) for one in difference.changes if one.breaking]
    for hit in difference.hits:
        by = f" by {hit.account}" if hit.account else ""
        why = "; ".join(f"{one['pointer']}: {one['message']}" for one in hit.faults)
        broken.append(fault(pointer(f"{hit.kind}s", hit.name), f"This {hit.kind}{by} would be refused. {why}"))
    if broken:
        more = f" The first {_MOST_TOLD} of {len(broken)} are told." if len(broken) > _MOST_TOLD else ""
        raise BreakingChange(
            f"v{difference.after} of '{difference.template}' breaks callers of v{difference.before}. Nothing was moved; "
            f"allow it, if it is meant.{more}",
            errors=broken[:_MOST_TOLD],
        )


def _by(alias: str, who: Principal, note: str | None) -> AliasMove:
    return AliasMove(alias=alias, number=0, version=None, at=now(), account=who.name, note=note)


def _moved(template: Template, alias: str, expected: int) -> Conflict:
    current = template.aliases.get(alias)
    told = f"v{current}" if current else "nothing yet"
    before = f"v{expected}" if expected else "nothing"
    return Conflict(f"Alias '{alias}' of '{template.name}' means {told}, not {before}: somebody moved it.")


def _unknown(template: Template, alias: str) -> NotFound:
    mistake = fault("/alias", "It has no such alias.", allowed=template.aliases, given=alias)
    return NotFound(f"Run template '{template.name}' has no alias '{alias}'.", errors=[mistake])
