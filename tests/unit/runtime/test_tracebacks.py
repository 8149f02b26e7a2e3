from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.errors import ArtifactError, InvalidInput
from penstock.model.run import Failure
from penstock.runtime.patches import _call_at
from penstock.runtime.tracebacks import LIMIT, failure, strip

OWN = str(Path(penstock.__file__).parent)


def raised(function: Callable[..., object], *args: Any) -> BaseException:
    """What comes out of a call that goes through Penstock, as a step's does."""
    try:
        _call_at(None, function, *args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def without_this_file(error: BaseException) -> BaseException:
    """The error as it is seen inside of Penstock, below the frame of the test."""
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def user_step(depth: int = 0) -> None:
    if depth:
        user_step(depth - 1)
    raise ValueError("the user's own")


def through_us() -> None:
    _call_at(None, user_step)


def text_of(error: BaseException) -> str:
    text = failure(error).traceback
    assert text is not None
    return text


def test_a_failure_says_what_and_where() -> None:
    found = failure(raised(user_step), step="train")
    assert (found.type, found.message, found.step) == ("ValueError", "the user's own", "train")
    assert found.traceback is not None
    assert found.traceback.startswith("Traceback (most recent call last):\n")
    assert found.traceback.endswith("ValueError: the user's own\n")
    assert 'raise ValueError("the user\'s own")' in found.traceback


def test_our_frames_are_left_out_wherever_they_are() -> None:
    text = text_of(raised(through_us))
    assert OWN not in text
    assert [line for line in text.splitlines() if "in through_us" in line]
    assert [line for line in text.splitlines() if "in user_step" in line]


def test_so_are_those_of_the_threads_that_we_use() -> None:
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(through_us).exception()
    assert error is not None
    try:
        pool_result(error)
    except ValueError as again:
        text = text_of(again)
    assert "concurrent" not in text
    assert "threading.py" not in text
    assert "in user_step" in text


def pool_result(error: BaseException) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(raise_it, error).result()


def raise_it(error: BaseException) -> None:
    raise error


def test_causes_and_contexts_are_kept_and_cleaned() -> None:
    def caused() -> None:
        try:
            through_us()
        except ValueError as error:
            raise KeyError("second") from error

    def in_context() -> None:
        try:
            caused()
        except KeyError:
            _call_at(None, lambda: 1 / 0)

    text = text_of(raised(in_context))
    assert "the direct cause" in text
    assert "During handling" in text
    assert text.index("the user's own") < text.index("second") < text.index("division by zero")
    assert OWN not in text


def test_groups_are_cleaned_too() -> None:
    def grouped() -> None:
        raise ExceptionGroup("several", [raised(through_us), raised(user_step)])  # type: ignore[list-item]

    text = text_of(raised(grouped))
    assert text.count("the user's own") >= 2
    assert OWN not in text


def test_our_own_errors_need_no_frames() -> None:
    def refuse() -> None:
        raise InvalidInput("Nothing fits.")

    error = InvalidInput("Nothing fits.")
    assert text_of(error) == "penstock.errors.InvalidInput: Nothing fits.\n"
    assert "in refuse" in text_of(raised(refuse))


def test_a_fault_of_ours_shows_where_it_is() -> None:
    error = without_this_file(raised(None))  # type: ignore[arg-type]  # the call itself fails, inside of Penstock
    assert "_call_at" in text_of(error)


def test_a_cause_inside_of_us_is_told_without_our_frames() -> None:
    def broken() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            raise ArtifactError("It cannot be loaded.") from error

    text = text_of(raised(broken))
    assert "JSONDecodeError" in text
    assert "ArtifactError: It cannot be loaded." in text
    assert OWN not in text


def test_a_class_in_a_module_is_named_with_it() -> None:
    class Bad(Exception):
        pass

    assert failure(Bad()).type == f"{__name__}.test_a_class_in_a_module_is_named_with_it.<locals>.Bad"
    assert failure(KeyboardInterrupt()).type == "KeyboardInterrupt"
    assert failure(Bad()).message == ""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot speak")

    __repr__ = __str__


class Liar(Exception):
    @property
    def __notes__(self) -> Any:
        raise RuntimeError("no notes")


@pytest.mark.parametrize("error", [Mute(), Liar("x")])
def test_exceptions_that_fail_do_not_fail_us(error: Exception) -> None:
    found = failure(error)
    assert isinstance(found, Failure)
    assert found.type.endswith(type(error).__name__)


def test_the_message_of_a_mute_one_says_so() -> None:
    assert "__str__ raised RuntimeError" in failure(Mute()).message


def test_notes_are_kept() -> None:
    error = raised(user_step)
    error.add_note("in run x")
    assert text_of(error).endswith("in run x\n")


def test_long_ones_lose_their_middle() -> None:
    text = text_of(raised(user_step, 0))
    assert "left out" not in text
    chained: BaseException = ValueError("first " + "é" * 100_000)
    chained.__cause__ = ValueError("last " + "x" * 100_000)
    found = failure(chained)
    assert found.traceback is not None
    assert len(found.traceback.encode()) <= LIMIT
    assert "bytes left out" in found.traceback
    assert len(found.message.encode()) <= 8 * 1024
    assert found.message.startswith("first é")


def test_endless_recursion_is_short() -> None:
    def again() -> None:
        again()

    text = text_of(raised(again))
    assert "RecursionError" in text
    assert len(text) < 5000


def test_what_cannot_be_stored_is_replaced() -> None:
    found = failure(ValueError("nul \0 and \ud800"))
    assert found.message == "nul \ufffd and \ufffd"
    assert found.traceback is not None
    found.traceback.encode()
    assert "\0" not in found.traceback


def test_a_circle_of_causes_has_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert "one" in text_of(one)


def test_stripping_takes_the_frames_that_led_to_user_code() -> None:
    def caught() -> BaseException:
        try:
            _call_at(None, user_step, 1)
        except ValueError as error:
            return without_this_file(error)  # as if Penstock had caught it
        raise AssertionError

    error = caught()
    assert strip(error) is error
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["user_step", "user_step"]


def test_stripping_leaves_what_comes_between() -> None:
    error = raised(through_us)
    names = [frame.name for frame in traceback.extract_tb(strip(error).__traceback__)]
    assert names == ["raised", "_call_at", "through_us", "_call_at", "user_step"]


def test_stripping_our_own_errors_leaves_nothing_of_us() -> None:
    with pytest.raises(InvalidInput) as info:
        _call_at(None, _call_at, None, raise_it, InvalidInput("x"))
    names = [frame.name for frame in traceback.extract_tb(strip(without_this_file(info.value)).__traceback__)]
    assert names == ["raise_it"]
    assert strip(InvalidInput("never raised")).__traceback__ is None


def test_stripping_a_fault_of_ours_keeps_it_findable() -> None:
    error = without_this_file(raised(None))  # type: ignore[arg-type]
    assert [frame.name for frame in traceback.extract_tb(strip(error).__traceback__)] == ["_call_at"]


def test_it_may_be_asked_by_many_threads() -> None:
    error = raised(user_step)
    found: list[Failure] = []
    threads = [threading.Thread(target=lambda: found.append(failure(error))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
