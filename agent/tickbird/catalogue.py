"""Every metric in one place: gathered from the modules that emit them, and held to the rules."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import meters, telemetry
from .model import Instrument, Kind
from .names import prometheus_name
from .sources import source_types

__all__ = ["instruments", "problems", "prometheus_name"]

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_UNITS = {"", "1", "s", "By", "%", "Hz"}
_ANNOTATION = re.compile(r"\{[a-z_]+\}")


def instruments() -> list[Instrument]:
    """Every declared instrument, by name. Raises ValueError with all problems at once, since a
    wrong declaration is a mistake in the code."""
    declared = [*meters.INSTRUMENTS, *telemetry.INSTRUMENTS]
    for source in source_types().values():
        declared += source.instruments
    if found := problems(declared):
        raise ValueError("\n".join(found))
    return sorted({one.name: one for one in declared}.values(), key=lambda one: one.name)


def problems(declared: Iterable[Instrument]) -> list[str]:
    """What is wrong with these declarations, one line each: names, units, buckets, and one name
    (ours or Prometheus') declared in two ways. Declared twice alike is no problem."""
    found, by_name, by_prometheus = [], dict[str, Instrument](), dict[str, str]()
    for one in declared:
        found += [f"{one.name}: {text}" for text in _own_problems(one)]
        if by_name.setdefault(one.name, one) != one:
            found.append(f"{one.name}: is declared in two ways")
        other = by_prometheus.setdefault(prometheus_name(one), one.name)
        if other != one.name:
            found.append(f"{one.name}: has the same Prometheus name as {other}")
    return found


def _own_problems(one: Instrument) -> list[str]:
    found = []
    if not _NAME.fullmatch(one.name):
        found.append("the name is not lower-case words joined by dots")
    if one.unit not in _UNITS and not _ANNOTATION.fullmatch(one.unit):
        found.append(f"the unit {one.unit!r} is no base unit")
    if not one.help:
        found.append("says nothing of itself")
    if (one.kind is Kind.HISTOGRAM) != bool(one.bounds):
        found.append("a histogram has bounds, and nothing else has")
    if list(one.bounds) != sorted(set(one.bounds)):
        found.append("the bounds do not rise")
    if len(set(one.labels)) != len(one.labels):
        found.append("a label is there twice")
    return found
