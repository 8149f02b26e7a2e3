"""An image: what the container of a service is made of. How it is written down is worked out here; nothing is built."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from packaging.specifiers import SpecifierSet

from penstock.errors import InvalidInput, fault
from penstock.ids import digest_of
from penstock.model.container import CODE, HOME, PORT, PYTHON, STATE, USER
from penstock.model.deployment import Plan
from penstock.model.fitting import wanted
from penstock.model.requirements import Requirements

FORMAT = 1
"""Goes into every tag: to be changed when images are made otherwise from the same content."""

LABEL = "penstock.image"
"""On every image that is built here, with the name of its pipeline."""

_PACKAGES = "/opt/penstock/packages"
_MINORS = ("3.13", "3.12", "3.11", "3.14")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_SYSTEM_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(=[A-Za-z0-9.+:~-]+)?")


@dataclass(frozen=True, kw_only=True)
class Image:
    """What goes into an image. `archive` says where the code archive `code` lies on the machine that builds."""

    pipeline: str
    code: str
    archive: str
    python: str
    """The version of Python that the pipeline was frozen with."""

    requires: Requirements = field(default_factory=Requirements)
    components: tuple[str, ...] = ()
    """Requirements of the stack's components, where the service uses these."""

    base: str | None = None
    """The image to begin with; it has a Python with `venv` and pip. None: Docker's own image of a Python that fits."""

    system_packages: tuple[str, ...] = ()
    """Debian packages."""

    index_url: str | None = None
    """Where packages come from. None: from where pip of the base image takes them; empty: from `wheels` alone."""

    wheels: str | None = None
    """A directory of the machine that builds, with wheels that may be installed."""

    platform: str | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.base is not None and not _REFERENCE.fullmatch(self.base):
            faults.append(fault("/options/base_image", "This is no reference of an image."))
        faults += [
            fault(f"/options/system_packages/{number}", "This is no name of a Debian package.")
            for number, name in enumerate(self.system_packages)
            if not _SYSTEM_PACKAGE.fullmatch(name)
        ]
        if self.index_url and ("@" in self.index_url or not re.fullmatch(r"https?://\S+", self.index_url)):
            told = "Expected http(s)://..., without credentials: whoever has the image could read them."
            faults.append(fault("/options/index_url", told))
        if faults:
            raise InvalidInput("An image cannot be made so.", errors=faults)

    @property
    def base_image(self) -> str:
        """The image to begin with."""
        return self.base or f"python:{_minor(self.python, self.requires.python)}-slim"

    @property
    def repository(self) -> str:
        """What images of this pipeline are called in a registry, without its prefix."""
        name = re.sub(r"[^a-z0-9]+", "-", self.pipeline.lower()).strip("-") or "pipeline"
        return f"penstock-{name[:100]}"


def dockerfile(image: Image, wheel: str) -> str:
    """The Dockerfile. Beside it lie `code.tar` and, under `packages/`, `wheel` (Penstock itself) and `requirement_files`.

    What changes seldom comes first, so that the engine need not do it again.
    """
    packages = f"{_PACKAGES}/{wheel}{_extras(image)}"
    pip = f"{PYTHON} -m pip install --no-cache-dir --disable-pip-version-check --no-warn-script-location"
    install = f"{pip} -r {_PACKAGES}/requirements.txt {shlex.quote(packages)}"
    files = requirement_files(image)
    if "constraints.txt" in files:
        install += f" -c {_PACKAGES}/constraints.txt"
    steps = [f"python3 -m venv --without-pip --system-site-packages {PYTHON.removesuffix('/bin/python')}"]
    if "hashed.txt" in files:
        steps.append(f"{pip} --no-deps --require-hashes -r {_PACKAGES}/hashed.txt")
    steps.append(install)
    if image.requires.python is not None:
        steps.append(f"{PYTHON} -c {shlex.quote(_CHECK)} {shlex.quote(image.requires.python)}")
    lines = [f"FROM {image.base_image}", "USER 0:0"]
    if image.system_packages:
        names = " ".join(image.system_packages)
        apt = f"apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {names}"
        lines.append(f"RUN {apt} && rm -rf /var/lib/apt/lists/*")
    lines += [
        f"COPY packages/ {_PACKAGES}/",
        f"RUN {' && '.join(steps)}",
        # Writable by anybody: the user of a container need not be that of its image.
        f"RUN mkdir -p {STATE} /etc/penstock && chown -R {USER}:{USER} {HOME} && chmod -R 0777 {HOME}",
        f"ENV HOME={HOME} PENSTOCK_HOME={HOME} PYTHONUNBUFFERED=1",
        f"WORKDIR {HOME}",
        f"EXPOSE {PORT}",
        f"USER {USER}:{USER}",
        f"ENTRYPOINT {json.dumps([PYTHON, '-P', '-m', 'penstock.serve.container'])}",
        f"ADD code.tar {CODE}/{image.code}/",
    ]
    return "\n".join(lines) + "\n"


