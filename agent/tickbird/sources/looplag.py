"""Loop delay as services measure it themselves, on the scale of all other methods.

prom-client, OpenTelemetry's runtime instrumentation and dd-trace read Node's own histogram
(``monitorEventLoopDelay``), whose timer fires every ``resolution`` and counts that time as delay,
so that an idle loop has 10 ms. The least median ever told is taken for the resolution (the least
value is not it: after a block the timer fires at once); what is left without it is the delay.
tickbird.kit has no such timer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from ..model import LoopWindow, Sample

STATISTICS = ("min", "max", "mean", "p50", "p90", "p99")
_QUANTILES = ("p50", "p90", "p99")
_LONGEST = 86_400.0
"""Seconds; a histogram without one value tells its initial minimum, which is centuries."""

_SCRAPED = re.compile(r"(?:\w*_)?nodejs_eventloop_(?:lag|delay)_(min|max|mean|p50|p90|p99)_seconds")
_OURS = re.compile(r"nodejs_eventloop_delay_(min|max|mean|stddev|p50|p90|p99)_seconds")


class LagScale:
    """One service's own values, from one way to ask for them (``method``); ``interval`` is how
    often they are asked for, seconds."""

    def __init__(self, method: str, interval: float, biased: bool = True) -> None:
        self._method = method
        self._interval = interval
        self._resolution = math.inf if biased else 0.0
        self._last: float | None = None

    def window(self, told: Mapping[str, float], now: float) -> LoopWindow | None:
        """What ``told`` (seconds by statistic) says of the time since the last call; None when it
        says nothing. ``now`` is in Unix seconds."""
        if any(name not in told for name in ("min", "max", "mean")):
            return None
        if not 0 <= told["min"] <= told["mean"] <= told["max"] < _LONGEST or told["max"] == 0:
            return None
        duration = self._interval if self._last is None else max(0.0, now - self._last)
        self._last = now
        self._resolution = resolution = min(self._resolution, told.get("p50", told["min"]))
        corrected = {name: max(0.0, told[name] - resolution) for name in STATISTICS if name in told}
        count = max(1, round(duration / told["mean"])) if resolution else 1
        return LoopWindow(
            start=now - duration,
            duration=duration,
            method=self._method,
            error=max(resolution, 0.001),
            count=count,
            sum=count * corrected["mean"],
            min=corrected["min"],
            max=corrected["max"],
            histogram={},
            active=0.0,
            idle=0.0,
            quantiles={name: corrected[name] for name in _QUANTILES if name in corrected},
        )


def told_by(samples: Iterable[Sample]) -> dict[str, float]:
    """By statistic, what a scrape tells of the loop's delay, seconds. Empty where several series
    tell of it (workers behind one address): their quantiles cannot be added up."""
    found: dict[str, float] = {}
    for sample in samples:
        name = _SCRAPED.fullmatch(sample.instrument.name)
        if name is None or not isinstance(sample.value, int | float):
            continue
        if name[1] in found:
            return {}
        found[name[1]] = float(sample.value)
    return found


def is_ours(sample: Sample) -> bool:
    """Whether a scraped series bears the name under which we publish the delay: as OpenTelemetry's
    exporter writes it, with the resolution in it."""
    return _OURS.fullmatch(sample.instrument.name) is not None
