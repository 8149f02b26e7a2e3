"""How a plan is shown."""

from __future__ import annotations

from penstock.cli.output import Column, Output, amount, duration, literal, say, show_json, show_rows
from penstock.model.plan import Plan
from penstock.model.requirements import Requirements

_STEPS = (
    Column("STEP", lambda one: one.step),
    Column("WOULD", lambda one: {"run": "run", "cached": "be taken", "unknown": "?"}[one.verdict]),
    Column("TOOK", lambda one: None if one.seconds is None else duration(one.seconds)),
    Column("WHY", lambda one: one.reason),
)


def required(requires: Requirements | None) -> tuple[str, ...]:
    """What is required, a line each; a lock by the number of its packages."""
    if requires is None:
        return ()
    python = (f"Python {requires.python}",) if requires.python else ()
    locked = (f"a lock of {len(requires.constraints)} packages",) if requires.constraints else ()
    return (*python, *requires.packages, *locked)


def show_plan(plan: Plan, output: Output) -> None:
    """Print what a trigger would do, and how to hold it to that."""
    if output is Output.JSON:
        show_json(plan)
        return
    if plan.template:
        say(f"{plan.template}@v{plan.version}:")
    for name, value in plan.parameters.items():
        say(f"  {name} = {literal(value)}  ({plan.origins.get(f'/parameters/{name}', 'default')})")
    for step, values in plan.step_parameters.items():
        for name, value in values.items():
            origin = plan.origins.get(f"/steps/{step}/parameters/{name}", "default")
            say(f"  {step}.{name} = {literal(value)}  ({origin})")
    show_rows(plan.steps, _STEPS)
    if plan.dynamic:
        say("The pipeline decides its steps while it runs: there may be others.")
    if plan.requires is not None:
        say(f"It requires {', '.join(required(plan.requires))}.")
    place = plan.place
    say(f"{place.running} of {place.slots} slots are taken, {place.ahead} runs are queued.")
    if plan.seconds is not None:
        cost = f", which costs {amount(plan.cost)}" if plan.cost is not None else ""
        say(f"The last {plan.samples} completed runs took {duration(plan.seconds)} (median){cost}.")
    say(f"Hold a run to this: --plan-token {plan.token}")
