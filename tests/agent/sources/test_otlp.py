import contextlib
import gzip
import http.client
import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tickbird.net import listen
from tickbird.sources.otlp import MAX_BODY, MAX_HELD, Intake, RequestError, decode, decompress

PROTOBUF = {"Content-Type": "application/x-protobuf"}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def trace():
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="GET /a")
    span.trace_id = bytes.fromhex(TRACE_ID)
    return request


class Door:
    """A running intake that remembers what it took."""

    def __init__(self, patience=10.0):
        self.taken = []
        self.room = True
        self.intake = Intake(listen("127.0.0.1", 0), self.take, patience)
        self.thread = threading.Thread(target=self.intake.serve_forever, args=(0.02,))
        self.thread.start()

    def take(self, signal, request):
        if self.room:
            self.taken.append((signal, request))
        return self.room

    def post(self, body, headers=PROTOBUF, path="/v1/traces", chunked=False):
        connection = http.client.HTTPConnection(*self.intake.socket.getsockname(), timeout=5)
        body = iter([body[:3], body[3:]]) if chunked else body
        connection.request("POST", path, body, headers, encode_chunked=chunked)
        response = connection.getresponse()
        answer = response.status, dict(response.headers), response.read()
        connection.close()
        return answer

    def close(self):
        self.intake.shutdown()
        self.thread.join()
        self.intake.server_close()


@pytest.fixture
def door():
    door = Door()
    yield door
    door.close()


def test_protobuf_is_taken_and_answered_in_kind(door):
    status, headers, body = door.post(trace().SerializeToString())
    assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"")
    assert door.taken == [("traces", trace())]


def test_gzip_is_taken(door):
    headers = PROTOBUF | {"Content-Encoding": "gzip"}
    assert door.post(gzip.compress(trace().SerializeToString()), headers)[0] == 200
    assert door.taken == [("traces", trace())]


def test_chunked_bodies_are_taken(door):
    headers = PROTOBUF | {"Transfer-Encoding": "chunked"}
    assert door.post(trace().SerializeToString(), headers, chunked=True)[0] == 200
    assert door.taken == [("traces", trace())]


def test_json_is_taken_with_its_hexadecimal_ids(door):
    body = {
        "resourceSpans": [{"scopeSpans": [{"spans": [{"name": "GET /a", "traceId": TRACE_ID}]}]}]
    }
    status, _, answer = door.post(
        json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"}
    )
    assert (status, answer) == (200, b"{}")
    assert door.taken == [("traces", trace())]


def test_a_full_queue_asks_the_sender_to_come_again(door):
    door.room = False
    status, headers, _ = door.post(trace().SerializeToString())
    assert (status, headers["Retry-After"]) == (503, "1")
    assert door.intake.counts["refused_for_room"] == 1


@pytest.mark.parametrize(
    ("body", "headers", "path", "status"),
    [
        (b"\xff\xff garbage", PROTOBUF, "/v1/traces", 400),
        (b"{", {"Content-Type": "application/json"}, "/v1/traces", 400),
        (b"x", {"Content-Type": "text/html"}, "/v1/traces", 415),
        (b"x", PROTOBUF | {"Content-Encoding": "br"}, "/v1/traces", 415),
        (b"not gzip", PROTOBUF | {"Content-Encoding": "gzip"}, "/v1/traces", 400),
        (gzip.compress(b"abcdef")[:-9], PROTOBUF | {"Content-Encoding": "gzip"}, "/v1/logs", 400),
        (b"", PROTOBUF, "/v1/profiles", 404),
    ],
)
def test_what_is_not_otlp_is_refused_with_its_reason(door, body, headers, path, status):
    answer = door.post(body, headers, path)
    assert answer[0] == status
    assert answer[2]
    assert door.taken == []
    assert door.intake.counts["rejected"] == 1


def test_a_compression_bomb_stops_at_the_limit():
    with pytest.raises(RequestError) as refused:
        decompress(gzip.compress(b"\0" * (MAX_BODY + 1)), "gzip")
    assert refused.value.status == 413


def test_json_deeper_than_any_telemetry_is_refused():
    value = {"stringValue": "x"}
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    body = {"resourceSpans": [{"resource": {"attributes": [{"key": "k", "value": value}]}}]}
    with pytest.raises(RequestError) as refused:
        decode("/v1/traces", "application/json", json.dumps(body).encode())
    assert refused.value.status == 400


@given(st.binary(max_size=300), st.sampled_from(["application/x-protobuf", "application/json"]))
def test_no_body_can_raise_anything_else(body, content_type):
    try:
        decode("/v1/metrics", content_type, body)
    except RequestError as refused:
        assert refused.status == 400


def connected(door):
    return socket.create_connection(door.intake.socket.getsockname(), timeout=10)


def head(path="/v1/traces", **headers):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    start = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/x-protobuf\r\n"
    return (start + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def test_trailers_behind_the_chunks_do_not_spoil_the_next_request(door):
    body = trace().SerializeToString()
    chunk = b"%x;extension=1\r\n%b\r\n0\r\nDigest: abc\r\nMore: %b\r\n\r\n" % (
        len(body), body, b"x" * 100
    )  # fmt: skip
    with connected(door) as sock, sock.makefile("rb") as answers:
        for _ in range(2):
            sock.sendall(head(Transfer_Encoding="chunked") + chunk)
            assert b" 200 " in answers.readline()
            while answers.readline().strip():
                pass
    assert len(door.taken) == 2


@pytest.mark.parametrize("size", [b"-5", b"0x5", b"", b"zz", b"1_0"])
def test_a_chunk_without_a_proper_size_ends_the_connection(door, size):
    with connected(door) as sock:
        sock.sendall(head(Transfer_Encoding="chunked") + size + b"\r\nhello\r\n0\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert b" 400 " in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_sender_that_drips_loses_its_place():
    door = Door(patience=0.5)
    try:
        with connected(door) as sock:
            sock.sendall(head(Content_Length="1000"))
            sock.settimeout(0.05)
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < began + 10:
                    sock.sendall(b"x")
                    with contextlib.suppress(TimeoutError):
                        if sock.recv(1) == b"":
                            break
        assert time.monotonic() - began < 5
        assert door.taken == []
    finally:
        door.close()


def test_bodies_that_arrive_together_are_bounded_together(door):
    half = head(Content_Length=str(MAX_BODY))
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_HELD // MAX_BODY):
            opened.enter_context(connected(door)).sendall(half)
        while door.intake._held < MAX_HELD:
            time.sleep(0.01)
        status, headers, _ = door.post(trace().SerializeToString())
        assert (status, headers["Retry-After"]) == (503, "1")
    while door.intake._held:
        time.sleep(0.01)
    assert door.post(trace().SerializeToString())[0] == 200
