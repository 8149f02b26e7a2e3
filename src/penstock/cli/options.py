"""Options that several commands share, and the frame of a group of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import Output
from penstock.errors import InvalidInput
from penstock.model.idempotency import IdempotencyKey, Policy


def group() -> typer.Typer:
    """A group of commands with plain help, as everywhere here."""
    return typer.Typer(rich_markup_mode=None, no_args_is_help=True)


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table for people, or the API's JSON alone on stdout.")
]
SizeOption = Annotated[int, typer.Option("--size", min=1, max=200, help="Items on a page.")]
CursorOption = Annotated[str | None, typer.Option("--cursor", help="Where the page before ended.")]
TagFilter = Annotated[list[str], typer.Option("--tag", help="With this tag. May be given repeatedly.")]
AddOption = Annotated[list[str], typer.Option("--add", metavar="TAG", help="Put it on. May be given repeatedly.")]
RemoveOption = Annotated[
    list[str], typer.Option("--remove", metavar="TAG", help="Take it off. May be given repeatedly.")
]
WordsFilter = Annotated[str | None, typer.Option("--search", "-q", help="With these words in the name.")]
NameFilter = Annotated[str | None, typer.Option("--name", help="Only the one of this name.")]
PipelineFilter = Annotated[str | None, typer.Option("--pipeline", help="Only those of this pipeline (name or id).")]
DescriptionOption = Annotated[str | None, typer.Option("--description", "-d", help="What it is for.")]
TagOption = Annotated[list[str], typer.Option("--tag", "-t", help="May be given repeatedly.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", "-t", min=0, help="Seconds to wait for it; 0: do not wait.")]

ParamOption = Annotated[
    list[str],
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter of the pipeline. May be given repeatedly."),
]
StepParamOption = Annotated[
    list[str],
    typer.Option("--step-param", metavar="STEP.NAME=VALUE", help="A parameter of one step. May be given repeatedly."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A run configuration in YAML or JSON; --param and --step-param go before it."),
]
FrozenConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="A run configuration in YAML or JSON, frozen with it: each run may say otherwise."
    ),
]
RequirementsOption = Annotated[
    Path | None,
    typer.Option(
        "--requirements", help="What it requires: requirements.txt, pyproject.toml, or a script with a block of it."
    ),
]
PythonOption = Annotated[str | None, typer.Option("--python", help="Versions of Python that will do: '>=3.11'.")]
FromRequestOption = Annotated[
    str | None,
    typer.Option("--from-request", metavar="RUN_ID", help="With the values of this request to a deployment."),
]
RunNameOption = Annotated[str | None, typer.Option("--run-name", help="The name of the run.")]
CallbackUrlOption = Annotated[
    str | None, typer.Option("--callback-url", metavar="URL", help="Post the end of the run to this address, signed.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow the run to its end, or return as soon as it is queued.")
]

KeyOption = Annotated[
    str | None, typer.Option("--idempotency-key", help="Start one run for this key, however often it is called.")
]
WhileRunningOption = Annotated[
    Policy | None,
    typer.Option("--while-running", help="The key holds until its run has ended: what to do with a run until then."),
]


def keyed(key: str | None, while_running: Policy | None) -> str | IdempotencyKey | None:
    """The idempotency key that the two options describe. Raises `InvalidInput` for a policy without a key."""
    if while_running is None:
        return key
    if key is None:
        raise InvalidInput("--while-running goes with an --idempotency-key.")
    return IdempotencyKey(key=key, until="terminal", on_conflict=while_running)


Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="module.attribute, module:attribute or file.py:attribute")
]
Reference = Annotated[str, typer.Argument(metavar="NAME", help="A name or an id.")]
