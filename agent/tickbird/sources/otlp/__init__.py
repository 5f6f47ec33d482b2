"""OTLP/HTTP intake: what the services' own SDKs send passes through, with the target's identity.

Protobuf and JSON, gzip; limits hold after decompression. A request is answered only when it is in
the outgoing queue; a full queue answers 503, which every SDK takes as "try again".
"""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

MAX_BODY = 20 * 1024 * 1024
"""Bytes after decompression, as the specification recommends."""
MAX_CONNECTIONS = 64
REQUEST_SECONDS = 10.0
MAX_JSON_DEPTH = 100

Signal = Literal["logs", "metrics", "traces"]

_PROTOBUF, _JSON = "application/x-protobuf", "application/json"

Receive = Callable[[Signal, Any], bool]
"""Takes (signal, decoded request); False when there is no room for it now."""


class RequestError(Exception):
    """The request cannot be taken; ``status`` is the HTTP answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decompress(body: bytes, encoding: str) -> bytes:
    """The body without its content encoding, at most ``MAX_BODY`` bytes."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise RequestError(415, f"content encoding {encoding[:20]!r} is not known; use gzip")
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise RequestError(400, "the body is not gzip") from error
    if len(plain) > MAX_BODY:
        raise RequestError(413, f"more than {MAX_BODY} bytes after decompression")
    if not stream.eof:
        raise RequestError(400, "the gzip body ends too early")
    return plain


def decode(path: str, content_type: str, body: bytes) -> tuple[Signal, Any]:
    """(signal, request message) of an OTLP body in either encoding."""
    try:
        signal, message = _requests()[path]
    except KeyError:
        raise RequestError(404, "known are /v1/traces, /v1/metrics and /v1/logs") from None
    try:
        if content_type == _PROTOBUF:
            return signal, _from_protobuf(body, message)
        if content_type == _JSON:
            return signal, _from_json(body.decode(), message())
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not OTLP {content_type}") from error
    raise RequestError(415, f"content type {content_type[:40]!r} is not known; use {_PROTOBUF}")


@cache
def _requests() -> dict[str, tuple[Signal, Any]]:
    """Signal and request message by path. Protobuf costs 60 ms and 6 MB, which an agent that no
    service sends to saves; its first sample does not wait for it either."""
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs  # noqa: PLC0415
    from opentelemetry.proto.collector.metrics.v1 import (  # noqa: PLC0415
        metrics_service_pb2 as metrics,
    )
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces  # noqa: PLC0415

    return {
        "/v1/traces": ("traces", traces.ExportTraceServiceRequest),
        "/v1/metrics": ("metrics", metrics.ExportMetricsServiceRequest),
        "/v1/logs": ("logs", logs.ExportLogsServiceRequest),
    }


def _from_protobuf(body: bytes, message: Any) -> Any:
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - see _requests

    try:
        return message.FromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def _from_json(text: str, message: Any) -> Any:
    from google.protobuf import json_format  # noqa: PLC0415 - only services that send JSON pay

    try:
        return json_format.Parse(
            _with_base64_ids(text), message, True, max_recursion_depth=MAX_JSON_DEPTH
        )
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


def _with_base64_ids(text: str) -> str:
    """OTLP/JSON writes ids in hex where protobuf's own JSON mapping wants base64."""
    import base64  # noqa: PLC0415 - only services that send JSON pay for it

    ids = {"traceId", "spanId", "parentSpanId"}

    def convert(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ids and isinstance(value, str)
            else value
            for key, value in pairs
        }

    return json.dumps(json.loads(text, object_pairs_hook=convert))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tickbird"
    sys_version = ""
    timeout = REQUEST_SECONDS
    server: Intake

    def do_POST(self) -> None:
        try:
            body = decompress(self._read_body(), self.headers.get("Content-Encoding", ""))
            content_type = self.headers.get("Content-Type", "").split(";")[0].strip().lower()
            signal, request = decode(self.path.split("?")[0], content_type, body)
        except RequestError as error:
            self.server.count("rejected")
            self._answer(error.status, "text/plain", str(error).encode())
            return
        if not self.server.receive(signal, request):
            self.server.count("refused_for_room")
            self._answer(503, "text/plain", b"the queue is full", ("Retry-After", "1"))
            return
        self.server.count("received")
        self._answer(200, content_type, b"{}" if content_type == _JSON else b"")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        try:
            length = int(self.headers["Content-Length"])
        except (TypeError, ValueError):
            raise RequestError(411, "send Content-Length or chunks") from None
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise RequestError(413, f"more than {MAX_BODY} bytes")
        body = self.rfile.read(length)
        if len(body) < length:
            raise RequestError(400, "the body ends too early")
        return body

    def _read_chunks(self) -> bytes:
        """Node's exporters send their bodies in chunks."""
        parts: list[bytes] = []
        total = 0
        while True:
            try:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
            except ValueError:
                raise RequestError(400, "a chunk has no size") from None
            total += size
            if size < 0 or total > MAX_BODY:
                self.close_connection = True
                raise RequestError(413, f"more than {MAX_BODY} bytes")
            parts.append(self.rfile.read(size))
            self.rfile.readline(64)
            if size == 0:
                return b"".join(parts)

    def _answer(
        self, status: int, content_type: str, body: bytes, *headers: tuple[str, str]
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are counted, not logged."""


class Intake(ThreadingHTTPServer):
    """Serves on a listening loopback socket that the caller has bound, until ``shutdown``."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, receive: Receive) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.receive = receive
        self.counts = {"received": 0, "rejected": 0, "refused_for_room": 0}
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def count(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that went away or was too slow costs only its own connection."""
        self.count("rejected")
