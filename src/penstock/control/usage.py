"""Usage: who has called a template, what became of it, and what it cost."""

from __future__ import annotations

from dataclasses import replace

from penstock.control.installation import Installation
from penstock.control.plans import price
from penstock.model.decision import Usage
from penstock.model.template import Template
from penstock.store import decisions
from penstock.store.session import ReadSession


def of_template(rs: ReadSession, installation: Installation, template: Template) -> list[Usage]:
    """Each account that has called it, as far back as decisions are kept; whoever came last first."""
    cost = price(installation, template.terms)
    return [replace(one, cost=cost.of(one.seconds)) for one in decisions.usage(rs, template.name)]
