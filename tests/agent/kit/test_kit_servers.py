"""The middleware around real applications: FastAPI, Starlette, and WSGI held to its validator."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextvars import copy_context
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from fastapi import FastAPI, HTTPException
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tickbird.kit import AsgiMiddleware, WsgiMiddleware, add_correlation, correlation_id
from tickbird.kit.logs import JsonFormatter

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
DURATION = "http.server.request.duration"


def ask(app, path, method="GET", **headers):
    """One request to an ASGI application; its answer as (status, headers)."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start = next(message for message in sent if message["type"] == "http.response.start")
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}


OFF = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


def application(telemetry):
    app = FastAPI(telemetry=telemetry)

    @app.get("/items/{item}")
    async def item(item: str):
        if item == "missing":
            raise HTTPException(503)
        if item == "broken":
            raise ZeroDivisionError
        return correlation_id()

    app.add_middleware(AsgiMiddleware)
    return app


@pytest.fixture
def shop():
    return application(OFF)


def counts(points):
    keys = ("http.request.method", "http.route", "http.response.status_code", "error.type")
    total: Counter[tuple[object, ...]] = Counter()
    for point in points(DURATION):
        total[tuple(point.attributes.get(key) for key in keys)] += point.count
    return total


def difference(before, after):
    return {key: n - before.get(key, 0) for key, n in after.items() if n > before.get(key, 0)}


def test_requests_are_measured_by_route_template_and_status(shop, points):
    before = counts(points)
    for path in ("/items/1", "/items/2", "/items/missing", "/nowhere"):
        ask(shop, path)
    with pytest.raises(ZeroDivisionError):
        ask(shop, "/items/broken")
    assert difference(before, counts(points)) == {
        ("GET", "/items/{item}", 200, None): 2,
        ("GET", "/items/{item}", 503, "503"): 1,
        ("GET", "/items/{item}", 500, "ZeroDivisionError"): 1,
        ("GET", None, 404, None): 1,
    }
    assert tuple(points(DURATION)[0].explicit_bounds) == (
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
    )  # fmt: skip
    assert {p.value for p in points("http.server.active_requests")} == {0}


def test_a_mounted_route_is_named_with_its_mount(points):
    inner = Starlette(routes=[Route("/x/{y}", lambda _: PlainTextResponse("ok"))])
    app = AsgiMiddleware(Starlette(routes=[Mount("/api", app=inner)]))
    before = counts(points)
    ask(app, "/api/x/1")
    assert difference(before, counts(points)) == {("GET", "/api/x/{y}", 200, None): 1}


def test_an_id_goes_through_the_request_into_the_answer(shop):
    assert ask(shop, "/items/1", x_request_id="abc-1")[1]["x-request-id"] == "abc-1"
    assert ask(shop, "/items/1", traceparent=PARENT)[1]["x-request-id"] == TRACE
    assert len(ask(shop, "/items/1", x_request_id="a\tb")[1]["x-request-id"]) == 32
    assert correlation_id() is None


def test_one_server_span_per_request_continues_the_callers_trace(shop, spans):
    ask(shop, "/items/missing", traceparent=PARENT, x_request_id="abc")
    (span,) = spans()
    assert (span.name, span.kind) == ("GET /items/{item}", SpanKind.SERVER)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.attributes["http.response.status_code"] == 503
    assert span.attributes["error.type"] == "503"
    assert span.attributes["correlation_id"] == "abc"
    assert not span.status.is_ok


def test_a_request_that_fastapi_measures_itself_is_not_counted_twice(points, spans):
    before = counts(points)
    ask(application({}), "/items/1", x_request_id="abc")
    assert difference(before, counts(points)) == {("GET", "/items/{item}", 200, None): 1}
    (span,) = [span for span in spans() if span.kind is SpanKind.SERVER]
    assert span.attributes["correlation_id"] == "abc"


def wsgi_app(environ, start_response):
    if environ["PATH_INFO"] == "/broken":
        raise ZeroDivisionError
    status = "503 Busy" if environ["PATH_INFO"] == "/busy" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [(correlation_id() or "none").encode()]


def ask_wsgi(app, path, **headers):
    environ: dict[str, object] = {"PATH_INFO": path, "SCRIPT_NAME": "", **headers}
    setup_testing_defaults(environ)
    environ["QUERY_STRING"] = ""
    answer = []
    body = validator(app)(environ, lambda status, fields, _=None: answer.append((status, fields)))
    try:
        text = b"".join(body).decode()
    finally:
        body.close()
    return answer[0][0], dict(answer[0][1]), text


def test_wsgi_requests_are_measured_and_bear_their_id(points, spans):
    app = WsgiMiddleware(validator(wsgi_app), route_of=lambda environ: environ["PATH_INFO"])
    before = counts(points)
    status, headers, body = ask_wsgi(app, "/ok", HTTP_X_REQUEST_ID="abc")
    assert (status, headers["x-request-id"], body) == ("200 OK", "abc", "abc")
    ask_wsgi(app, "/busy")
    with pytest.raises(ZeroDivisionError):
        ask_wsgi(app, "/broken")
    assert difference(before, counts(points)) == {
        ("GET", "/ok", 200, None): 1,
        ("GET", "/busy", 503, "503"): 1,
        ("GET", "/broken", 500, "ZeroDivisionError"): 1,
    }
    assert [span.name for span in spans()] == ["GET /ok", "GET /busy", "GET /broken"]
    assert correlation_id() is None


def test_a_wsgi_body_may_be_closed_in_another_context(points):
    environ: dict[str, object] = {"PATH_INFO": "/"}
    setup_testing_defaults(environ)
    before = counts(points)
    app = WsgiMiddleware(wsgi_app, route_of=lambda _: "/closed-elsewhere")
    body = copy_context().run(app, environ, lambda *_: None)
    body.close()
    assert difference(before, counts(points)) == {("GET", "/closed-elsewhere", 200, None): 1}


def test_structlog_and_json_logger_write_the_same_keys(spans):
    lines = []

    def handle(environ, start_response):
        lines.append(add_correlation(None, "info", {"event": "x"}))
        record = logging.LogRecord("n", logging.INFO, "f", 1, "x", (), None)
        lines.append(JsonFormatter().format(record))
        return wsgi_app(environ, start_response)

    ask_wsgi(WsgiMiddleware(handle), "/ok", HTTP_TRACEPARENT=PARENT, HTTP_X_REQUEST_ID="abc")
    (span,) = spans()
    keys = {
        "trace_id": TRACE, "span_id": f"{span.context.span_id:016x}", "correlation_id": "abc",
    }  # fmt: skip
    assert lines[0] == {"event": "x", **keys}
    assert json.loads(lines[1]).items() >= keys.items()
    assert add_correlation(None, "info", {"event": "outside"}) == {"event": "outside"}
