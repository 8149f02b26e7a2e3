from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest

from penstock import ArtifactConfig, pipeline, step
from penstock.author.freeze import freeze
from penstock.author.promise import ARTIFACT, value_schema
from tests.unit.runtime.benching import Bench


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (None.__class__, {"type": "null"}),
        (Any, {}),
        (Fraction, ARTIFACT),
        (list[Fraction], ARTIFACT),
        (dict[int, str], ARTIFACT),
        (str, {"anyOf": [{"type": "string"}, ARTIFACT]}),
        (list[int], {"anyOf": [{"type": "array", "items": {"type": "integer"}}, ARTIFACT]}),
        (Literal["a", 1], {"anyOf": [{"enum": ["a", 1]}, ARTIFACT]}),
        (
            dict[str, float | None],
            {
                "anyOf": [
                    {"type": "object", "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
                    ARTIFACT,
                ]
            },
        ),
        (
            tuple[int, str],
            {
                "anyOf": [
                    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2},
                    ARTIFACT,
                ]
            },
        ),
    ],
)
def test_the_schema_of_an_annotation(annotation: Any, schema: dict[str, Any]) -> None:
    assert value_schema(annotation) == schema


@step
def many() -> tuple[Annotated[int, "count"], Annotated[dict[str, float], "scores"], Fraction, str]:
    return 1, {"a": 0.5}, Fraction(1, 3), "x" * 100_000


@step
def model() -> Annotated[list[int], ArtifactConfig(name="model-{date}")]:
    return [1]


@pipeline
def everything(label: str = "l", size: int = 3) -> Any:
    count, scores, fraction, text = many()
    return {"count": count, "scores": scores, "part": [fraction, label], "text": text, "m": model(), "size": size}


def test_what_a_run_has_fits_what_was_promised(tmp_path: Path) -> None:
    schema = freeze(everything).content.output_schema
    assert list(schema["properties"]) == schema["required"] == ["count", "scores", "part", "text", "m", "size"]
    outputs = Bench(tmp_path).run(everything, label="x", size=2)[0].outputs
    jsonschema_rs.validate(schema, outputs)
    assert outputs is not None
    assert outputs["count"] == 1
    assert set(outputs["text"]) == {"artifact", "type"}  # too long for a record
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, {**outputs, "count": "one"})


def test_a_pipeline_that_decides_while_it_runs_promises_what_is_seen() -> None:
    @pipeline
    def decides(size: int) -> Any:
        found = model()
        if found.load():
            return {"m": found}
        return {"other": found}

    schema = freeze(decides, lenient=True).content.output_schema
    assert schema["required"] == []
    assert schema["additionalProperties"] is True
    jsonschema_rs.validate(schema, {"m": [1]})


def test_a_path_is_an_artifact() -> None:
    assert value_schema(Path) == ARTIFACT
