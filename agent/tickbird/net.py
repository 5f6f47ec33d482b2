"""Loopback sockets: bound here, or inherited from the supervisor that bound them before us."""

from __future__ import annotations

import io
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import CannotCreate

NEXT_PORTS = 20
"""How many ports after the wanted one are tried."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the supervisor of ``tickbird exec`` hands over; empty for a plain ``run``."""

    probe: socket.socket | None = None
    probe_token: str | None = None
    intake: socket.socket | None = None
    supervisor: int | None = None
    """The pid of who started this agent, which ends when that one has gone."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket on ``port``, or on the next free one after it (0: any)."""
    last: OSError | None = None
    for candidate in range(port, min(port + NEXT_PORTS, 65_536) if port else 1):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, candidate))
            sock.listen(64)
        except OSError as error:
            sock.close()
            last = error
            continue
        return sock
    raise CannotCreate(
        f"cannot listen on {host}:{port} or on the {NEXT_PORTS - 1} ports after it: {last}",
        "set another port in the configuration (api.listen, intake.otlp_http)",
    )


def datagrams(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A bound UDP socket for the in-process probes, with room for what comes while nobody reads."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
    sock.bind((host, port))
    return sock


def answers(path: Path) -> bool:
    """Whether somebody listens on the Unix socket ``path``, however busy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True


def address(sock: socket.socket) -> str:
    """``host:port`` of a bound socket, as it stands in a URL."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class TimedReader(io.RawIOBase):
    """Reads from a connection under one deadline for a whole request, ``whole`` seconds from its
    first byte: a limit per read would let a client that sends a byte a second stay for ever."""

    def __init__(self, sock: socket.socket, whole: float) -> None:
        self._socket = sock
        self._whole = whole
        self.expect(whole)

    def expect(self, idle: float) -> None:
        """A new request may begin within ``idle`` seconds."""
        self._deadline = time.monotonic() + idle
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if (wait := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        self._socket.settimeout(wait)
        size = self._socket.recv_into(buffer)
        if not self._begun:
            self._begun = True
            self._deadline = time.monotonic() + self._whole
        return size
