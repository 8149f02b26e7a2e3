"""`make openapi`: write the description of the HTTP interface to docs/openapi.json; a test holds the two together."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from penstock.server.app import create_app, open_installation
from penstock.settings import Settings

TARGET = Path("docs/openapi.json")


def main() -> None:
    """Ask the application itself, on an installation that is thrown away."""
    with tempfile.TemporaryDirectory() as home:
        installation = open_installation(Settings(home=Path(home)), "unix:nowhere")
        description = create_app(installation).openapi()
        installation.db.close()
    TARGET.write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
