"""`penstock up`, `down`, `status`, `login`, `logout`: which server, and whether it runs."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from penstock.cli.failures import UNREACHABLE
from penstock.cli.options import OutputOption, group
from penstock.cli.output import Output, done, say, show_json, show_record
from penstock.client import local
from penstock.client import login as logins
from penstock.client.client import Client
from penstock.client.login import Login
from penstock.client.server import ServerInfo
from penstock.errors import InvalidInput
from penstock.settings import Settings

app = group()


@app.command()
def up(
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="The port. [default: 8237]")] = None,
) -> None:
    """Run the server of this home here, in the foreground, with an HTTP address."""
    settings = Settings.load()
    # Another program from here on: this one never imports the server. -P: no file of the current directory is taken
    # for one of its modules.
    command = [sys.executable, "-P", "-m", "penstock.server", "--foreground"]
    command += ["--host", host or settings.host, "--port", str(settings.port if port is None else port)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  (the same interpreter, without a shell)


@app.command()
def down(
    wait: Annotated[bool, typer.Option("--wait", help="Let the runs under way end first.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the runs under way.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop the server of this home; with runs under way, only together with --wait or --cancel."""
    if wait and cancel:
        raise InvalidInput("Either --wait or --cancel: not both.")
    settings = Settings.load()
    stopped = local.down(settings, wait=wait, cancel=cancel)
    words = f"The server of {settings.home} {'has stopped' if stopped else 'was not running'}."
    done(words, {"home": str(settings.home), "stopped": stopped}, output)


@app.command()
def status(output: OutputOption = Output.TABLE) -> None:
    """Say which server is in use, and whether it answers."""
    settings = Settings.load()
    remote = logins.find(settings, None, None)
    if remote is not None:
        _show_server(remote.url, Client().server.info(), output)
        return
    told = local.status(settings)
    if told is not None:
        _show_server(local.address(settings), msgspec.convert(told, ServerInfo), output)
        return
    if output is Output.JSON:
        show_json({"running": False, "address": local.address(settings)})
    say(
        f"No server runs for {settings.home}. The next command that needs it starts it; `penstock up` gives it an address."
    )
    raise typer.Exit(UNREACHABLE)


@app.command()
def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="http(s)://host:port of a server.")],
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="PENSTOCK_API_KEY", help="Asked for, or read from stdin, if not given."),
    ] = None,
    device: Annotated[
        bool | None, typer.Option("--device/--no-device", help="Show a code, to be confirmed in a browser.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Use the server at URL from now on; the key is tried first, and stored for this user alone.

    Without a key, on a terminal, it shows a code: confirm it in any browser, and this device gets a key of yours.
    """
    by_code = device if device is not None else api_key is None and sys.stdin.isatty()
    key = _by_code(url) if by_code else api_key or _ask_key()
    info = Client(url, key).server.info()
    home = Settings.load().home
    path = logins.write(home, Login(url, key))
    words = f"Logged in to {url} (Penstock {info.version}); stored in {path}."
    done(words, {"url": url, "version": info.version, "stored": str(path)}, output)
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        say("This address is not encrypted: anybody on the way can read the key.")
    if os.environ.get("PENSTOCK_URL", url) != url:
        say("PENSTOCK_URL is set to another server, and goes before this login.")


@app.command()
def logout(output: OutputOption = Output.TABLE) -> None:
    """Forget the stored login; the server of this home is used again."""
    forgotten = logins.forget(Settings.load().home)
    done("Logged out." if forgotten else "There was no stored login.", {"forgotten": forgotten}, output)


def _by_code(url: str) -> str:
    """A key of the person who confirms the code of this device."""
    devices = Client(url).devices
    asked = devices.ask(f"penstock on {socket.gethostname()}")
    say(f"Open {asked.verification_uri} and confirm the code {asked.user_code}")
    say(f"or go straight to {asked.verification_uri_complete}")
    return devices.wait(asked)


def _ask_key() -> str:
    """The key from a person, unseen, or from a pipe; never from the list of processes."""
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True)).strip()
    key = sys.stdin.readline().strip()
    if not key:
        raise InvalidInput("An API key is needed: give --api-key, PENSTOCK_API_KEY, or the key on stdin.")
    return key


def _show_server(address: str, info: ServerInfo, output: Output) -> None:
    fields = {
        "Server": address,
        "Version": info.version,
        "URL": info.url,
        "Home": info.home,
        "Process": info.pid,
        "Python": info.python,
        "Database": info.database,
        "Started": info.started,
        "Runs": f"{info.runs_active} active, {info.runs_queued} queued",
    }
    show_record({"running": True, "address": address, **msgspec.to_builtins(info)}, fields, output)
