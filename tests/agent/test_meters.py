import pytest

from tickbird.histogram import index_of
from tickbird.meters import BLOCKED, HTTP_DURATION, ITERATION, STALLS, Meter, error_type
from tickbird.model import HttpSeries, HttpSnapshot, LoopWindow, RuntimeInfo, Stall


def window(values, method="probe", idle=0.5):
    histogram = {}
    for value in values:
        histogram[index_of(value)] = histogram.get(index_of(value), 0) + 1
    return LoopWindow(
        0.0, 1.0, method, 0.001, len(values), sum(values), min(values, default=0.0),
        max(values, default=0.0), histogram, sum(values), idle,
    )  # fmt: skip


def by_name(samples):
    return {(s.instrument.name, s.labels): s.value for s in samples}


def test_a_node_loop_is_published_under_the_names_of_the_conventions():
    found = by_name(Meter("node", 0.1).observe(window([0.1, 0.3], idle=0.6)))
    assert found["nodejs.eventloop.delay.max", ("probe",)] == 0.3
    assert found["nodejs.eventloop.delay.mean", ("probe",)] == pytest.approx(0.2)
    assert found["nodejs.eventloop.utilization", ()] == pytest.approx(0.4)
    assert found["nodejs.eventloop.time", ("idle",)] == 0.6


def test_uvloop_counts_as_asyncio():
    found = by_name(Meter("uvloop", 0.1).observe(window([0.1])))
    assert ("asyncio.eventloop.delay.max", ("probe",)) in found


def test_the_runtime_that_a_probe_reports_is_believed():
    meter = Meter("other", 0.1)
    meter.observe(RuntimeInfo("node", "20"))
    assert ("nodejs.eventloop.utilization", ()) in by_name(meter.observe(window([0.1])))


def test_iterations_add_up_over_windows():
    meter = Meter("node", 0.1)
    meter.observe(window([0.002, 0.2]))
    found = by_name(meter.observe(window([0.2])))
    assert found[ITERATION.name, ("probe",)].count == 3
    assert found[ITERATION.name, ("probe",)].sum == pytest.approx(0.402)


def test_blocked_time_is_what_a_stall_took_beyond_the_threshold():
    meter = Meter("node", 0.1)
    meter.observe(Stall(0.0, 0.25, "probe"))
    found = by_name(meter.observe(Stall(1.0, 0.15, "probe", cause="gc")))
    assert found[BLOCKED.name, ()] == pytest.approx(0.2)
    assert found[STALLS.name, ("gc",)] == 1


def test_statistics_that_a_service_tells_itself_are_published_without_counts():
    told = window([0.0], "scrape")
    told.quantiles = {"p50": 0.001, "p90": 0.002, "p99": 0.05}
    told.count, told.sum, told.max = 1000, 1.5, 0.08
    found = by_name(Meter("node", 0.1).observe(told))
    assert {name for name, _ in found} == {
        f"nodejs.eventloop.delay.{one}" for one in ("min", "max", "mean", "p50", "p90", "p99")
    }
    assert found["nodejs.eventloop.delay.p99", ("scrape",)] == 0.05
    assert found["nodejs.eventloop.delay.mean", ("scrape",)] == pytest.approx(0.0015)


def test_a_stall_that_still_runs_is_not_counted_yet():
    assert Meter("node", 0.1).observe(Stall(0.0, 0.25, "trace", ongoing=True)) == []


def test_an_idle_window_publishes_no_delay():
    found = by_name(Meter("node", 0.1).observe(window([], idle=1.0)))
    assert not [name for name, _ in found if "delay" in name]


def test_requests_bear_route_status_and_error_type():
    series = [
        HttpSeries("GET", "/a", 503, 2, 0.4, 0.3, {index_of(0.1): 1, index_of(0.3): 1}),
        HttpSeries("GET", None, 0, 1, 1.0, 1.0, {index_of(1.0): 1}),
    ]
    found = by_name(Meter("node", 0.1).observe(HttpSnapshot("probe", 4, series)))
    assert found[HTTP_DURATION.name, ("GET", "/a", "503", "503")].count == 2
    assert found[HTTP_DURATION.name, ("GET", "", "", "aborted")].sum == 1.0
    assert found["http.server.active_requests", ()] == 4


@pytest.mark.parametrize(
    ("status", "kind"), [(200, None), (404, None), (500, "500"), (0, "aborted")]
)
def test_only_server_errors_and_aborts_have_an_error_type(status, kind):
    assert error_type(status) == kind
