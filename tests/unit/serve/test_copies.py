from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.model.likeness import Comparing
from penstock.model.trial import Part
from penstock.runtime.mask import Mask
from penstock.serve import copies
from penstock.serve.copies import Copies, Outcome, _differences, _told
from tests.unit.serve.test_candidate import OK, staged, until


def answered(outputs: Any = None, **fields: Any) -> bytes:
    return msgspec.json.encode({"outputs": outputs, "execution_time": 0.1, "metadata": {"run_id": "r2"}, **fields})


def pointers(first: Outcome, second: Outcome) -> list[str]:
    return [one.pointer for _, one in _differences(first, second, _told(second), Comparing())]


def test_status_outputs_and_the_way_of_failing_are_compared() -> None:
    good, refused = Outcome(200, "r", answered({"a": 1})), Outcome(422, None, b'{"detail":"x"}')
    assert pointers(good, Outcome(200, None, answered({"a": 1}, error="another"))) == []
    assert pointers(good, Outcome(200, None, answered({"a": 2}))) == ["/outputs/a"]
    assert pointers(good, Outcome(200, None, b"no json")) == ["/outputs"]
    assert pointers(good, refused) == ["/status"]
    assert pointers(refused, good) == ["/status"]
    assert pointers(refused, Outcome(422, None, b'{"detail":"y"}')) == []
    failed = [Outcome(500, "r", answered(failure={"type": kind, "step": "s", "message": kind})) for kind in ("A", "B")]
    assert pointers(*failed) == ["/failure/type"]
    assert pointers(failed[0], failed[0]) == []
    [(_, lost)] = _differences(good, Outcome(0, None, b"It broke."), None, Comparing())
    assert (lost.pointer, lost.note) == ("/status", "It broke.")


def test_large_answers_are_told_apart_and_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "LARGEST_COMPARED", 10)
    first = Outcome(200, "r", answered({"a": 1}))
    assert pointers(first, first) == []
    assert pointers(first, Outcome(200, None, answered({"a": 2}))) == ["/outputs"]


def test_copies_are_shown_compared_and_counted_and_never_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_WAITING", 5)
    release = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(OK) + OK)

    async def work() -> Part:
        total = Part()

        def count(part: Part) -> None:
            nonlocal total
            total = total.plus(part)

        async with staged() as (stage, way):
            shown = Copies(stage.order(), way, count)
            shown.add(b"{}", Outcome(200, "r0", OK), {})
            await until(lambda: total.unreachable == 1)  # it is not up yet
            await until(lambda: way.ready)
            stage.deed = wait
            for number in range(copies.AT_ONCE):
                shown.add(b"{}", Outcome(200, f"r{number}", OK), {})
                await until(lambda: not shown._waiting)
            await until(lambda: len(stage.heads) == copies.AT_ONCE)
            for _ in range(20):
                shown.add(b"{}", Outcome(200, "r", OK.replace(b"1", b"3")), {})
            assert total.dropped == 15
            release.set()
            await until(lambda: total.compared == copies.AT_ONCE + 5)
            assert any(b"penstock-mirror-of: r3\r\n" in head for head in stage.heads)
            shown.close()
        return total

    total = asyncio.run(work())
    assert (total.different, total.places["/outputs/a"].count) == (5, 5)
    assert total.examples[0].candidate_run_id == "r2"
    assert sum(one.candidate.requests for one in total.slices) == copies.AT_ONCE + 5


def test_many_bytes_are_too_many_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_BYTES", 100)

    async def work() -> None:
        parts: list[Part] = []
        async with staged() as (stage, way):
            shown = Copies(stage.order(), way, parts.append)
            shown.add(b"x" * 60, Outcome(200, "r", b"x" * 60), {})
            assert [one.dropped for one in parts] == [1]
            shown.close()

    asyncio.run(work())


def test_examples_are_short_and_tell_no_secrets() -> None:
    mask = Mask()
    mask.add(["hunter22"])
    first = Outcome(200, "r", b"", lambda text: None if text is None else mask(text))
    assert copies._short({"a": 1}, first) == {"a": 1}
    assert "hunter22" not in copies._short(["hunter22"], first)
    assert len(copies._short("x" * 5000, first)) < 300
