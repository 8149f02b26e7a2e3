"""A Docker engine for tests: one that is there, or one of our own; and a base image that is made here, without a registry."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.wheelhouse import ROOT, needed

_CONTENT = sys.version + sys.base_prefix + (ROOT / "requirements.lock").read_text()
BASE = f"penstock-test-base:{hashlib.sha256(_CONTENT.encode()).hexdigest()[:12]}"
"""Named by what goes in: an engine that stays may have an older one."""

_TOOLS = ("sh", "mkdir", "chown", "chmod", "rm", "cat", "sleep")
_NOT_NEEDED = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "lib2to3",
    "turtledemo",
    "site-packages",
    "dist-packages",
}


def _obstacle() -> str | None:
    """Why no engine can be had here; None if one may be."""
    if _answering() is not None:
        return None
    if os.getuid() != 0:
        return "no Docker engine answers, and only root could start one"
    missing = [name for name in ("docker", "dockerd", "containerd", "iptables") if shutil.which(name) is None]
    return f"no Docker engine answers, and there is no {' and no '.join(missing)} to start one" if missing else None


class Engine:
    """An engine of our own, in a directory that goes with it."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pd-"))
        self.address = f"unix://{self.place}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers. Skips where it cannot."""
        command = ["dockerd", f"--host={self.address}", "--log-level=warn"]
        command += [f"--{option}={self.place / option}" for option in ("data-root", "exec-root", "pidfile")]
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 60
        while not _reachable(self.address):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.place / "log").read_text().strip().splitlines()[-1:]
                pytest.skip(f"DEPLOYER `docker` IS NOT TESTED: dockerd does not come up here: {said}")
            time.sleep(0.1)  # poll: dockerd says nothing when it is ready

    def stop(self) -> None:
        """End it in good order; its containers end with it, and come back at its next start."""
        assert self._process is not None
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self._process.kill()
        self._process.wait()

    def remove(self) -> None:
        """End it, with all that is in it."""
        if self._process is not None and self._process.poll() is None:
            _remove_all(self.address)
            self.stop()
        _unmount(self.place)
        shutil.rmtree(self.place, ignore_errors=True)


@contextmanager
def engine() -> Iterator[tuple[str, Engine | None]]:
    """The address of an engine that has the image `BASE`: one that answers already, or one of our own (the second value).

    Of our own there is one at a time on a machine, whoever runs tests: two would fight for the same network. What tests leave
    in a foreign one is their affair. Skips where none can be had.
    """
    if (why := _obstacle()) is not None:
        pytest.skip(f"DEPLOYER `docker` IS NOT TESTED: {why}")
    if (address := _answering()) is not None:
        _load(address)
        yield address, None
        return
    with (Path(tempfile.gettempdir()) / "penstock-tests-docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        own = Engine()
        try:
            own.start()
            _load(own.address)
            yield own.address, own
        finally:
            own.remove()


def base() -> tuple[bytes, list[str]]:
    """The file system of an image with this Python, pip and what Penstock needs, as a tar; and where its libraries are.

    All lies where it lies here.
    """
    stream = io.BytesIO()
    stdlib = Path(os.__file__).parent
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    seen: set[str] = set()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for folder in ("tmp", "etc", "var/tmp"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in folder else 0o755
            tar.addfile(member)
        _link(tar, "bin", "usr/bin")
        _link(tar, "usr/bin/python3", str(python))
        binaries = [python, *(_tool(name) for name in _TOOLS)]
        for path in [*_files(stdlib), *binaries]:
            if str(path) not in seen:
                seen.add(str(path))
                _add(tar, path, f"usr/bin/{path.name}" if path.name in _TOOLS else str(path))
        site = _site(python)
        for found in [distribution("pip"), *needed()]:
            for file in found.files or ():
                path = Path(str(file.locate()))
                if ".." not in file.parts and path.is_file():
                    _add(tar, path, f"{site}/{file}")
                    binaries += [path] if ".so" in path.name else []
        binaries += [path for path in _files(stdlib) if path.suffix == ".so"]
        places = _add_libraries(tar, binaries)
    return stream.getvalue(), places


def _load(address: str) -> None:
    images = _docker(address, "images", "-q", BASE)
    if not images.strip():
        tar, libraries = base()
        paths = f"ENV LD_LIBRARY_PATH={':'.join(libraries)}"  # there is no cache of the loader that says where they are
        command = ["docker", "-H", address, "import", "--change", paths, "-", BASE]
        subprocess.run(command, input=tar, check=True, capture_output=True)


def _docker(address: str, *arguments: str) -> str:
    return subprocess.run(["docker", "-H", address, *arguments], check=True, capture_output=True, text=True).stdout


def _answering() -> str | None:
    """The engine of this machine that the `docker` command takes, if it answers."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    found = shutil.which("docker") is not None and address.startswith("unix:") and _reachable(address)
    return address if found else None


def _reachable(address: str) -> bool:
    command = ["docker", "-H", address, "version"]
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _remove_all(address: str) -> None:
    with suppress(subprocess.CalledProcessError):
        found = _docker(address, "ps", "-aq").split()
        if found:
            _docker(address, "rm", "-f", *found)


def _unmount(place: Path) -> None:
    """What dockerd has left mounted: containers that were there when it was killed, and its own network namespaces."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in sorted((one for one in mounted if one.startswith(f"{place}/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def _files(folder: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _NOT_NEEDED)
        yield from (
            Path(parent, name) for name in sorted(files) if not name.endswith((".opt-1.pyc", ".opt-2.pyc", ".a"))
        )


def _tool(name: str) -> Path:
    found = shutil.which(name)
    assert found is not None, name
    return Path(found)


def _site(python: Path) -> str:
    ask = "import site; print(site.getsitepackages()[0])"
    return subprocess.run([python, "-I", "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


def _add_libraries(tar: tarfile.TarFile, binaries: list[Path]) -> list[str]:
    told = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    found = sorted(set(re.findall(r"(/[^\s:]+\.so[^\s:]*) \(0x", told)))
    for path in found:
        _add(tar, Path(path), path)
    return sorted({str(Path(path).parent) for path in found})


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """The file itself, where links lead; every folder above it is open to all. Its time is what its compiled one goes by."""
    member = tarfile.TarInfo(name.lstrip("/"))
    data = path.read_bytes()
    member.size, member.mode = len(data), 0o755 if os.access(path, os.X_OK) else 0o644
    member.mtime = int(path.stat().st_mtime)
    tar.addfile(member, io.BytesIO(data))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    tar.addfile(member)
