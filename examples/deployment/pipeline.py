"""A pipeline to be kept warm behind HTTP: a model that is loaded once, and asked for each request. See `from_deploy_to_delete.sh`."""

from __future__ import annotations

from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from penstock import get_step_context, pipeline, step


def load_model() -> BaseEstimator:
    """Called once, when the service comes up; all requests share what it returns."""
    flowers = load_iris()
    return LogisticRegression(max_iter=1000).fit(flowers.data, flowers.target_names[flowers.target])


@step
def check(measures: list[float]) -> list[float]:
    """Refuse what no flower has."""
    if any(one <= 0 for one in measures):
        raise ValueError(f"{measures}: a petal has a length.")
    return measures


@step
def classify(measures: list[float]) -> dict[str, float]:
    """How likely each species is."""
    model = get_step_context().pipeline_state
    [shares] = model.predict_proba([measures])
    return {str(name): round(float(share), 4) for name, share in zip(model.classes_, shares, strict=True)}


@pipeline(on_init=load_model)
def flowers(
    sepal_length: float = 5.8, sepal_width: float = 3.0, petal_length: float = 4.3, petal_width: float = 1.3
) -> dict[str, float]:
    """Tell the species of an iris from its measures in centimetres."""
    return classify(check([sepal_length, sepal_width, petal_length, petal_width]))
