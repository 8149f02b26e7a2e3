"""What tells whether code has changed."""

from __future__ import annotations

from penstock import step
from penstock.author.text import source_text


def test_code_counts_without_its_decorators() -> None:
    def one(x: int) -> int:
        return x

    @step(retry={"max_retries": 3})
    def decorated(x: int) -> int:
        return x

    text = source_text(decorated.function)
    assert text is not None
    assert text.splitlines() == ["def decorated(x: int) -> int:", "    return x"]
    assert source_text(one) != text


def test_what_has_no_source_has_none() -> None:
    assert source_text(len) is None
    namespace: dict[str, object] = {}
    exec("def made(x): return x", namespace)
    assert source_text(namespace["made"])
