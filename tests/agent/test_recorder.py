"""The flight recorder, fed with what sources yield."""

from __future__ import annotations

import tracemalloc

import pytest

from tickbird import histogram
from tickbird.model import (
    HttpSeries,
    HttpSnapshot,
    Identity,
    Instrument,
    Item,
    Kind,
    LogRecord,
    LoopWindow,
    RuntimeInfo,
    Sample,
    Stall,
    Target,
)
from tickbird.recorder import Recorder, TargetView
from tickbird.recorder.requests import MAX_ROUTES

CPU = Instrument("process.cpu.time", Kind.COUNTER, "s", "CPU time.", ("cpu.mode",))
RSS = Instrument("process.memory.usage", Kind.UPDOWN, "By", "Resident memory.")
T0 = 1_700_000_000.0


def target(pid: int = 10, started: float = T0, key: str = "shop") -> Target:
    return Target(key, key, Identity(pid, int(started), started), "node")


def loop(start: float, delay: float = 0.001, method: str = "probe", count: int = 10) -> LoopWindow:
    counts = {histogram.index_of(delay): count}
    return LoopWindow(
        start, 1.0, method, 0.001, count, count * delay, delay, delay, counts, 0.2, 0.8
    )


def requests(count: int, seconds: float = 0.01, status: int = 200, route: str = "/a") -> HttpSeries:
    counts = {histogram.index_of(seconds): count}
    return HttpSeries("GET", route, status, count, count * seconds, seconds, counts)


def probe_http(*series: HttpSeries, source: str = "probe") -> HttpSnapshot:
    return HttpSnapshot(source, 0, list(series))


def cpu(user: float, system: float) -> list[Item]:
    return [Sample(CPU, user, ("user",)), Sample(CPU, system, ("system",))]


def only(recorder: Recorder, now: float, seconds: float = 900.0) -> TargetView:
    (view,) = recorder.since(seconds, now)
    return view


def total(view: TargetView) -> int:
    return sum(r.requests for w in view.windows for r in (w.routes or {}).values())


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(keep=900.0, memory=8 << 20)


def test_cpu_is_the_difference_of_running_totals_over_all_modes(recorder: Recorder) -> None:
    for second, (user, system) in enumerate([(1.0, 0.5), (1.25, 0.75), (1.25, 0.75)]):
        recorder.record(target(), cpu(user, system), T0 + second)
    assert [w.cpu for w in only(recorder, T0 + 2).windows] == [0.5, 0.0]


def test_requests_are_the_difference_between_two_snapshots(recorder: Recorder) -> None:
    recorder.record(target(), [probe_http(requests(5), requests(2, status=503))], T0 + 1)
    recorder.record(target(), [probe_http(requests(9), requests(3, status=503))], T0 + 2)
    first, second = only(recorder, T0 + 2).windows
    assert first.routes is not None and second.routes is not None
    assert first.routes["GET", "/a"][:2] == (7, 2)
    assert second.routes["GET", "/a"][:2] == (5, 1)


def test_totals_that_went_down_are_a_restart_and_lose_nothing(recorder: Recorder) -> None:
    recorder.record(target(), [probe_http(requests(100))], T0 + 1)
    recorder.record(target(), [probe_http(requests(3))], T0 + 2)
    assert total(only(recorder, T0 + 2)) == 103


def test_requests_from_before_the_recorder_was_there_are_not_news(recorder: Recorder) -> None:
    old = target(started=T0 - 3_600)
    recorder.record(old, [probe_http(requests(1_000))], T0)
    recorder.record(old, [probe_http(requests(1_004))], T0 + 1)
    assert total(only(recorder, T0 + 1)) == 4


def test_a_reused_pid_starts_anew_and_keeps_the_history(recorder: Recorder) -> None:
    recorder.record(target(), [*cpu(50.0, 0.0), probe_http(requests(8))], T0)
    recorder.record(target(started=T0 + 4), [*cpu(0.1, 0.0), probe_http(requests(2))], T0 + 5)
    view = only(recorder, T0 + 5)
    assert view.restarts == (T0 + 5,)
    assert total(view) == 10
    assert view.windows[-1].cpu is None


def test_two_sources_of_requests_are_never_counted_together(recorder: Recorder) -> None:
    for second in range(3):
        for source in ("scrape", "probe"):
            counted = probe_http(requests(10 * (second + 1)), source=source)
            recorder.record(target(), [counted], T0 + second)
    view = only(recorder, T0 + 3)
    assert view.http_source == "probe"
    assert total(view) < 40


def test_what_an_earlier_method_saw_is_not_mixed_with_the_newest_ones(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0, 0.5, "estimated")], T0 + 1)
    recorder.record(target(), [loop(T0 + 1, 0.001, "trace")], T0 + 2)
    view = only(recorder, T0 + 3)
    assert view.method == "trace"
    assert [w.loop.max for w in view.windows if w.loop] == [0.001]


def test_windows_of_one_second_add_up(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0 + 0.1, 0.001, count=3), loop(T0 + 0.6, 0.2, count=1)], T0)
    (window,) = only(recorder, T0).windows
    assert window.loop is not None
    assert (window.loop.iterations, window.loop.min, window.loop.max) == (4, 0.001, 0.2)


