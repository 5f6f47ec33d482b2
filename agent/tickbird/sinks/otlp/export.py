"""The store on its way to the Collector: the latest values, and once the end of what ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ...store import Store
from .delivery import Lane, Payload
from .metrics import Encoded, MetricsEncoder, encode_ended

REQUEST_BYTES = 1024 * 1024
"""Requests are joined up to this size."""
ENDS_BYTES = 4 * REQUEST_BYTES
"""Of ends that wait for room. A Collector that is away for long, beside a service that restarts
for long, costs the oldest of them: Prometheus lets a series go by itself after five minutes."""


class MetricsExport:
    """Not thread-safe."""

    def __init__(self, store: Store, lane: Lane) -> None:
        self._store = store
        self._lane = lane
        self._encoder = MetricsEncoder()
        self.waiting: deque[Payload] = deque()
        """Ends that have found no room yet."""
        self._sent = 0.0

    def end(self, ends: Iterable[Encoded]) -> None:
        """Send these requests, too, which say that something ended."""
        self.waiting.extend(joined(ends))
        while sum(len(payload.body) for payload in self.waiting) > ENDS_BYTES:
            self.waiting.popleft()

    def send(self, now: float) -> None:
        """Send every series' latest value, and the last value and end of those that ended. A value
        that finds no room is made good by the next one; an end is offered until it is taken."""
        ended = self._store.take_ended()
        self.end(encode_ended(ended, now, self._sent))
        while self.waiting and self._lane.offer(self.waiting[0]):
            self.waiting.popleft()
        for payload in joined(self._encoder.encode(self._store.series())):
            self._lane.offer(payload)
        self._sent = now


def joined(encoded: Iterable[Encoded]) -> Iterator[Payload]:
    """Requests joined into payloads of about ``REQUEST_BYTES``."""
    bodies: list[bytes] = []
    size = items = 0
    for body, count in encoded:
        bodies.append(body)
        size += len(body)
        items += count
        if size >= REQUEST_BYTES:
            yield Payload(b"".join(bodies), items)
            bodies, size, items = [], 0, 0
    if bodies:
        yield Payload(b"".join(bodies), items)
