"""What `verify` says when parts hang, refuse or lose: faults that real ones show by chance."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tickbird.config import CollectorConfig
from tickbird.errors import Unreachable
from tickbird.stack import verify
from tickbird.stack.courier import Courier
from tickbird.stack.lost import exporter_numbers
from tickbird.stack.site import Backends
from tickbird.stack.verify import Look, Result, Subject

EMPTY = {"status": "success", "data": {"result": []}}


@dataclass
class Fake:
    """Collector and every backend in one: takes all, finds nothing."""

    url: str = ""
    hangs: str = "nothing"
    refuses: str = "nothing"
    metrics: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def fake() -> Iterator[Fake]:
    state = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(400 if state.refuses in self.path else 200, b"{}")

        def do_GET(self) -> None:
            if state.hangs in self.path:
                state.released.wait(30)
            if self.path == "/metrics":
                self._answer(200, state.metrics.encode())
            elif self.path.startswith("/api/traces/"):
                self._answer(404, b"trace not found")
            else:
                self._answer(200, json.dumps(EMPTY).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield state
        state.released.set()
        server.shutdown()


def _subject(fake: Fake, **other: str | None) -> Subject:
    urls = dict.fromkeys(("collector", "prometheus", "loki", "jaeger", "alertmanager"), fake.url)
    backends = Backends(**{**urls, "collector_metrics": f"{fake.url}/metrics", **other})
    return Subject(CollectorConfig(endpoint=fake.url), backends, None)


def _direct(subject: Subject, timeout: float = 0.5) -> dict[str, Result]:
    search = verify._Search(subject, {}, timeout)
    canary = verify.Canary()
    results = search._one_way("direct", canary, lambda s: verify.send(canary, s, subject.door()))
    return {result.signal: result for result in results}


def test_what_is_taken_and_lost_is_told_as_lost(fake: Fake) -> None:
    results = _direct(_subject(fake))
    assert set(results) == {"metric", "log", "span"}
    for result in results.values():
        assert not result.ok
        assert result.seconds is None
        assert "was taken, and is not in" in (result.problem or "")


def test_what_waits_in_the_collectors_queue_is_found_there(fake: Fake) -> None:
    fake.metrics = (
        'otelcol_exporter_queue_size{data_type="logs",exporter="otlp_http/loki"} 12\n'
        'otelcol_exporter_queue_size{data_type="traces",exporter="otlp_grpc/jaeger"} 0\n'
        'otelcol_exporter_send_failed_spans_total{exporter="otlp_grpc/jaeger"} 3\n'
    )
    results = _direct(_subject(fake))
    assert "12 items wait in the Collector's queue" in (results["log"].problem or "")
    assert "it refused what the Collector sent" in (results["span"].problem or "")


def test_a_collector_that_refuses_one_signal_fails_only_that_one_and_says_why(fake: Fake) -> None:
    fake.refuses = "/v1/logs"
    results = _direct(_subject(fake))
    assert "did not accept the log" in (results["log"].problem or "")
    assert "400" in (results["log"].problem or "")
    assert "was taken" in (results["metric"].problem or "")


def test_a_backend_that_hangs_is_named_within_seconds(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_LOOK_WITHIN", 0.5)
    fake.hangs = "/loki/"
    began = time.monotonic()
    looks = {seen.backend: seen for seen in verify.look(_subject(fake))}
    assert time.monotonic() - began < 5
    assert "did not answer in 0.5 s" in (looks["loki"].problem or "")
    assert [name for name, seen in looks.items() if seen.problem] == ["loki"]


def test_a_backend_without_an_address_is_no_failure_of_it_but_its_signal_is_not_proven(
    fake: Fake,
) -> None:
    subject = _subject(fake, jaeger=None)
    assert all(seen.problem is None for seen in verify.look(subject))
    result = _direct(subject)["span"]
    assert result.problem == "no address"
    assert "backends.jaeger" in (result.remedy or "")


def test_a_dead_collector_costs_no_wait_for_the_six_signals(fake: Fake) -> None:
    dead = Look("collector", fake.url, "Collector: refused", "start it")
    told: list[Result] = []
    began = time.monotonic()
    results = verify.prove(_subject(fake), [dead], 30.0, told.append)
    assert time.monotonic() - began < 1
    assert told == results
    assert [result.problem for result in results] == ["the Collector does not answer"] * 6


def test_an_agent_that_does_not_start_is_told_with_its_last_words(fake: Fake) -> None:
    collector = CollectorConfig(endpoint="gopher://nowhere")
    courier = Courier(collector, "verify-test", 20.0)
    with pytest.raises(Unreachable, match=r"ended with code 78: .*endpoint"), courier:
        pytest.fail("it came up with a wrong configuration")
    assert not courier.folder.exists()


def test_numbers_of_other_exporters_are_not_taken_for_ours(fake: Fake) -> None:
    fake.metrics = (
        'otelcol_exporter_queue_size{exporter="otlp_http/loki2"} 7\n'
        'otelcol_exporter_queue_size{data_type="logs",exporter="otlp_http/loki"} 2\n'
    )
    assert exporter_numbers(f"{fake.url}/metrics", "otlp_http/loki") == {"queue_size": 2.0}
    assert exporter_numbers("http://127.0.0.1:1/metrics", "otlp_http/loki") == {}
    assert exporter_numbers(None, "otlp_http/loki") == {}
