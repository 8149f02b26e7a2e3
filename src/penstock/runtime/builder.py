"""`python -m penstock.runtime.builder SUPERVISOR_PID`: build an environment with uv, unless it is there.

The order comes over the socket that is standard input, and the answer goes back there. It is a process of its own, so that
it can be stopped at any time, and takes nobody with it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import penstock
from penstock.errors import EnvironmentFailed
from penstock.ids import digest_of
from penstock.model.fitting import wanted
from penstock.model.requirements import Requirements
from penstock.model.snapshot import Environment
from penstock.model.stack import Component
from penstock.runtime import processes
from penstock.runtime.environments import Built, Environments, is_full
from penstock.runtime.inquiries import Fit, Order, Outcome, Question, asked, read_all
from penstock.settings import Settings
from penstock.stack.registry import requirements
from penstock.version import VERSION

FORMAT = 1
"""Goes into every digest: to be changed when environments are built otherwise."""

OURS = "penstock"
"""Never installed from anywhere: the Penstock of a run is that of its runner."""

USED = ("artifact_store", "secret_store")
"""The components that a run uses itself."""

_BEGINNINGS = ("error:", "cause:", "\u00d7", "\u2570\u2500\u25b6")  # the last two as uv draws its errors
_LONGEST = 500
_TOLD = 40
"""So many lines of uv, the last ones, are told of a build that failed."""

_ALL = 5_000_000
"""Bytes of uv's output that are kept."""


