"""`import penstock.compat.zenml`: from then on code that was written for ZenML finds Penstock under the names it imports.

Snapshots of pipelines that were declared meanwhile remember it, so that their runs find those names too. A script that does not
import this runs with `python -m penstock.compat.zenml script.py`.
"""

from __future__ import annotations

from penstock.compat.zenml.modules import install

install()
