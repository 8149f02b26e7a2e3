"""Images of services, built by a Docker engine."""

from __future__ import annotations

import io
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.errors import EnvironmentFailed
from penstock.model.image import LABEL, Image
from penstock.stack.contracts import ContainerRegistry
from penstock.stack.flavors.docker_engine import connect, told, translated
from penstock.stack.images import context, tag_of

if TYPE_CHECKING:
    from docker import DockerClient

SILENCE = 900.0
"""Seconds for which a build may say nothing."""

LINES = 40
"""So many lines, the last ones, are told of a build that failed."""


_ONE = threading.Lock()


class DockerBuilder:
    """The image builder `docker`. `engine` is its address: by default the one that the `docker` command would take.

    `base_image` has a Python with `venv` and pip; packages that are in it count. `index_url` says where packages come from
    (empty: from nowhere but `wheels`, a directory of this machine). `network` is that of the build.
    """

    extra = "docker"

    def __init__(
        self,
        engine: str | None = None,
        base_image: str | None = None,
        platform: str | None = None,
        system_packages: list[str] | tuple[str, ...] = (),
        index_url: str | None = None,
        wheels: str | None = None,
        network: str | None = None,
    ) -> None:
        self._engine = engine
        self._said = {
            "base": base_image,
            "platform": platform,
            "system_packages": tuple(system_packages),
            "index_url": index_url,
            "wheels": wheels,
        }
        self._network = network
        Image(pipeline="", code="", archive="", python="3", **self._said)  # type: ignore[arg-type]  # refuses what cannot be

    def build(self, image: Image, registry: ContainerRegistry, say: Callable[[str], None]) -> str:
        """See `ImageBuilder`. One at a time: two would wait for the same disk."""
        image = replace(image, **{name: value for name, value in self._said.items() if value not in (None, ())})  # type: ignore[arg-type]
        files = context(image)
        reference = registry.reference(image.repository, tag_of(files, image))
        with _ONE:
            client = connect(self._engine, patience=SILENCE)
            try:
                if not _has(client, reference):
                    self._make(client, image, files, reference, say)
            finally:
                client.close()
        say(f"image {reference}")
        return registry.push(reference)

    def _make(
        self, client: DockerClient, image: Image, files: dict[str, bytes], reference: str, say: Callable[[str], None]
    ) -> None:
        last: deque[str] = deque(maxlen=LINES)
        with translated():
            answers: Iterator[dict[str, Any]] = client.api.build(
                fileobj=io.BytesIO(_tar(files)),
                custom_context=True,
                tag=reference,
                rm=True,
                forcerm=True,
                platform=image.platform,
                network_mode=self._network,
                use_config_proxy=True,
                labels={LABEL: image.pipeline, "penstock.code": image.code},
                decode=True,
            )
            for answer in answers:
                for line in str(answer.get("stream", answer.get("status", ""))).splitlines():
                    if line.strip():
                        last.append(line.rstrip())
                        say(line.rstrip())
                if "error" in answer:
                    raise EnvironmentFailed(
                        f"The image {reference} could not be built: {_why(str(answer['error']), last)}", lines=last
                    )


def _has(client: DockerClient, reference: str) -> bool:
    from docker.errors import ImageNotFound  # optional: whoever comes here has it

    with translated():
        try:
            client.images.get(reference)
        except ImageNotFound:
            return False
    return True


def _tar(files: dict[str, bytes]) -> bytes:
    """The context of a build. All times are the same, so that the engine finds in its cache what it has done before."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def _why(error: str, last: deque[str]) -> str:
    """The reason in a line or two: pip and apt say theirs before the engine says that they failed."""
    reasons = [line for line in last if line.startswith(("ERROR:", "E: ", "error:"))]
    return " ".join([*reasons[-3:], told(error)])
