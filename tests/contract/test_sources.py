"""Every source, found by itself, goes through the same tests."""

import importlib
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tickbird import sources
from tickbird.errors import SourceError, TargetGone
from tickbird.linux import tracepoints
from tickbird.model import (
    Distribution,
    HttpSnapshot,
    Kind,
    LoopWindow,
    RuntimeInfo,
    Sample,
    Stall,
)
from tickbird.testing import context, target, tracepoint_ids

KINDS = sources.source_types()
PASS_THROUGH = {"scrape"}
"""Passes on what a service exposes under its own names: nobody can declare those."""
ITEMS = (Sample, LoopWindow, Stall, HttpSnapshot, RuntimeInfo)
LOOP = """
import asyncio
async def main():
    print('ready', flush=True)
    while True:
        await asyncio.sleep(.01)
asyncio.run(main())
"""

every_source = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Metrics(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = f"# TYPE asked_total counter\nasked_total {self.asked}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def process():
    started = subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE)
    assert started.stdout
    assert started.stdout.readline() == b"ready\n"
    yield started
    started.kill()
    started.communicate()


@pytest.fixture
def settings(url, tmp_path, monkeypatch):
    """A context in which every source has something to do, where this host allows it."""
    if ids := tracepoint_ids():
        monkeypatch.setenv(tracepoints.IDS_VARIABLE, ids)
    return context(
        f"state_dir: {tmp_path}\n"
        f"targets: [{{name: x, match: {{pid: {os.getpid()}}}, logs: ['{tmp_path}/*.log'], "
        f"http: {{url: '{url}/', interval: 1s}}, scrape: {{url: '{url}/metrics', interval: 1s}}}}]"
    )


def opened(kind, settings, pid):
    try:
        return kind.open(target("x", pid, "asyncio"), settings)
    except SourceError as error:
        assert str(error)
        return None


def counters(items) -> dict[tuple[str, tuple[str, ...]], float]:
    found = {}
    for item in items:
        if isinstance(item, Sample) and item.instrument.kind is Kind.COUNTER:
            found[item.instrument.name, item.labels] = item.value
    return found


@every_source
def test_a_source_is_named_as_its_file_is(kind):
    assert importlib.import_module(f"tickbird.sources.{kind.name}").SOURCE is kind


@every_source
def test_it_opens_reads_only_what_it_declared_and_closes_twice(kind, settings, process):
    source = opened(kind, settings, process.pid)
    if source is None:
        return
    assert source.interval > 0
    for _ in range(3):
        began = time.monotonic()
        items = list(source.read())
        assert time.monotonic() - began < 2 * max(1.0, source.interval)
        assert all(isinstance(item, ITEMS) for item in items)
        check_samples(kind, items)
    source.close()
    source.close()


def check_samples(kind, items):
    for one in (item for item in items if isinstance(item, Sample)):
        if kind.name not in PASS_THROUGH:
            assert one.instrument in kind.instruments
        assert len(one.labels) == len(one.instrument.labels), one
        if one.instrument.kind is Kind.HISTOGRAM:
            assert isinstance(one.value, Distribution)
            assert len(one.value.counts) == len(one.instrument.bounds) + 1
            assert sum(one.value.counts) == one.value.count
    series = [(i.instrument.name, i.labels) for i in items if isinstance(i, Sample)]
    assert len(series) == len(set(series))


@every_source
def test_counters_never_go_down(kind, settings, process):
    source = opened(kind, settings, process.pid)
    if source is None:
        return
    before = counters(source.read())
    for _ in range(3):
        time.sleep(0.05)
        now = counters(source.read())
        assert all(now.get(series, value) >= value for series, value in before.items())
        before = now
    source.close()


@every_source
def test_a_target_that_ends_raises_nothing_but_source_errors(kind, settings, process):
    source = opened(kind, settings, process.pid)
    process.kill()
    process.wait()
    if source is not None:
        for _ in range(3):
            try:
                list(source.read())
            except SourceError as error:
                assert str(error)
        source.close()
        source.close()


@every_source
def test_a_target_that_is_dead_already_is_gone_or_nothing_of_it_is_opened(kind, settings, process):
    dead = target("x", process.pid, "asyncio")
    process.kill()
    process.wait()
    try:
        source = kind.open(dead, settings)
    except SourceError as error:
        assert isinstance(error, TargetGone) or error.remedy
    else:
        if source is not None:
            source.close()


@every_source
def test_a_target_with_no_process_and_nothing_configured_has_no_source(kind):
    source = kind.open(target("x"), context())
    if source is not None:  # one that waits to be told (an in-process probe) has nothing to say
        assert list(source.read()) == []
        source.close()


def test_the_sources_of_this_part_are_all_found():
    assert {"http", "looptrace", "process", "scrape"} <= set(KINDS)
