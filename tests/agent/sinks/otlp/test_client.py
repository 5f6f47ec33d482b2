from __future__ import annotations

import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.logs.collector import OK, Answer, FakeCollector, refusing
from tickbird.clock import SystemClock
from tickbird.config import CollectorConfig, Secret, TlsConfig
from tickbird.logrecords import Records
from tickbird.sinks.otlp.answer import MAX_DETAIL, Verdict, classify, retry_after
from tickbird.sinks.otlp.client import Client
from tickbird.sinks.otlp.logs import LogEncoder, request

OPENSSL = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -keyout key.pem -out cert.pem "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
)
BODY = request(b"", LogEncoder().encode(Records([0], {}, ["hello"]), 0))
OTLP = {"content-type": "application/x-protobuf"}


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


def client(url: str, **options: object) -> Client:
    return Client(CollectorConfig(url, **options), "logs", SystemClock())  # type: ignore[arg-type]


def test_one_connection_is_kept_over_requests(collector: FakeCollector) -> None:
    sender = client(collector.url)
    assert [sender.send(BODY, 5).verdict for _ in range(3)] == [Verdict.ACCEPTED] * 3
    assert collector.connections == 1
    assert collector.accepted == ["hello"] * 3
    sender.close()


def test_a_connection_that_the_server_closed_while_idle_is_made_anew(
    collector: FakeCollector,
) -> None:
    sender = client(collector.url)
    collector.behave = lambda lines: Answer(headers={**OTLP, "connection": "close"})
    assert sender.send(BODY, 5).verdict is Verdict.ACCEPTED
    assert sender.send(BODY, 5).verdict is Verdict.ACCEPTED
    assert collector.connections == 2
    sender.close()


@pytest.mark.parametrize("action", ["hang", "drip"])
def test_row_42_a_request_ends_at_its_deadline_however_slowly_the_answer_comes(
    collector: FakeCollector, action: str
) -> None:
    collector.behave = lambda lines: Answer(action=action)
    sender = client(collector.url)
    start = time.monotonic()
    reply = sender.send(BODY, 0.4)
    assert reply.verdict is Verdict.RETRY
    assert 0.35 <= time.monotonic() - start < 3
    sender.close()


def test_a_server_that_takes_no_bytes_ends_at_the_deadline() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        sender = client(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        start = time.monotonic()
        assert sender.send(random.Random(1).randbytes(20_000_000), 0.5).verdict is Verdict.RETRY
        assert time.monotonic() - start < 5
        sender.close()


def test_abort_ends_a_request_that_waits_in_another_thread(collector: FakeCollector) -> None:
    collector.behave = lambda lines: Answer(action="hang")
    sender = client(collector.url)
    replies = []
    thread = threading.Thread(target=lambda: replies.append(sender.send(BODY, 30)))
    thread.start()
    while not collector.requests:
        time.sleep(0.01)
    sender.abort()
    thread.join(5)
    assert [reply.verdict for reply in replies] == [Verdict.RETRY]


@pytest.mark.parametrize("action", ["reset", "cut"])
def test_an_answer_that_breaks_off_is_tried_again(collector: FakeCollector, action: str) -> None:
    collector.behave = lambda lines: Answer(action=action)
    sender = client(collector.url)
    assert sender.send(BODY, 5).verdict is Verdict.RETRY
    collector.behave = lambda lines: OK
    assert sender.send(BODY, 5).verdict is Verdict.ACCEPTED
    sender.close()


def test_nobody_listening_is_said_plainly() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reply = client(f"http://127.0.0.1:{port}").send(BODY, 2)
    assert (reply.verdict, reply.detail) == (Verdict.RETRY, "Connection refused")


def test_secret_headers_are_sent_and_never_shown(collector: FakeCollector) -> None:
    sender = client(collector.url, headers={"authorization": Secret("Bearer s3cr3t")})
    sender.send(BODY, 5)
    assert collector.headers[0]["authorization"] == "Bearer s3cr3t"
    assert "s3cr3t" not in repr(vars(sender))
    sender.close()


@pytest.mark.parametrize("value", ["two\r\nlines: 1", "snowman ☃"])
def test_a_header_that_cannot_be_sent_holds_and_does_not_leak(
    collector: FakeCollector, value: str
) -> None:
    reply = client(collector.url, headers={"authorization": Secret(value)}).send(BODY, 5)
    assert reply.verdict is Verdict.HOLD
    assert value not in reply.detail
    assert not collector.requests


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (301, Verdict.RETRY, ""),
        (307, Verdict.RETRY, ""),
        (400, Verdict.SPLIT, "bad_request"),
        (401, Verdict.HOLD, ""),
        (403, Verdict.HOLD, ""),
        (404, Verdict.REFUSED, "http_404"),
        (413, Verdict.SPLIT, "too_large"),
        (429, Verdict.RETRY, ""),
        (500, Verdict.REFUSED, "http_500"),
        (501, Verdict.REFUSED, "http_501"),
        (502, Verdict.RETRY, ""),
        (503, Verdict.RETRY, ""),
        (504, Verdict.RETRY, ""),
        (505, Verdict.REFUSED, "http_505"),
    ],
)
def test_every_status_is_taken_as_the_specification_has_it(
    status: int, verdict: Verdict, reason: str
) -> None:
    reply = classify(status, OTLP, b"", 0)
    assert (reply.verdict, reply.reason) == (verdict, reason)