# In one line: it is an argument.
_CHECK = (
    "import platform, sys; from packaging.specifiers import SpecifierSet; v = platform.python_version(); s = sys.argv[1]; "
    "sys.exit(None if SpecifierSet(s).contains(v, prereleases=True) "
    "else f'The base image has Python {v}, and the pipeline requires {s}: name another base image.')"
)


def requirement_files(image: Image) -> dict[str, str]:
    """What pip is told to install, by the name of the file.

    What is held to files by hashes is installed by itself, since pip wants hashes for all in a file or for none.
    """
    options = []
    if image.index_url is not None:
        options.append(f"--index-url {image.index_url}" if image.index_url else "--no-index")
    if image.wheels is not None:
        options.append(f"--find-links {_PACKAGES}/wheels")
    required = [wanted(text) for text in image.requires.packages]
    required = [one for one in required if one.name != "penstock"]
    hashed = [str(one) for one in required if one.hashes]
    files = {"requirements.txt": [*options, *(str(one.requirement) for one in required), *_others(image.components)]}
    if hashed:
        files["hashed.txt"] = [*options, *hashed]
    if image.requires.constraints:
        files["constraints.txt"] = [str(wanted(text).requirement) for text in image.requires.constraints]
    return {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()}


def tag(files: Mapping[str, str], platform: str | None) -> str:
    """The tag of an image: equal content, equal tag. `files` are those beside the Dockerfile, and itself, by their digests."""
    content = {"format": FORMAT, "platform": platform, "files": dict(sorted(files.items()))}
    return digest_of(json.dumps(content, sort_keys=True).encode())[:24]


def inside(plan: Plan, *, server: str) -> Plan:
    """The plan as a container is given it. `server` is the address of the server as it is seen from there."""
    return replace(plan, home=HOME, host="0.0.0.0", port=PORT, server=server, archive="")  # noqa: S104  # of the container


def _extras(image: Image) -> str:
    asked = (*image.requires.packages, *image.components)
    extras = sorted({extra for one in map(wanted, asked) if one.name == "penstock" for extra in one.requirement.extras})
    return f"[{','.join(extras)}]" if extras else ""


def _others(lines: tuple[str, ...]) -> list[str]:
    return [line for line in lines if wanted(line).name != "penstock"]


def _minor(frozen: str, required: str | None) -> str:
    """The Python to take: that with which the pipeline was frozen, if it will do."""
    own = ".".join(frozen.split(".")[:2])
    allowed = SpecifierSet(required or "")
    for minor in (own, *_MINORS):
        if any(allowed.contains(f"{minor}.{patch}") for patch in range(40)):
            return minor
    raise InvalidInput(
        f"No Python is known here that fits {required}: name a base image that has one.",
        errors=[fault("/options/base_image", "It is needed for this pipeline.")],
    )
