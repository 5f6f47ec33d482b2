"""The sample services under load: what the probes report is what the services measured."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tickbird
from tickbird.histogram import merge, quantile
from tickbird.model import HttpSnapshot, Stall
from tickbird.sources.probe import ProbeReceiver

pytestmark = pytest.mark.e2e

RUNTIMES = Path(tickbird.__file__).parent / "runtimes"
EXAMPLES = Path(__file__).parents[2] / "examples"
TOKEN = "a-token-of-this-test"
SECONDS = 14.0


def load_module() -> Any:
    spec = importlib.util.spec_from_file_location("sample_load", EXAMPLES / "load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sample_load"] = module
    spec.loader.exec_module(module)
    return module


load = load_module()


class Sample:
    """One sample service, launched with its probe, and all that the probe says."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._receiver = ProbeReceiver(self._socket, TOKEN)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._receiver.run, args=(self._stop,), daemon=True)
        self._thread.start()
        self._truth = folder / "truth.json"
        self._log = folder / "stdout.log"
        probe = {"TICKBIRD_PROBE": address, "TICKBIRD_PROBE_TOKEN": TOKEN}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--truth", str(self._truth)],
                env={**os.environ, **probe, **env}, stdout=log,
            )  # fmt: skip
        self.stalls: list[Stall] = []
        self.http: HttpSnapshot | None = None

    def truth(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._truth.read_text())
        return document

    def port(self) -> int:
        end = time.monotonic() + 20
        while not self._truth.exists():
            assert self.process.poll() is None, "the sample ended at once"
            assert time.monotonic() < end, "the sample did not start"
            time.sleep(0.05)
        return int(self.truth()["port"])

    def collect(self) -> None:
        for item in self._receiver.collect(self.process.pid):
            if isinstance(item, Stall):
                self.stalls.append(item)
            elif isinstance(item, HttpSnapshot):
                self.http = item

    def end(self) -> float:
        """SIGTERM; returns how long the end took, seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=10) == 0
        took = time.monotonic() - began
        time.sleep(0.2)  # the last datagram is on its way through the loopback
        self.collect()
        return took

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._stop.set()
        self._thread.join()
        self._socket.close()


def node_sample(seed: int) -> tuple[list[str], dict[str, str]]:
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("needs Node.js and npm on PATH")
    folder = EXAMPLES / "node"
    if not (folder / "node_modules").is_dir():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder, check=True)
    options = f"--require={RUNTIMES}/node/probe.cjs"
    return [program, str(folder / "server.cjs"), "--seed", str(seed)], {"NODE_OPTIONS": options}


def python_sample(seed: int, loop: str) -> tuple[list[str], dict[str, str]]:
    pytest.importorskip("uvicorn")
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    script = str(EXAMPLES / "python/service.py")
    command = [sys.executable, script, "--seed", str(seed), "--loop", loop]
    return command, {"PYTHONPATH": f"{RUNTIMES}/python"}


@pytest.fixture(
    params=[pytest.param("node", marks=pytest.mark.node), "asyncio", "uvloop"], scope="module"
)
def flown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sample after some seconds of load and an orderly end, with what the load counted."""
    seed = 11
    start = node_sample(seed) if request.param == "node" else python_sample(seed, request.param)
    sample = Sample(start[0], tmp_path_factory.mktemp(request.param), start[1])
    try:
        urls = load.shop_urls(sample.port())
        counted: dict[str, Any] = {}
        thread = threading.Thread(
            target=lambda: counted.update(load.run(urls, 30, SECONDS, threading.Event()))
        )
        thread.start()
        while thread.is_alive():
            sample.collect()
            thread.join(0.2)
        took = sample.end()
        yield sample, counted, took
    finally:
        sample.close()


def test_an_ended_sample_says_so_within_three_seconds(flown):
    _sample, _counted, took = flown
    assert took < 3


def test_reported_stalls_are_the_blocks_of_the_truth_file(flown):
    sample, _, _ = flown
    blocks = sample.truth()["blocks"]
    assert len(blocks) >= 2
    for block in blocks:
        near = [s for s in sample.stalls if abs(s.start - block["start"]) < 0.1]
        assert len(near) == 1, block
        # The turn that the block was a part of holds other callbacks too, and the service timed it.
        assert block["duration"] * 0.9 <= near[0].duration <= block["turn"] * 1.1


def test_every_request_is_counted_with_its_route(flown):
    sample, counted, _ = flown
    assert counted["failed"] == 0
    assert counted["answered"] == counted["sent"]
    reported: dict[str, list[int]] = {}
    for one in sample.http.series:
        pair = reported.setdefault(f"{one.method} {one.route}", [0, 0])
        pair[0] += one.count
        pair[1] += one.count if one.status >= 500 else 0
    truth = {k: [r["requests"], r["errors"]] for k, r in sample.truth()["routes"].items()}
    assert reported == truth
    assert sum(requests for requests, _ in reported.values()) == counted["sent"]
    assert sample.http.active == 0


BETWEEN = 0.025
"""Seconds that may fall between the two clocks of one request: another process, garbage collected.
The slow routes take ten times as long and more."""


def test_the_slow_tenth_of_each_route_is_as_slow_as_it_was(flown):
    sample, _, _ = flown
    for route, truth in sample.truth()["routes"].items():
        method, _, template = route.partition(" ")
        series = [s for s in sample.http.series if (s.method, s.route) == (method, template)]
        fine = merge(s.histogram for s in series)
        longest = max(s.max for s in series)
        assert longest == pytest.approx(max(truth["durations"]), rel=0.2, abs=BETWEEN)
        ordered = sorted(truth["durations"])
        for q in (0.5, 0.99):
            rank = max(0, round(q * len(ordered)) - 1)
            around = ordered[max(0, rank - 1)], ordered[min(len(ordered) - 1, rank + 1)]
            found = quantile(fine, q, longest)
            assert found is not None
            assert around[0] * 0.8 - BETWEEN <= found <= around[1] * 1.2 + BETWEEN


def test_the_log_has_as_many_lines_as_the_service_counted_and_bears_ids(flown):
    sample, counted, _ = flown
    lines = sample.log_lines()
    assert len(lines) == sample.truth()["log_lines"]
    ids = [line.get("correlation_id") or line.get("request_id") for line in lines]
    assert sum(bool(found and found.startswith("load-")) for found in ids) == counted["sent"]


def test_the_seed_decides_the_faults_and_the_runtime_is_mixed_in(flown):
    sample, _, _ = flown
    drawn = sample.truth()["drawn"]
    assert drawn["fail"]["route"] != drawn["slow"]["route"]
    assert 0.03 <= drawn["fail"]["ratio"] <= 0.15
    assert 0.25 <= drawn["slow"]["seconds"] <= 0.9
    assert 1e6 <= drawn["leak"]["bytes_per_second"] <= 4e6
    held, rate = sample.truth()["heap"]["held_bytes"], drawn["leak"]["bytes_per_second"]
    assert held == pytest.approx(rate * SECONDS, rel=0.35)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.0.0.1/", "http://10.0.0.1/", "http://localhost/"]
)
def test_load_is_put_on_loopback_addresses_only(url):
    with pytest.raises(ValueError, match="loopback"):
        load.parse(url)
