"""`python -m penstock.runtime.fitting SUPERVISOR_PID`: whether this interpreter has what is required.

The question comes over the socket that is standard input, and the answer goes back there.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import msgspec

from penstock.model.fitting import Installed, misfits
from penstock.runtime import processes
from penstock.runtime.inquiries import Fit, Question, asked, changed, read_all


def fit(question: Question) -> Fit:
    """The answer of the interpreter that carries this out."""
    version = platform.python_version()
    found = misfits(question.requires, version, installed)
    for name in question.modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            found.append(f"{name} cannot be imported: {error}")
    implementation = sys.implementation.name
    tag = f"{implementation}-{'.'.join(map(str, sys.version_info[:2]))}"
    return Fit(misfits=found, python=version, tag=tag, seen=changed(sys.path))


def installed(name: str) -> Installed | None:
    """What this interpreter has under the name of a distribution."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return Installed(version=found.version, url=_origin(found), needs=tuple(found.requires or ()))


def _origin(found: Distribution) -> str | None:
    """From where it was installed, if that was no index (PEP 610)."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    url = origin.get("url") if isinstance(origin, dict) else None
    return url if isinstance(url, str) else None


def main(arguments: list[str]) -> None:
    """Answer one question."""
    if arguments:
        processes.die_with(int(arguments[0]))
    with asked() as channel:
        question = msgspec.json.decode(read_all(channel), type=Question)
        channel.sendall(msgspec.json.encode(fit(question)))


if __name__ == "__main__":
    main(sys.argv[1:])
