"""As much of Node's inspector as is needed: one question over one WebSocket (RFC 6455), and the
Chrome DevTools Protocol's Runtime.evaluate."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from types import TracebackType
from typing import Any

from .keeper import kept_open

_MOST = 4 * 1024 * 1024
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_FINAL = 0x80
_MASKED = 0x80


class InspectorError(Exception):
    """It does not answer, or not as an inspector does."""


class Inspector:
    """The inspector on a loopback port; every wait is bounded by ``seconds``. Use it in ``with``.
    Raises ``InspectorError``."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self._socket: socket.socket | None = None

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def version(self) -> str:
        """Of Node, as ``20.20.2``."""
        browser = str(_dict(self._get("/json/version")).get("Browser", ""))
        name, _, version = browser.partition("/v")
        if name != "node.js" or not version:
            raise InspectorError(f"what answers on port {self._port} is no Node inspector")
        return version

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the main thread, with ``require`` at hand. Raises
        ``InspectorError`` also for what it throws, and when the target closes the connection."""
        parameters = {
            "expression": expression,
            "includeCommandLineAPI": True,
            "returnByValue": True,
            "silent": True,
        }
        question = {"id": 1, "method": "Runtime.evaluate", "params": parameters}
        connection = self._connect()
        with kept_open(connection):
            self._send(_TEXT, json.dumps(question).encode())
            while _dict(message := self._receive()).get("id") != 1:
                pass
        # At once: while it closes its inspector, the target waits for us to go.
        connection.close()
        result = _dict(message.get("result"))
        if "exceptionDetails" in result or "error" in message:
            thrown = _dict(_dict(result.get("exceptionDetails")).get("exception"))
            raise InspectorError(str(thrown.get("description") or message.get("error")))
        return _dict(result.get("result")).get("value")

    def _get(self, path: str) -> Any:
        with self._dial() as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer) < _length(answer):
                answer += self._more(connection)
        try:
            return json.loads(answer.partition(b"\r\n\r\n")[2])
        except ValueError:
            raise InspectorError(f"port {self._port} does not answer as an inspector") from None

    def _dial(self) -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", self._port), self._seconds)
        except OSError as error:
            raise InspectorError(f"no connection to port {self._port}: {error}") from error

    def _more(self, connection: socket.socket) -> bytes:
        try:
            data = connection.recv(65_536)
        except OSError as error:
            raise InspectorError(f"no answer: {error}") from error
        if not data:
            raise InspectorError("it closed the connection")
        return data

    def _connect(self) -> socket.socket:
        listed = self._get("/json/list")
        found = _dict(listed[0]) if isinstance(listed, list) and listed else {}
        path = "/" + str(found.get("id", ""))
        self._socket = self._dial()
        key = base64.b64encode(os.urandom(16)).decode()
        self._write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more(self._socket)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise InspectorError("it refuses the connection")
        return self._socket

    def _write(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise InspectorError(f"it closed the connection: {error}") from error

    def _send(self, kind: int, payload: bytes) -> None:
        """One frame; a client must mask it."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", _FINAL | kind, _MASKED | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", _FINAL | kind, _MASKED | 126, size)
        else:
            head = struct.pack("!BBQ", _FINAL | kind, _MASKED | 127, size)
        mask = os.urandom(4)
        keys = mask * (size // 4 + 1)
        masked = int.from_bytes(payload, "big") ^ int.from_bytes(keys[:size], "big")
        self._write(head + mask + masked.to_bytes(size, "big"))

    def _receive(self) -> dict[str, Any]:
        """The next whole message; fragments are put together, pings answered."""
        parts = b""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            if size > _MOST:
                raise InspectorError("its answer is too long")
            payload = self._take(size)
            kind = first & 0x0F
            if kind == _CLOSE:
                raise InspectorError("it closed the connection")
            if kind == _PING:
                self._send(_PONG, payload)
            if kind in (0, _TEXT):
                parts += payload
                if first & _FINAL:
                    return _dict(json.loads(parts))

    def _take(self, size: int) -> bytes:
        assert self._socket is not None
        while len(self._buffer) < size:
            self._buffer += self._more(self._socket)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


def _length(answer: bytes) -> float:
    """Bytes of a whole HTTP answer with this head; endless where it does not say."""
    head = answer.partition(b"\r\n\r\n")[0]
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return len(head) + 4 + int(value)
    raise InspectorError("it does not answer as an inspector")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
