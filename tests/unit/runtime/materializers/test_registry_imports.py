from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "PIL",
    "cloudpickle",
    "matplotlib",
    "numpy",
    "pandas",
    "plotly",
    "polars",
    "pyarrow",
    "safetensors",
    "sklearn",
    "torch",
]

SCRIPT = """
import sys
from pathlib import Path
from penstock.ids import new_id
from penstock.runtime.materializers import load, save
from penstock.stack.flavors.file_store import FileStore
{make}
before = set(sys.modules)
store = FileStore(Path(sys.argv[1]))
for value in values:
    artifact = save(value, store, id=new_id(), run_id=None, step=None, output=None)
    load(artifact, store, allow_code=False)
print(*sorted(name for name in {heavy} if name in sys.modules and name not in before))
"""


def imported(folder: object, make: str) -> list[str]:
    """The heavy packages that a fresh process imports when it keeps the `values` that `make` makes, and loads them."""
    script = SCRIPT.format(make=make, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_plain_values_import_nothing_heavy(tmp_path: object) -> None:
    make = "from penstock import HTML, Markdown; values = 1, 'text', b'', {'a': [1]}, {}, HTML('<p>'), Markdown('*')"
    assert imported(tmp_path, make) == []


@pytest.mark.parametrize(
    "make",
    [
        "import polars; values = [polars.DataFrame({'a': ['x'], 'n': [1]}), polars.LazyFrame({'a': [1]})]",
        "import pyarrow; values = [pyarrow.table({'a': [1, 2]}), pyarrow.record_batch({'a': [1]})]",
        "import PIL.Image; values = [PIL.Image.new(mode, (2, 2)) for mode in ('RGB', 'CMYK')]",
        "import plotly.graph_objects as go; values = [go.Figure(go.Bar(y=[1]))]",
        "from matplotlib.figure import Figure; values = [Figure()]",
        "import torch, safetensors; values = [torch.ones(2), {'a': torch.ones(1)}]",
    ],
)
def test_a_value_imports_only_its_own_package(tmp_path: object, make: str) -> None:
    pytest.importorskip(make.split()[1].strip(",;").partition(".")[0])
    assert imported(tmp_path, make) == []
