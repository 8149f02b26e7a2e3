"""`penstock deployment`: pipelines that are kept warm behind HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli import trials
from penstock.cli.inputs import parse
from penstock.cli.options import (
    CursorOption,
    NameFilter,
    OutputOption,
    ParamOption,
    PipelineFilter,
    Reference,
    SizeOption,
    TimeoutOption,
    group,
)
from penstock.cli.output import Column, Output, done, say, show_list, show_record
from penstock.client.client import Client
from penstock.client.deployments import PATIENCE, Submission
from penstock.model.deployment import Deployment, NewDeployment

app = group()
key_app = group()
app.add_typer(key_app, name="key", help="Keys of its callers.")
app.add_typer(trials.app)

_COLUMNS = (
    Column("NAME", lambda one: one.name),
    Column("STATE", lambda one: one.state),
    Column("PIPELINE", lambda one: one.pipeline_name),
    Column("REVISION", lambda one: one.revision),
    Column("URL", lambda one: one.url),
    Column("ID", lambda one: one.id, spare=True),
)

KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="PENSTOCK_DEPLOYMENT_KEY", help="A key of the deployment.")
]

NewNameOption = Annotated[str, typer.Option("--name", "-n", help="The name of the deployment.")]
UpdateOption = Annotated[bool, typer.Option("--update", "-u", help="One of this name may be there: change it.")]
GenerateKeyOption = Annotated[bool, typer.Option("--generate-key", help="Ask callers for a key, shown once.")]
DeployerOption = Annotated[
    str | None,
    typer.Option("--deployer", help="Where it runs: `local`, `docker`, `kubernetes`. By default as the stack says."),
]
DeployerOptions = Annotated[
    list[str],
    typer.Option(
        "--deployer-option",
        metavar="NAME=VALUE",
        help="An option of the deployer; the value is JSON, text, or @FILE for its text. May be given repeatedly.",
    ),
]

SubmittedArgument = Annotated[str, typer.Argument(help="The id that `invoke --no-wait` has shown.", show_default=False)]


@app.command("list")
def list_deployments(
    pipeline: PipelineFilter = None,
    name: NameFilter = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List deployments."""
    page = Client().deployments.list(pipeline=pipeline, name=name, size=size, cursor=cursor)
    show_list(page, _COLUMNS, output, nothing="No deployments.")


@app.command()
def describe(deployment: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a deployment: what it serves, where, and how to call it."""
    client = Client()
    found = client.deployments.get(deployment)
    schema = client.snapshots.get(found.snapshot_id).content.parameter_schema
    show_record(found, _fields(found) | {"Parameters": tuple(schema.get("properties", {}))}, output)
    if found.url is not None and output is Output.TABLE:
        say(f"\n{_curl(found, schema)}")


@app.command()
def invoke(
    deployment: Reference,
    param: ParamOption = [],  # noqa: B006  (Typer copies it)
    key: KeyOption = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")] = 300.0,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", "--async", help="Submit it; `result` shows what comes.")
    ] = False,
    once: Annotated[
        str | None, typer.Option("--idempotency-key", help="Of a submission: sent again, it is the same one.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask a deployment."""
    if once is not None and not no_wait:
        raise typer.BadParameter(
            "An answer that is waited for has no key: say --no-wait.", param_hint="--idempotency-key"
        )
    client = Client()
    found = client.deployments.get(deployment)
    schema = client.snapshots.get(found.snapshot_id).content.parameter_schema if param else {}
    values = _values(param, schema)
    if no_wait:
        _show_submission(client.deployments.submit(found.id, values, key=key, idempotency_key=once), output)
        return
    answer = client.deployments.invoke(found.id, values, key=key, timeout=timeout)
    show_record(
        answer, {**(answer.outputs or {}), "Run": answer.metadata["run_name"], "Seconds": answer.execution_time}, output
    )


@app.command()
def result(
    deployment: Reference,
    run_id: SubmittedArgument,
    key: KeyOption = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for its end.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a submitted request stands, and its result."""
    _show_submission(Client().deployments.submission(deployment, run_id, key=key, wait=timeout), output)


@app.command()
def cancel(
    deployment: Reference, run_id: SubmittedArgument, key: KeyOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Have a submitted request end."""
    _show_submission(Client().deployments.cancel_submission(deployment, run_id, key=key), output)


@app.command()
def logs(
    deployment: Reference,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-t", min=1, max=10_000, help="How many lines.")] = 200,
) -> None:
    """Print what its service has printed."""
    deployments = Client().deployments
    for line in deployments.follow(deployment, tail=tail) if follow else deployments.logs(deployment, tail=tail):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@app.command()
def manifests(deployment: Reference, output: OutputOption = Output.TABLE) -> None:
    """Print the objects of a deployment in Kubernetes, as YAML: without credentials, for whoever keeps them in git."""
    import yaml  # only this command needs it, and it costs others their time

    found = Client().deployments.manifests(deployment)
    if output is Output.JSON:
        show_record(found, {}, output)
        return
    sys.stdout.write(yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True, width=120))


@app.command()
def provision(deployment: Reference, timeout: TimeoutOption = PATIENCE, output: OutputOption = Output.TABLE) -> None:
    """Have a deployment run."""
    show_deployment(
        NewDeployment(deployment=Client().deployments.provision(deployment, timeout=timeout or None)), output
    )


@app.command()
def deprovision(deployment: Reference, timeout: TimeoutOption = PATIENCE, output: OutputOption = Output.TABLE) -> None:
    """Take a deployment down; its record stays."""
    found = Client().deployments.deprovision(deployment, timeout=timeout or None)
    show_deployment(NewDeployment(deployment=found), output)


@app.command()
def update(
    deployment: Reference,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="A snapshot, by name or id.")] = None,
    timeout: TimeoutOption = PATIENCE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Serve another snapshot: by default the latest of its pipeline.

    What serves goes on serving until the new revision is ready.
    """
    deployments = Client().deployments
    found = deployments.get(deployment)
    pipeline = found.pipeline_name if snapshot is None else None
    made = deployments.create(found.name, snapshot=snapshot, pipeline=pipeline, update=True)
    show_deployment(waited(made, timeout), output)


@app.command()
def rollback(
    deployment: Reference,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="A revision; by default what was served before.")
    ] = None,
    timeout: TimeoutOption = PATIENCE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Serve again what was served before."""
    found = Client().deployments.roll_back(deployment, to=to, timeout=timeout or None)
    show_deployment(NewDeployment(deployment=found), output)


