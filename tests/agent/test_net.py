import socket
import time

import pytest

from tickbird.errors import CannotCreate
from tickbird.net import TimedReader, address, datagrams, listen


def test_a_taken_port_gives_way_to_a_later_one():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 20


def test_the_ports_end_at_the_last_one():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 65_535))
        holder.listen()
        with pytest.raises(CannotCreate, match=r"cannot listen on 127\.0\.0\.1:65535"):
            listen("127.0.0.1", 65_535)


def test_an_address_that_is_not_ours_is_refused_with_a_remedy():
    with pytest.raises(CannotCreate) as refused:
        listen("192.0.2.1", 0)
    assert "api.listen" in refused.value.remedy


def test_an_address_is_written_with_its_port():
    with datagrams() as sock:
        assert address(sock) == f"127.0.0.1:{sock.getsockname()[1]}"


def test_a_whole_request_has_one_deadline_and_silence_before_it_another():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = TimedReader(ours, 0.05)
        reader.expect(5.0)
        theirs.sendall(b"ab")
        buffer = memoryview(bytearray(1))
        assert reader.readinto(buffer) == 1
        deadline = time.monotonic() + 0.05
        while time.monotonic() < deadline:
            pass
        with pytest.raises(TimeoutError):
            reader.readinto(buffer)
        reader.expect(5.0)
        assert reader.readinto(buffer) == 1
