"""Rows of the fault catalogue that the way to the Collector must survive, beside those in
``test_client`` and ``test_delivery``."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.logs.collector import OK, Answer, FakeCollector
from tickbird.clock import Deadline, SystemClock
from tickbird.config import CollectorConfig, Secret, TlsConfig
from tickbird.logrecords import Records
from tickbird.sinks.otlp.answer import Verdict, classify
from tickbird.sinks.otlp.client import Client
from tickbird.sinks.otlp.delivery import Backoff, Lane, Outcome
from tickbird.sinks.otlp.logs import LogEncoder, payload, request

CLOCK = SystemClock()
QUICK = Backoff(first=0.01, longest=0.02, held=0.02)
BODY = request(b"", LogEncoder().encode(Records([0], {}, ["hello"]), 0))


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


def client(url: str, **options: Any) -> Client:
    return Client(CollectorConfig(url, **options), "logs", CLOCK)


@contextmanager
def lane(url: str, **options: Any) -> Iterator[tuple[Lane, list[Outcome]]]:
    made = Lane(CollectorConfig(url, **options), "logs", CLOCK, 1 << 20, QUICK)
    stop, outcomes = threading.Event(), list[Outcome]()
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    yield made, outcomes
    stop.set()
    made.drain(Deadline(CLOCK, 0.1))
    thread.join(5)


def offer(to: Lane, outcomes: list[Outcome], *lines: str) -> None:
    records = LogEncoder().encode(Records(range(len(lines)), {}, lines), 0)
    assert to.offer(payload(b"", records, outcomes.append))


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_row_42_a_collector_slower_than_the_timeout_is_given_more_time(
    collector: FakeCollector,
) -> None:
    collector.behave = lambda lines: Answer(delay=0.5)
    with lane(collector.url, timeout=0.2) as (made, outcomes):
        for number in range(3):
            offer(made, outcomes, str(number))
        until(lambda: len(outcomes) == 3)
    assert collector.requests == [["0"], ["0"], ["0"], ["1"], ["2"]]


def test_row_42_once_it_is_quick_again_the_timeout_is_the_configured_one(
    collector: FakeCollector,
) -> None:
    collector.behave = lambda lines: Answer(delay=0.5) if lines == ["slow"] else OK
    with lane(collector.url, timeout=0.2) as (made, outcomes):
        for line in ("slow", "quick", "slow"):
            offer(made, outcomes, line)
        until(lambda: len(outcomes) == 3)
    assert collector.requests == [["slow"]] * 3 + [["quick"]] + [["slow"]] * 3


def test_row_44_what_the_user_asks_for_is_retried_though_the_specification_says_final(
    collector: FakeCollector,
) -> None:
    collector.behave = lambda lines: Answer(500) if len(collector.requests) < 3 else OK
    with lane(collector.url, retry_status=(500,)) as (made, outcomes):
        offer(made, outcomes, "a")
        until(lambda: outcomes)
    assert outcomes == [Outcome(1)]
    assert classify(501, {}, b"", 0, (500,)).verdict is Verdict.REFUSED


def test_row_48_an_expired_token_holds_and_a_new_one_in_its_file_is_taken_up(
    collector: FakeCollector, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    secret = Secret("old", token.read_text)
    collector.behave = lambda lines: (
        OK if collector.headers[-1]["authorization"] == "new" else Answer(403)
    )
    with lane(collector.url, headers={"authorization": secret}) as (made, outcomes):
        offer(made, outcomes, "kept")
        until(lambda: made.status.problem)
        assert "HTTP 403" in str(made.status.problem)
        assert "the files that they come from" in str(made.status.problem)
        assert not outcomes
        token.write_text("new")
        until(lambda: outcomes)
    assert collector.accepted == ["kept"]


@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b'{"partialSuccess": null, "more": [1]}'])
def test_row_49_the_simplest_receiver_is_taken_at_its_word(
    collector: FakeCollector, body: bytes
) -> None:
    collector.behave = lambda lines: Answer(action="plain", body=body)
    sender = client(collector.url)
    assert [sender.send(BODY, 5).verdict for _ in range(2)] == [Verdict.ACCEPTED] * 2
    assert collector.accepted == ["hello"] * 2
    sender.close()


def test_row_49_headers_that_were_cut_off_are_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            taken, _ = server.accept()
            taken.recv(100_000)
            taken.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n")
            taken.close()

        threading.Thread(target=answer, daemon=True).start()
        sender = client(f"http://127.0.0.1:{server.getsockname()[1]}")
        assert sender.send(BODY, 5).verdict is Verdict.RETRY
        sender.close()


class Authority:
    """Certificates of a maker of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.ca = folder / f"{name}.pem"
        key = folder / f"{name}.key"
        self._run(f"req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {self.ca}", name)

    def issue(self, host: str, days: int = 1) -> tuple[Path, Path]:
        """Certificate and key for ``host``; with ``days`` below 0 they have expired."""
        cert, key = self._folder / f"{host}-{days}.pem", self._folder / f"{host}-{days}.key"
        asked, names = self._folder / "asked.csr", self._folder / "names"
        names.write_text(f"subjectAltName=DNS:{host}")
        self._run(f"req -newkey rsa:2048 -nodes -keyout {key} -out {asked}", host)
        made = f"x509 -req -in {asked} -CA {self.ca} -CAkey {self.ca.with_suffix('.key')} "
        self._run(f"{made}-CAcreateserial -days {days} -extfile {names} -out {cert}")
        return cert, key

    def _run(self, words: str, subject: str = "") -> None:
        more = ["-subj", f"/CN={subject}"] if subject else []
        subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True)


