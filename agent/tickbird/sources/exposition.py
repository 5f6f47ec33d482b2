"""Prometheus and OpenMetrics text → samples. Pure: bytes in, samples out, bounded by ``Bounds``.

Names are chosen so that Prometheus' own translation of OTLP names (underscores, with suffixes)
gives back what the service exposes: counters lose ``_total`` and get it back, nothing carries a
unit, and a summary's ``_sum`` and ``_count`` are not counters, which would grow a ``_total``.
Not kept: a repeated underscore inside a name, and ``_created``, timestamps and exemplars.
NaN is left out (it means no value); infinities are kept.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..model import Distribution, Instrument, Kind, Sample

if TYPE_CHECKING:
    from prometheus_client import Metric

Labels = dict[str, str]


_MOST = float(1 << 63)
"""No bucket of OTLP can count that far."""


class MalformedError(ValueError):
    """Not a valid exposition; the message is one short line."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of one answer is taken."""

    series: int = 10_000
    """Lines with a value, as Prometheus counts series."""
    labels: int = 64
    label_length: int = 1024
    line: int = 16_384


@dataclass(slots=True)
class Exposition:
    """``left_out``: reason → lines with a value that were not taken."""

    samples: list[Sample]
    taken: int
    left_out: dict[str, int] = field(default_factory=dict)


def parse(body: bytes, openmetrics: bool, bounds: Bounds, catalogue: Catalogue) -> Exposition:
    """Everything in ``body``, or MalformedError: a broken answer is never half taken."""
    found = Exposition([], 0)
    text = _bounded(body, bounds, found)
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for family in _families(text, openmetrics):
        kept = [point for point in family.samples if _within(point.labels, bounds, found)]
        found.taken += len(kept)
        for point in kept:
            key = (point.name, tuple(sorted(point.labels.items())))
            if key in seen:
                raise MalformedError(f"gives {point.name[:100]} twice with the same labels")
            seen.add(key)
        found.samples += _convert(family, kept, catalogue)
    return found


class Catalogue:
    """Instruments of what was scraped: one per family, its labels the union of its series', so
    that two series never differ only in which labels they lack."""

    def __init__(self) -> None:
        self._labels: dict[str, tuple[str, ...]] = {}
        self._made: dict[tuple[Any, ...], Instrument] = {}

    def samples(
        self,
        name: str,
        kind: Kind,
        text: str,
        points: list[tuple[Labels, float]],
    ) -> Iterator[Sample]:
        """One sample for each point that has a value."""
        instrument = self._instrument(name, kind, text, [labels for labels, _ in points])
        for labels, value in points:
            if not math.isnan(value):
                yield Sample(instrument, value, _values(instrument, labels))

    def histograms(
        self, name: str, text: str, points: list[tuple[Labels, tuple[float, ...], Distribution]]
    ) -> Iterator[Sample]:
        """The same for histograms, each point with its bounds."""
        all_labels = [labels for labels, _, _ in points]
        for labels, bounds, value in points:
            instrument = self._instrument(name, Kind.HISTOGRAM, text, all_labels, bounds)
            yield Sample(instrument, value, _values(instrument, labels))

    def _instrument(
        self,
        name: str,
        kind: Kind,
        text: str,
        labels: Iterable[Labels],
        bounds: tuple[float, ...] = (),
    ) -> Instrument:
        names = set(self._labels.get(name, ())).union(*labels)
        union = self._labels[name] = tuple(sorted(names))
        key = (name, kind, union, bounds)
        if key not in self._made:
            self._made[key] = Instrument(name, kind, "", text[:1024], union, bounds)
        return self._made[key]


def _values(instrument: Instrument, labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in instrument.labels)


def _bounded(body: bytes, bounds: Bounds, found: Exposition) -> str:
    """The lines that are within ``bounds``, as text; the others are counted."""
    kept, values = [], 0
    for line in body.split(b"\n"):
        if not line.strip() or line.startswith(b"#"):
            if len(line) <= bounds.line:
                kept.append(line)
            continue
        values += 1
        if values > bounds.series:
            _count(found, f"beyond {bounds.series} series")
        elif len(line) > bounds.line:
            _count(found, f"line longer than {bounds.line} bytes")
        else:
            kept.append(line)
    try:
        return b"\n".join(kept).decode().rstrip("\n") + "\n"
    except UnicodeDecodeError as error:
        raise MalformedError("is not UTF-8 text") from error


