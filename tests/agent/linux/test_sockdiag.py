import os
import socket
import struct

import pytest

from tickbird.linux import sockdiag


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_listener_is_found_by_its_inode_and_a_connection_is_not(family, address) -> None:
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        found = sockdiag.listening()
        assert found is not None
        assert found[_inode(server)] == server.getsockname()[1]
        assert _inode(client) not in found


def _inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def test_a_refusal_is_an_error_and_what_is_cut_off_is_nothing() -> None:
    with pytest.raises(OSError, match="refused"):
        list(sockdiag.parse(_message(2, struct.pack("=i", -1))))
    assert list(sockdiag.parse(_message(20, b"\0" * 20))) == []
    assert list(sockdiag.parse(b"\1\2\3")) == []
    assert list(sockdiag.parse(struct.pack("=IHHII", 0, 20, 0, 0, 0))) == []