@contextmanager
def serving(cert: tuple[Path, Path], *, clients: Path | None = None, old: bool = False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if old:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(*cert)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    fake = FakeCollector()
    fake._server.socket = context.wrap_socket(fake._server.socket, server_side=True)
    try:
        yield fake, context
    finally:
        fake.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("not on this host: openssl")
    return Authority(tmp_path_factory.mktemp("ca"), "one")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_row_50_expired_wrong_host_and_outdated_tls_are_refused_and_said(
    authority: Authority,
) -> None:
    good = authority.issue("localhost")
    cases = [
        (authority.issue("localhost", days=-1), False, "expired"),
        (authority.issue("elsewhere"), False, "localhost"),
        (good, True, "TLS"),
    ]
    for cert, old, why in cases:
        with serving(cert, old=old) as (fake, _):
            tls = TlsConfig(ca=authority.ca)
            reply = client(f"https://localhost:{fake.port}", tls=tls).send(BODY, 5)
            assert reply.verdict is Verdict.RETRY
            assert why.lower() in reply.detail.lower()
            assert fake.requests == []


def test_row_50_certificates_rotated_on_disk_are_taken_up_without_a_restart(
    authority: Authority, tmp_path: Path
) -> None:
    mine, key, ca = tmp_path / "mine.pem", tmp_path / "mine.key", tmp_path / "ca.pem"
    other = Authority(tmp_path, "two")
    shutil.copy(other.ca, ca)
    for source, copy in zip(other.issue("agent"), (mine, key), strict=True):
        shutil.copy(source, copy)
    tls = TlsConfig(ca=ca, cert=mine, key=key)
    with serving(authority.issue("localhost"), clients=authority.ca) as (fake, _):
        sender = client(f"https://localhost:{fake.port}", tls=tls)
        assert "certificate" in sender.send(BODY, 5).detail
        shutil.copy(authority.ca, ca)
        assert sender.send(BODY, 5).verdict is Verdict.RETRY  # ours is still the old one
        for source, copy in zip(authority.issue("agent"), (mine, key), strict=True):
            shutil.copy(source, copy)
        assert sender.send(BODY, 5).verdict is Verdict.ACCEPTED
        sender.close()


def test_row_50_a_certificate_file_that_is_missing_is_named_and_holds(
    authority: Authority, tmp_path: Path
) -> None:
    with serving(authority.issue("localhost")) as (fake, _):
        tls = TlsConfig(ca=authority.ca, cert=tmp_path / "gone.pem")
        reply = client(f"https://localhost:{fake.port}", tls=tls).send(BODY, 5)
    assert reply.verdict is Verdict.HOLD
    assert f"{tmp_path}/gone.pem cannot be used" in reply.detail
    assert "collector.tls.cert" in reply.remedy


def test_row_51_a_name_that_does_not_exist_is_said_with_a_remedy() -> None:
    reply = client("http://nobody.invalid:4318").send(BODY, 5)
    assert reply.verdict is Verdict.RETRY
    assert "collector.endpoint" in reply.remedy


def test_row_51_a_name_server_that_hangs_does_not_hold_beyond_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging, real = threading.Event(), socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        if not options.get("flags"):
            hanging.wait(30)
        return real(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    reply = client("http://slow.invalid:4318").send(BODY, 0.3)
    assert (reply.verdict, reply.slow) == (Verdict.RETRY, False)
    assert time.monotonic() - start < 5
    hanging.set()


def test_row_51_an_address_that_changed_is_found_on_the_next_connection(
    collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, real = FakeCollector(), socket.getaddrinfo
    ports = {"now": collector.port}

    def moved(host: str, port: int, **options: Any) -> Any:
        if options.get("flags"):
            raise socket.gaierror
        return real("127.0.0.1", ports["now"], **options)

    monkeypatch.setattr(socket, "getaddrinfo", moved)
    collector.behave = lambda lines: Answer(headers={**OK.headers, "connection": "close"})
    sender = client("http://moved.invalid:4318")
    assert sender.send(BODY, 5).verdict is Verdict.ACCEPTED
    ports["now"] = other.port
    assert sender.send(BODY, 5).verdict is Verdict.ACCEPTED
    assert (len(collector.accepted), len(other.accepted)) == (1, 1)
    sender.close()
    other.close()


def test_row_77_records_that_the_backend_finds_too_old_are_refused_alone(
    collector: FakeCollector,
) -> None:
    collector.behave = lambda lines: (
        Answer(400, b"entry too far behind") if any("old" in line for line in lines) else OK
    )
    with lane(collector.url) as (made, outcomes):
        offer(made, outcomes, *(f"old {n}" for n in range(3)), *(f"new {n}" for n in range(29)))
        until(lambda: outcomes)
    assert outcomes == [Outcome(29, {"bad_request": 3})]
    assert collector.accepted == [f"new {n}" for n in range(29)]


def test_row_78_a_flapping_collector_costs_neither_descriptors_nor_threads(
    collector: FakeCollector,
) -> None:
    up = True

    def behave(lines: list[str]) -> Answer:
        return OK if up else Answer(action="reset")

    collector.behave = behave
    with lane(collector.url) as (made, outcomes):

        def flap() -> tuple[int, int]:
            nonlocal up
            up = False
            offer(made, outcomes, "x")
            seen = len(collector.requests)
            until(lambda: len(collector.requests) >= seen + 3)
            up = True
            wanted = len(outcomes) + 1
            until(lambda: len(outcomes) >= wanted)
            return len(list(Path("/proc/self/fd").iterdir())), made.status.queued_items

        for _ in range(3):
            flap()
        before, threads = flap()[0], threading.active_count()
        for _ in range(20):
            after, queued = flap()
            assert queued == 0
    assert after <= before + 2
    assert threading.active_count() <= threads + 2
    assert len(outcomes) == 24


def test_a_retry_after_date_counts_from_our_clock() -> None:
    late = datetime.datetime(2026, 1, 1, 0, 2, tzinfo=datetime.UTC)
    header = {"retry-after": late.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    assert classify(503, header, b"", late.timestamp() - 90).retry_after == 90
