import contextlib
import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.meters import Meter
from tickbird.model import Distribution, Kind, LoopWindow, Sample
from tickbird.names import prometheus_name
from tickbird.sources.exposition import Bounds, Catalogue, MalformedError, parse
from tickbird.sources.scrape import SOURCE, ScrapeSource, open_source, whole
from tickbird.store import Store
from tickbird.testing import context, target
from tickbird.watch import Watch

FIXTURES = Path(__file__).parents[2] / "fixtures/scrape"


def fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.txt").read_bytes()


def parsed(body: bytes, openmetrics: bool = False, **bounds):
    return parse(body, openmetrics, Bounds(**bounds), Catalogue())


def by_name(exposition):
    found = {}
    for one in exposition.samples:
        labels = dict(zip(one.instrument.labels, one.labels, strict=True))
        found.setdefault(one.instrument.name, []).append((labels, one.value, one.instrument))
    return found


def exposed_names(body: bytes) -> set[str]:
    lines = (line for line in body.decode().splitlines() if line and not line.startswith("#"))
    return {line.split("{")[0].split(" ")[0] for line in lines}


def arriving_names(exposition) -> set[str]:
    """What Prometheus makes of the samples after OTLP."""
    names = set()
    for one in exposition.samples:
        name = prometheus_name(one.instrument)
        if one.instrument.kind is Kind.HISTOGRAM:
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
        else:
            names.add(name)
    return names


# ---- parsing --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["node", "python"])
def test_prometheus_sees_every_series_under_the_name_the_service_gave_it(name):
    body = fixture(name)
    assert arriving_names(parsed(body)) == exposed_names(body)


def test_openmetrics_gives_the_same_without_its_creation_times():
    body = fixture("openmetrics")
    created = {one for one in exposed_names(body) if one.endswith("_created")}
    assert arriving_names(parsed(body, openmetrics=True)) == exposed_names(body) - created


def test_kinds_values_and_labels():
    found = by_name(parsed(fixture("python")))
    counters = found["http_requests"]
    assert counters[0][0] == {"method": "GET", "route": "/", "status": "200"}
    assert counters[0][1] == 41
    assert counters[0][2].kind is Kind.COUNTER
    ((labels, value, instrument),) = found["http_request_duration_seconds"]
    assert labels == {"route": "/"}
    assert instrument.bounds == (0.1, 0.5, 1.0)
    assert value == Distribution((1, 1, 1, 1), 3.95, 4)
    assert found["job_seconds_count"][0][2].kind is Kind.UPDOWN


def test_quantiles_of_a_summary_are_gauges():
    found = by_name(parsed(fixture("node")))["job_seconds"]
    assert {labels["quantile"] for labels, _, _ in found} == {"0.5", "0.99"}
    assert {instrument.kind for _, _, instrument in found} == {Kind.GAUGE}


def test_nan_is_no_value_and_infinity_is_one():
    queues = {
        labels["queue"]: value
        for labels, value, _ in by_name(parsed(fixture("python")))["queue_depth"]
    }
    assert queues == {'a "b"\\c\nd': 3, "full": float("inf")}


def test_series_that_lack_a_label_are_told_from_those_that_have_another():
    found = parsed(b'm{a="1"} 1\nm{b="1"} 2\n')
    assert {one.labels for one in found.samples} == {("1", ""), ("", "1")}
    assert {one.instrument.labels for one in found.samples} == {("a", "b")}


def test_more_series_than_the_bound_are_counted_and_left_out():
    body = b"".join(b'm{n="%d"} 1\n' % n for n in range(100))
    found = parsed(body, series=30)
    assert (found.taken, len(found.samples)) == (30, 30)
    assert found.left_out == {"beyond 30 series": 70}


def test_a_histogram_that_the_bound_cuts_is_left_out_whole():
    assert (
        by_name(parsed(fixture("python"), series=22)).get("http_request_duration_seconds") is None
    )


def test_too_many_or_too_long_labels_cost_only_their_series():
    many = ",".join(f'l{n}="x"' for n in range(65)).encode()
    long = b'm{a="' + b"x" * 1025 + b'"} 1\n'
    endless = b'm{a="' + b"x" * 70_000 + b'"} 1\n'
    found = parsed(b"m{" + many + b"} 1\n" + long + endless + b"ok 1\n")
    assert [one.instrument.name for one in found.samples] == ["ok"]
    assert sum(found.left_out.values()) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>not found</body></html>",
        b'{"status": "ok"}',
        b"m{a=1} 1\n",
        b"m one\n",
        b"m 1\nm 2\n",
        b"\xff\xfe m 1\n",
        b'# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="+Inf"} 3\n',
        b'# TYPE h histogram\nh_bucket{le="1"} 1e30\nh_bucket{le="+Inf"} 1e30\n',
        b'# TYPE h histogram\nh_bucket{le="x"} 5\nh_bucket{le="+Inf"} 5\n',
    ],
)
def test_a_broken_answer_fails_whole_with_a_short_reason(body):
    with pytest.raises(MalformedError) as caught:
        parsed(b"fine 1\n" + body)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_taken_or_malformed(body, openmetrics):
    with contextlib.suppress(MalformedError):
        parsed(body, openmetrics)


