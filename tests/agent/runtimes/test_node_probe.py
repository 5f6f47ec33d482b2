import http.client
import json
import socket

import pytest

pytestmark = pytest.mark.node

BLOCKS = """
const { performance } = require('perf_hooks');
const blocks = [];
function block(left) {
  if (left === 0) { console.log(JSON.stringify(blocks)); setTimeout(() => {}, 300); return; }
  setTimeout(() => {
    const start = Date.now() / 1000, began = performance.now();
    const length = 150 + Math.random() * 250;
    while (performance.now() - began < length);
    blocks.push({ start, duration: (performance.now() - began) / 1000 });
    block(left - 1);
  }, 150 + Math.random() * 200);
}
block(8);
"""

SERVER = """
const http = require('http');
const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/end') {
    response.end();
    server.close();
    server.closeAllConnections();
    return;
  }
  if (url.searchParams.has('route')) request.route = { path: url.searchParams.get('route') };
  if (url.pathname === '/hang') return;
  response.statusCode = Number(url.searchParams.get('status') || 200);
  response.end('x');
}).listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


def ask(port, *requests):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for method, path in requests:
        connection.request(method, path)
        connection.getresponse().read()
    connection.close()


def end(service, port):
    """Let the server finish and give its totals: the last report is sent at exit."""
    ask(port, ("GET", "/end"))
    service.finish()
    last = max(report.seq for report in service.reports)
    return [r for r in service.reports if r.seq == last]


def totals(reports):
    return {
        (one.method, one.route, one.status): one.count
        for report in reports
        for one in report.http.series
    }


def test_stalls_are_what_the_service_measured_itself(node):
    service = node(BLOCKS)
    blocks = json.loads(service.finish())
    stalls = [stall for report in service.reports for stall in report.stalls]
    assert len(stalls) == len(blocks)
    for stall, block in zip(stalls, blocks, strict=True):
        assert stall.duration == pytest.approx(block["duration"], rel=0.1)
        assert stall.start == pytest.approx(block["start"], abs=0.05)
    longest = max(report.loop.max for report in service.reports)
    assert longest == pytest.approx(max(b["duration"] for b in blocks), rel=0.1)


def test_loading_the_modules_of_a_service_is_no_stall(node):
    service = node("""
        const end = Date.now() + 400;
        while (Date.now() < end);
        setTimeout(() => {}, 1300);
    """)
    service.finish()
    assert [stall for report in service.reports for stall in report.stalls] == []


def test_active_and_idle_time_add_up_to_the_window(node):
    service = node("setTimeout(() => {}, 2500)")
    service.finish()
    windows = [r for r in service.reports if r.duration > 0.9]
    assert len(windows) >= 2
    for window in windows[1:]:
        spent = window.loop.active + window.loop.idle
        assert spent == pytest.approx(window.duration, rel=0.05)
        assert window.loop.min <= window.loop.sum / window.loop.count <= window.loop.max


def test_heap_and_collections_are_reported(node):
    service = node("""
        let kept = [];
        const timer = setInterval(() => { for (let i = 0; i < 1e5; i++) kept = [{ i }]; }, 10);
        setTimeout(() => clearInterval(timer), 1500);
    """)
    service.finish()
    last = service.reports[-1]
    assert 1e6 < last.memory.heap_used <= last.memory.heap_total < last.memory.heap_limit
    count, seconds = last.gc["minor"]
    assert count > 0
    assert 0 < seconds < 2


def test_every_request_is_counted_by_method_route_and_status(node):
    service = node(SERVER)
    port = int(service.line())
    ask(port, *[("GET", "/a?route=/a")] * 7, *[("POST", "/a?route=/a&status=503")] * 3)
    ask(port, *[("GET", "/b")] * 2, ("PURGE", "/b"))
    assert totals(end(service, port)) == {
        ("GET", "/a", 200): 7,
        ("POST", "/a", 503): 3,
        ("GET", None, 200): 3,  # the request that ended it is one of them
        ("_OTHER", None, 200): 1,
    }


def test_pipelined_requests_are_each_counted(node):
    service = node(SERVER)
    port = int(service.line())
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /a?route=/a HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 5:
            answers += client.recv(65_536)
    assert totals(end(service, port))["GET", "/a", 200] == 5


def test_a_request_whose_client_went_away_is_counted_as_status_0(node):
    service = node(SERVER)
    port = int(service.line())
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
            service.until(lambda: any(r.http.active for r in service.reports[-1:]))
        service.until(lambda: not service.reports[-1].http.active)
    assert totals(end(service, port))["GET", None, 0] == 3


def test_routes_beyond_the_limit_share_one_name_and_no_datagram_is_too_large(node):
    service = node(SERVER)
    port = int(service.line())
    long = "x" * 150
    ask(port, *[("GET", f"/?route=/{n}/{long}&status={s}") for n in range(210) for s in (200, 404)])
    counts = totals(end(service, port))
    assert counts["GET", "_overflow", 200] == 10
    assert len({route for _, route, _ in counts}) == 202
    assert sum(counts.values()) == 421
    assert service.largest <= 60_000


@pytest.mark.parametrize("address", ["garbage", "127.0.0.1:99999", "10.0.0.1:9", "", "127.0.0.1:1"])
def test_a_service_runs_and_ends_as_without_a_probe_when_nobody_listens(node, address):
    service = node("setTimeout(() => console.log('done'), 1200)", TICKBIRD_PROBE=address)
    assert service.finish() == "done\n"
    assert service.stderr == ""


def test_worker_threads_are_left_alone(node):
    service = node("""
        const { Worker } = require('worker_threads');
        new Worker('setTimeout(() => {}, 1500)', { eval: true });
    """)
    service.finish()
    numbers = [report.seq for report in service.reports]
    assert numbers == sorted(set(numbers))


def test_cluster_workers_report_under_their_own_pids(node):
    service = node("""
        const cluster = require('cluster');
        if (cluster.isPrimary) { cluster.fork(); cluster.fork(); }
        else setTimeout(() => process.exit(0), 1300);
    """)
    service.finish()
    assert len({report.pid for report in service.reports}) == 3
