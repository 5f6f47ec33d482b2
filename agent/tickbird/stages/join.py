"""Joins a request's id and its trace's id on lines that bear only one of the two.

A pair is learned where both stand together: on a line, or on a span that a service sent. It is
never guessed: an id that was seen with two different others joins nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from ..logrecords import Column, Records
from .correlate import put_correlation_id

JOINED = "tickbird.correlation"
"""The attribute that marks a record whose trace or request id was joined to it; its value is
``joined``."""
MOST = 5_000
"""Pairs per generation, of which two are kept: at most some 4 MB."""
KEPT = 60.0
"""Seconds after which a generation ends too, so a pair that is not seen again is kept for two
minutes at most."""
UNIQUE = 16
"""Characters from which on a request id is taken to be the only one of its kind. A shorter one may
be a counter, which other services and processes have too: it joins lines of its own alone."""

_Key = str | tuple[str, Any, str]
_Known = dict[_Key, str | None]


class Pairs:
    """Which request belongs to which trace; thread-safe. ``now`` is Unix seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[_Known] = [{}, {}]
        self._traces: list[_Known] = [{}, {}]
        self._turned = 0.0

    def learn(self, pairs: Iterable[tuple[str, str]], owners: Iterable[Any], now: float) -> None:
        """``pairs`` of request and trace id; ``owners``: the service (and process) of each."""
        with self._lock:
            if now - self._turned > KEPT or max(map(len, self._generations())) > MOST:
                self._turned = now
                self._requests = [{}, self._requests[0]]
                self._traces = [{}, self._traces[0]]
            learned = dict(zip(pairs, owners, strict=False)).items()
            own = [(pair, () if len(pair[0]) >= UNIQUE else owner) for pair, owner in learned]
            for place, known in ((0, self._requests), (1, self._traces)):
                keys = [(*owner, pair[place]) if owner else pair[place] for pair, owner in own]
                _note(known, keys, [pair[1 - place] for pair, _ in own])

    def traces(self, requests: Iterable[str], owners: Iterable[Any]) -> list[str | None]:
        """The trace of each request; None where there is none, or more than one."""
        return self._asked(self._requests, requests, owners)

    def requests(self, traces: Iterable[str], owners: Iterable[Any]) -> list[str | None]:
        """The request of each trace; None where there is none, or more than one."""
        return self._asked(self._traces, traces, owners)

    def _asked(
        self, known: list[_Known], ids: Iterable[str], owners: Iterable[Any]
    ) -> list[str | None]:
        with self._lock:
            return [
                _found(known, one) or _found(known, (*owner, one))
                for one, owner in zip(ids, owners, strict=False)
            ]

    def _generations(self) -> Iterator[_Known]:
        yield self._requests[0]
        yield self._traces[0]


def joined(found: Iterable[Records], pairs: Pairs, service: str, now: float) -> Iterator[Records]:
    """The records of lines that were read together. All are learned from before one is completed,
    since a request's first lines often bear less than its later ones."""
    parts = list(found)
    for part in parts:
        if part.trace_id is not None and part.correlation_id is not None:
            pairs.learn(
                zip(part.correlation_id, part.trace_id, strict=True), _owners(part, service), now
            )
    for part in parts:
        if part.drop or (part.trace_id is None) == (part.correlation_id is None):
            yield part
        elif part.trace_id is None:
            ids = pairs.traces(part.correlation_id or (), _owners(part, service))
            yield from _completed(part, ids, _put_trace)
        else:
            ids = pairs.requests(part.trace_id, _owners(part, service))
            yield from _completed(part, ids, put_correlation_id)


def _owners(records: Records, service: str) -> Iterable[tuple[str, Any]]:
    """Whose a short id is: the service's, and of its processes the one that the line names."""
    pids = records.columns.get("pid")
    if pids is None or pids.kind not in (int, str):
        return repeat((service, None), len(records))
    return [(service, pid) for pid in pids.values]


def _put_trace(records: Records, ids: Sequence[str]) -> None:
    records.trace_id = ids


def _completed(
    records: Records, ids: Sequence[str | None], put: Callable[[Records, Sequence[str]], None]
) -> Iterator[Records]:
    if not any(ids):
        yield records
        return
    whole, rest = records.split(ids) if not all(ids) else (records, None)
    put(whole, [one for one in ids if one])
    whole.columns[JOINED] = Column(["joined"] * len(whole))
    yield whole
    if rest is not None:
        yield rest


def _note(known: list[_Known], keys: Sequence[_Key], values: Sequence[str]) -> None:
    new, old = known
    fresh: _Known = dict(zip(keys, values, strict=True))
    if len(fresh) == len(keys) and _unknown(fresh, new) and _unknown(fresh, old):
        new.update(fresh)
        return
    for key, value in zip(keys, values, strict=True):
        before = new.get(key, "")
        if before == "":
            before = old.get(key, "")
        new[key] = value if before in ("", value) else None


def _unknown(fresh: _Known, known: _Known) -> bool:
    return fresh.keys().isdisjoint(known.keys())


def _found(known: list[_Known], key: _Key) -> str | None:
    new, old = known
    return new[key] if key in new else old.get(key)
