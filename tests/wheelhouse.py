"""Packages to install without a network: tiny ones that tests make, and Penstock's own requirements as they are installed here."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
_LEFT_OUT = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def tiny(folder: Path, version: str, *, name: str = "tiny", needs: tuple[str, ...] = ()) -> Path:
    """A wheel of one module that knows its `VERSION`."""
    facts = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {one}" for one in needs)]
    files = {
        f"{name}.py": f"VERSION = {version!r}\n".encode(),
        f"{facts}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{facts}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return _zipped(folder / f"{name}-{version}-py3-none-any.whl", facts, files)


def our_wheel(folder: Path) -> Path:
    """Penstock as a wheel."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("penstock-*.whl")
    return wheel


def our_metadata(folder: Path) -> Path:
    """A directory for the path, with what Penstock's wheel says of itself: where it is installed may be behind."""
    with zipfile.ZipFile(our_wheel(folder)) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" in name]
        wheel.extractall(folder / "metadata", names)
    return folder / "metadata"


def wheelhouse(folder: Path, metadata: Path) -> Path:
    """All that Penstock needs besides itself, as wheels: what is installed here, packed again."""
    for found in _closure(metadata):
        _packed(found, folder)
    return folder


def needed() -> Iterator[Distribution]:
    """The distributions that Penstock needs besides itself, as they are installed here."""
    return _closure(None)


def _closure(metadata: Path | None) -> Iterator[Distribution]:
    seen: set[tuple[str, str]] = set()
    waiting = [("penstock", "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        ours = name == "penstock" and metadata is not None
        found = next(iter(Distribution.discover(path=[str(metadata)]))) if ours else distribution(name)
        if name != "penstock" and (name, None) not in seen and not extra:
            yield found
        for line in found.requires or ():
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(one.name), wanted) for wanted in ("", *one.extras)]


def _packed(found: Distribution, folder: Path) -> None:
    facts = next(str(file.parent) for file in found.files or () if file.name == "METADATA")
    files = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in found.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and file.name not in _LEFT_OUT
    }
    tags = {line.split()[1] for line in files[f"{facts}/WHEEL"].decode().splitlines() if line.startswith("Tag:")}
    tag = next(str(one) for one in sys_tags() if str(one) in tags)
    _zipped(folder / f"{facts.removesuffix('.dist-info')}-{tag}.whl", facts, files)


def _zipped(path: Path, facts: str, files: Mapping[str, bytes]) -> Path:
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    record.append(f"{facts}/RECORD,,")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in {**files, f"{facts}/RECORD": "\n".join(record).encode()}.items():
            wheel.writestr(name, data)
    return path


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