def test_row_49_a_redirect_is_not_followed(collector: FakeCollector) -> None:
    other = FakeCollector()
    collector.behave = lambda lines: Answer(307, headers={"location": other.url + "/v1/logs"})
    sender = client(collector.url, headers={"authorization": Secret("x")})
    assert sender.send(BODY, 5).verdict is Verdict.RETRY
    assert not other.requests
    sender.close()
    other.close()


def test_partial_success_counts_what_was_rejected() -> None:
    reply = classify(200, OTLP, refusing(3, "too old").body, 0)
    assert (reply.verdict, reply.rejected, reply.detail) == (Verdict.ACCEPTED, 3, "too old")


def test_partial_success_is_read_from_json_too() -> None:
    body = b'{"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "no"}}'
    reply = classify(200, {"content-type": "application/json; charset=utf-8"}, body, 0)
    assert (reply.verdict, reply.rejected) == (Verdict.ACCEPTED, 2)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>login</html>"),
        ("text/html", b""),
        ("", b"<!doctype html>"),
        ("application/x-protobuf", b"\x0a\xff"),
        ("application/json", b"<html>"),
        ("application/json", b"[]"),
    ],
)
def test_row_49_a_page_that_is_no_otlp_is_not_taken_for_success(kind: str, body: bytes) -> None:
    assert classify(200, {"content-type": kind}, body, 0).verdict is Verdict.RETRY


def test_what_an_answer_says_is_bounded_and_free_of_control_characters() -> None:
    detail = classify(500, OTLP, b"\x1b[31m" + b"x\r\n" * 10_000, 0).detail
    assert len(detail) <= MAX_DETAIL + 20
    assert detail.isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-5", 0),
        ("999999999", 300),
        ("inf", 300),
        ("nan", None),
        ("soon", None),
        (None, None),
        (format_datetime(datetime(2026, 1, 1, 0, 1, tzinfo=UTC), usegmt=True), 60),
        (format_datetime(datetime(1990, 1, 1, tzinfo=UTC), usegmt=True), 0),
    ],
)
def test_row_43_retry_after_is_honoured_within_bounds(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after(value, datetime(2026, 1, 1, tzinfo=UTC).timestamp()) == seconds


@given(st.text())
def test_any_retry_after_is_a_bounded_wait_or_none(value: str) -> None:
    seconds = retry_after(value, 1e9)
    assert seconds is None or 0 <= seconds <= 300


@given(
    st.integers(200, 599), st.binary(), st.sampled_from(["", "application/json", *OTLP.values()])
)
def test_no_answer_makes_it_raise(status: int, body: bytes, kind: str) -> None:
    classify(status, {"content-type": kind}, body, 0)


def test_row_50_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        OPENSSL.split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    fake = FakeCollector()
    fake._server.socket = context.wrap_socket(fake._server.socket, server_side=True)
    url = f"https://localhost:{fake.port}"
    try:
        stranger = client(url).send(BODY, 5)
        assert stranger.verdict is Verdict.RETRY
        assert "certificate" in stranger.detail.lower()
        friend = client(url, tls=TlsConfig(ca=cert))
        assert friend.send(BODY, 5).verdict is Verdict.ACCEPTED
        friend.close()
    finally:
        fake.close()
