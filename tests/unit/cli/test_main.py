from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import main
from penstock.version import VERSION


def process(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env={**os.environ, "PENSTOCK_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestHelp:
    def test_names_every_command_and_exit_status(self, penstock: Any) -> None:
        done = penstock("--help")
        assert done.status == 0
        for name, (_, line) in main.COMMANDS.items():
            assert f"  {name} " in done.stdout
            assert line in done.stdout
        for status in ("0  ", "1  ", "2  ", "3  ", "4  ", "130"):
            assert f"\n    {status}" in done.stdout

    @pytest.mark.parametrize("name", main.COMMANDS)
    def test_every_command_has_its_own(self, penstock: Any, name: str) -> None:
        done = penstock(name, "--help")
        assert done.status == 0
        assert f"Usage: penstock {name} " in done.stdout

    def test_fits_eighty_columns(self, penstock: Any) -> None:
        assert max(map(len, penstock("--help").stdout.splitlines())) <= 80

    def test_without_a_command(self, penstock: Any) -> None:
        done = penstock()
        assert done.status == 2
        assert "Commands:" in done.stdout + done.stderr

    def test_loads_nothing_that_it_does_not_need(self, home: Path) -> None:
        code = (
            "import sys, atexit\n"
            "from penstock.cli.main import main\n"
            "heavy = ['rich', 'msgspec', 'http.client', 'penstock.client', 'penstock.author', 'penstock.model']\n"
            "atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr))\n"
            "sys.argv = ['penstock', '--help']\n"
            "main()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]"
        assert "Usage: penstock" in done.stdout


def test_version(penstock: Any) -> None:
    assert penstock("--version").stdout == f"{VERSION}\n"


def test_a_misspelt_command(penstock: Any) -> None:
    done = penstock("run-templat", "list")
    assert done.status == 2
    assert "Did you mean 'run-template'" in done.stderr


def test_no_server_code_for_a_list(home: Path, server: Any) -> None:
    server.on("GET", "/runs", {"items": []})
    code = (
        "import sys, atexit\n"
        "from penstock.cli.main import main\n"
        "heavy = ['fastapi', 'sqlalchemy', 'asyncio', 'penstock.server', 'penstock.author']\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
        "sys.argv = ['penstock', 'run', 'list']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class TestErrors:
    def test_never_a_traceback_of_ours(self, home: Path) -> None:
        done = process("run", "show", "", home=home, PENSTOCK_URL="http://127.0.0.1:9")
        assert (done.returncode, done.stderr) == (2, "Error: An empty name or id was given.\n")

    def test_but_with_debugging(self, home: Path) -> None:
        done = process("run", "show", "", home=home, PENSTOCK_URL="http://127.0.0.1:9", PENSTOCK_DEBUG="1")
        assert "Traceback" in done.stderr

    def test_a_mistake_of_ours_is_owned_up_to(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def broken(name: str) -> Any:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr(main, "_load", broken)
        monkeypatch.setattr(sys, "argv", ["penstock", "run", "list"])
        with pytest.raises(SystemExit) as left:
            main.main()
        assert left.value.code == 1
        told = capsys.readouterr().err
        assert "unexpected" in told
        assert "division by zero" in told
        assert "PENSTOCK_DEBUG=1" in told

    def test_an_unreachable_server(self, home: Path) -> None:
        done = process("run", "list", home=home, PENSTOCK_URL="http://127.0.0.1:9")
        assert done.returncode == 3
        assert "does not answer" in done.stderr
        assert "penstock up" in done.stderr
        assert done.stdout == ""
