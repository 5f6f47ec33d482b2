"""OpenTelemetry names as Prometheus writes them: underscores, with unit and kind as suffixes.

The rule of the OpenTelemetry specification (compatibility/prometheus_and_openmetrics) as
Prometheus carries it out under ``translation_strategy: UnderscoreEscapingWithSuffixes``. Boards,
rules, ``/metrics`` and the catalogue all use these two functions, so they agree with what arrives
through the Collector.
"""

from __future__ import annotations

import re

from .model import Instrument, Kind

_UNITS = {
    "": "",
    "1": "",
    "%": "percent",
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "Hz": "hertz",
    "Cel": "celsius",
}
_PER = {"s": "second", "min": "minute", "m": "minute", "h": "hour", "d": "day"}
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")


def prometheus_name(instrument: Instrument) -> str:
    """``process.cpu.time`` (counter, s) → ``process_cpu_time_seconds_total``. A histogram's
    series add ``_bucket``, ``_sum`` and ``_count`` to it."""
    words = [word for word in _NOT_IN_NAMES.split(instrument.name) if word]
    words += [word for word in _unit_words(instrument.unit) if word not in words]
    if instrument.kind is Kind.COUNTER:
        words = [*(word for word in words if word != "total"), "total"]
    elif instrument.kind is Kind.GAUGE and instrument.unit == "1":
        words = [*(word for word in words if word != "ratio"), "ratio"]
    name = "_".join(words)
    return f"_{name}" if name[:1].isdigit() else name


def prometheus_label(attribute: str) -> str:
    """``http.request.method`` → ``http_request_method``."""
    name = _NOT_IN_LABELS.sub("_", attribute)
    name = re.sub("__+", "_", name) if not attribute.startswith("__") else name
    return f"key_{name}" if name[:1].isdigit() else name


def _unit_words(unit: str) -> list[str]:
    """The suffixes of a unit: ``By/s`` → bytes, per_second; annotations in braces have none."""
    main, _, per = unit.partition("/")
    found = []
    if "{" not in main and (word := _UNITS.get(main.strip(), _NOT_IN_NAMES.sub("_", main))):
        found.append(word)
    if per and "{" not in per and (word := _PER.get(per.strip(), _NOT_IN_NAMES.sub("_", per))):
        found.append(f"per_{word}")
    return found
