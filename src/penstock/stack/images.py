"""Images of services, as builders of every kind need them: what goes into one, file by file."""

from __future__ import annotations

import io
import zipfile
from base64 import urlsafe_b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from penstock.errors import EnvironmentFailed
from penstock.ids import digest_of
from penstock.model import image as model
from penstock.model.deployment import Plan
from penstock.model.fitting import wanted
from penstock.model.image import Image
from penstock.model.requirements import Requirements
from penstock.stack.registry import requirements
from penstock.version import VERSION

USED = ("artifact_store", "secret_store")
"""The components that a service uses itself."""

_AT = (2020, 1, 1, 0, 0, 0)
"""The time of every file in our wheel: equal content, equal bytes."""


def image_of(plan: Plan) -> Image:
    """The image for a plan, before whoever builds it has had a say. Raises `EnvironmentFailed` for one that cannot be."""
    content = plan.snapshot.content
    if content.code is None:
        raise EnvironmentFailed(f"No image can be made: {content.code_note or 'the code was not archived'}.")
    environment = content.environment
    requires = environment.requires or Requirements()
    for text in requires.packages:
        one = wanted(text)
        if one.name == "penstock" and not one.requirement.specifier.contains(VERSION, prereleases=True):
            raise EnvironmentFailed(
                f"The pipeline requires {text}, and this server has Penstock {VERSION}, which is also that of its images."
            )
    parts = [(kind, getattr(plan, kind)) for kind in USED]
    return Image(
        pipeline=content.pipeline,
        code=content.code,
        archive=plan.archive,
        python=environment.python,
        requires=requires,
        components=tuple(line for kind, one in parts if one is not None for line in requirements(kind, one)),
    )


def context(image: Image) -> dict[str, bytes]:
    """Everything that a builder needs, by its path: the Dockerfile and what lies beside it.

    Raises `EnvironmentFailed` for a code archive or wheels that are not there.
    """
    name, wheel = our_wheel()
    files = {"Dockerfile": model.dockerfile(image, name).encode(), f"packages/{name}": wheel}
    files |= {f"packages/{name}": text.encode() for name, text in model.requirement_files(image).items()}
    try:
        files["code.tar"] = Path(image.archive).read_bytes()
        if image.wheels is not None:
            found = sorted(Path(image.wheels).glob("*.whl"))
            files |= {f"packages/wheels/{one.name}": one.read_bytes() for one in found}
    except OSError as error:
        raise EnvironmentFailed(f"No image can be made: {error.filename}: {error.strerror}.") from error
    if digest_of(files["code.tar"]) != image.code:
        raise EnvironmentFailed(f"No image can be made: the code archive {image.archive} is damaged.")
    return files


def tag_of(files: dict[str, bytes], image: Image) -> str:
    """The tag of the image that is built from these files."""
    return model.tag({name: digest_of(data) for name, data in files.items()}, image.platform)


@cache
def our_wheel() -> tuple[str, bytes]:
    """Penstock as a wheel, and its name: what runs here, be it installed or a clone. So server and service are one version.

    Nothing of that name is taken from an index, where it could be somebody else's.
    """
    ours = _ours()
    package = Path(__file__).parents[1]
    files = {
        f"penstock/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    facts = f"penstock-{ours.version}.dist-info"
    files[f"{facts}/METADATA"] = (ours.read_text("METADATA") or "").encode()
    files[f"{facts}/entry_points.txt"] = (ours.read_text("entry_points.txt") or "").encode()
    files[f"{facts}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: penstock\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{name},sha256={_record_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{facts}/RECORD"] = "\n".join([*record, f"{facts}/RECORD,,", ""]).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(zipfile.ZipInfo(name, _AT), data, zipfile.ZIP_DEFLATED)
    return f"penstock-{ours.version}-py3-none-any.whl", stream.getvalue()


def _ours() -> Distribution:
    try:
        return distribution("penstock")
    except PackageNotFoundError:
        raise EnvironmentFailed(
            "An image needs Penstock and what that requires, but Penstock is not installed here: it is only on the path. "
            "Install it (`pip install -e .` in a clone)."
        ) from None


def _record_digest(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
