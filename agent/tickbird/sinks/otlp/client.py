"""One kept connection to the Collector: sends a body, says what came of it."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from isal import igzip

from ... import __version__
from ...clock import Clock, Deadline
from ...errors import TickbirdError
from .answer import Reply, Verdict, classify, one_line

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

    from ...config import CollectorConfig

Signal = Literal["logs", "metrics", "traces"]

MAX_ANSWER = 64 * 1024
"""Bytes read of an answer; what OTLP answers is far smaller."""


class Client:
    """Sends OTLP bodies of one signal. One thread at a time may call ``send``; any thread may
    call ``abort``."""

    def __init__(self, collector: CollectorConfig, signal: Signal, clock: Clock) -> None:
        url = urlsplit(collector.endpoint)
        self._collector = collector
        self._clock = clock
        self._secure = url.scheme == "https"
        self._host = url.hostname or "localhost"
        self._port = url.port or (443 if self._secure else 80)
        self._path = f"{url.path.rstrip('/')}/v1/{signal}"
        self._connection: _Connection | None = None
        self.where = f"{url.scheme}://{self._host}:{self._port}"

    def send(self, body: bytes, timeout: float) -> Reply:
        """Post ``body`` (OTLP protobuf). Ends within ``timeout`` seconds in all, however slowly
        the other side reads or answers; never raises for what the network or the server does."""
        try:
            headers = self._headers()
        except (TickbirdError, OSError) as error:
            return Reply(Verdict.HOLD, one_line(error))
        except ValueError:
            # The value itself stands in such an error's text, and it may be a secret.
            return Reply(Verdict.HOLD, "a configured header cannot be sent: not printable ASCII")
        deadline = Deadline(self._clock, timeout)
        try:
            return self._exchange(igzip.compress(body, 1), headers, deadline)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Reply(Verdict.RETRY, _failure(error))

    def abort(self) -> None:
        """Make a ``send`` that waits in another thread fail now."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # Not ssl's shutdown: that one takes the cipher state from under the other thread.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            "user-agent": f"tickbird/{__version__}",
        }
        for name, secret in self._collector.headers.items():
            value = secret.reveal()
            if not (value.isascii() and value.isprintable()):
                raise ValueError
            headers[name] = value
        return headers

    def _exchange(self, body: bytes, headers: dict[str, str], deadline: Deadline) -> Reply:
        connection = self._connected(deadline)
        assert connection.sock is not None
        connection.sock.settimeout(_left(deadline))
        connection.request("POST", self._path, body, headers)
        response = connection.getresponse()
        if response.length is None and not response.chunked:
            # Its headers may have been cut off: that looks the same as an answer up to the end.
            raise http.client.IncompleteRead(b"")
        content = response.read(MAX_ANSWER)
        if response.length and len(content) < MAX_ANSWER:
            raise http.client.IncompleteRead(content, response.length)
        if response.read(1) or response.will_close:
            self.close()
        answered = {name.lower(): value for name, value in response.headers.items()}
        return classify(response.status, answered, content, self._clock.time())

    def _connected(self, deadline: Deadline) -> _Connection:
        if self._connection is not None and self._connection.went_away():
            self.close()
        if self._connection is None:
            self._connection = _Connection(self._host, self._port)
            self._connection.open(deadline, self._tls() if self._secure else None)
        self._connection.deadline = deadline
        return self._connection

    def _tls(self) -> ssl.SSLContext:
        # Built anew for every connection, so that certificates rotated on disk are taken up.
        tls = self._collector.tls
        context = ssl.create_default_context(cafile=str(tls.ca) if tls and tls.ca else None)
        if tls and tls.cert:
            context.load_cert_chain(str(tls.cert), str(tls.key) if tls.key else None)
        return context


class _Connection(http.client.HTTPConnection):
    """An HTTP connection whose every wait shares one deadline. The library's own timeout counts
    per read, so a server that drips bytes could hold a request for ever."""

    deadline: Deadline

    def open(self, deadline: Deadline, tls: ssl.SSLContext | None) -> None:
        self.deadline = deadline
        self.sock = self._first_that_answers(deadline)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock.settimeout(_left(deadline))
            self.sock = tls.wrap_socket(self.sock, server_hostname=self.host)

    def _first_that_answers(self, deadline: Deadline) -> socket.socket:
        failure: OSError = ConnectionError(f"{self.host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(_left(deadline))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure

    def went_away(self) -> bool:
        """Whether the server has closed the idle connection (or sent what nobody asked for)."""
        if self.sock is None:
            return True
        poller = select.poll()
        poller.register(self.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poller.poll(0))

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None
    ) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, debuglevel, method)
        response.fp.close()
        timed = _TimedReader(sock, sock.makefile("rb", buffering=0), self.deadline)
        response.fp = io.BufferedReader(timed)
        return response


class _TimedReader(io.RawIOBase):
    """Reads a socket, each time with what is left of the deadline."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: Deadline) -> float:
    left = deadline.remaining()
    if left <= 0:
        raise TimeoutError
    return left


def _failure(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer broke off"
    return one_line(error)
