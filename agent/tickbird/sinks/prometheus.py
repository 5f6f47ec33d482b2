"""Prometheus text exposition 0.0.4 of the latest values.

A line is ``name{labels} value``, and all but the value stays the same between two scrapes: it is
kept, so a scrape costs about a microsecond per series.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..model import Distribution, Instrument, Kind, Target
from ..names import prometheus_label, prometheus_name
from ..store import Series

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

RESOURCE_LABELS = ("service.namespace", "service.name", "service.instance.id")
"""Resource attributes that every series bears; the others are on ``target_info``."""

_TYPES = {
    Kind.COUNTER: "counter",
    Kind.UPDOWN: "gauge",
    Kind.GAUGE: "gauge",
    Kind.HISTOGRAM: "histogram",
}

Prefixes = tuple[str, ...]
"""One for a number; for a histogram one for each bucket, the sum and the count."""


@dataclass(slots=True)
class _Kept:
    """What is kept of one target as long as its attributes stay the same."""

    attributes: Mapping[str, str | int]
    info: str
    labels: str
    prefixes: dict[tuple[str, tuple[str, ...]], Prefixes] = field(default_factory=dict)


class Exposition:
    """Renders series. Safe from several threads: at worst each does the other's work again."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._heads: dict[str, str] = {}

    def render(self, series: Iterable[Series]) -> bytes:
        """All ``series``, family by family, in the order in which families first appear."""
        families: dict[str, list[str]] = {}
        kept: dict[str, _Kept] = {}
        for one in series:
            name = one.instrument.name
            if (lines := families.get(name)) is None:
                lines = families[name] = [self._head(one.instrument)]
            if (target := kept.get(one.target.key)) is None:
                target = kept[one.target.key] = self._target(one.target)
            key = (name, one.labels)
            if (prefixes := target.prefixes.get(key)) is None:
                prefixes = target.prefixes[key] = _prefixes(one, target.labels)
            value = one.value
            if isinstance(value, Distribution):
                lines += _histogram(prefixes, value)
            else:
                lines.append(f"{prefixes[0]}{value if value - value == 0 else _special(value)}\n")
        self._forget_all_but(kept)
        body = "".join("".join(lines) for lines in families.values())
        return (_info(kept.values()) + body).encode()

    def _target(self, target: Target) -> _Kept:
        known = self._kept.get(target.key)
        if known is not None and known.attributes == target.attributes:
            return known
        pairs = [(n, str(target.attributes[n])) for n in RESOURCE_LABELS if n in target.attributes]
        if not any(name == "service.name" for name, _ in pairs):
            pairs.append(("service.name", target.name))
        info = f"target_info{{{_labels(_all_attributes(target, pairs))}}} 1\n"
        return _Kept(target.attributes, info, _labels(pairs))

    def _forget_all_but(self, living: dict[str, _Kept]) -> None:
        """Let go of ended targets, and of routes that are not served any more."""
        for target in living.values():
            if len(target.prefixes) > 10_000:
                target.prefixes.clear()
        self._kept = living

    def _head(self, instrument: Instrument) -> str:
        head = self._heads.get(instrument.name)
        if head is None:
            name = prometheus_name(instrument)
            text = instrument.help.replace("\\", "\\\\").replace("\n", "\\n")
            head = f"# HELP {name} {text}\n# TYPE {name} {_TYPES[instrument.kind]}\n"
            self._heads[instrument.name] = head
        return head


def _all_attributes(target: Target, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    rest = sorted(set(target.attributes) - {name for name, _ in pairs})
    return pairs + [(name, str(target.attributes[name])) for name in rest]


def _info(targets: Iterable[_Kept]) -> str:
    lines = "".join(target.info for target in targets)
    head = "# HELP target_info What is known of each target.\n# TYPE target_info gauge\n"
    return head + lines if lines else ""


def _prefixes(series: Series, resource: str) -> Prefixes:
    instrument = series.instrument
    name = prometheus_name(instrument)
    own = _labels(zip(instrument.labels, series.labels, strict=False))
    labels = ",".join(part for part in (resource, own) if part)
    if instrument.kind is not Kind.HISTOGRAM:
        return (f"{name}{{{labels}}} " if labels else f"{name} ",)
    edges = [*(str(bound) for bound in instrument.bounds), "+Inf"]
    comma = f"{labels}," if labels else ""
    return (
        *(f'{name}_bucket{{{comma}le="{edge}"}} ' for edge in edges),
        f"{name}_sum{{{labels}}} ",
        f"{name}_count{{{labels}}} ",
    )


def _histogram(prefixes: Prefixes, value: Distribution) -> Iterator[str]:
    running = 0
    for prefix, count in zip(prefixes, value.counts, strict=False):
        running += count
        yield f"{prefix}{running}\n"
    yield f"{prefixes[-2]}{value.sum}\n"
    yield f"{prefixes[-1]}{value.count}\n"


def _special(value: float) -> str:
    """What is no finite number, as the format spells it."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    """``a="x",b="y"``; an empty value is the same as no label, so it is left out."""
    return ",".join(
        f'{prometheus_label(name)}="{_escape(value)}"' for name, value in pairs if value
    )


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