def test_a_silent_probe_of_a_living_process_is_an_ongoing_stall(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0)], T0 + 1)
    for second in range(1, 6):
        recorder.record(target(), cpu(1.0, 1.0), T0 + second)
    (stall,) = only(recorder, T0 + 5).stalls
    assert (stall.ongoing, stall.start, stall.duration) == (True, T0 + 1, 4.0)


def test_a_silent_probe_of_an_ended_process_is_no_stall(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0)], T0 + 1)
    for second in range(1, 6):
        recorder.record(target(), cpu(1.0, 1.0), T0 + second)
    recorder.end("shop", T0 + 5)
    assert only(recorder, T0 + 6).stalls == ()


def test_the_silence_of_a_process_whose_loop_has_stopped_is_no_stall(recorder: Recorder) -> None:
    recorder.record(target(), [RuntimeInfo("asyncio", "3.12"), loop(T0)], T0 + 1)
    recorder.record(target(), [RuntimeInfo("python", "3.12")], T0 + 1)
    for second in range(1, 6):
        recorder.record(target(), cpu(1.0, 1.0), T0 + second)
    view = only(recorder, T0 + 5)
    assert view.stalls == ()
    assert view.runtime is not None
    assert view.runtime.runtime == "asyncio"


def test_an_agent_that_slept_accuses_nobody(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0)], T0 + 1)
    recorder.record(target(), cpu(1.0, 1.0), T0 + 60)
    assert only(recorder, T0 + 60).stalls == ()


def test_the_end_of_a_stall_replaces_what_was_said_while_it_went_on(recorder: Recorder) -> None:
    culprit = {"function": "spin"}
    recorder.record(target(), [loop(T0)], T0)
    recorder.record(target(), [Stall(T0, 0.3, "probe", True, "cpu", culprit)], T0 + 0.3)
    recorder.record(target(), [Stall(T0, 0.8, "probe")], T0 + 1)
    (stall,) = only(recorder, T0 + 1).stalls
    assert (stall.duration, stall.ongoing, stall.culprit) == (0.8, False, culprit)


def test_history_of_an_ended_process_stays_until_it_ages_out(recorder: Recorder) -> None:
    recorder.record(target(), [Sample(RSS, 1e6)], T0)
    recorder.end("shop", T0 + 1)
    assert only(recorder, T0 + 899).ended_at == T0 + 1
    assert recorder.since(900.0, T0 + 902) == []


def test_since_gives_only_what_is_young_enough(recorder: Recorder) -> None:
    for second in range(100):
        recorder.record(target(), [Sample(RSS, second)], T0 + second)
    assert [w.rss for w in only(recorder, T0 + 99, 2.0).windows] == [97, 98, 99]


def test_windows_older_than_keep_leave() -> None:
    recorder = Recorder(keep=10.0, memory=1 << 20)
    for second in range(100):
        recorder.record(target(), [Sample(RSS, second)], T0 + second)
    assert len(only(recorder, T0 + 99).windows) == 11


def test_a_view_does_not_change_under_its_reader(recorder: Recorder) -> None:
    recorder.record(target(), [probe_http(requests(1)), loop(T0)], T0)
    view = only(recorder, T0)
    recorder.record(target(), [probe_http(requests(9)), loop(T0, 3.0)], T0)
    (window,) = view.windows
    assert total(view) == 1
    assert window.loop is not None and window.loop.max == 0.001


def test_error_lines_are_kept_short_and_few(recorder: Recorder) -> None:
    recorder.record(target(), [], T0)
    recorder.record_log("shop", LogRecord("fine", severity_number=9))
    for _ in range(500):
        recorder.record_log("shop", LogRecord("x" * 10_000, severity_number=17))
    errors = only(recorder, T0).errors
    assert len(errors) == 100
    assert {len(error.body) for error in errors} == {2_048}


def test_a_flood_of_routes_is_gathered_under_one_name(recorder: Recorder) -> None:
    series = [requests(1, route=f"/{n}") for n in range(MAX_ROUTES + 50)]
    recorder.record(target(), [probe_http(*series)], T0)
    (window,) = only(recorder, T0).windows
    assert window.routes is not None
    assert len(window.routes) == MAX_ROUTES + 1
    assert window.routes["GET", None].requests == 50


def test_memory_stays_within_its_bound_and_the_newest_is_kept() -> None:
    limit = 1 << 20
    recorder = Recorder(keep=1e9, memory=limit)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for second in range(3_000):
        now = T0 + second
        window = loop(now)
        window.histogram = dict.fromkeys(range(40, 70), second)
        series = [requests(second + 1, route=f"/{n}") for n in range(5)]
        recorder.record(target(), [*cpu(second, 0), window, probe_http(*series)], now)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert recorder.bytes() <= limit
    assert held <= 1.3 * limit
    assert held >= 0.5 * limit
    assert only(recorder, T0 + 2_999, 1e9).windows[-1].start == T0 + 2_999


CULPRIT = {"function": "hash", "file": "/srv/app.js", "line": 4, "stack": ["hash /srv/app.js:4"]}


