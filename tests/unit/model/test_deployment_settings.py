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
        ({"include_default_endpoints": 0}, "/include_default_endpoints"),
        ({"include_default_middleware": [1]}, "/include_default_middleware"),
        ({"uvicorn_workers": 2, "uvicorn_reload": True}, "/uvicorn_workers"),
        ({"uvicorn_kwargs": {"reload": True}}, "/uvicorn_kwargs/reload"),
        ({"app_kwargs": {"lifespan": None}}, "/app_kwargs/lifespan"),
        ({"startup_hook": 5}, "/startup_hook"),
        ({"dashboard_files_path": "/etc"}, "/dashboard_files_path"),
        ({"dashboard_files_path": "site/../.."}, "/dashboard_files_path"),
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


def test_functions_are_kept_by_their_names_and_found_again() -> None:
    def made() -> None:
        """Nothing is to be done."""

    said = {
        "startup_hook": test_headers,
        "shutdown_hook": "elsewhere:close",
        "custom_endpoints": [{"path": "/x", "handler": made}],
        "custom_middlewares": [{"middleware": SecureHeadersConfig}],
        "app_extensions": [{"extension": test_headers}],
    }
    one = pipeline(settings={"deployment": said})(made)
    named = one.configuration.settings.deployment
    assert named is not None
    assert named.startup_hook == f"{__name__}:test_headers"
    assert named.shutdown_hook == "elsewhere:close"
    assert named.custom_middlewares[0].middleware == "penstock.model.deployment_settings:SecureHeadersConfig"
    assert one.function_named(named.startup_hook) is test_headers
    assert one.function_named(named.custom_endpoints[0].handler) is made
    assert one.function_named("elsewhere:close") is None


def test_what_has_no_name_is_refused_where_it_stands() -> None:
    def made() -> None:
        """Nothing is to be done."""

    with pytest.raises(AuthoringError) as raised:
        pipeline(settings={"deployment": {"custom_endpoints": [{"path": "/x", "handler": object()}]}})(made)
    assert [one["pointer"] for one in raised.value.errors] == ["/settings/deployment/custom_endpoints/0/handler"]
