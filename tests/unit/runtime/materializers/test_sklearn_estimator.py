from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from penstock.errors import ArtifactError
from penstock.runtime.materializers.preview import LIMIT


class Odd(BaseEstimator):
    """An estimator that breaks the rules of its house."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        raise RuntimeError("no parameters for you")


def test_a_model_comes_back_and_predicts_the_same(shelf: Any) -> None:
    data = np.random.default_rng(0).normal(size=(50, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(data, data[:, 0] > 0)
    artifact = shelf.save(model)
    assert (artifact.materializer, artifact.code_bearing) == ("sklearn", True)
    back = shelf.load(artifact, allow_code=True)
    np.testing.assert_array_equal(back.predict_proba(data), model.predict_proba(data))


def test_a_model_is_code_bearing_and_not_loaded_without_leave(shelf: Any) -> None:
    with pytest.raises(ArtifactError, match="PENSTOCK_ALLOW_PICKLE"):
        shelf.load(shelf.save(LogisticRegression()))


def test_the_facts(shelf: Any) -> None:
    facts = shelf.save(LogisticRegression(C=0.5)).metadata
    assert facts["class"] == "LogisticRegression"
    assert facts["params"]["C"] == 0.5
    assert facts["sklearn"] == sklearn.__version__
    assert facts["format"].startswith("cloudpickle")
    big = shelf.save(FunctionTransformer(kw_args={"data": list(range(100_000))})).metadata
    assert len(json.dumps(big)) <= LIMIT


def test_parameters_that_cannot_be_had_do_not_matter(shelf: Any) -> None:
    artifact = shelf.save(Odd())
    assert "no parameters" in artifact.metadata["params"]
    assert isinstance(shelf.load(artifact, allow_code=True), Odd)
