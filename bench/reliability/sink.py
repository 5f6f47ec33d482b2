"""Where everything under test delivers to, as a process of its own: OTLP/HTTP, RELP, or lines over
TCP, and what it accepted, number by number, in a file.

``python -m bench.reliability sink otlp|relp|lines PORT FILE``; on stdin: ``down``, ``up``,
``slow SECONDS``. It is never at fault itself: an outage is a port that nobody listens on.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import sys
import threading
import time
import zlib
from array import array
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

LINE = re.compile(rb"(\d{8} [a-z]*) ([0-9a-f]{8})")
CORRUPT = 0xFFFFFFFF
"""Stands in the file for a line whose checksum is wrong."""


def number_of(text: bytes) -> int:
    """The number of a line, or ``CORRUPT``."""
    found = LINE.search(text)
    if found is None or zlib.crc32(found[1]) != int(found[2], 16):
        return CORRUPT
    return int(found[1][:8])


class Sink:
    """What is shared by the connections."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.delay = 0.0
        """Seconds a line."""
        self.connections: set[socket.socket] = set()

    def accept(self, numbers: list[int]) -> None:
        if self.delay:
            time.sleep(self.delay * len(numbers))
        self._file.write(array("I", numbers).tobytes())


SINK: Sink


class Otlp(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        request = ExportLogsServiceRequest.FromString(data)
        SINK.accept(
            [
                number_of(record.body.string_value.encode())
                for resource in request.resource_logs
                for scope in resource.scope_logs
                for record in scope.log_records
            ]
        )
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Lines(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            SINK.accept([number_of(line)])


class Relp(StreamRequestHandler):
    """The part of RELP that a sender of logs needs: open, syslog and close, each answered."""

    def handle(self) -> None:
        while (frame := self._frame()) is not None:
            transaction, command, data = frame
            if command == b"open":
                self._answer(transaction, b"200 OK\nrelp_version=0\ncommands=syslog")
            elif command == b"close":
                self._answer(transaction, b"")
                return
            else:
                SINK.accept([number_of(data)])
                self._answer(transaction, b"200 OK")

    def _frame(self) -> tuple[bytes, bytes, bytes] | None:
        words = [self._word(), self._word(), self._word()]
        if not words[2]:
            return None
        data = self.rfile.read(int(words[2]))
        if data:
            self.rfile.read(1)  # the line feed; without data the length ends with it
        return words[0], words[1], data

    def _word(self) -> bytes:
        word = b""
        while (byte := self.rfile.read(1)) not in (b" ", b"\n", b""):
            word += byte
        return word

    def _answer(self, transaction: bytes, data: bytes) -> None:
        gap = b" " if data else b""
        self.wfile.write(b"%b rsp %d%b%b\n" % (transaction, len(data), gap, data))


HANDLERS: dict[str, Any] = {"otlp": Otlp, "relp": Relp, "lines": Lines}


def serve(protocol: str, port: int) -> Any:
    base: Any = ThreadingHTTPServer if protocol == "otlp" else ThreadingTCPServer

    class Server(base):  # type: ignore[misc]
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 64

        def process_request(self, request: socket.socket, address: Any) -> None:
            SINK.connections.add(request)
            super().process_request(request, address)

        def shutdown_request(self, request: socket.socket) -> None:
            SINK.connections.discard(request)
            super().shutdown_request(request)

        def handle_error(self, *args: object) -> None:
            pass  # whoever sends is killed now and then

    server = Server(("127.0.0.1", port), HANDLERS[protocol])
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def main(protocol: str, number: str, path: str) -> None:
    global SINK
    SINK, port = Sink(Path(path)), int(number)
    server = serve(protocol, port)
    for order in sys.stdin:
        match order.split():
            case ["down"]:
                server.shutdown()
                server.server_close()
                for connection in list(SINK.connections):
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
            case ["up"]:
                server = serve(protocol, port)
            case ["slow", seconds]:
                SINK.delay = float(seconds)
