from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any

import pytest

from penstock import pipeline, step
from penstock.author import tracing
from penstock.author.composer import composer
from penstock.author.handle import Handle
from penstock.author.tracing import trace
from penstock.errors import AuthoringError
from penstock.model.graph import Binding, Graph


@step
def load_data(data_url: str) -> list[dict[str, float]]:
    raise AssertionError("tracing runs no step")


@step
def preprocess(data: list[dict[str, float]]) -> dict[str, Any]:
    raise AssertionError("tracing runs no step")


@step
def train_model(datasets: dict[str, Any], model_type: str = "random_forest"):  # type: ignore[no-untyped-def]
    raise AssertionError("tracing runs no step")


@step
def evaluate(model: Any, datasets: dict[str, Any]) -> Annotated[dict[str, float], "metrics"]:
    raise AssertionError("tracing runs no step")


@step
def use(x: Any, y: Any = None) -> Any:
    raise AssertionError("tracing runs no step")


@step
def halves(x: Any) -> tuple[Annotated[int, "left"], Annotated[int, "right"]]:
    raise AssertionError("tracing runs no step")


@step
def tell(x: Any = None) -> None:
    raise AssertionError("tracing runs no step")


def parameter(name: str) -> Binding:
    return Binding(kind="parameter", name=name)


def output(of: str, name: str = "output") -> Binding:
    return Binding(kind="output", step=of, output=name)


def value(it: Any) -> Binding:
    return Binding(kind="value", value=it)


def ids(graph: Graph) -> list[str]:
    return [invocation.id for invocation in graph.invocations]


@pipeline
def training_pipeline(  # type: ignore[no-untyped-def]
    data_url: str = "s3://example-bucket/data.csv", model_type: str = "random_forest"
):
    data = load_data(data_url)
    datasets = preprocess(data)
    model = train_model(datasets, model_type)
    return evaluate(model, datasets)


class TestTheTrainingPipeline:
    def test_edges(self) -> None:
        graph = trace(training_pipeline)
        assert {invocation.id: invocation.inputs for invocation in graph.invocations} == {
            "load_data": {"data_url": parameter("data_url")},
            "preprocess": {"data": output("load_data")},
            "train_model": {"datasets": output("preprocess"), "model_type": parameter("model_type")},
            "evaluate": {"model": output("train_model"), "datasets": output("preprocess")},
        }
        assert graph.outputs == {"metrics": output("evaluate", "metrics")}
        assert not graph.dynamic
        assert graph.dynamic_reason is None

    def test_invocations(self) -> None:
        train = trace(training_pipeline).invocation("train_model")
        assert train is not None
        assert (train.step, train.source, train.upstream()) == (
            "train_model",
            f"{__name__}:train_model",
            {"preprocess"},
        )
        assert [(one.name, one.type) for one in train.outputs] == [("output", "Any")]
        assert train.schema == {
            "type": "object",
            "properties": {"model_type": {"type": "string", "default": "random_forest"}},
            "required": [],
            "additionalProperties": False,
        }


def test_parameters_inside_containers_are_edges() -> None:
    @pipeline
    def flow(a: Any, b: Any, c: Any) -> Any:
        return use([a, 1], {"b": (b,), "loaded": use(c)})

    graph = trace(flow)
    assert graph.invocations[1].inputs == {
        "x": Binding(kind="items", items=(parameter("a"), value(1))),
        "y": Binding(
            kind="items", keys=("b", "loaded"), items=(Binding(kind="items", items=(parameter("b"),)), output("use"))
        ),
    }
    assert not graph.dynamic


def test_binding_goes_by_dataflow_and_never_by_name() -> None:
    @pipeline
    def flow(x: int = 1, y: int = 2) -> Any:
        z = x
        return use(x=y, y=z)

    assert trace(flow).invocations[0].inputs == {"x": parameter("y"), "y": parameter("x")}


def test_constants_and_what_is_no_json() -> None:
    @pipeline
    def flow() -> Any:
        return use({"a": [1]}, object)

    assert trace(flow).invocations[0].inputs == {"x": value({"a": [1]}), "y": Binding(kind="opaque", type="type")}


def test_a_pipeline_inside_a_pipeline_is_a_part_of_it() -> None:
    @pipeline
    def inner(x: int, y: int = 7) -> Any:
        return use(x, y)

    @pipeline
    def outer(n: int) -> Any:
        return inner(inner(n))

    graph = trace(outer)
    assert [invocation.inputs for invocation in graph.invocations] == [
        {"x": parameter("n"), "y": value(7)},
        {"x": output("use"), "y": value(7)},
    ]
    assert graph.outputs == {"output": output("use_2")}


