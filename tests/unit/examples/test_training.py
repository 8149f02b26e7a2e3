from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from sklearn.datasets import load_breast_cancer, load_wine

from examples.training import pipeline as training

DATA = Path(training.__file__).parent / "data"
SHAPES = {"breast_cancer.csv": (569, 31), "wine.csv": (178, 14)}


@pytest.fixture(scope="module")
def wine() -> pd.DataFrame:
    return training.load_data(str(DATA / "wine.csv"))


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The data folder behind a real HTTP server; yields its URL."""
    handler = functools.partial(_QuietHandler, directory=str(DATA))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("name", "bundled"), [("breast_cancer.csv", load_breast_cancer), ("wine.csv", load_wine)])
def test_the_shipped_files_are_the_real_data(name: str, bundled) -> None:
    pd.testing.assert_frame_equal(pd.read_csv(DATA / name), bundled(as_frame=True).frame)


class TestLoadData:
    @pytest.mark.parametrize("name", SHAPES)
    def test_reads_a_path(self, name: str) -> None:
        assert training.load_data(str(DATA / name)).shape == SHAPES[name]

    def test_reads_a_file_url(self) -> None:
        assert training.load_data((DATA / "wine.csv").as_uri()).shape == SHAPES["wine.csv"]

    def test_reads_over_http(self, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert training.load_data(f"{web}/wine.csv").shape == SHAPES["wine.csv"]

    def test_a_relative_path_means_the_working_directory_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "wine.csv").write_text("a,target\n1,0\n")
        monkeypatch.chdir(tmp_path)
        assert training.load_data("data/wine.csv").shape == (1, 2)

    def test_a_relative_path_means_the_folder_of_the_pipeline_otherwise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert training.load_data("data/wine.csv").shape == SHAPES["wine.csv"]

    def test_a_missing_file_is_named_as_it_was_given(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
            training.load_data("nowhere.csv")

    def test_a_file_without_a_target_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "odd.csv").write_text("height,weight\n1,2\n")
        with pytest.raises(ValueError, match=r"no column 'target'; it has height, weight"):
            training.load_data(str(tmp_path / "odd.csv"))


def test_load_data_reads_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        bucket = S3FileSystem(skip_instance_cache=True)
        bucket.mkdir("data")
        bucket.put_file(str(DATA / "wine.csv"), "data/wine.csv")
        assert training.load_data("s3://data/wine.csv").shape == SHAPES["wine.csv"]
    finally:
        server.stop()


def test_preprocess_leaves_out_incomplete_rows() -> None:
    data = pd.DataFrame({"a": [1.0, None, 3.0], "target": [0, 1, 0]})
    assert list(training.preprocess(data)["a"]) == [1.0, 3.0]


class TestTrainModel:
    @pytest.mark.parametrize("model_type", get_args(training.ModelType))
    def test_every_choice_learns(self, wine: pd.DataFrame, model_type: training.ModelType) -> None:
        metrics = training.evaluate(training.train_model(wine, model_type), wine)
        assert metrics["accuracy"] > 0.9
        assert metrics["f1"] > 0.9

    def test_another_choice_is_refused_with_the_list(self, wine: pd.DataFrame) -> None:
        with pytest.raises(ValueError, match=r"'svm'; choose one of random_forest, gradient_boosting, logistic"):
            training.train_model(wine, "svm")


@pytest.mark.parametrize(("name", "rows", "classes"), [("breast_cancer.csv", 569, 2), ("wine.csv", 178, 3)])
def test_evaluate_tells_what_was_measured(name: str, rows: int, classes: int) -> None:
    data = training.load_data(str(DATA / name))
    metrics = training.evaluate(training.train_model(data, "logistic"), data)
    assert (metrics["rows"], metrics["classes"]) == (rows, classes)


def test_the_split_keeps_every_row_once(wine: pd.DataFrame) -> None:
    training_rows, unseen_rows = training.split(wine)
    assert sorted([*training_rows.index, *unseen_rows.index]) == list(wine.index)
    assert set(unseen_rows["target"]) == {0, 1, 2}