def _families(text: str, openmetrics: bool) -> list[Metric]:
    # imported here: it costs 7 MB and 60 ms, and most agents scrape nothing
    parse_fd: Callable[[io.StringIO], Iterable[Metric]]
    if openmetrics:
        from prometheus_client.openmetrics.parser import (  # noqa: PLC0415
            text_fd_to_metric_families as parse_fd,
        )
    else:
        from prometheus_client.parser import (  # noqa: PLC0415
            text_fd_to_metric_families as parse_fd,
        )
    merged: dict[tuple[str, str], Metric] = {}
    try:
        for family in parse_fd(io.StringIO(text)):  # untyped ones come line by line
            known = merged.setdefault((family.name, family.type), family)
            if known is not family:
                known.samples.extend(family.samples)
    except Exception as error:  # the parser raises whatever its own code runs into
        said = " ".join(str(error).split())[:120]
        raise MalformedError(f"is not metrics text ({said or type(error).__name__})") from error
    return list(merged.values())


def _within(labels: Labels, bounds: Bounds, found: Exposition) -> bool:
    if len(labels) > bounds.labels:
        _count(found, f"more than {bounds.labels} labels")
        return False
    if any(len(text) > bounds.label_length for pair in labels.items() for text in pair):
        _count(found, f"label longer than {bounds.label_length} characters")
        return False
    return True


def _count(found: Exposition, reason: str) -> None:
    found.left_out[reason] = found.left_out.get(reason, 0) + 1


def _convert(family: Metric, points: list[Any], catalogue: Catalogue) -> Iterator[Sample]:
    if family.type == "histogram":
        yield from catalogue.histograms(
            family.name, family.documentation, _distributions(family.name, points)
        )
        return
    kinds = _KINDS.get(family.type, {})
    by_name: dict[str, list[tuple[Labels, float]]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append((point.labels, float(point.value)))
    for name, values in by_name.items():
        suffix = name.removeprefix(family.name)
        kind = kinds.get(suffix, Kind.GAUGE)
        if kind is None:
            continue
        own = family.name if kind is Kind.COUNTER else name
        yield from catalogue.samples(own, kind, family.documentation, values)


_KINDS: dict[str, dict[str, Kind | None]] = {
    "counter": {"_total": Kind.COUNTER, "_created": None},
    "summary": {"_sum": Kind.UPDOWN, "_count": Kind.UPDOWN, "_created": None},
}
"""Type → suffix → kind; None is left out, everything else is a gauge."""


def _distributions(
    family: str, points: list[Any]
) -> list[tuple[Labels, tuple[float, ...], Distribution]]:
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for point in points:
        rest = tuple(sorted(pair for pair in point.labels.items() if pair[0] != "le"))
        if point.name == f"{family}_bucket" and "le" in point.labels:
            buckets.setdefault(rest, []).append((_edge(point.labels["le"]), float(point.value)))
        elif point.name == f"{family}_sum":
            sums[rest] = float(point.value)
    return [
        (dict(labels), *_distribution(family, edges, sums.get(labels, 0.0)))
        for labels, edges in buckets.items()
        if any(edge == math.inf for edge, _ in edges)  # else cut off by the bounds
    ]


def _distribution(
    family: str, edges: list[tuple[float, float]], total: float
) -> tuple[tuple[float, ...], Distribution]:
    edges.sort()
    counts, before = [], 0.0
    for _, cumulative in edges:
        if not before <= cumulative < _MOST:
            raise MalformedError(f"has buckets of {family[:100]} that do not add up")
        counts.append(int(cumulative - before))
        before = cumulative
    value = Distribution(tuple(counts), 0.0 if math.isnan(total) else total, int(before))
    return tuple(edge for edge, _ in edges[:-1]), value


def _edge(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise MalformedError("has a bucket whose edge is no number") from error
