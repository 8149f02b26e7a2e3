"""How it stands in the trial in which a process takes part, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from penstock.model.tally import Slice
from penstock.model.trial import Part, TrialOrder

_SIDES = ("first", "candidate")
_COUNTED = {
    "compared": "Answers of the candidate that were compared.",
    "different": "Answers of the candidate that differ.",
    "dropped": "Copies that were not sent, because too many waited.",
    "unreachable": "Requests and copies that did not reach the candidate, or found it not ready or without a place.",
    "refused": "Requests that the candidate refused, and what serves carried out.",
}


@dataclass
class Score:
    """What one process has counted of a trial since it takes part."""

    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SIDES, 0))
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SIDES, 0))
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))

    def add(self, one: Slice) -> None:
        """Count the requests in."""
        for side in _SIDES:
            tally = getattr(one, side)
            self.requests[side] += tally.requests
            self.errors[side] += tally.errors

    def note(self, part: Part) -> None:
        """Count in what else happened; its slices are counted by themselves."""
        for name in _COUNTED:
            self.counted[name] += getattr(part, name)


class Scoreboard(Collector):
    """Tells the score of the trial that is on whenever it is asked; nothing while none is."""

    def __init__(self, standing: Callable[[], tuple[TrialOrder, Score, bool] | None]) -> None:
        """`standing`: what is to be done, what was counted, and whether this process has stopped sending to the candidate."""
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        standing = self._standing()
        if standing is None:
            return
        order, score, stopped = standing
        of = {"trial": order.trial_id, "kind": order.kind}
        yield _gauge("share", "The share of the requests that the candidate is to have.", of, order.share)
        yield _gauge("stopped", "1 if this process sends the candidate nothing more, by the rule.", of, stopped)
        for name, said in _COUNTED.items():
            yield _counter(name, said, of, {"": score.counted[name]})
        yield _counter("requests", "Requests that were carried out, by who did.", of, score.requests)
        yield _counter("errors", "Those that failed, and not through what the caller gave.", of, score.errors)


def _gauge(name: str, said: str, of: dict[str, str], value: float) -> Metric:
    made = GaugeMetricFamily(f"penstock_service_trial_{name}", said, labels=list(of))
    made.add_metric(list(of.values()), value)
    return made


def _counter(name: str, said: str, of: dict[str, str], counts: dict[str, int]) -> Metric:
    sides = [] if "" in counts else ["side"]
    made = CounterMetricFamily(f"penstock_service_trial_{name}", said, labels=[*of, *sides])
    for side, count in counts.items():
        made.add_metric([*of.values(), *([side] if side else [])], count)
    return made
