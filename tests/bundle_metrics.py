"""Which metrics exist, and which an expression reads: boards and rules are held to it."""

from __future__ import annotations

from functools import cache

import promql_parser

from tickbird import catalogue
from tickbird.model import Kind

OF_OTHERS = {
    "up",
    "ALERTS",
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
}
"""Read from the backends themselves; an end-to-end test finds them in the real Prometheus."""


@cache
def known_metrics() -> frozenset[str]:
    """Every name that can be in Prometheus, as Prometheus writes it."""
    names = set(OF_OTHERS)
    for instrument in catalogue.instruments():
        name = catalogue.prometheus_name(instrument)
        suffixes = ("_bucket", "_sum", "_count") if instrument.kind is Kind.HISTOGRAM else ("",)
        names |= {name + suffix for suffix in suffixes}
    return frozenset(names)


def metrics_of(expression: str) -> set[str]:
    """Names of all metrics that a PromQL expression selects."""
    found: set[str] = set()
    _walk(promql_parser.parse(expression), found)
    return found


def _walk(node: object, found: set[str]) -> None:
    if isinstance(node, promql_parser.VectorSelector):
        if node.name:
            found.add(node.name)
        return
    if isinstance(node, promql_parser.MatrixSelector):
        _walk(node.vector_selector, found)
        return
    for part in ("expr", "lhs", "rhs", "args", "param"):
        child = getattr(node, part, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None:
                _walk(one, found)
