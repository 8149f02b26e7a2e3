"""What an image is made of, as text: the Dockerfile, what pip is told, the tag."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model.image import Image, dockerfile, requirement_files, tag
from penstock.model.requirements import Requirements

DIGEST = "ab" * 32
HASH = "sha256:" + "0" * 64
IMAGE = Image(pipeline="Train it!", code=DIGEST, archive="/code.tar", python="3.12.4")
WHEEL = "penstock-1.0-py3-none-any.whl"


def lines(image: Image) -> list[str]:
    return dockerfile(image, WHEEL).splitlines()


def test_the_whole_of_a_plain_one() -> None:
    assert dockerfile(IMAGE, WHEEL) == (
        "FROM python:3.12-slim\n"
        "USER 0:0\n"
        "COPY packages/ /opt/penstock/packages/\n"
        "RUN python3 -m venv --without-pip --system-site-packages /opt/penstock/venv && /opt/penstock/venv/bin/python -m pip install "
        "--no-cache-dir --disable-pip-version-check --no-warn-script-location -r /opt/penstock/packages/requirements.txt "
        f"/opt/penstock/packages/{WHEEL}\n"
        "RUN mkdir -p /var/lib/penstock/state /etc/penstock && chown -R 10001:10001 /var/lib/penstock && "
        "chmod -R 0777 /var/lib/penstock\n"
        "ENV HOME=/var/lib/penstock PENSTOCK_HOME=/var/lib/penstock PYTHONUNBUFFERED=1\n"
        "WORKDIR /var/lib/penstock\n"
        "EXPOSE 8000\n"
        "USER 10001:10001\n"
        'ENTRYPOINT ["/opt/penstock/venv/bin/python", "-P", "-m", "penstock.serve.container"]\n'
        f"ADD code.tar /opt/penstock/code/{DIGEST}/\n"
    )


def test_it_never_ends_as_root() -> None:
    users = [line for line in lines(replace(IMAGE, base="mine:1", system_packages=("git",))) if line.startswith("USER")]
    assert users == ["USER 0:0", "USER 10001:10001"]


def test_what_is_required_gets_in() -> None:
    requires = Requirements(
        python=">=3.11,<3.13",
        packages=("penstock[pandas]>=0", f"tiny==1.0 --hash={HASH}", "scipy>=1.3"),
        constraints=("numpy==2.1",),
    )
    image = replace(IMAGE, requires=requires, components=("penstock[s3]", "plugin==2"))
    assert requirement_files(image) == {
        "requirements.txt": "tiny==1.0\nscipy>=1.3\nplugin==2\n",
        "hashed.txt": f"tiny==1.0 --hash={HASH}\n",
        "constraints.txt": "numpy==2.1\n",
    }
    [run] = [line for line in lines(image) if "pip install" in line]
    assert "--no-deps --require-hashes -r /opt/penstock/packages/hashed.txt && " in run
    assert f"'/opt/penstock/packages/{WHEEL}[pandas,s3]' -c /opt/penstock/packages/constraints.txt" in run
    assert run.endswith(" '>=3.11,<3.13'")


def test_where_packages_come_from() -> None:
    assert requirement_files(replace(IMAGE, index_url="https://a.example/simple"))["requirements.txt"] == (
        "--index-url https://a.example/simple\n"
    )
    alone = replace(IMAGE, index_url="", wheels="/wheels")
    assert requirement_files(alone)["requirements.txt"] == "--no-index\n--find-links /opt/penstock/packages/wheels\n"


def test_system_packages_come_first_and_leave_no_lists() -> None:
    found = lines(replace(IMAGE, system_packages=("git", "libgomp1=12.2.0-14")))
    assert found[2].startswith("RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install")
    assert found[2].endswith(" git libgomp1=12.2.0-14 && rm -rf /var/lib/apt/lists/*")


@pytest.mark.parametrize(
    ("frozen", "required", "base"),
    [
        ("3.11.7", None, "python:3.11-slim"),
        ("3.11.7", ">=3.12", "python:3.13-slim"),
        ("3.11.7", "==3.12.4", "python:3.12-slim"),
        ("3.14.0", "<3.13", "python:3.12-slim"),
    ],
)
def test_a_python_that_fits_is_taken(frozen: str, required: str | None, base: str) -> None:
    assert replace(IMAGE, python=frozen, requires=Requirements(python=required)).base_image == base


def test_a_python_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidInput, match="name a base image"):
        _ = replace(IMAGE, requires=Requirements(python=">=4")).base_image


@pytest.mark.parametrize(
    ("what", "pointer"),
    [
        ({"base": "python:3 \nRUN evil"}, "/options/base_image"),
        ({"system_packages": ("git", "git; rm -rf /")}, "/options/system_packages/1"),
        ({"index_url": "https://me:secret@a.example/"}, "/options/index_url"),
        ({"index_url": "https://a.example/ --extra"}, "/options/index_url"),
    ],
)
def test_nothing_slips_into_a_line(what: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        replace(IMAGE, **what)
    assert [one["pointer"] for one in caught.value.errors] == [pointer]


def test_equal_content_has_one_tag() -> None:
    files = {"Dockerfile": "a", "code.tar": "b"}
    assert tag(files, None) == tag(dict(reversed(files.items())), None)
    assert len({tag(files, None), tag(files, "linux/arm64"), tag({**files, "code.tar": "c"}, None)}) == 3


def test_a_repository_is_called_like_its_pipeline() -> None:
    assert IMAGE.repository == "penstock-train-it"
    assert replace(IMAGE, pipeline="\u00e9").repository == "penstock-pipeline"