@given(st.text("abm_total{}=\"',\n #TYPEcounterhistogramle+Inf0123 ", max_size=200))
def test_almost_valid_text_is_taken_or_malformed(text):
    with contextlib.suppress(MalformedError):
        parsed(text.encode())


def test_bodies_are_bounded_after_decompression():
    with pytest.raises(MalformedError, match="larger than 1 MiB"):
        whole(iter([b"x" * 900_000, b"x" * 900_000]), "identity", 1 << 20)
    with pytest.raises(MalformedError, match="bomb"):
        whole(iter([gzip.compress(bytes(50 << 20))]), "gzip")
    with pytest.raises(MalformedError, match="not asked for"):
        whole(iter([b""]), "zstd")
    with pytest.raises(MalformedError, match="not valid gzip"):
        whole(iter([b"plain text and no gzip"]), "gzip")
    text = fixture("node") * 100
    packed = gzip.compress(text)
    assert whole((packed[n : n + 7] for n in range(0, len(packed), 7)), "gzip") == text


# ---- over HTTP ------------------------------------------------------------------------------

Answer = Callable[[BaseHTTPRequestHandler], None]


class Service:
    """A real HTTP server on a free port that answers as told."""

    def __init__(self) -> None:
        self.answer: Answer = text(b"m 1\n")
        self.clients: set[tuple[str, int]] = set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.clients.add(self.client_address)
                try:
                    service.answer(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/metrics"

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def text(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Content-Type", headers.pop("kind", "text/plain; version=0.0.4"))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.fixture
def service():
    started = Service()
    yield started
    started.end()


@pytest.fixture
def scraping(service):
    opened = ScrapeSource(service.url, 1.0, context())
    yield opened
    opened.close()
    opened.close()


def values(items) -> dict[str, float]:
    return {one.instrument.name: one.value for one in items}


def test_a_scrape_says_that_the_service_is_up_and_what_it_gave(service, scraping):
    service.answer = text(fixture("python"))
    found = values(scraping.read())
    assert found["up"] == 1
    assert found["scrape.samples_scraped"] == len(
        [line for line in fixture("python").splitlines() if not line.startswith(b"#")]
    )
    assert found["http_requests"] == 2
    assert scraping.problems == ()


def test_one_connection_serves_many_scrapes_and_a_closed_one_is_replaced(service, scraping):
    for _ in range(3):
        assert values(scraping.read())["up"] == 1
    assert len(service.clients) == 1

    def close_afterwards(request: BaseHTTPRequestHandler) -> None:
        text(b"m 1\n")(request)
        request.close_connection = True

    service.answer = close_afterwards
    scraping.read()
    service.answer = text(b"m 1\n")
    for _ in range(2):
        assert values(scraping.read())["up"] == 1
    assert len(service.clients) == 2


def test_gzip_and_openmetrics_are_understood(service, scraping):
    service.answer = text(
        gzip.compress(fixture("openmetrics")),
        Content_Encoding="gzip",
        kind="application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
    found = values(scraping.read())
    assert (found["up"], found["http_requests"]) == (1, 2)


def test_a_service_cannot_say_itself_that_it_is_up(service, scraping):
    service.answer = text(b"up 7\nm 1\n")
    assert [one.value for one in scraping.read() if one.instrument.name == "up"] == [1]


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("text/plain", b"# TYPE target_info gauge\n"),
        ("application/openmetrics-text", b"# TYPE target info\n"),
    ],
)
def test_a_service_cannot_describe_itself_a_second_time(service, scraping, kind, head):
    end = b"# EOF\n" if "openmetrics" in kind else b""
    service.answer = text(head + b'target_info{service_name="x"} 1\n' + end, kind=kind)
    found = values(scraping.read())
    assert found["up"] == 1
    assert "target_info" not in found


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (text(b"no", 503), "answered 503"),
        (text(b"", 302, Location="http://169.254.169.254/"), "redirects are not followed"),
        (text(b"<html>", kind="text/html"), "text/html instead of metrics"),
        (text(b"m 1\nm 1\n"), "twice"),
        (text(b"m{ 1\n"), "not metrics text"),
        (text(gzip.compress(bytes(20 << 20)), Content_Encoding="gzip"), "bomb"),
        (text(b"x", Content_Encoding="br"), "not asked for"),
    ],
)
def test_a_failed_scrape_is_zero_with_its_reason_and_the_next_one_is_free_of_it(
    service, scraping, answer, reason
):
    service.answer = answer
    found = values(scraping.read())
    assert found["up"] == 0
    assert "m" not in found
    assert reason in scraping.problems[0]
    service.answer = text(b"m 1\n")
    assert values(scraping.read())["up"] == 1
    assert scraping.problems == ()