class TestOrder:
    def test_after_and_ids(self) -> None:
        @pipeline
        def flow() -> Any:
            first = use(1)
            left, right = halves(first, id="split")
            tell()
            tell(after=["tell", left, right, first])

        graph = trace(flow)
        assert ids(graph) == ["use", "split", "tell", "tell_2"]
        assert graph.invocations[3].after == ("tell", "split", "use")
        assert graph.invocations[3].upstream() == {"tell", "split", "use"}

    def test_an_unknown_id(self) -> None:
        @pipeline
        def flow() -> Any:
            use(1, after="lod_data")
            load_data("x")

        with pytest.raises(AuthoringError, match=r"(?s)Step use is called with after='lod_data'.*No step of this id"):
            trace(flow)

        @pipeline
        def near() -> Any:
            load_data("x")
            use(1, after="lod_data")

        with pytest.raises(AuthoringError, match=r"Did you mean 'load_data'\? Allowed: load_data"):
            trace(near)

    def test_an_id_twice(self) -> None:
        @pipeline
        def flow() -> Any:
            use(1, id="a")
            use(2, id="a")

        with pytest.raises(AuthoringError, match="id='a' of step use: another invocation"):
            trace(flow)


class TestOutputs:
    @pytest.mark.parametrize(
        ("give", "outputs"),
        [
            (lambda n: None, {}),
            (lambda n: n, {"output": parameter("n")}),
            (lambda n: 3, {"output": value(3)}),
            (lambda n: {1, 2}, {"output": Binding(kind="opaque", type="set")}),
            (halves, {"left": output("halves", "left"), "right": output("halves", "right")}),
            (
                lambda n: [use(n), use(n), halves(n)[0]],
                {"use.output": output("use"), "use_2.output": output("use_2"), "left": output("halves", "left")},
            ),
            (lambda n: {"m": use(n), "n": n, "c": 1}, {"m": output("use"), "n": parameter("n"), "c": value(1)}),
            (lambda n: [n, 1], {"output": Binding(kind="items", items=(parameter("n"), value(1)))}),
        ],
    )
    def test_what_is_returned(self, give: Callable[[Any], Any], outputs: dict[str, Binding]) -> None:
        @pipeline
        def flow(n: Any) -> Any:
            return give(n)

        graph = trace(flow)
        assert graph.outputs == outputs
        assert not graph.dynamic


class TestDynamic:
    def test_a_parameter_with_a_default_is_traced_with_it(self) -> None:
        @pipeline
        def flow(url: str, n: int = 3) -> Any:
            data = load_data(url)
            return [use(data, i) for i in range(n)]

        graph = trace(flow)
        assert ids(graph) == ["load_data", "use", "use_2", "use_3"]
        assert graph.invocations[0].inputs == {"data_url": parameter("url")}
        assert graph.invocations[3].inputs["y"] == value(2)
        assert list(graph.outputs) == ["use.output", "use_2.output", "use_3.output"]
        assert graph.dynamic
        assert graph.dynamic_reason == "parameter 'n' decides the shape"

    def test_without_a_default_what_was_seen_is_kept(self) -> None:
        @pipeline
        def flow(n: int, m: int = 1) -> Any:
            use(m)
            use(0 if m else n)
            if n > 2:
                use(n)
            return use(3)

        graph = trace(flow)
        assert [invocation.inputs["x"] for invocation in graph.invocations] == [value(1), value(0)]
        assert graph.outputs == {}
        assert graph.dynamic_reason == "parameter 'm' decides the shape; parameter 'n' decides the shape"

    def test_several_parameters(self) -> None:
        @pipeline
        def flow(a: int = 1, b: int = 2, c: int = 3) -> Any:
            return use(a + b, c)

        graph = trace(flow)
        assert graph.invocations[0].inputs == {"x": value(3), "y": parameter("c")}
        assert graph.dynamic_reason == "parameter 'a' decides the shape; parameter 'b' decides the shape"

    def test_what_a_marker_cannot_notice(self) -> None:
        @pipeline
        def flow(a: Any, b: Any = None) -> Any:
            if a is None:
                tell()
            match b:
                case None:
                    use(a)
                case _:
                    use(b)

        graph = trace(flow)
        assert graph.invocations[0].inputs == {"x": parameter("a")}
        assert graph.dynamic_reason == "parameter 'a' decides the shape; parameter 'b' decides the shape"

    def test_the_result_of_a_step(self) -> None:
        @pipeline
        def flow(n: int) -> Any:
            score = use(n)
            if score.load() > 0.5:
                tell()

        graph = trace(flow)
        assert graph.invocations[0].inputs == {"x": parameter("n")}
        assert ids(graph) == ["use"]
        assert graph.dynamic_reason == "the result of step 'use' decides the shape"

    @pytest.mark.parametrize("kind", [Exception, BaseException])
    def test_a_try_does_not_swallow_it(self, kind: type[BaseException]) -> None:
        @pipeline
        def flow(n: int) -> Any:
            try:
                if n > 3:
                    tell()
            except kind:
                pass
            with suppress(kind):
                use(n)
            raise ValueError("the function fails after it caught what is not its own")

        graph = trace(flow)
        assert ids(graph) == []
        assert graph.dynamic_reason == "parameter 'n' decides the shape"

    def test_swallowed_and_returned(self) -> None:
        @pipeline
        def flow(n: int = 3) -> Any:
            try:
                size = int(n)
            except BaseException:
                size = 99
            return use(size)

        graph = trace(flow)
        assert graph.invocations[0].inputs == {"x": value(3)}
        assert graph.dynamic

    def test_c_functions_that_do_not_ask(self) -> None:
        @pipeline
        def with_default(url: str, kind: str = "rf") -> Any:
            if kind in "rf gb":
                use(url, kind)

        graph = trace(with_default)
        assert graph.invocations[0].inputs == {"x": parameter("url"), "y": value("rf")}
        assert graph.dynamic_reason == "the function computes on its parameters"

        @pipeline
        def without(kind: str) -> Any:
            use(1)
            if kind in "rf gb":
                use(2)

        graph = trace(without)
        assert ids(graph) == ["use"]
        assert graph.dynamic_reason == "the function computes on its parameters"

        @pipeline
        def both(kind: str, other: str = "a") -> Any:
            if kind in "rf gb" or other in "abc":
                use(2)

        assert trace(both).dynamic_reason == "the function computes on its parameters"

    def test_a_marker_in_the_message_of_an_error(self) -> None:
        @pipeline
        def flow(n: int) -> Any:
            raise ValueError(n)

        assert trace(flow).dynamic

    def test_a_pipeline_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tracing, "MOST_INVOCATIONS", 5)

        @pipeline
        def flow() -> Any:
            while True:
                tell()

        graph = trace(flow)
        assert len(graph.invocations) == 5
        assert graph.dynamic_reason == "the function makes more than 5 invocations"

    def test_defaults_are_not_shared_between_traces(self) -> None:
        @pipeline
        def flow(names: tuple[str, ...] = ("a", "b")) -> Any:
            for name in names:
                tell(id=name)

        assert ids(trace(flow)) == ids(trace(flow)) == ["a", "b"]


