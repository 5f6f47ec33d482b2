"""OTLP/HTTP intake: what the services' own SDKs send passes through, with the target's identity.

Protobuf and JSON, gzip; limits hold after decompression, and over all connections. A request is
answered only when it is in the outgoing queue; without room the answer is 503, which every SDK
takes as "try again".
"""

from __future__ import annotations

import io
import json
import socket
import threading
import zlib
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from ...net import TimedReader

MAX_BODY = 8 * 1024 * 1024
"""Bytes after decompression: the largest batch of an SDK is far below, and the agent is small."""
MAX_HELD = 2 * MAX_BODY
"""Bytes of all requests that are being taken, before and after decompression."""
MAX_CONNECTIONS = 64
MAX_TRAILERS = 20
REQUEST_SECONDS = 10.0
"""How long a request may take from its first byte to its last, and its answer to be read."""
IDLE_SECONDS = 30.0
"""How long a kept connection may be silent between two requests."""
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
    server: Intake

    def setup(self) -> None:
        super().setup()
        self._reader = TimedReader(self.connection, self.server.patience)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._held = 0
        try:
            super().handle_one_request()
        finally:
            self.server.hold(-self._held)
        self._reader.expect(IDLE_SECONDS)

    def do_POST(self) -> None:
        content_type = self.headers.get("Content-Type", "").split(";")[0].strip().lower()
        try:
            self._take(content_type)
        except RequestError as error:
            self.server.count("refused_for_room" if error.status == 503 else "rejected")
            self._answer(error.status, "text/plain", str(error).encode())
        else:
            self.server.count("received")
            self._answer(200, content_type, b"{}" if content_type == _JSON else b"")

    def _take(self, content_type: str) -> None:
        # what is left of a body that is refused midway would be taken for the next request
        kept, self.close_connection = self.close_connection, True
        body = self._read_body()
        self.close_connection = kept
        with self.server.decoding:
            plain = decompress(body, self.headers.get("Content-Encoding", ""))
            if plain is not body:
                self._hold(len(plain))
            signal, request = decode(self.path.split("?")[0], content_type, plain)
        if not self.server.receive(signal, request):
            raise RequestError(503, "the queue is full")

    def _hold(self, size: int) -> None:
        """Make sure of room for ``size`` bytes until this request is answered."""
        if not self.server.hold(size):
            raise RequestError(503, "too much is being taken at once")
        self._held += size

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        try:
            length = int(self.headers["Content-Length"])
        except (TypeError, ValueError):
            raise RequestError(411, "send Content-Length or chunks") from None
        if not 0 <= length <= MAX_BODY:
            raise RequestError(413, f"more than {MAX_BODY} bytes")
        self._hold(length)
        body = self.rfile.read(length)
        if len(body) < length:
            raise RequestError(400, "the body ends too early")
        return body

    def _read_chunks(self) -> bytes:
        """Node's exporters send their bodies in chunks."""
        parts: list[bytes] = []
        total = 0
        while size := self._chunk_size():
            total += size
            if total > MAX_BODY:
                raise RequestError(413, f"more than {MAX_BODY} bytes")
            self._hold(size)
            parts.append(self.rfile.read(size))
            self.rfile.readline(64)
        for _ in range(MAX_TRAILERS):
            if self.rfile.readline(1024) in (b"\r\n", b"\n", b""):
                return b"".join(parts)
        raise RequestError(400, "too many trailers")

    def _chunk_size(self) -> int:
        text = self.rfile.readline(64).split(b";")[0].strip()
        if not text or text.strip(b"0123456789abcdefABCDEF"):
            raise RequestError(400, "a chunk has no size")
        return int(text, 16)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.connection.settimeout(REQUEST_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are counted, not logged."""


class Intake(ThreadingHTTPServer):
    """Serves on a listening loopback socket that the caller has bound, until ``shutdown``."""

    daemon_threads = True

    def __init__(
        self, listening: socket.socket, receive: Receive, patience: float = REQUEST_SECONDS
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.receive = receive
        self.patience = patience
        self.counts = {"received": 0, "rejected": 0, "refused_for_room": 0}
        self.decoding = threading.Lock()
        """One at a time: decoding is what takes memory, and two at once are no faster."""
        self._held = 0
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def count(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1

    def hold(self, size: int) -> bool:
        """Count ``size`` bytes as being taken (negative: not any more); False: too many."""
        with self._lock:
            if size > 0 and self._held + size > MAX_HELD:
                return False
            self._held += size
            return True

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
