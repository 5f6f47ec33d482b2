"""Proves the stack: canaries go in by two ways and must come out of every backend.

First each backend is asked a real question, so that a dead one is named within seconds. Then one
canary goes straight to the Collector and one through a short-lived agent; each has a metric, a log
line and a span, and each of the six is searched where it must arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from ..config import CollectorConfig
from ..errors import Unreachable
from .backends import BACKENDS, Backend, named
from .canary import Canary, Door, Signal, find, load_sdk, send
from .courier import Courier
from .lost import ROUTES, Route, where_it_is, where_to_write
from .native import recorded
from .site import Backends

Way = Literal["direct", "agent"]

_LOOK_WITHIN = 5.0
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """One backend asked a question. ``problem`` None: it answered; ``remedy`` says what to do."""

    backend: str
    url: str | None
    problem: str | None
    remedy: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """One signal on one way. ``seconds`` from sending to being found; None when it was not."""

    way: Way
    signal: Signal
    backend: str
    seconds: float | None
    problem: str | None = None
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proven: where telemetry goes in and where it must be found. ``stack`` is the name
    of a native stack whose logs can be pointed at, when there is one."""

    collector: CollectorConfig
    backends: Backends
    stack: str | None

    def door(self) -> Door:
        tls = self.collector.tls
        return Door(
            self.collector.endpoint,
            {name: value.reveal() for name, value in self.collector.headers.items()},
            *((str(path) if path else None for path in (tls.ca, tls.cert, tls.key)) if tls else ()),
        )


def look(subject: Subject) -> list[Look]:
    """Ask every backend that has an address, side by side; at most ``_LOOK_WITHIN`` seconds."""
    with ThreadPoolExecutor(len(BACKENDS)) as pool:
        return list(pool.map(lambda backend: _look(backend, subject), BACKENDS))


def prove(
    subject: Subject, looks: list[Look], timeout: float, tell: Callable[[Result], None]
) -> list[Result]:
    """Send both canaries and search them; ``tell`` hears each result as it is known."""
    ill = {seen.backend: seen for seen in looks if seen.problem}
    results: list[Result] = []
    for result in _Search(subject, ill, timeout).both_ways():
        results.append(result)
        tell(result)
    return results


@dataclass(frozen=True, slots=True)
class _Search:
    subject: Subject
    ill: dict[str, Look]
    timeout: float

    def both_ways(self) -> Iterator[Result]:
        if blocked := self.ill.get("collector"):
            for way in ("direct", "agent"):
                yield from _all_failed(way, "the Collector does not answer", blocked.remedy)
            return
        load_sdk()  # its imports are not part of a signal's way
        door, direct, carried = self.subject.door(), Canary(), Canary()
        yield from self._one_way("direct", direct, lambda signal: send(direct, signal, door))
        instance = f"verify-{carried.id}"
        try:
            with Courier(self.subject.collector, instance, self.timeout) as courier:
                yield from self._one_way("agent", carried, lambda s: courier.carry(carried, s))
        except Unreachable as error:
            yield from _all_failed("agent", str(error), "see what it says: tickbird run")

    def _one_way(
        self, way: Way, canary: Canary, hand_in: Callable[[Signal], None]
    ) -> Iterator[Result]:
        """The three signals side by side; results in the order of ROUTES."""
        with ThreadPoolExecutor(len(ROUTES)) as pool:
            yield from pool.map(lambda route: self._one(way, canary, hand_in, route), ROUTES)

    def _one(
        self, way: Way, canary: Canary, hand_in: Callable[[Signal], None], route: Route
    ) -> Result:
        result = Result(way, route.signal, route.backend, None)
        if seen := self.ill.get(route.backend):
            problem = f"{named(route.backend).title} does not answer"
            return replace(result, problem=problem, remedy=seen.remedy)
        url = named(route.backend).url(self.subject.backends)
        if url is None:
            return replace(result, problem="no address", remedy=where_to_write(route.backend))
        began = time.monotonic()
        try:
            hand_in(route.signal)
        except Unreachable as error:
            return replace(result, problem=str(error), remedy="its log says why it refuses")
        obstacle = self._await(canary, route.signal, url)
        if obstacle is None:
            return replace(result, seconds=time.monotonic() - began)
        if obstacle:
            return replace(result, problem=obstacle, remedy="its log says more")
        problem, remedy = where_it_is(self.subject.backends, route, way == "agent")
        return replace(result, problem=problem, remedy=remedy)

    def _await(self, canary: Canary, signal: Signal, url: str) -> str | None:
        """None as soon as it is found; at the end of the time what stood in the way, or ""."""
        began = time.monotonic()
        problem = ""
        while (waited := time.monotonic() - began) < self.timeout:
            try:
                if find(canary, signal, url):
                    return None
                problem = ""
            except Unreachable as error:
                problem = str(error)
            time.sleep(min(_POLL * (1 + waited), 1.0))
        return problem


def _all_failed(way: Way, problem: str, remedy: str | None) -> Iterator[Result]:
    for route in ROUTES:
        yield Result(way, route.signal, route.backend, None, problem, remedy)


def _look(backend: Backend, subject: Subject) -> Look:
    url = backend.url(subject.backends)
    if url is None:
        return Look(backend.name, None, None, None)
    try:
        if backend.name == "collector" and subject.collector.endpoint.startswith("https:"):
            return Look(backend.name, url, None, None)  # asked by the canary, with its certificates
        backend.question(url, _LOOK_WITHIN)
    except Unreachable as error:
        problem = f"{backend.title}: {error}"
        return Look(backend.name, url, problem, _remedy(backend, subject))
    return Look(backend.name, url, None, None)


def _remedy(backend: Backend, subject: Subject) -> str:
    known = recorded(subject.stack) if subject.stack else None
    if known is None:
        return "start the stack with `tickbird stack up --native`, or name yours with --config"
    name = "" if subject.stack == "default" else f" --name {subject.stack}"
    log = known[0].log(backend.name)
    return (
        f"start it again with `tickbird stack up --native{name}`; the log of {backend.name}: {log}"
    )
