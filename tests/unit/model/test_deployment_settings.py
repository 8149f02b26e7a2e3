from __future__ import annotations

from typing import Any

import pytest

from penstock import pipeline
from penstock.errors import AuthoringError, InvalidInput
from penstock.model.deployment_settings import DeploymentSettings, SecureHeadersConfig


def test_groups_of_endpoints_stand_for_their_members() -> None:
    assert DeploymentSettings(include_default_endpoints=["DOC", "INVOKE"]).include_default_endpoints == (
        "DOCS",
        "REDOC",
        "INVOKE",
    )
    assert DeploymentSettings(include_default_middleware="NONE").include_default_middleware == ()


def test_paths_are_put_together() -> None:
    settings = DeploymentSettings(root_url_path="/svc/", api_url_path="/api", invoke_url_path="/call")
    assert (settings.path("invoke"), settings.path("docs")) == ("/svc/api/call", "/svc/docs")


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"thread_pool_size": 0}, "/thread_pool_size"),
        ({"sample": 1.5}, "/sample"),
        ({"timeout": 0}, "/timeout"),
        ({"invoke_url_path": "invoke"}, "/invoke_url_path"),
        ({"include_default_endpoints": ["DOCKS"]}, "/include_default_endpoints"),
        ({"uvicorn_workers": 2, "uvicorn_reload": True}, "/uvicorn_workers"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        DeploymentSettings(**given)
    assert [one["pointer"] for one in raised.value.errors] == [pointer]


def test_a_pipeline_says_them_under_its_settings() -> None:
    def made() -> None:
        """Nothing is to be done."""

    one = pipeline(settings={"deployment": {"cors": {"allow_origins": ["https://a.example"]}}})(made)
    assert one.configuration.settings.deployment is not None
    assert one.configuration.settings.deployment.cors.allow_origins == ("https://a.example",)
    with pytest.raises(AuthoringError, match="no such field"):
        pipeline(settings={"deployment": {"cors": {"allow_origin": []}}})(made)


def test_headers() -> None:
    assert SecureHeadersConfig(hsts="max-age=1", csp=False).headers()["strict-transport-security"] == "max-age=1"
    assert "content-security-policy" not in SecureHeadersConfig(csp=False).headers()
