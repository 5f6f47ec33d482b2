"""One GET with one deadline over everything: connect, handshake, headers, each byte of the body.

Redirects are not followed: a service that answers with one has answered. Used by ``scrape`` and
``http``; opens nothing by itself.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from . import __version__
from .clock import Deadline
from .errors import FetchError

CHUNK = 65536
_FAILURES = (OSError, http.client.HTTPException, ValueError)


class _TimedSocket:
    """As much of a socket as http.client uses. As with a real one, an answer being read keeps
    the connection open after ``close``."""

    def __init__(self, sock: socket.socket, holder: Connection) -> None:
        self._sock = sock
        self._holder = holder
        self._closed = False
        self._readers = 0

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - http.client reads only
        self._readers += 1
        return io.BufferedReader(_TimedReader(self), CHUNK)

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._holder.seconds())
        self._sock.sendall(data)

    def receive_into(self, buffer: Any) -> int:
        self._sock.settimeout(self._holder.seconds())
        return self._sock.recv_into(buffer)

    def reader_closed(self) -> None:
        self._readers -= 1
        self._close_if_unused()

    def close(self) -> None:
        self._closed = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and self._readers == 0:
            self._sock.close()


class _TimedReader(io.RawIOBase):
    """Reads from a socket, each time with what is left of the deadline."""

    def __init__(self, sock: _TimedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._sock.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._sock.reader_closed()


class Connection:
    """One kept connection to one origin; opened when first used, and again when it broke."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        """Raises FetchError for an address that is not http or https."""
        try:
            self._url: SplitResult = urlsplit(url)
            port = self._url.port
        except ValueError as error:
            raise FetchError(f"{url!r} is not an address: {error}", "url") from error
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise FetchError(f"{url!r} is not an http or https address", "url")
        self._host = self._url.hostname
        self._port = port or (443 if self._url.scheme == "https" else 80)
        self._tls = tls
        self._deadline: Deadline | None = None
        self._http: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self.certificate: bytes | None = None
        """The server's certificate (DER), once connected by https."""

    @property
    def origin(self) -> str:
        """Host and port, without anything secret that the address may carry."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    def seconds(self) -> float:
        """What is left of the deadline. Raises TimeoutError when nothing is."""
        left = self._deadline.remaining() if self._deadline else 0.0
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def get(self, headers: Mapping[str, str], deadline: Deadline) -> http.client.HTTPResponse:
        """Ask, and return the answer once its headers are there. Raises FetchError."""
        self._deadline = deadline
        kept = self._http is not None
        try:
            return self._ask(headers)
        except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError) as error:
            if not kept:
                raise self._failure(error) from error
        except _FAILURES as error:
            raise self._failure(error) from error
        try:  # a kept connection may have been closed by the server meanwhile: ask once more
            return self._ask(headers)
        except _FAILURES as error:
            raise self._failure(error) from error

    def _ask(self, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._answer is not None and not self._answer.isclosed():
            self.close()  # the last answer was not read to its end
        if self._http is None:
            self._http = self._connected()
        path = self._url.path or "/"
        if self._url.query:
            path += f"?{self._url.query}"
        try:
            self._http.request("GET", path, headers={"User-Agent": _AGENT, **headers})
            self._answer = self._http.getresponse()
        except BaseException:
            self.close()
            raise
        return self._answer

    def _connected(self) -> http.client.HTTPConnection:
        sock = socket.create_connection((self._host, self._port), timeout=self.seconds())
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._url.scheme == "https":
                self._tls = self._tls or ssl.create_default_context()
                sock.settimeout(self.seconds())
                secured = self._tls.wrap_socket(sock, server_hostname=self._host)
                self.certificate = secured.getpeercert(binary_form=True)
                sock = secured
        except BaseException:
            sock.close()
            raise
        made = http.client.HTTPConnection(self._host, self._port)
        made.auto_open = 0
        made.sock = _TimedSocket(sock, self)
        return made

    def body(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body as it comes. Raises FetchError when it breaks off or the deadline passes."""
        try:
            while chunk := answer.read1(CHUNK):
                yield chunk
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
            answer.close()  # read to its end: the connection is free for the next request
        except _FAILURES as error:
            self.close()
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> FetchError:
        self.close()
        kind, text = describe(error)
        return FetchError(f"{self.origin}: {text}", kind)

    def close(self) -> None:
        """Safe to call twice; a later ``get`` connects again."""
        made, self._http = self._http, None
        answer, self._answer = self._answer, None
        with contextlib.suppress(OSError):
            if answer is not None:
                answer.close()
            if made is not None:
                made.close()


_AGENT = f"tickbird/{__version__}"


def describe(error: Exception) -> tuple[str, str]:
    """``error.type`` and a short text for a failed request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls", f"the certificate is refused: {error.verify_message}"
    for cause, kind, text in _KINDS:
        if isinstance(error, cause):
            return kind, text
    return "connection", getattr(error, "strerror", None) or "the connection broke"


_KINDS: tuple[tuple[type[Exception], str, str], ...] = (
    (TimeoutError, "timeout", "no whole answer in time"),
    (ssl.SSLError, "tls", "the TLS handshake fails"),
    (ConnectionRefusedError, "connection_refused", "connection refused; is the service up?"),
    (socket.gaierror, "name_resolution", "the host name cannot be resolved"),
    (http.client.IncompleteRead, "protocol", "the answer breaks off"),
    (http.client.HTTPException, "protocol", "what answers there does not speak HTTP"),
    (ValueError, "protocol", "what answers there does not speak HTTP"),
)
