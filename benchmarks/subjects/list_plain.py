"""The yardstick of `penstock run list`: the least that asks the same server and prints one line a run."""

from __future__ import annotations

import json
import socket
import sys
from http.client import HTTPConnection

connection = HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", "/api/v1/runs?size=20")
for run in json.loads(connection.getresponse().read())["items"]:
    print(run["name"], run["state"], run["pipeline_name"], run["created"], run["id"])
connection.close()
