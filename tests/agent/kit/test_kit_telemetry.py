"""Loop monitor and OpenTelemetry set-up, and who gets the requests of an exec'd service."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import tickbird
from tickbird.kit import watch_loop
from tickbird.model import HttpSnapshot
from tickbird.sources.probe import ProbeReceiver

SPAN = """
from opentelemetry import trace
from tickbird.kit import setup
setup("sample")
trace.get_tracer("t").start_span("work").end()
"""
WSGI = """
import sys
from wsgiref.util import setup_testing_defaults
from tickbird.kit import WsgiMiddleware
def app(environ, start):
    start("200 OK", [])
    return [b"x"]
wrapped = WsgiMiddleware(app, route_of=lambda environ: "/a")
for _ in range(5):
    environ = {}
    setup_testing_defaults(environ)
    body = wrapped(environ, lambda *_: None)
    list(body)
    body.close()
print("opentelemetry.sdk" in sys.modules)
"""


def test_the_loop_monitor_publishes_a_block_that_really_was(points):
    async def service():
        assert watch_loop()
        await asyncio.sleep(0.05)
        began = time.monotonic()
        while time.monotonic() - began < 0.2:
            pass
        block = time.monotonic() - began
        await asyncio.sleep(0.05)
        return block

    block = asyncio.run(service())
    end = time.monotonic() + 5  # a collection within a second of the last one repeats it
    while not (found := points("asyncio.eventloop.delay.max")) or found[0].value < 0.1:
        assert time.monotonic() < end, "the block was not published"
        time.sleep(0.05)
    (longest,) = found
    assert longest.value == pytest.approx(block, rel=0.1)
    spent = {
        p.attributes["asyncio.eventloop.state"]: p.value for p in points("asyncio.eventloop.time")
    }
    assert spent["active"] >= block
    (median,) = points("asyncio.eventloop.delay.p50")
    assert median.value < 0.1


class Collector:
    """An OTLP/HTTP endpoint on loopback."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        took = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    took.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def run(source: str, **env: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", source], env=clean | env, capture_output=True, text=True,
        timeout=30, check=True,
    )  # fmt: skip
    return done.stdout


def test_setup_sends_spans_at_the_end_of_the_service():
    collector = Collector()
    try:
        run(SPAN, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="named")
    finally:
        collector.close()
    (resource,) = collector.requests[0].resource_spans
    names = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert names["service.name"] == "named"
    assert [span.name for span in resource.scope_spans[0].spans] == ["work"]


def test_a_collector_that_accepts_and_never_answers_does_not_hold_up_the_end():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        run(SPAN, OTEL_EXPORTER_OTLP_ENDPOINT=url)
        assert time.monotonic() - began < 8  # the exporter's own patience is 10 s a signal


def test_requests_of_an_execd_service_go_to_the_agent_alone():
    folder = Path(tickbird.__file__).parent / "runtimes/python"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        receiver = ProbeReceiver(sock, "t")
        out = run(
            f"import os; print(os.getpid())\n{WSGI}", PYTHONPATH=str(folder),
            TICKBIRD_PROBE=f"127.0.0.1:{sock.getsockname()[1]}", TICKBIRD_PROBE_TOKEN="t",
        )  # fmt: skip
        receiver.take(sock.recv(65_535))
    pid, sdk = out.split()
    (snapshot,) = [i for i in receiver.collect(int(pid)) if isinstance(i, HttpSnapshot)]
    (series,) = snapshot.series
    assert (series.method, series.route, series.status, series.count) == ("GET", "/a", 200, 5)
    assert snapshot.active == 0
    assert sdk == "False"