def test_what_a_scrape_no_longer_gives_has_ended_and_a_failed_one_gives_nothing(service, scraping):
    store = Store()

    def read(now):
        store.update(target(), SOURCE.name, scraping.read(), now, SOURCE.whole)
        return {(one.instrument.name, one.labels) for one in store.take_ended()}

    service.answer = text(b'm{a="1"} 1\nm{a="2"} 2\n')
    read(100)
    service.answer = text(b'm{a="1"} 1\n')
    assert read(101) == {("m", ("2",))}
    service.answer = text(b'm{a="1"} 1\nm{a="1",b="new"} 1\n')
    assert read(102) == set()
    service.answer = text(b"no", 500)
    assert {key for key in read(103) if key[0] == "m"} == {("m", ("1", "")), ("m", ("1", "new"))}
    assert "up" in {one.instrument.name for one in store.series()}


LAG = b"""
nodejs_eventloop_%(which)s_min_seconds 0.0101
nodejs_eventloop_%(which)s_mean_seconds 0.0103
nodejs_eventloop_%(which)s_max_seconds 0.0951
nodejs_eventloop_%(which)s_p99_seconds 0.0121
"""


def test_the_loop_delay_that_a_service_tells_comes_on_the_scale_of_all(service, scraping):
    service.answer = text(LAG % {b"which": b"lag"})
    items = scraping.read()
    (window,) = [one for one in items if isinstance(one, LoopWindow)]
    assert (window.method, window.max) == ("scrape", pytest.approx(0.085))
    told = {one.instrument.name for one in items if isinstance(one, Sample)}
    assert "nodejs_eventloop_lag_max_seconds" in told  # under its own name as it was
    service.answer = text(b"m 1\n")
    assert not [one for one in scraping.read() if isinstance(one, LoopWindow)]


def test_a_name_that_is_ours_never_comes_with_the_resolution_in_it(service, scraping):
    service.answer = text(LAG % {b"which": b"delay"})
    items = scraping.read()
    assert len([one for one in items if isinstance(one, LoopWindow)]) == 1
    told = {one.instrument.name for one in items if isinstance(one, Sample)}
    assert not [name for name in told if "eventloop_delay" in name]


def test_the_delay_of_a_service_that_fell_silent_does_not_stay(service):
    """From the scrape to the store, as the agent has them."""
    store = Store()
    of_service = target(runtime="node")

    def deliver(target, kind, items, samples):
        store.update(target, kind.name, samples, time.time(), kind.whole)

    told = context(f"targets: [{{name: a, scrape: {{url: {service.url}}}}}]")
    watch = Watch(of_service, told, deliver, lambda *_: None, Meter("node", 0.1))
    watch.open([SOURCE])
    service.answer = text(LAG % {b"which": b"lag"})
    watch.read("scrape")
    delays = {one.labels: one.value for one in store.series() if "delay.max" in one.instrument.name}
    assert delays == {("scrape",): pytest.approx(0.085)}
    service.answer = text(b"no", 500)
    watch.read("scrape")
    assert not [one for one in store.series() if "eventloop" in one.instrument.name]
    watch.close()


def test_an_answer_that_drips_ends_at_the_deadline(service, scraping):
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not stop.wait(0.05):
            request.wfile.write(b"m")

    service.answer = drip
    began = time.monotonic()
    found = values(scraping.read())
    stop.set()
    assert found["up"] == 0
    assert time.monotonic() - began < 1.5
    assert "in time" in scraping.problems[0]


def test_headers_that_drip_end_at_the_deadline_too(service, scraping):
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            request.wfile.write(b"X-A: b\r\n")

    service.answer = drip
    began = time.monotonic()
    assert values(scraping.read())["up"] == 0
    stop.set()
    assert time.monotonic() - began < 1.5


def test_an_endless_answer_ends_at_the_cap(service, scraping):
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"m 1\n" * 16384)

    service.answer = endless
    assert values(scraping.read())["up"] == 0
    assert "larger than 16 MiB" in scraping.problems[0]


def test_nobody_there_is_said_plainly():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/metrics"
    scraping = ScrapeSource(url, 1.0, context())
    assert values(scraping.read())["up"] == 0
    assert "connection refused" in scraping.problems[0]


def test_what_is_left_out_is_counted_over_all_scrapes(service):
    service.answer = text(b"".join(b'm{n="%d"} 1\n' % n for n in range(10)))
    scraping = ScrapeSource(service.url, 1.0, context(), Bounds(series=4))
    scraping.read()
    assert values(scraping.read())["scrape.series.left_out"] == 12
    assert "left out 6 series" in scraping.problems[0]
    scraping.close()


def test_the_parser_is_not_imported_before_something_is_scraped():
    code = "import sys,tickbird.sources.scrape; print('prometheus_client' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_workers_leave_the_scrape_to_their_master(service):
    text_ = f"targets: [{{name: x, scrape: {{url: '{service.url}', interval: 3s}}}}]"
    opened = open_source(target(), context(text_))
    assert opened is not None
    assert opened.interval == 3
    assert open_source(target(ordinal=0), context(text_)) is None
    assert open_source(target(), context()) is None
