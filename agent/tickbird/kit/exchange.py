"""One request and its response, however the server speaks: span, correlation ID and metrics.

Metrics go to one place only: to the agent's probe when `tickbird exec` started this process, else
to the OpenTelemetry SDK.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..runtimes.python.tickbird_measure import METHODS
from . import context

if TYPE_CHECKING:
    from opentelemetry.trace import Span

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds that the semantic conventions give for http.server.request.duration, seconds."""

ABORTED = 0
"""Status of a request that never got an answer."""


def probe() -> Any:
    """The agent's probe in this process; None when the agent did not start it."""
    module = sys.modules.get("tickbird_probe")
    return module.probe if module is not None else None


class Exchange:
    """A context manager around the handling of one request. Set ``status`` (and ``route``, the
    template, when it is known) before it ends; an exception that passes through means 500 when
    no status was sent."""

    def __init__(
        self,
        method: str,
        path: str,
        scheme: str,
        headers: Mapping[str, str],
        *,
        measured: bool = False,
    ) -> None:
        """``headers`` have their names in lower case. ``measured``: the framework gives this
        request's metrics to OpenTelemetry already."""
        self.route: str | None = None
        self.status = ABORTED
        self.correlation_id = context.accept(headers)
        self._method = method if method in METHODS else "_OTHER"
        self._path = path
        self._asked = {"http.request.method": self._method, "url.scheme": scheme}
        self._headers = headers
        self._measured = measured
        self._stack = ExitStack()
        self._span: Span | None = None

    def __enter__(self) -> Self:
        self._meter = self._choose_meter()
        self._started = time.perf_counter()
        if self._meter is not None:
            self._meter.started(self._asked)
        self._stack.callback(context.release, context.bind(self.correlation_id))
        self._span = self._open_span()
        return self

    def _choose_meter(self) -> _ProbeMeter | _OtelMeter | None:
        if probe() is not None:
            return _ProbeMeter()
        return None if self._measured else _otel_meter()

    def _open_span(self) -> Span | None:
        from opentelemetry import propagate, trace

        current = trace.get_current_span()
        if current.is_recording():  # other instrumentation has opened the server's span
            current.set_attribute("correlation_id", self.correlation_id)
            return None
        span = trace.get_tracer("tickbird.kit").start_span(
            self._method,
            context=propagate.extract(self._headers),
            kind=trace.SpanKind.SERVER,
            attributes={
                **self._asked,
                "url.path": self._path,
                "correlation_id": self.correlation_id,
            },
        )
        self._stack.enter_context(
            trace.use_span(span, record_exception=False, set_status_on_exception=False)
        )
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._started
        if isinstance(error, Exception) and self.status == ABORTED:
            self.status = 500
        outcome = Outcome(self.route, self.status, seconds, self._error_type(error))
        if self._meter is not None:
            self._meter.finished(self._asked, outcome)
        if self._span is not None:
            self._close_span(self._span, error, outcome)
        self._stack.close()

    def _error_type(self, error: BaseException | None) -> str | None:
        if error is not None:
            return type(error).__qualname__
        if self.status == ABORTED:
            return "aborted"
        return str(self.status) if self.status >= 500 else None

    def _close_span(self, span: Span, error: BaseException | None, outcome: Outcome) -> None:
        from opentelemetry.trace import StatusCode

        if outcome.route is not None:
            span.update_name(f"{self._method} {outcome.route}")
        span.set_attributes(outcome.attributes())
        if outcome.failed is not None:
            span.set_status(StatusCode.ERROR)
        if isinstance(error, Exception):
            span.record_exception(error)
        span.end()


class Outcome(NamedTuple):
    """How a request ended; ``failed`` is the error.type of the conventions."""

    route: str | None
    status: int
    seconds: float
    failed: str | None

    def attributes(self) -> dict[str, Any]:
        """Of the conventions; what is not known is left out."""
        known: dict[str, Any] = {}
        if self.route is not None:
            known["http.route"] = self.route
        if self.status != ABORTED:
            known["http.response.status_code"] = self.status
        if self.failed is not None:
            known["error.type"] = self.failed
        return known


class _ProbeMeter:
    def started(self, asked: dict[str, Any]) -> None:  # noqa: ARG002 - same shape as below
        self._totals = probe().http
        self._totals.started()

    def finished(self, asked: dict[str, Any], outcome: Outcome) -> None:
        method = asked["http.request.method"]
        self._totals.finished(method, outcome.route, outcome.status, outcome.seconds)


class _OtelMeter:
    def __init__(self) -> None:
        from opentelemetry import metrics

        meter = metrics.get_meter("tickbird.kit")
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            "s",
            "Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )
        self._active = meter.create_up_down_counter(
            "http.server.active_requests", "{request}", "Number of active HTTP server requests."
        )

    def started(self, asked: dict[str, Any]) -> None:
        self._active.add(1, asked)

    def finished(self, asked: dict[str, Any], outcome: Outcome) -> None:
        self._active.add(-1, asked)
        self._duration.record(outcome.seconds, {**asked, **outcome.attributes()})


@cache
def _otel_meter() -> _OtelMeter:
    return _OtelMeter()
