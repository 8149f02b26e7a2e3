"""Train a classifier on any CSV file with a `target` column. `make demo` freezes this and triggers it with curl."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from penstock import pipeline, step

ModelType = Literal["random_forest", "gradient_boosting", "logistic"]


@step
def load_data(data_url: str) -> pd.DataFrame:
    """Read a CSV file: a path, `file://`, `http(s)://`, or `s3://` (through fsspec)."""
    data = pd.read_csv(located(data_url))
    if "target" not in data:
        raise ValueError(f"{data_url} has no column 'target'; it has {', '.join(data)}.")
    print(f"{len(data)} rows from {data_url}")
    return data


@step
def preprocess(data: pd.DataFrame) -> pd.DataFrame:
    """Leave out incomplete rows."""
    complete = data.dropna()
    print(f"{len(data) - len(complete)} incomplete rows left out")
    return complete


@step
def train_model(data: pd.DataFrame, model_type: ModelType = "random_forest") -> BaseEstimator:
    """Fit a model on three quarters of the rows."""
    match model_type:
        case "random_forest":
            model = RandomForestClassifier(n_estimators=100, random_state=0)
        case "gradient_boosting":
            model = GradientBoostingClassifier(n_estimators=50, random_state=0)
        case "logistic":
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        case _:
            raise ValueError(f"model_type is {model_type!r}; choose one of {', '.join(get_args(ModelType))}.")
    training, _ = split(data)
    return model.fit(training.drop(columns="target"), training["target"])


@step
def evaluate(model: BaseEstimator, data: pd.DataFrame) -> dict[str, float]:
    """Measure the model on the rows that it has not seen."""
    _, unseen = split(data)
    predicted = model.predict(unseen.drop(columns="target"))
    return {
        "accuracy": accuracy_score(unseen["target"], predicted),
        "f1": f1_score(unseen["target"], predicted, average="macro"),
        "rows": len(data),
        "classes": data["target"].nunique(),
    }


@pipeline
def training_pipeline(data_url: str = "data/breast_cancer.csv", model_type: ModelType = "random_forest"):
    """Load, clean, train, evaluate."""
    data = preprocess(load_data(data_url))
    model = train_model(data, model_type)
    return evaluate(model, data)


def split(data: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows to learn from and the rows to be measured on: the same ones every time."""
    return train_test_split(data, test_size=0.25, stratify=data["target"], random_state=0)


def located(data_url: str) -> str:
    """A relative path means a file here, or else one beside this pipeline; anything else stays as it is."""
    beside = Path(__file__).parent / data_url
    return str(beside) if "://" not in data_url and not Path(data_url).exists() and beside.exists() else data_url


if __name__ == "__main__":
    print(training_pipeline().outputs)
