"""Loop delay of services' own, without the resolution of their timer."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tickbird.model import Instrument, Kind, Sample
from tickbird.sources.looplag import LagScale, is_ours, told_by

PROM_CLIENT = """
nodejs_eventloop_lag_seconds 0.0035
nodejs_eventloop_lag_min_seconds 0.010076161
nodejs_eventloop_lag_max_seconds 0.095
nodejs_eventloop_lag_mean_seconds 0.0111
nodejs_eventloop_lag_stddev_seconds 0.004
nodejs_eventloop_lag_p50_seconds 0.010166271
nodejs_eventloop_lag_p90_seconds 0.010551295
nodejs_eventloop_lag_p99_seconds 0.011
"""
NODE = """
const { monitorEventLoopDelay } = require('perf_hooks');
const delays = [5, 10, 20].map(resolution => monitorEventLoopDelay({ resolution }));
delays.forEach(one => one.enable());
const tell = () => {
  console.log(JSON.stringify(delays.map(one => ({ min: one.min / 1e9, max: one.max / 1e9,
    mean: one.mean / 1e9, p50: one.percentile(50) / 1e9, p99: one.percentile(99) / 1e9 }))));
  delays.forEach(one => one.reset());
};
setTimeout(tell, 400);
setTimeout(() => { const end = performance.now() + 150; while (performance.now() < end); }, 600);
setTimeout(() => { tell(); process.exit(); }, 1000);
"""


def scraped(text: str, *labels: str) -> list[Sample]:
    pairs = [line.split() for line in text.strip().splitlines()]
    return [Sample(Instrument(n, Kind.GAUGE, "", ""), float(v), labels) for n, v in pairs]


def test_what_prom_client_tells_is_known_with_and_without_a_prefix():
    told = told_by(scraped(PROM_CLIENT))
    assert set(told) == {"min", "max", "mean", "p50", "p90", "p99"}
    assert told == told_by(scraped(PROM_CLIENT.replace("nodejs_", "shop_nodejs_")))


def test_what_opentelemetry_tells_by_a_scrape_is_known_and_bears_our_name():
    text = PROM_CLIENT.replace("_lag_", "_delay_")
    assert told_by(scraped(text)) == told_by(scraped(PROM_CLIENT))
    ours = [sample.instrument.name for sample in scraped(text) if is_ours(sample)]
    assert len(ours) == 7  # the deviation too
    assert not any(is_ours(sample) for sample in scraped(PROM_CLIENT))


def test_the_resolution_of_the_timer_is_no_delay():
    window = LagScale("scrape", 10.0).window(told_by(scraped(PROM_CLIENT)), 100.0)
    assert window is not None
    assert (window.min, window.max) == (0.0, pytest.approx(0.085, abs=0.0003))
    assert window.quantiles is not None
    assert window.quantiles["p50"] < 0.0002
    assert window.error == pytest.approx(0.010, abs=0.0003)


def test_a_loop_that_was_busy_all_the_time_has_its_resolution_from_calmer_times():
    scale = LagScale("scrape", 10.0)
    scale.window({"min": 0.0100, "mean": 0.0102, "max": 0.011, "p50": 0.0101}, 100.0)
    window = scale.window({"min": 0.0001, "mean": 0.040, "max": 0.060, "p50": 0.030}, 110.0)
    assert window is not None
    assert window.quantiles == {"p50": pytest.approx(0.0199)}
    assert window.min == 0.0
    assert (window.start, window.duration) == (100.0, 10.0)


def test_means_of_two_windows_weigh_by_how_often_the_timer_fired():
    scale = LagScale("otlp", 60.0)
    calm = scale.window({"min": 0.010, "mean": 0.010, "max": 0.011}, 60.0)
    busy = scale.window({"min": 0.010, "mean": 0.100, "max": 0.5}, 120.0)
    assert calm is not None and busy is not None
    assert (calm.count, busy.count) == (6000, 600)
    assert busy.sum == pytest.approx(600 * 0.09)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"max": 0.1},
        {"min": 9223372036.85, "mean": float("nan"), "max": 0.0},
        {"min": 0.01, "mean": float("nan"), "max": 0.2},
        {"min": 0.2, "mean": 0.1, "max": 0.3},
        {"min": -1.0, "mean": 0.1, "max": 0.3},
    ],
    ids=["nothing", "a part", "an empty histogram", "no mean", "contradiction", "negative"],
)
def test_what_makes_no_sense_says_nothing(told):
    assert LagScale("scrape", 10.0).window(told, 100.0) is None


def test_workers_behind_one_address_are_not_taken_for_one_loop():
    assert told_by([*scraped(PROM_CLIENT, "1"), *scraped(PROM_CLIENT, "2")]) == {}


def test_the_kit_measures_without_a_timer_so_nothing_is_taken_off():
    told = {"min": 0.0001, "mean": 0.001, "max": 0.08, "p99": 0.05}
    window = LagScale("kit", 60.0, biased=False).window(told, 100.0)
    assert window is not None
    assert (window.min, window.max) == (0.0001, 0.08)
    assert window.quantiles == {"p99": 0.05}


@pytest.mark.node
def test_of_a_real_node_the_block_is_left_whatever_the_resolution():
    if shutil.which("node") is None:
        pytest.skip("not on this host: Node.js")
    said = subprocess.run(["node", "-e", NODE], capture_output=True, text=True, timeout=60)
    calm, blocked = (json.loads(line) for line in said.stdout.splitlines())
    for resolution, before, after in zip((0.005, 0.010, 0.020), calm, blocked, strict=True):
        scale = LagScale("scrape", 0.5)
        scale.window(before, 100.0)
        window = scale.window(after, 100.6)
        assert window is not None
        # the timer may fire anywhere in the block, so that up to its resolution is missing
        assert window.max >= 0.150 - resolution - 0.002
        assert after["max"] - window.max == pytest.approx(resolution, abs=0.002)
        assert window.quantiles is not None
        assert window.quantiles["p50"] < after["p50"] - resolution / 2
