from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=cwd
    )


def test_all_names_can_be_imported() -> None:
    """In a process of its own: what is frozen after the import remembers it."""
    done = python(
        "import importlib, penstock.compat.zenml\n"
        "from penstock.compat.zenml.names import MODULES\n"
        "for module, names in MODULES.items():\n"
        "    for name in names:\n"
        "        print(getattr(importlib.import_module(module), name))\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 30


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("from zenml import Model", "ModuleNotFoundError", "name the artifact instead"),
        ("from zenml.config import Modle", "ModuleNotFoundError", "'zenml.config' has here: "),
        ("import zenml; zenml.Model", "AttributeError", "name the artifact instead"),
        ("import zenml.integrations.mlflow", "ModuleNotFoundError", "kept without integrations"),
        ("from zenml.config import DockerSettings; DockerSettings(required_integrations=['mlfow'])", "Error", "mlfow"),
        ("from zenml.config import DockerSettings; DockerSettings(parent='x')", "TypeError", "parent"),
    ],
)
def test_what_there_is_not_is_an_error_that_helps(line: str, kind: str, words: str) -> None:
    done = python(f"import penstock.compat.zenml\n{line}")
    assert done.returncode == 1
    assert kind in done.stderr
    assert words in done.stderr


def test_it_never_takes_the_place_of_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "zenml").mkdir()
    (tmp_path / "zenml" / "__init__.py").write_text("real = True\n")
    done = python("import penstock.compat.zenml", cwd=tmp_path)
    assert done.returncode == 1
    assert "ZenML is installed in this environment" in done.stderr
    done = python("import zenml; import penstock.compat.zenml", cwd=tmp_path)
    assert "ZenML is installed in this environment" in done.stderr


def test_without_asking_there_is_no_zenml() -> None:
    assert "No module named 'zenml'" in python("import penstock, zenml").stderr


def test_settings_in_their_words_are_ours() -> None:
    done = python(
        "import penstock.compat.zenml\n"
        "from zenml.config import DockerSettings, ResourceSettings\n"
        "print(DockerSettings(required_integrations=['sklearn'], requirements=['x']).requirements)\n"
        "print(ResourceSettings(cpu_count=2, memory='1GB').memory_bytes)\n"
    )
    assert done.stdout.splitlines() == ["('x', 'scikit-learn')", "1000000000"], done.stderr


def test_scripts_and_modules_run_as_python_runs_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, helper\nfrom zenml import step\nprint(__name__, sys.argv[1:], helper.x, step.__name__)\n"
    )
    (tmp_path / "helper.py").write_text("x = 1\n")
    for how in ([str(script)], ["-m", "script"]):
        done = subprocess.run(
            [sys.executable, "-m", "penstock.compat.zenml", *how, "a", "-b"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip() == "__main__ ['a', '-b'] 1 step", done.stderr
