"""The server's own log on a disk that is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, resource, sys
from penstock.server.logs import configure
configure("console")
log = logging.getLogger("x")
log.warning("before")
size = sys.stderr.tell()
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
log.warning("no room")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.warning("after")
log.warning("wrong %d", "text")
"""


def test_a_line_that_finds_no_room_is_passed_over_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        assert subprocess.run([sys.executable, "-c", PROGRAM], stderr=output, check=False).returncode == 0
    text = log.read_text()
    assert "before" in text
    assert "after" in text
    assert text.count("--- Logging error ---") == 1
    assert "not all arguments converted" in text or "%d format" in text
