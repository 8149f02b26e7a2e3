"""What goes into an image, file by file."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import EnvironmentFailed
from penstock.ids import digest_of
from penstock.model.deployment import Plan
from penstock.model.requirements import Requirements
from penstock.model.snapshot import Content, Environment, Snapshot
from penstock.model.stack import Component
from penstock.stack.images import context, image_of, our_wheel, tag_of

TAR = b"a tar"


def plan(tmp_path: Path, *, requires: Requirements | None = None, **changes: Any) -> Plan:
    archive = tmp_path / "code.tar"
    archive.write_bytes(TAR)
    environment = Environment(python="3.11.2", requires=requires)
    content = Content(pipeline="p", source="p:p", code=digest_of(TAR), environment=environment)
    snapshot = Snapshot(id="s", pipeline_id="p", content=content, created=datetime.now(UTC))
    given: dict[str, Any] = {"deployment_id": "d", "deployment_name": "d", "home": "/home", "token": "hush-hush"}
    return Plan(**{**given, "snapshot": snapshot, "archive": str(archive), **changes})


def test_the_wheel_is_what_runs_here(tmp_path: Path) -> None:
    name, data = our_wheel()
    venv.create(tmp_path / "venv", symlinks=True)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(BytesIO(data)) as wheel:
        assert wheel.testzip() is None
        wheel.extractall(site)
    (tmp_path / name).write_bytes(data)
    checked = subprocess.run(
        [
            tmp_path / "venv" / "bin" / "python",
            "-I",
            "-c",
            "import penstock.version as v; print(v.__file__, v.VERSION)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert checked.stdout.startswith(str(site))
    assert not [one for one in zipfile.ZipFile(BytesIO(data)).namelist() if "__pycache__" in one]
    # pip takes it: the record fits, and so does the name.
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "t")]
    subprocess.run([*command, str(tmp_path / name)], check=True, capture_output=True)
    assert (tmp_path / "t" / "penstock" / "py.typed").is_file()


def test_all_that_is_needed_and_nothing_secret(tmp_path: Path) -> None:
    files = context(image_of(plan(tmp_path)))
    assert set(files) == {"Dockerfile", "code.tar", "packages/requirements.txt", f"packages/{our_wheel()[0]}"}
    assert files["code.tar"] == TAR
    assert not any(b"hush-hush" in data for data in files.values())


def test_equal_plans_have_one_tag_and_others_another(tmp_path: Path) -> None:
    def tag(given: Plan, **changes: Any) -> str:
        image = replace(image_of(given), **changes)
        return tag_of(context(image), image)

    first = tag(plan(tmp_path))
    assert tag(plan(tmp_path, deployment_id="another", token="another", revision=7)) == first
    others = [
        tag(plan(tmp_path, requires=Requirements(packages=("tiny==1",)))),
        tag(plan(tmp_path), base="debian:12"),
        tag(plan(tmp_path), platform="linux/arm64"),
    ]
    assert len({first, *others}) == 4


def test_wheels_of_this_machine_get_in(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "tiny-1-py3-none-any.whl").write_bytes(b"a wheel")
    files = context(replace(image_of(plan(tmp_path)), wheels=str(tmp_path / "wheels")))
    assert files["packages/wheels/tiny-1-py3-none-any.whl"] == b"a wheel"


def test_what_the_stack_needs_gets_in(tmp_path: Path) -> None:
    store = Component(flavor="object", options={"url": "s3://bucket/x"})
    assert image_of(plan(tmp_path, artifact_store=store)).components == ("penstock[s3]",)


def test_another_penstock_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match="requires penstock==77"):
        image_of(plan(tmp_path, requires=Requirements(packages=("penstock==77",))))


def test_a_damaged_archive_makes_no_image(tmp_path: Path) -> None:
    image = image_of(plan(tmp_path))
    (tmp_path / "code.tar").write_bytes(b"another tar")
    with pytest.raises(EnvironmentFailed, match="damaged"):
        context(image)
    (tmp_path / "code.tar").unlink()
    with pytest.raises(EnvironmentFailed, match="No such file"):
        context(image)
