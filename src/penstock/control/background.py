"""What a server does by itself, beside answering requests: one thread for each thing that is to be seen to."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from penstock.control.installation import Installation


class Background(ABC):
    """One thread, from `start` to `stop`. `topics`: what it waits for, so that it need not be waited for when it is to leave."""

    def __init__(self, installation: Installation, name: str, topics: Iterable[str] = ()) -> None:
        self.name = name
        self.beat = time.monotonic()
        """When it last came round; what goes round seldom comes by more often than the health check looks."""

        self._installation = installation
        self._topics = tuple(topics)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"penstock-{name}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; returns when the thread has ended."""
        self._leaving.set()
        self._installation.bell.ring(*self._topics)
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _work(self) -> None:
        """Go round until `_leaving` is set."""
