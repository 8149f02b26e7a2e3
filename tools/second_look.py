"""`make test`: what failed beside other tests fails once more alone, or it is told as unsteady (decision 0030).

Tests that end processes, fill disks and measure out leases share the machine with thousands of others. One that fails
there and passes alone says that it, or what it tests, depends on company: that is a defect, it is printed as one, and it
does not take back the verdict of all the others. More than `FEW` at once are no such thing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FEW = 5
FAILED = Path(".pytest_cache/v/cache/lastfailed")
TESTS_FAILED = 1
"""What pytest exits with when it ran all tests and some failed; anything else is its own trouble."""


def second_look(status: int) -> int:
    """The verdict, as a status to exit with, on a run of pytest in this directory that exited with `status`."""
    names = sorted(json.loads(FAILED.read_text())) if status == TESTS_FAILED and FAILED.exists() else []
    if not 0 < len(names) <= FEW:
        return status
    listed = "\n".join(f"  {name}" for name in names)
    print(f"\nFAILED BESIDE OTHERS (why, is above); once more, alone:\n{listed}", flush=True)
    again = [sys.executable, "-m", "pytest", "-n", "0", "--last-failed", "--last-failed-no-failures", "none"]
    verdict = subprocess.run(again, check=False).returncode
    if verdict == 0:
        print(
            f"\nUNSTEADY: failed beside others, passed alone; to be mended, not to be lived with:\n{listed}", flush=True
        )
    return verdict


if __name__ == "__main__":
    sys.exit(second_look(int(sys.argv[1])))
