"""One kept connection to the Collector: sends a body, says what came of it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from isal import igzip

from ... import __version__
from ...clock import Clock, Deadline
from .answer import CREDENTIALS, Reply, Verdict, classify, one_line
from .connection import Connection, left

if TYPE_CHECKING:
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
        self._connection: Connection | None = None
        self._sent = False
        """Whether the request under way was sent as a whole."""
        self.where = f"{url.scheme}://{self._host}:{self._port}"

    def send(self, body: bytes, timeout: float) -> Reply:
        """Post ``body`` (OTLP protobuf). Ends within ``timeout`` seconds in all, however slowly
        the other side reads or answers; never raises for what the network or the server does."""
        try:
            headers = self._headers()
        except ValueError:
            # The value itself stands in such an error's text, and it may be a secret.
            what = "a configured header cannot be sent: it is not printable ASCII"
            return Reply(Verdict.HOLD, what, remedy=CREDENTIALS)
        deadline = Deadline(self._clock, timeout)
        self._sent = False
        try:
            return self._exchange(igzip.compress(body, 1), headers, deadline)
        except _BadTls as error:
            self.close()
            return Reply(Verdict.HOLD, str(error), remedy=error.remedy)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            slow = self._sent and isinstance(error, TimeoutError)
            return Reply(Verdict.RETRY, _failure(error), remedy=_remedy(error), slow=slow)

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
        connection.sock.settimeout(left(deadline))
        connection.request("POST", self._path, body, headers)
        self._sent = True
        response = connection.getresponse()
        if not connection.headers_ended():
            raise http.client.IncompleteRead(b"")
        content = response.read(MAX_ANSWER)
        if response.length and len(content) < MAX_ANSWER:
            raise http.client.IncompleteRead(content, response.length)
        if response.read(1) or response.will_close:
            self.close()
        answered = {name.lower(): value for name, value in response.headers.items()}
        now, retried = self._clock.time(), self._collector.retry_status
        return classify(response.status, answered, content, now, retried)

    def _connected(self, deadline: Deadline) -> Connection:
        if self._connection is not None and self._connection.went_away():
            self.close()
        if self._connection is None:
            self._connection = Connection(self._host, self._port)
            self._connection.open(deadline, self._tls if self._secure else None)
        self._connection.deadline = deadline
        return self._connection

    def _tls(self) -> ssl.SSLContext:
        # Built anew for every connection, so that certificates rotated on disk are taken up.
        tls = self._collector.tls
        ca, cert, key = (tls.ca, tls.cert, tls.key) if tls else (None, None, None)
        try:
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
        except OSError as error:
            raise _BadTls("ca", [ca], error) from error
        if cert:
            try:
                context.load_cert_chain(str(cert), str(key) if key else None)
            except OSError as error:
                raise _BadTls("cert", [cert, key], error) from error
        return context


class _BadTls(Exception):
    """A file of the configuration that cannot be used; a person has to act."""

    def __init__(self, key: str, files: Sequence[object], error: OSError) -> None:
        names = " and ".join(str(file) for file in files if file)
        super().__init__(f"{names} cannot be used: {one_line(error)}")
        self.remedy = f"correct collector.tls.{key} in the configuration, or the file"


def _failure(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {one_line(error.verify_message)}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer broke off"
    return one_line(error)


def _remedy(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "correct collector.tls.ca in the configuration, or the Collector's certificate"
    if isinstance(error, socket.gaierror):
        return "correct collector.endpoint in the configuration, or the name service"
    return ""