@app.command()
def delete(
    deployment: Reference,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Remove the record, whatever becomes of the rest.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a deployment down and remove it."""
    Client().deployments.delete(deployment, force=force)
    done(f"{deployment} is deleted.", {"deleted": deployment}, output)


@key_app.command("create")
def create_key(deployment: Reference, name: str, output: OutputOption = Output.TABLE) -> None:
    """Make a key for callers; it is shown once."""
    made = Client().deployments.create_key(deployment, name)
    show_record(made, {"Key": made.key, "Name": made.record.name}, output)


@key_app.command("list")
def list_keys(deployment: Reference, output: OutputOption = Output.TABLE) -> None:
    """List keys, never their texts."""
    found = Client().deployments.keys(deployment)
    show_record(found, {one.name: one.valid_until or "in force" for one in found}, output)


@key_app.command("rotate")
def rotate_key(
    deployment: Reference,
    name: str,
    retain: Annotated[float, typer.Option("--retain", min=0, help="Minutes for which the old one holds.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a key a new text; it is shown once."""
    made = Client().deployments.rotate_key(deployment, name, retain_minutes=retain)
    show_record(made, {"Key": made.key, "Name": made.record.name}, output)


@key_app.command("revoke")
def revoke_key(deployment: Reference, name: str, output: OutputOption = Output.TABLE) -> None:
    """Put a key out of force."""
    Client().deployments.revoke_key(deployment, name)
    done(f"{name} is revoked.", {"revoked": name}, output)


def waited(made: NewDeployment, timeout: float) -> NewDeployment:
    """The same when it serves; as it is, if nobody wants to wait."""
    if not timeout:
        return made
    return NewDeployment(deployment=Client().deployments.wait(made.deployment.id, timeout), key=made.key)


def options_of(given: list[str]) -> dict[str, Any]:
    """Options of a deployer, as they are given one by one."""
    options: dict[str, Any] = {}
    for item in given:
        name, found, value = item.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"'{item}': expected NAME=VALUE.", param_hint="--deployer-option")
        if value.startswith("@"):
            options[name] = _content(value[1:])
            continue
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}.", param_hint="--deployer-option") from None


def show_deployment(made: NewDeployment, output: Output) -> None:
    """Show a deployment, and the key that was made with it."""
    fields = _fields(made.deployment) | ({"Key (shown once)": made.key} if made.key else {})
    show_record(made if made.key else made.deployment, fields, output)


def _fields(found: Deployment) -> dict[str, Any]:
    return {
        "Deployment": found.name,
        "ID": found.id,
        "State": found.state,
        "Why": found.reason,
        "URL": found.url,
        "Pipeline": found.pipeline_name,
        "Snapshot": found.snapshot_id,
        "Revision": found.revision,
        "Keys needed": _guarded(found),
        "Deployer": found.deployer.flavor,
        **({"Candidate of": found.companion_of} if found.companion_of else {}),
    }


def _guarded(found: Deployment) -> bool:
    return found.auth or found.settings.auth == "server"


def _show_submission(found: Submission, output: Output) -> None:
    wrong = (found.result or {}).get("error") or (found.result or {}).get("detail")
    fields = {"Run": found.run_id, "State": found.state, **(found.outputs or {}), **({"Why": wrong} if wrong else {})}
    show_record(found, fields, output)


def _values(given: list[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for item in given:
        name, found, text = item.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"'{item}': expected NAME=VALUE.", param_hint="--param")
        values[name] = parse(text, schema.get("properties", {}).get(name, {}), schema)
    return values


def _curl(found: Deployment, schema: Mapping[str, Any]) -> str:
    needed = ", ".join(f'"{name}": ...' for name in schema.get("required", ()))
    key = " -H 'Authorization: Bearer KEY'" if _guarded(found) else ""
    address = f"{found.url}{found.settings.path('invoke')}"
    return f"curl -X POST {address} -H 'Content-Type: application/json'{key} -d '{{\"parameters\": {{{needed}}}}}'"