class TestMistakes:
    def test_an_error_of_the_function_shows_its_line(self) -> None:
        def helper() -> None:
            raise KeyError("gone")

        @pipeline
        def flow(n: int = 1) -> Any:
            use(n)
            helper()

        with pytest.raises(AuthoringError) as caught:
            trace(flow)
        assert isinstance(caught.value.__cause__, KeyError)
        assert "Pipeline flow raised KeyError while it was traced, before any step ran: 'gone'" in caught.value.detail
        assert f"{__file__}, line" in caught.value.detail
        assert 'raise KeyError("gone")' in caught.value.detail
        assert "belongs into a step" in caught.value.detail

    def test_a_type_error_of_its_own_is_no_decision(self) -> None:
        @pipeline
        def flow(n: int) -> Any:
            return len(3)  # type: ignore[arg-type]

        with pytest.raises(AuthoringError, match="raised TypeError"):
            trace(flow)

    @pytest.mark.parametrize("misuse", [bool, lambda h: h + 1, lambda h: [*h], lambda h: h.shape])
    def test_a_handle_is_no_value(self, misuse: Callable[[Any], Any]) -> None:
        @pipeline
        def flow(n: int = 1) -> Any:
            misuse(use(n))

        with pytest.raises(AuthoringError, match="not known until it ran"):
            trace(flow)

    def test_a_wrong_call(self) -> None:
        @pipeline
        def flow(n: int = 1) -> Any:
            use(n, z=1)

        with pytest.raises(AuthoringError, match=r"(?s)Step use cannot be called.*/z.*Allowed: x, y"):
            trace(flow)

    def test_a_handle_of_another_trace(self) -> None:
        kept: list[Handle] = []

        @pipeline
        def flow() -> Any:
            use(kept[0] if kept else 1)
            kept.append(use(2))

        trace(flow)
        with pytest.raises(AuthoringError, match="belongs to another run"):
            trace(flow)

    def test_the_keyboard_interrupts(self) -> None:
        @pipeline
        def flow() -> Any:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trace(flow)
        assert composer.get() is None


def test_eight_threads_trace_one_pipeline() -> None:
    meet = threading.Barrier(8)

    @pipeline
    def flow(n: int = 3, m: str = "x") -> Any:
        meet.wait(10)
        return [use(m, i, id=f"use-{i}") for i in range(n)]

    with ThreadPoolExecutor(8) as pool:
        graphs = list(pool.map(lambda _: trace(flow), range(8)))
    assert all(graph == graphs[0] for graph in graphs)
    assert ids(graphs[0]) == ["use-0", "use-1", "use-2"]
    assert graphs[0].invocations[2].inputs == {"x": parameter("m"), "y": value(2)}
