"""`async def` steps: their coroutines and asynchronous generators, on an event loop of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

from penstock.runtime.watch import Interrupted, Work

T = TypeVar("T")


home: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("penstock_loop", default=None)
"""The loop of this process on which coroutines run, if it has one that goes on: that of a service."""


def awaited(coroutine: Coroutine[Any, Any, T], work: Work) -> T:
    """What the coroutine returns. In a thread whose loop is running (a notebook's) it runs in another one."""
    loop = home.get()
    if loop is not None and not _has_loop():
        return _on(loop, coroutine, work)
    if _has_loop():
        return _elsewhere(lambda: awaited(coroutine, work))
    with _interruptible(work) as asked, asyncio.Runner() as runner:
        return _run(runner, coroutine, work, asked)


def items(source: AsyncGenerator[T, None], work: Work) -> Iterator[T]:
    """The items of an asynchronous generator, as they come; all at the end in a thread whose loop is running."""
    loop = home.get()
    if loop is not None and not _has_loop():
        yield from _items_on(loop, source, work)
        return
    if _has_loop():
        yield from _elsewhere(lambda: list(items(source, work)))
        return
    with _interruptible(work) as asked, asyncio.Runner() as runner:
        try:
            while True:
                try:
                    item = _run(runner, _next(source), work, asked)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            runner.run(source.aclose())


def _items_on(loop: asyncio.AbstractEventLoop, source: AsyncGenerator[T, None], work: Work) -> Iterator[T]:
    try:
        while True:
            try:
                item = _on(loop, _next(source), work)
            except StopAsyncIteration:
                return
            yield item
    finally:
        asyncio.run_coroutine_threadsafe(source.aclose(), loop).result()


def _on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], work: Work) -> T:
    """What the coroutine returns on a loop that runs in another thread."""
    waiting = asyncio.run_coroutine_threadsafe(coroutine, loop)
    work.cancel_async = partial(_cancel, waiting)
    try:
        return waiting.result()
    except concurrent.futures.CancelledError:
        if work.cause is not None:
            raise Interrupted from None
        raise asyncio.CancelledError from None
    finally:
        work.cancel_async = None
        waiting.cancel()


def _cancel(waiting: concurrent.futures.Future[Any]) -> None:
    waiting.cancel()


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Asked:
    """Whether the work is to stop, and the task of its loop that has to be told."""

    def __init__(self) -> None:
        self.stop = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        """Stop the task, now or as soon as there is one; from any thread."""
        self.stop = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    def watch(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """From now on this task is what is stopped."""
        self._loop, self._task = loop, task
        if self.stop:
            task.cancel()


@contextmanager
def _interruptible(work: Work) -> Iterator[_Asked]:
    """In here nothing is raised in the middle of asyncio's own code: the task is cancelled instead."""
    asked = _Asked()
    work.cancel_async = asked.cancel
    try:
        yield asked
    finally:
        work.cancel_async = None


def _run(runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T], work: Work, asked: _Asked) -> T:
    loop = runner.get_loop()
    task = loop.create_task(coroutine)
    asked.watch(loop, task)
    try:
        return runner.run(_joined(task))
    except asyncio.CancelledError:
        if work.cause is not None:
            raise Interrupted from None
        raise


async def _joined(task: asyncio.Task[T]) -> T:
    return await task


def _elsewhere(run: Callable[[], T]) -> T:
    """What `run` returns or raises in another thread, which sees the same context."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(run())
        except BaseException as error:  # noqa: BLE001  # raised below, in the thread that asked
            failure.append(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), name="penstock-loop", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
