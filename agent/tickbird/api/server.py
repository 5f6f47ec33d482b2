"""HTTP on one listening socket: a thread a connection, every wait and every size bounded."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from ..net import TimedReader
from .routes import HEADERS, Answer, Request

CONNECTIONS = 48
"""Connections at once; one more is closed at once, before a thread is spent on it."""
IDLE_SECONDS = 30.0
"""How long a kept connection may be silent between two requests."""
HEAD_SECONDS = 5.0
"""How long a request's head may take from its first byte to its last."""
WRITE_SECONDS = 10.0
"""How long a reader may take for one answer."""
HEAD_BYTES = 32 * 1024

Respond = Callable[[Request], Answer]


class TooLargeError(Exception):
    """The head of a request is longer than HEAD_BYTES."""


class _Reader(TimedReader):
    """Reads one request head after another, each bounded in time and size."""

    def expect(self, idle: float) -> None:
        super().expect(idle)
        self._left = HEAD_BYTES

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left <= 0:
            raise TooLargeError
        size = super().readinto(buffer[: self._left])
        self._left -= size
        return size


class _Connection(BaseHTTPRequestHandler):
    """One connection; speaks HTTP/1.1 and hands each request to ``respond``."""

    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024

    def __init__(self, sock: socket.socket, respond: Respond, trusted: bool) -> None:
        self._respond = respond
        self._trusted = trusted
        self._first = True
        super().__init__(sock, ("", 0), None)  # type: ignore[arg-type]

    def setup(self) -> None:
        self._reader = _Reader(self.request, HEAD_SECONDS)
        self.connection = self.request
        self.rfile = io.BufferedReader(self._reader, 8 * 1024)
        self.wfile = self.connection.makefile("wb", self.wbufsize)

    def handle_one_request(self) -> None:
        if not self._first:
            self._reader.expect(IDLE_SECONDS)
        self._first = False
        try:
            super().handle_one_request()
        except TooLargeError:
            self.close_connection = True
            self.requestline, self.request_version, self.command = "", self.protocol_version, ""
            self.send_error(431)
            self.wfile.flush()

    def do_GET(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        self._answer()

    do_HEAD = do_GET  # noqa: N815 - the base class looks methods up by these names

    def _answer(self) -> None:
        headers = {name.title(): value for name, value in self.headers.items()}
        try:
            answer = self._respond(Request(self.command, self.path, headers, self._trusted))
        except Exception:  # whatever failed costs this request and no other
            traceback.print_exc()
            answer = Answer(500, b'{"error": "the agent failed to answer; see its own log"}')
        self._send(answer)

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """Called by the base class for what is no proper request (or, 501, no method of ours)."""
        self.close_connection = True
        if code == 501:
            self._answer()
        else:
            self._send(Answer(code, b'{"error": "not a request that can be answered"}'))

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(WRITE_SECONDS)
        self.send_response_only(answer.status)
        for name, value in {**HEADERS, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Requests are not logged: their addresses may hold a token."""


class Server:
    """Answers on ``sock`` (listening) from ``run`` until ``close``."""

    def __init__(self, sock: socket.socket, respond: Respond, trusted: bool = False) -> None:
        self.socket = sock
        self._respond = respond
        self._trusted = trusted
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._closed = threading.Event()

    def run(self) -> None:
        """Body of a thread: accept until closed."""
        while not self._closed.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                # Out of descriptors, or closed: the first passes, the second ends the loop.
                self._closed.wait(0.05)
                continue
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="api-connection", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                _Connection(connection, self._respond, self._trusted)
        except OSError:
            pass  # The other side went away or was too slow; there is nobody to tell.
        finally:
            self._slots.release()

    def close(self) -> None:
        """Stop accepting; safe to call twice. Shutting a listening socket down wakes ``accept``."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