def live(start: float, duration: float, method: str = "probe") -> Stall:
    return Stall(start, duration, method, ongoing=True, cause="cpu", culprit=CULPRIT)


def test_the_end_of_a_stall_is_found_though_its_start_was_known_less_well(
    recorder: Recorder,
) -> None:
    recorder.record(target(), cpu(1.0, 1.0), T0)
    recorder.record(target(), [loop(T0), live(T0 + 0.48, 0.12), live(T0 + 0.48, 0.32)], T0 + 1)
    recorder.record(target(), [Stall(T0 + 0.55, 0.3, "probe")], T0 + 2)
    (stall,) = only(recorder, T0 + 2).stalls
    assert (stall.start, stall.duration, stall.ongoing) == (T0 + 0.55, 0.3, False)
    assert (stall.culprit, stall.cause) == (CULPRIT, "cpu")


def test_a_culprit_that_is_heard_of_after_the_end_is_taken_over(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0), Stall(T0 + 0.5, 0.3, "probe")], T0 + 1)
    recorder.record(target(), [live(T0 + 0.48, 0.32)], T0 + 1.1)
    (stall,) = only(recorder, T0 + 1.1).stalls
    assert (stall.duration, stall.ongoing, stall.culprit) == (0.3, False, CULPRIT)


def test_two_stalls_in_a_row_stay_two(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0), Stall(T0 + 0.2, 0.3, "probe")], T0 + 1)
    recorder.record(target(), [live(T0 + 0.49, 0.2)], T0 + 1)
    first, second = only(recorder, T0 + 1).stalls
    assert (first.culprit, second.culprit) == (None, CULPRIT)


def test_a_stall_that_nobody_speaks_of_any_more_is_not_ongoing(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0), live(T0 + 0.5, 0.2)], T0 + 1)
    assert only(recorder, T0 + 1.2).stalls[0].ongoing
    assert not only(recorder, T0 + 1.8).stalls[0].ongoing


def test_a_watchdog_names_the_stall_that_another_method_measures(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0, method="trace"), Stall(T0 + 0.5, 0.3, "trace")], T0 + 1)
    recorder.record(target(), [live(T0 + 0.49, 0.3)], T0 + 1)
    (stall,) = only(recorder, T0 + 1).stalls
    assert (stall.method, stall.start, stall.duration) == ("trace", T0 + 0.5, 0.3)
    assert (stall.cause, stall.culprit) == ("cpu", CULPRIT)


def test_a_watchdog_speaks_for_a_silent_loop(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0)], T0 + 1)
    for second in range(1, 6):
        recorder.record(target(), cpu(1.0, 1.0), T0 + second)
        recorder.record(target(), [live(T0 + 1.1, second - 0.1)], T0 + second + 1)
    (stall,) = only(recorder, T0 + 6).stalls
    assert (stall.start, stall.ongoing, stall.culprit) == (T0 + 1.1, True, CULPRIT)


def test_when_the_watchdog_falls_silent_too_the_silence_keeps_its_culprit(
    recorder: Recorder,
) -> None:
    recorder.record(target(), [loop(T0)], T0 + 1)
    recorder.record(target(), [live(T0 + 1.1, 0.5)], T0 + 1.6)
    for second in range(1, 6):
        recorder.record(target(), cpu(1.0, 1.0), T0 + second)
    (stall,) = only(recorder, T0 + 5).stalls
    assert (stall.start, stall.ongoing, stall.culprit) == (T0 + 1, True, CULPRIT)


def test_a_cause_that_is_taken_over_comes_with_its_certainty(recorder: Recorder) -> None:
    told = Stall(T0 + 0.5, 0.3, "trace", True, "lock", None, "measured", {"call": "futex"})
    recorder.record(target(), [loop(T0, method="trace"), told], T0 + 1)
    recorder.record(target(), [Stall(T0 + 0.5, 0.4, "trace")], T0 + 1)
    (stall,) = only(recorder, T0 + 1).stalls
    assert (stall.cause, stall.certainty, stall.evidence) == ("lock", "measured", told.evidence)


def test_a_stall_is_settled_once_and_with_its_culprit(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0, method="trace"), Stall(T0 + 0.5, 0.3, "trace")], T0 + 1)
    assert recorder.settled(T0 + 1) == []
    recorder.record(target(), [live(T0 + 0.49, 0.3)], T0 + 1.5)
    ((of, (stall,)),) = recorder.settled(T0 + 5)
    assert (of.key, stall.method, stall.culprit) == ("shop", "trace", CULPRIT)
    assert recorder.settled(T0 + 6) == []


def test_a_stall_that_still_lasts_is_not_settled(recorder: Recorder) -> None:
    recorder.record(target(), [loop(T0)], T0)
    for tenth in range(1, 60):
        recorder.record(target(), [live(T0, tenth / 10)], T0 + tenth / 10)
        assert recorder.settled(T0 + tenth / 10) == []
    recorder.record(target(), [Stall(T0, 6.0, "probe")], T0 + 6)
    ((_, (stall,)),) = recorder.settled(T0 + 10)
    assert stall.duration == 6.0
