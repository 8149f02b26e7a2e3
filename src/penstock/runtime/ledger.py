"""The ledger: which runs a supervisor has in its care, on disk, so that its death makes no run start twice or go unheard."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from penstock.model.launch import Exit
from penstock.model.wire import reader

_LOST = "was lost: the supervisor of its machine was killed"


class Ledger:
    """One small file for each claim, in the directory `held` of a home: empty while the run is alive, then its exit."""

    def __init__(self, home: str) -> None:
        self._directory = Path(home) / "held"
        self._directory.mkdir(mode=0o700, exist_ok=True)

    def open(self, run_id: str, fence: int) -> bool:
        """Note that a run is about to be started. False if it is noted already, by whomever: then it must not be."""
        try:
            self._file(run_id, fence).touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True

    def end(self, exit: Exit) -> None:
        """Note how it ended; kept until `close`. Raises `OSError`; then it is noted as before."""
        file = self._file(exit.run_id, exit.fence)
        fresh = file.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(exit))
            fresh.replace(file)
        except OSError:  # a full disk: what is half written says nothing, and nobody else would remove it
            fresh.unlink(missing_ok=True)
            raise

    def close(self, exit: Exit) -> None:
        """The server has heard of this exit: nothing is left to remember. Hearing of it again would change nothing."""
        with suppress(OSError):
            self._file(exit.run_id, exit.fence).unlink()

    def recover(self) -> list[Exit]:
        """The exits that an earlier supervisor left unreported. To be called when its runs are dead."""
        exits = []
        for file in sorted(self._directory.iterdir()):
            run_id, _, fence = file.name.rpartition("@")
            if not run_id or not fence.isdigit():
                file.unlink(missing_ok=True)  # half written when it died
                continue
            try:
                exits.append(reader(Exit)(file.read_bytes()))
            except msgspec.DecodeError:  # empty: the run was alive
                exits.append(Exit(run_id=run_id, fence=int(fence), status=None, failure=_LOST))
        return exits

    def _file(self, run_id: str, fence: int) -> Path:
        return self._directory / f"{run_id}@{fence}"
