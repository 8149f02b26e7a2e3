from __future__ import annotations

from pathlib import Path

import pytest

from penstock.model.deployment_settings import DeploymentSettings, EndpointSpec
from penstock.serve.endpoints import Endpoints


@pytest.mark.parametrize("root", ["", "/svc"])
def test_what_a_pipeline_brings_under_the_name_of_one_of_ours_stands_there_instead(root: str) -> None:
    own = EndpointSpec(path="/submit", method="POST", handler="m:f")
    table = Endpoints(DeploymentSettings(root_url_path=root, custom_endpoints=(own,)), Path()).table()
    assert f"{root}/submit" not in table
    assert {f"{root}/invoke", f"{root}/submit/*", f"{root}/submit/*/cancel"} <= set(table)
