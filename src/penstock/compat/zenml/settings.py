"""Settings as ZenML's code writes them, as ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock import DockerSettings as OurDockerSettings
from penstock import ResourceSettings as OurResourceSettings
from penstock.errors import AuthoringError, fault

_INTEGRATIONS = {
    "sklearn": ("scikit-learn",),
    "pandas": ("pandas",),
    "numpy": ("numpy",),
    "pytorch": ("torch",),
    "polars": ("polars",),
    "pillow": ("pillow",),
    "plotly": ("plotly",),
    "s3": ("s3fs",),
    "gcp": ("gcsfs",),
    "azure": ("adlfs",),
}


def DockerSettings(  # noqa: N802  (a class in the code that calls it)
    *, required_integrations: Iterable[str] = (), requirements: str | Iterable[str] = (), **others: Any
) -> OurDockerSettings:
    """Docker settings; integrations become the requirements that they stand for.

    Raises `AuthoringError` for integrations that are not known here: their packages are to be named as requirements.
    """
    unknown = [name for name in required_integrations if name not in _INTEGRATIONS]
    if unknown:
        mistakes = [
            fault("/required_integrations", f"'{name}' is not known here.", allowed=_INTEGRATIONS, given=name)
            for name in unknown
        ]
        raise AuthoringError("Name the packages of these integrations under requirements.", errors=mistakes)
    listed = [requirements] if isinstance(requirements, str) else list(requirements)
    packages = [package for name in required_integrations for package in _INTEGRATIONS[name]]
    return OurDockerSettings(requirements=tuple(dict.fromkeys((*listed, *packages))), **others)


def ResourceSettings(**given: Any) -> OurResourceSettings:  # noqa: N802  (a class in the code that calls it)
    """Resources: cpu_count, gpu_count, memory."""
    return OurResourceSettings(**given)