class Builder:
    """Builds one environment."""

    def __init__(self, order: Order) -> None:
        """Raises `EnvironmentFailed` for an order that nobody could carry out."""
        self._order = order
        self._ours = _ours()
        self._packages = _lines(order, self._ours)
        self._fits = order.requires.python is None or SpecifierSet(order.requires.python).contains(
            order.version, prereleases=True
        )
        self._kept = Environments(order.home)
        self._said: list[str] = []
        self._work = Path()

    @property
    def digest(self) -> str:
        """What is built is what is said here: equal content, equal digest."""
        content = {
            "format": FORMAT,
            "packages": sorted(self._packages),
            "constraints": sorted(self._order.requires.constraints),
            "python": self._order.tag if self._fits else self._order.requires.python,
            "platform": f"{sys.platform}-{platform.machine()}",
            "penstock": _identity(self._ours),
        }
        return digest_of(json.dumps(content, sort_keys=True).encode())

    def build(self) -> tuple[Built, bool]:
        """The environment, and whether it was built now. Waits while somebody else builds it.

        Raises `EnvironmentFailed` saying what, why and what next, with uv's last lines.
        """
        begun = time.monotonic()
        there = self._kept.find(self.digest)
        if there is not None:
            return there, False
        try:
            with self._kept.building(self.digest) as work:
                if work is not None:
                    self._work = work
                    self._fill(begun)
        except OSError as error:
            raise self._failed("the disk is full" if is_full(error) else str(error)) from error
        built = self._kept.find(self.digest)
        if built is None:
            raise self._failed("it was removed as soon as it was there")
        return built, work is not None

    def _fill(self, begun: float) -> None:
        order, work = self._order, self._work
        python = order.python if self._fits else str(order.requires.python)
        # Relocatable: it is built under another name than it will have.
        if self._uv("venv", "--relocatable", "--no-project", "--python", python, str(work)):
            wanted_python = order.requires.python or order.python
            raise self._failed(f"no Python could be had here that fits {wanted_python} ({self._last_words()})")
        (work / "requirements.in").write_text("\n".join(self._packages) + "\n")
        what = ["-r", "requirements.in"]
        if order.requires.constraints:
            (work / "constraints.in").write_text("\n".join(order.requires.constraints) + "\n")
            what += ["-c", "constraints.in"]
        if self._uv("pip", "install", "--python", str(work / "bin" / "python"), *what):
            raise self._failed(f"its packages could not be installed ({self._last_words()})")
        (site,) = work.glob("lib/python*/site-packages")
        _install_ours(self._ours, site)
        fit = self._look()
        if fit.misfits:
            raise self._failed(f"what came of it does not fit: {'; '.join(fit.misfits)}")
        packages = self._packages_in(site)
        (work / "requirements.lock").write_text("\n".join(packages) + "\n")
        (work / "build.log").write_text("\n".join(self._said) + "\n")
        size = sum(file.lstat().st_size for file in work.rglob("*"))
        built = Built(
            digest=self.digest,
            python=fit.python,
            requires=order.requires,
            packages=packages,
            built=datetime.now(UTC),
            seconds=round(time.monotonic() - begun, 3),
            size=size,
        )
        self._kept.record(work, built)

    def _uv(self, *arguments: str) -> int:
        """Run uv and keep what it says. Returns its exit status."""
        command = [_find_uv(), *arguments]
        environment = {**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
        self._said.append(f"$ uv {' '.join(arguments)}")
        room = _ALL
        with subprocess.Popen(
            command,
            cwd=self._work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    room -= len(line)
                    if room > 0:
                        self._said.append(line.rstrip())
            except BaseException:
                process.kill()
                raise
        return process.returncode

    def _look(self) -> Fit:
        """Ask the new interpreter whether it fits, and whether a run could begin in it."""
        fit, said = look(str(self._work / "bin" / "python"), self._order.requires)
        self._said += said
        if fit is None:
            raise self._failed("Penstock cannot be imported in it")
        return fit

    def _packages_in(self, site: Path) -> tuple[str, ...]:
        found = Distribution.discover(path=[str(site)])
        return tuple(sorted({f"{one.metadata['Name']}=={one.version}" for one in found}))

    def _last_words(self) -> str:
        """What uv said at the end: that is its reason where it gave up. It breaks lines at the width of a terminal."""
        said = [line.strip() for line in self._said if line.strip()]
        begins = [number for number, line in enumerate(said) if line.startswith(_BEGINNINGS)]
        last = " ".join(said[begins[-1] if begins else -1 :])
        for beginning in _BEGINNINGS:
            last = last.removeprefix(beginning).strip()
        return last[:_LONGEST].rstrip(".")

    def _failed(self, why: str) -> EnvironmentFailed:
        text = "\n".join(self._said)
        if "No space left on device" in text or "os error 28" in text:
            why = "the disk is full"
        lines = self._said[-_TOLD:]
        required = ", ".join(self._order.requires.packages) or "nothing but a Python"
        advice = {
            "the disk is full": "Make room (`penstock environment prune` removes environments that nobody uses)",
        }.get(why, "Change what the pipeline requires, or have the runner find it (UV_INDEX_URL, UV_FIND_LINKS)")
        told = f"The environment for {required} could not be built: {why}. {advice}, and replay the run."
        return EnvironmentFailed(told, lines=lines)


def _find_uv() -> str:
    """Uv of this Python's own environment, or on the path. Raises `EnvironmentFailed` if there is none."""
    said = Settings.load().uv
    beside = Path(sys.executable).with_name("uv")
    found = said or (str(beside) if beside.is_file() else shutil.which("uv"))
    if not found or not os.access(found, os.X_OK):
        raise EnvironmentFailed(
            f"An environment must be built, and there is no uv{f' at {said}' if said else ''} to do it. Install it where the runs are: "
            "`pip install 'penstock[environments]'`, or any uv on the path."
        )
    return found


def _ours() -> Distribution:
    try:
        return distribution(OURS)
    except PackageNotFoundError:
        raise EnvironmentFailed(
            "An environment needs Penstock and what that requires, but Penstock is not installed here: it is only on the "
            "path. Install it (`pip install -e .` in a clone)."
        ) from None


def _lines(order: Order, ours: Distribution) -> list[str]:
    """What uv is told to install: what is required, what Penstock needs, what the components of the stack need."""
    lines = set()
    extras = {""}
    for text in (*order.requires.packages, *_parts(order.components)):
        one = wanted(text)
        if one.name != OURS:
            lines.add(text)
            continue
        extras |= one.requirement.extras
        if not one.requirement.specifier.contains(VERSION, prereleases=True):
            raise EnvironmentFailed(
                f"The pipeline requires {text}, and this runner has Penstock {VERSION}, which is also that of its runs. "
                "Change the requirement, or let a runner with that version have the run."
            )
    return sorted(lines | set(_needs(ours, extras)))


def _parts(components: Mapping[str, Component]) -> list[str]:
    """What the components of a stack need where a run uses them."""
    return [
        line for kind in USED for one in [components.get(kind)] if one is not None for line in requirements(kind, one)
    ]


def _needs(ours: Distribution, extras: set[str]) -> Iterator[str]:
    """What Penstock itself needs, with these extras; some of them name others."""
    done: set[str] = set()
    waiting = set(extras)
    while waiting:
        extra = waiting.pop()
        done.add(extra)
        for text in ours.requires or ():
            one = Requirement(text)
            asks = one.marker is not None and "extra" in str(one.marker)
            if asks != bool(extra) or (asks and one.marker is not None and not one.marker.evaluate({"extra": extra})):
                continue
            if one.name == OURS:
                waiting |= one.extras - done
                continue
            yield str(one) if not asks else f"{one.name}{_bracketed(one.extras)}{one.specifier}"


def _bracketed(extras: set[str]) -> str:
    return f"[{','.join(sorted(extras))}]" if extras else ""


def _source() -> Path:
    return Path(penstock.__file__).parent


def _is_editable(ours: Distribution) -> bool:
    """Whether Penstock's code lies somewhere else than what was installed: it can change under its version."""
    return Path(str(ours.locate_file(OURS))).resolve() != _source().resolve()


def _identity(ours: Distribution) -> str:
    """What tells this Penstock from another one: its files by their digests, or where they lie if they may change."""
    if _is_editable(ours):
        return f"{VERSION} in {_source()}, {digest_of((ours.read_text('METADATA') or '').encode())}"
    return f"{VERSION} {digest_of((ours.read_text('RECORD') or '').encode())}"


def _install_ours(ours: Distribution, site: Path) -> None:
    """Put the Penstock of this process into an environment: a copy, or where it may change, the way to it."""
    if _is_editable(ours):
        (site / "penstock.pth").write_text(f"{_source().parent}\n")
    else:
        shutil.copytree(_source(), site / OURS, ignore=shutil.ignore_patterns("__pycache__"))
    facts = site / f"penstock-{ours.version}.dist-info"
    facts.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (facts / name).write_text(ours.read_text(name) or "")
    (facts / "INSTALLER").write_text("penstock\n")


def look(python: str, requires: Requirements) -> tuple[Fit | None, list[str]]:
    """Whether an interpreter has what is required, and a run could begin in it; and what it wrote. None: it did not say."""
    ours, theirs = socket.socketpair()
    command = [python, "-P", "-m", "penstock.runtime.fitting"]
    answer = b""
    with (
        ours,
        theirs,
        subprocess.Popen(
            command, cwd="/", stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        theirs.close()
        with suppress(OSError):  # it died: what it wrote says why
            ours.sendall(msgspec.json.encode(Question(requires=requires, modules=["penstock.runtime.run"])))
            ours.shutdown(socket.SHUT_WR)
            answer = read_all(ours)
        said = (process.stdout.read() if process.stdout else "").splitlines()
    return (msgspec.json.decode(answer, type=Fit) if answer else None), said


def prepare(home: str, environment: Environment, components: Mapping[str, Component]) -> Outcome:
    """Build what a run of a snapshot that was frozen in `environment` would have to wait for.

    An outcome without an environment and without a failure: the interpreter that the run would use fits.
    """
    requires = environment.requires or Requirements()
    python, fit = sys.executable, None
    if environment.executable is not None and os.access(environment.executable, os.X_OK):
        python, (fit, _) = environment.executable, look(environment.executable, requires)
    if fit is None:
        python, (fit, said) = sys.executable, look(sys.executable, requires)
        if fit is None:
            return Outcome(failure=f"{python} does not say what is installed in it.", lines=said)
    if not fit.misfits:
        return Outcome()
    used = {kind: one for kind, one in components.items() if kind in USED}
    order = Order(home=home, requires=requires, python=python, version=fit.python, tag=fit.tag, components=used)
    return build(order)


def build(order: Order) -> Outcome:
    """Carry out the order; a failure is an answer."""
    try:
        built, fresh = Builder(order).build()
    except EnvironmentFailed as error:
        return Outcome(failure=error.detail, lines=list(error.lines))
    return Outcome(built=built, fresh=fresh)


def main(arguments: list[str]) -> None:
    """Carry out one order."""
    signal.signal(signal.SIGTERM, _leave)
    if arguments:
        processes.die_with(int(arguments[0]))
    with asked() as channel:
        answer = build(msgspec.json.decode(read_all(channel), type=Order))
        channel.sendall(msgspec.json.encode(answer))


def _leave(*_: object) -> NoReturn:
    """What is half built is removed on the way out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
