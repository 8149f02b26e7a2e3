"""Where things are in the container of a service. It costs nothing to import: the first process of each does."""

from __future__ import annotations

HOME = "/var/lib/penstock"
"""The only directory in which the service writes, besides `/tmp`. It may be empty at each start."""

STATE = f"{HOME}/state"
"""What should outlive the container: records on their way to the server, and submitted requests."""

CODE = "/opt/penstock/code"
"""In the image: the code archive, unpacked in a directory that is named by its digest."""

PLAN = "/etc/penstock/plan.json"
"""Where the plan is put from outside, to be read only: an image holds no credentials."""

PYTHON = "/opt/penstock/venv/bin/python"
USER = 10001
PORT = 8000
