"""scikit-learn's estimators. They have no format but pickle, so they are marked `code_bearing`.

(`skops` was weighed and left out: its guard against hostile files was bypassed three times.)
"""

from __future__ import annotations

from typing import Any

from penstock.runtime.materializers import pickled
from penstock.runtime.materializers.base import Files, Materializer, Sink
from penstock.runtime.materializers.preview import described, plain

_FILE = "estimator.pkl"


class SklearnEstimator(Materializer):
    """Whatever is built on scikit-learn's `BaseEstimator`, pipelines and searches too."""

    name = "sklearn"
    code_bearing = True

    def handles(self, kind: type) -> bool:
        """Whether it is scikit-learn's base class."""
        return kind.__module__ == "sklearn.base" and kind.__name__ == "BaseEstimator"

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the estimator; its class, parameters and scikit-learn's version are facts for a reader."""
        import sklearn  # imported already: the value is of it

        facts = pickled.dump(value, sink, _FILE)
        return {
            "class": type(value).__qualname__,
            "params": _parameters(value),
            "sklearn": sklearn.__version__,
            **facts,
        }

    def load(self, files: Files, type_hint: Any) -> Any:
        """The estimator; runs code out of the file. scikit-learn warns if it was stored by another version of it."""
        return pickled.read(files, _FILE)


def _parameters(value: Any) -> Any:
    try:
        return plain(value.get_params(deep=False))
    except Exception as error:  # noqa: BLE001  # parameters are decoration; a class may do anything in `get_params`
        return described(error)
