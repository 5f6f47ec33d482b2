"""A lane: what waits for the Collector in one signal, in order, one request in flight.

Every payload that a lane took is settled exactly once, or handed back by ``drain``. Nothing is
given up for its age or for the number of tries: back-pressure on whoever offers is the only limit.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...clock import Clock, Deadline
from .answer import Reply, Verdict
from .client import Client, Signal

if TYPE_CHECKING:
    from ...config import CollectorConfig


LONGEST_PATIENCE = 120.0
"""Seconds for which an answer is waited for at most, while a Collector is slow."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a payload's items: ``accepted`` plus all ``refused`` (by reason) is their
    number. Refused is final."""

    accepted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


def unheard(_outcome: Outcome) -> None:
    """For payloads whose outcome only the lane's counters take note of."""


def unnoted() -> None:
    """For payloads whose first try nobody takes note of."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One request's worth of data. ``split`` makes parts (in order, together the same items) for
    a Collector that finds the whole too large or bad; the lane adds up what became of them, and
    calls ``settle`` of the whole, from its sender's thread; ``sending`` it calls from there before
    it first sends the whole. Both must be quick and must not raise."""

    body: bytes
    """OTLP protobuf, not compressed."""
    items: int
    split: Callable[[], Sequence[Payload]] | None = None
    settle: Callable[[Outcome], None] = unheard
    sending: Callable[[], None] = unnoted


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between tries, seconds: doubling from ``first`` to ``longest``, each shortened by a
    random part of up to a half; ``held`` while a person has to act. ``longest`` is short, so that
    data flows again soon after the Collector is back."""

    first: float = 0.5
    longest: float = 5.0
    held: float = 30.0

    def wait(self, failures: int, reply: Reply) -> float:
        """Seconds to wait after the ``failures``-th failure in a row (from 1)."""
        if reply.retry_after is not None:
            return reply.retry_after * random.uniform(1.0, 1.1)
        if reply.verdict is Verdict.HOLD:
            return self.held * random.uniform(0.5, 1.0)
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 32)) * random.uniform(0.5, 1)


@dataclass(slots=True)
class LaneStatus:
    """How a lane does. Counters are items since the lane was made; ``retried`` counts requests.
    ``problem`` is None while the last request succeeded; ``last_success`` is Unix seconds."""

    signal: Signal
    queued_items: int = 0
    queued_bytes: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    retried: int = 0
    problem: str | None = None
    last_error: str | None = None
    last_success: float | None = None


class Lane:
    """Bounded by ``capacity`` bytes of bodies; a single body beyond it passes when alone."""

    def __init__(
        self,
        collector: CollectorConfig,
        signal: Signal,
        clock: Clock,
        capacity: int,
        backoff: Backoff | None = None,
    ) -> None:
        self.signal = signal
        self._client = Client(collector, signal, clock)
        self._timeout = self._patience = collector.timeout
        self._clock = clock
        self._capacity = capacity
        self._backoff = backoff or Backoff()
        self._failures = 0
        self._tried: Payload | None = None
        self._queue: deque[Payload] = deque()
        self._status = LaneStatus(signal)
        self._lock = threading.Lock()
        self._sender = threading.Lock()
        self._arrived = threading.Event()
        self._room = threading.Event()
        self._draining = threading.Event()
        self._taken = threading.Event()

    @property
    def status(self) -> LaneStatus:
        """A copy, as of now."""
        with self._lock:
            return replace(self._status, refused=dict(self._status.refused))

    def offer(self, payload: Payload, wait: float = 0) -> bool:
        """Queue ``payload``, waiting up to ``wait`` seconds for room. False: not taken (full, or
        the lane is being drained); it stays the caller's."""
        deadline = Deadline(self._clock, wait)
        while not self._push(payload):
            if self._draining.is_set() or deadline.passed():
                return False
            self._clock.wait(self._room, deadline.remaining())
        return True

    def run(self, stop: threading.Event) -> None:
        """Thread body: send until ``stop`` is set or ``drain`` takes over."""
        with self._sender:
            while not (stop.is_set() or self._draining.is_set()):
                wait = self._send_next(self._patience)
                if wait is None:
                    self._clock.wait(self._arrived, 1.0)
                else:
                    self._pause(wait, stop)

    def drain(self, deadline: Deadline) -> list[Payload]:
        """Take no more, send what can be sent until ``deadline``, return the rest in order; their
        ``settle`` is never called. Returns in time even when the Collector accepts and never
        answers: a request under way is then broken off."""
        self._draining.set()
        self._arrived.set()
        self._room.set()
        # A thread of its own: looking up a name cannot be interrupted, so it is left behind.
        sender = threading.Thread(target=self._empty, args=(deadline,), daemon=True)
        sender.start()
        sender.join(deadline.remaining())
        self._client.abort()
        with self._lock:
            unsent = list(self._queue)
            self._queue.clear()
            self._count(unsent, -1)
        self._taken.set()
        sender.join(0.2)
        return unsent

    def _push(self, payload: Payload) -> bool:
        size = len(payload.body)
        with self._lock:
            full = bool(self._queue) and self._status.queued_bytes + size > self._capacity
            if full or self._draining.is_set():
                self._room.clear()
                return False
            self._queue.append(payload)
            self._count((payload,), 1)
            self._arrived.set()
            return True

    def _count(self, payloads: Sequence[Payload], sign: int) -> None:
        self._status.queued_bytes += sign * sum(len(p.body) for p in payloads)
        self._status.queued_items += sign * sum(p.items for p in payloads)

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        deadline = Deadline(self._clock, seconds)
        while not (deadline.passed() or stop.is_set() or self._draining.is_set()):
            self._clock.wait(self._draining, min(0.5, deadline.remaining()))

    def _empty(self, deadline: Deadline) -> None:
        with self._sender:
            while not (deadline.passed() or self._taken.is_set()):
                wait = self._send_next(min(self._timeout, deadline.remaining()))
                if wait is None:
                    break
                self._clock.wait(self._taken, min(wait, deadline.remaining()))
            self._client.close()

    def _send_next(self, timeout: float) -> float | None:
        """Try the oldest payload once. Seconds to wait before the next try, None: nothing there."""
        with self._lock:
            if not self._queue:
                self._arrived.clear()
                return None
            payload = self._queue[0]
        if payload is not self._tried:
            self._tried = payload
            payload.sending()
        began = self._clock.monotonic()
        reply = self._client.send(payload.body, timeout)
        self._be_patient(reply, self._clock.monotonic() - began)
        self._note(reply)
        if reply.verdict in (Verdict.RETRY, Verdict.HOLD):
            return self._backoff.wait(self._failures, reply)
        parts = self._parts(payload) if reply.verdict is Verdict.SPLIT else ()
        if parts:
            self._replace(payload, parts)
        elif self._replace(payload, ()):
            self._settle(payload, reply)
        return 0.0

    def _parts(self, payload: Payload) -> Sequence[Payload]:
        if payload.split is None or payload.items < 2:
            return ()
        parts = payload.split()
        join = _Join(payload, len(parts))
        return [replace(part, settle=join.settle) for part in parts]

    def _replace(self, payload: Payload, parts: Sequence[Payload]) -> bool:
        """Put ``parts`` in the place of the oldest payload; False when ``drain`` has already
        handed it back, so that it is not for us to settle."""
        with self._lock:
            if not self._queue or self._queue[0] is not payload:
                return False
            self._queue.popleft()
            self._queue.extendleft(reversed(parts))
            self._count((payload,), -1)
            self._count(parts, 1)
            self._room.set()
            return True

    def _settle(self, payload: Payload, reply: Reply) -> None:
        if reply.verdict is Verdict.ACCEPTED:
            rejected = min(reply.rejected, payload.items)
            refused = {"partial_success": rejected} if rejected else {}
            outcome = Outcome(payload.items - rejected, refused)
        else:
            outcome = Outcome(0, {reply.reason: payload.items})
        with self._lock:
            self._status.accepted += outcome.accepted
            _add(self._status.refused, outcome.refused)
        payload.settle(outcome)

    def _be_patient(self, reply: Reply, took: float) -> None:
        """A Collector that is slower than the timeout would be sent the same for ever, and might
        take it each time."""
        if reply.slow:
            self._patience = max(self._timeout, min(2 * self._patience, LONGEST_PATIENCE))
        elif took < self._timeout / 2:
            self._patience = self._timeout

    def _note(self, reply: Reply) -> None:
        failed = reply.verdict in (Verdict.RETRY, Verdict.HOLD)
        self._failures = self._failures + 1 if failed else 0
        with self._lock:
            if reply.detail:
                self._status.last_error = reply.detail
            self._status.problem = self._problem(reply) if failed else None
            if failed:
                self._status.retried += 1
            elif reply.verdict is Verdict.ACCEPTED:
                self._status.last_success = self._clock.time()

    def _problem(self, reply: Reply) -> str:
        what = f"the Collector at {self._client.where} does not take {self.signal}: {reply.detail}"
        kept = f"{what}; nothing is lost: it is tried again"
        return f"{kept}; what to do: {reply.remedy}" if reply.remedy else kept


class _Join:
    """Adds up what became of the parts of a payload; the last one settles the whole."""

    def __init__(self, whole: Payload, parts: int) -> None:
        self._whole = whole
        self._left = parts
        self._accepted = 0
        self._refused: dict[str, int] = {}

    def settle(self, outcome: Outcome) -> None:
        self._left -= 1
        self._accepted += outcome.accepted
        _add(self._refused, outcome.refused)
        if self._left == 0:
            self._whole.settle(Outcome(self._accepted, self._refused))


def _add(totals: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        totals[reason] = totals.get(reason, 0) + count
