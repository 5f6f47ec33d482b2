"""Loopback sockets: bound here, or inherited from the supervisor that bound them before us."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from .errors import CannotCreate

NEXT_PORTS = 20
"""How many ports after the wanted one are tried."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the supervisor of ``tickbird exec`` hands over; empty for a plain ``run``."""

    probe: socket.socket | None = None
    probe_token: str | None = None
    intake: socket.socket | None = None
    supervised: bool = False
    """A supervisor started this agent, so it ends when that one has gone."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket on ``port``, or on the next free one after it (0: any)."""
    last: OSError | None = None
    for candidate in range(port, port + (NEXT_PORTS if port else 1)):
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


def address(sock: socket.socket) -> str:
    """``host:port`` of a bound socket, as it stands in a URL."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
