"""One HTTP connection whose every wait, from the look-up of a name to the last byte of an answer,
shares one deadline."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...clock import Deadline

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_Address = tuple[Any, Any, int, str, Any]
_STREAM = socket.SOCK_STREAM


class Connection(http.client.HTTPConnection):
    """An HTTP connection whose every wait shares one deadline. The library's own timeout counts
    per read, so a server that drips bytes could hold a request for ever."""

    deadline: Deadline
    _answer: _Answer

    def open(self, deadline: Deadline, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self.deadline = deadline
        self.sock = self._first_that_answers(deadline)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            context = tls()
            self.sock.settimeout(left(deadline))
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    def _first_that_answers(self, deadline: Deadline) -> socket.socket:
        failure: OSError = ConnectionError(f"{self.host} has no address")
        found = _addresses(self.host, self.port, deadline)
        for number, (family, kind, protocol, _, address) in enumerate(found):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(left(deadline) / (len(found) - number))
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
        response.fp = self._answer = _Answer(timed)
        return response

    def headers_ended(self) -> bool:
        """Whether the headers of the answer came to their end: the library takes headers that were
        cut off for all there are."""
        return self._answer.last_line in (b"\r\n", b"\n")


class _Answer(io.BufferedReader):
    """Remembers the last line read: of an answer whose headers were read, the empty one."""

    last_line = b""

    def readline(self, size: int | None = -1) -> bytes:
        self.last_line = super().readline(-1 if size is None else size)
        return self.last_line


class _TimedReader(io.RawIOBase):
    """Reads a socket, each time with what is left of the deadline."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        self._sock.settimeout(left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _addresses(host: str, port: int, deadline: Deadline) -> list[_Address]:
    """What ``host`` stands for now, looked up in a thread of its own: a look-up cannot be broken
    off, so one that hangs is left behind until the resolver gives up."""
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=_STREAM, flags=socket.AI_NUMERICHOST)
    found: list[list[_Address] | OSError] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=_STREAM))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=look_up, name="look-up", daemon=True)
    thread.start()
    thread.join(left(deadline))
    if not found:
        raise TimeoutError(f"no name server answered for {host}")
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def left(deadline: Deadline) -> float:
    """Seconds that are left. Raises ``TimeoutError`` when there are none."""
    seconds = deadline.remaining()
    if seconds <= 0:
        raise TimeoutError
    return seconds
