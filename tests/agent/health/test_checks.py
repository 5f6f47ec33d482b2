"""What each check says of a history that is known."""

from __future__ import annotations

import random

import pytest

from histories import FD_LIMIT, FDS, HEAP, MEMORY_LIMIT, RSS, T0, History, Lines, target
from tickbird.health.checks import (
    AgentUse,
    agent_budget,
    agent_problems,
    cpu_high,
    fds,
    http_errors,
    http_slow,
    logs_ledger,
    loop_blocked,
    loop_unmeasured,
    memory_growth,
    target_down,
)
from tickbird.health.subject import Limits
from tickbird.model import Finding, Identity, LoopWindow, Sample, Stall, Status, Target

LIMITS = Limits()


def certain(finding: Finding | None) -> Finding:
    assert finding is not None
    return finding


@pytest.fixture
def history() -> History:
    return History()


class TestLoopBlocked:
    def test_it_counts_the_stalls_and_names_the_worst(self, history: History) -> None:
        for duration in (0.15, 0.412, 0.2):
            history.loop(duration, [Stall(history.now, duration, "probe")])
        found = certain(loop_blocked.judge(history.subject(), LIMITS))
        assert found.status is Status.WARN
        assert found.title == "shop: the event loop was blocked 3 times, for 412 ms at worst"
        assert found.evidence["stalls"] == 3

    def test_it_names_the_culprit_when_it_is_known(self, history: History) -> None:
        culprit = {"function": "hash", "file": "server.js", "line": 41}
        history.loop(0.3, [Stall(T0, 0.3, "probe", culprit=culprit)])
        found = certain(loop_blocked.judge(history.subject(), LIMITS))
        assert found.title.endswith("in hash (server.js:41)")

    def test_stalls_are_counted_by_what_held_the_loop(self, history: History) -> None:
        def one(duration: float, function: str, line: int) -> Stall:
            culprit = {"function": function, "file": "/srv/app/server.js", "line": line}
            return Stall(history.now, duration, "probe", culprit=culprit)

        history.loop(0.2, [one(0.2, "parse", 3)])
        history.loop(0.4, [one(0.4, "hash", 41)])
        history.loop(0.3, [one(0.3, "hash", 43), Stall(history.now + 0.5, 0.2, "probe")])
        found = certain(loop_blocked.judge(history.subject(), LIMITS))
        assert found.title.endswith("4 times, for 400 ms at worst in hash (server.js:41)")
        counts = [(c["function"], c["stalls"]) for c in found.evidence["culprits"]]
        assert counts == [("hash", 2), ("parse", 1)]

    @pytest.mark.parametrize(
        ("cause", "certainty", "evidence", "words"),
        [
            ("cpu", "measured", {}, ", computing"),
            ("cpu", "likely", {}, ", probably computing"),
            (
                "blocking call",
                "measured",
                {"call": "read", "path": "/f"},
                ", waiting in read of /f",
            ),
            ("blocking call", "measured", {"call": "wait4"}, ", waiting in wait4"),
            ("starved", "measured", {}, ", while the host gave it no processor"),
            (None, None, {}, "at worst"),
        ],
    )
    def test_it_says_what_was_going_on_where_no_function_is_known(
        self, history: History, cause: str, certainty: str, evidence: dict[str, str], words: str
    ) -> None:
        history.loop(0.3, [Stall(T0, 0.3, "probe", False, cause, None, certainty, evidence)])
        history.loop(0.2, [Stall(T0 + 1, 0.2, "probe")])
        found = certain(loop_blocked.judge(history.subject(), LIMITS))
        assert found.title.endswith(words)
        assert found.evidence["causes"] == ({cause: 1, "unknown": 1} if cause else {"unknown": 2})

    def test_the_function_that_ran_while_the_host_gave_no_processor_is_not_blamed(
        self, history: History
    ) -> None:
        history.loop(0.3, [Stall(T0, 0.3, "probe", False, "starved", {"function": "hash"})])
        found = certain(loop_blocked.judge(history.subject(), LIMITS))
        assert "hash" not in found.title
        assert "not the reason" in found.advice

    def test_a_stall_that_goes_on_fails(self, history: History) -> None:
        history.loop()
        for _ in range(5):
            history.second()
        found = certain(loop_blocked.judge(history.subject(), LIMITS))
        assert found.status is Status.FAIL
        assert "and still is" in found.title

    def test_a_second_is_a_failure(self, history: History) -> None:
        history.loop(1.2, [Stall(T0, 1.2, "probe")])
        assert certain(loop_blocked.judge(history.subject(), LIMITS)).status is Status.FAIL

    def test_a_loop_that_runs_well_is_ok(self, history: History) -> None:
        history.loop()
        assert certain(loop_blocked.judge(history.subject(), LIMITS)).status is Status.OK

    def test_a_loop_that_is_not_measured_is_not_judged(self, history: History) -> None:
        history.second()
        assert loop_blocked.judge(history.subject(), LIMITS) is None


class TestHttpErrors:
    @pytest.mark.parametrize(
        ("errors", "status"), [(0, Status.OK), (1, Status.WARN), (9, Status.FAIL)]
    )
    def test_the_ratio_decides(self, history: History, errors: int, status: Status) -> None:
        history.requests("/a", [0.01] * (100 - errors))
        history.requests("/a", [0.01] * errors, 503)
        history.serve()
        assert certain(http_errors.judge(history.subject(), LIMITS)).status is status

    def test_it_names_the_route_the_share_and_the_counts(self, history: History) -> None:
        history.requests("/good", [0.01] * 500)
        history.requests("/bad", [0.01] * 92)
        history.requests("/bad", [0.01] * 8, 500)
        history.serve()
        found = certain(http_errors.judge(history.subject(), LIMITS))
        assert found.title == "shop: GET /bad fails 8.0 % of the time (8 of 100 requests)"
        (route,) = found.evidence["routes"]
        assert (route["route"], route["error_ratio"]) == ("/bad", 0.08)

    def test_an_answer_that_blames_the_client_is_no_error(self, history: History) -> None:
        history.requests("/a", [0.01] * 100, 404)
        history.serve()
        assert certain(http_errors.judge(history.subject(), LIMITS)).status is Status.OK

    def test_an_objective_of_no_errors_is_met_by_none(self, history: History) -> None:
        history.requests("/a", [0.01] * 100)
        history.serve()
        found = http_errors.judge(history.subject(), Limits(errors_warn=0.0))
        assert certain(found).status is Status.OK

    def test_a_handful_of_requests_proves_nothing(self, history: History) -> None:
        history.requests("/a", [0.01] * 19, 500)
        history.serve()
        assert http_errors.judge(history.subject(), LIMITS) is None


class TestHttpSlow:
    def test_it_names_the_route_that_is_slower_than_the_others(self, history: History) -> None:
        for route in ("/a", "/b", "/c"):
            history.requests(route, [0.01] * 300)
        history.requests("/slow", [0.6] * 40)
        history.serve()
        found = certain(http_slow.judge(history.subject(), LIMITS))
        assert found.status is Status.WARN
        assert found.title.startswith("shop: GET /slow is slow: p99 600 ms")

    def test_a_blocked_loop_does_not_hide_it(self, history: History) -> None:
        for route in ("/a", "/b", "/c"):
            history.requests(route, [0.01] * 280 + [0.35] * 20)
        history.requests("/slow", [0.5] * 40)
        history.serve()
        found = certain(http_slow.judge(history.subject(), LIMITS))
        assert [r["route"] for r in found.evidence["routes"]] == ["/slow"]

    def test_one_unlucky_request_makes_no_slow_route(self, history: History) -> None:
        history.requests("/a", [0.01] * 1_000)
        history.requests("/b", [0.01] * 99 + [0.9])
        history.serve()
        assert certain(http_slow.judge(history.subject(), LIMITS)).status is Status.OK

    def test_fast_routes_are_not_slow_however_fast_the_others_are(self, history: History) -> None:
        history.requests("/a", [0.0001] * 300)
        history.requests("/b", [0.1] * 300)
        history.serve()
        assert certain(http_slow.judge(history.subject(), LIMITS)).status is Status.OK

    def test_an_objective_that_is_missed_is_named(self, history: History) -> None:
        history.requests("/a", [0.08] * 300)
        history.serve()
        found = certain(http_slow.judge(history.subject(), Limits(latency={"p99": 0.05})))
        assert "its objective: p99 below 50 ms" in found.title


class TestMemoryGrowth:
    def grown(self, history: History, per_minute: float, seconds: int = 60, **more: float) -> None:
        noise = random.Random(1)
        for second in range(seconds):
            rss = 80e6 + per_minute * second / 60 + noise.uniform(-2e5, 2e5)
            limit = [Sample(MEMORY_LIMIT, more["limit"])] if "limit" in more else []
            history.second(Sample(RSS, rss), *limit)

    def test_it_says_how_fast(self, history: History) -> None:
        self.grown(history, 60e6)
        found = certain(memory_growth.judge(history.subject(), LIMITS))
        assert found.status is Status.WARN
        assert found.evidence["bytes_per_minute"] == pytest.approx(60e6, rel=0.05)
        assert "resident memory grows by 60 MB per minute" in found.title

    @pytest.mark.parametrize("rate", [0.0, 15e6, -60e6])
    def test_what_grows_slowly_or_shrinks_is_steady(self, history: History, rate: float) -> None:
        self.grown(history, rate)
        assert certain(memory_growth.judge(history.subject(), LIMITS)).status is Status.OK

    def test_a_heap_that_is_collected_again_and_again_is_steady(self, history: History) -> None:
        for second in range(60):
            history.second(Sample(HEAP, 40e6 + (second % 10) * 8e6))
        assert certain(memory_growth.judge(history.subject(), LIMITS)).status is Status.OK

    def test_one_step_is_no_growth(self, history: History) -> None:
        for second in range(60):
            history.second(Sample(RSS, 80e6 if second < 30 else 200e6))
        assert certain(memory_growth.judge(history.subject(), LIMITS)).status is Status.OK

    def test_a_limit_that_is_near_makes_it_a_failure(self, history: History) -> None:
        self.grown(history, 60e6, limit=300e6)
        found = certain(memory_growth.judge(history.subject(), LIMITS))
        assert found.status is Status.FAIL
        assert "meets its limit in" in found.title

    def test_a_few_seconds_prove_nothing(self, history: History) -> None:
        self.grown(history, 600e6, seconds=18)
        assert memory_growth.judge(history.subject(), LIMITS) is None

    def test_a_trend_is_that_of_most_pairs(self) -> None:
        points = [(float(n), 3.0 * n) for n in range(20)]
        points[7] = (7.0, 1e9)
        slope, tau = memory_growth.trend(points)
        assert slope == pytest.approx(3.0)
        assert tau > 0.8


@pytest.mark.parametrize(("cpu", "status"), [(0.4, Status.OK), (0.97, Status.WARN)])
def test_a_service_that_uses_up_its_core_is_named(
    history: History, cpu: float, status: Status
) -> None:
    for _ in range(30):
        history.second(cpu=cpu)
    assert certain(cpu_high.judge(history.subject(), LIMITS)).status is status


@pytest.mark.parametrize(
    ("used", "status"), [(799, Status.OK), (800, Status.WARN), (960, Status.FAIL)]
)
def test_descriptors_are_held_to_their_limit(history: History, used: int, status: Status) -> None:
    history.second(Sample(FDS, used), Sample(FD_LIMIT, 1000))
    assert certain(fds.judge(history.subject(), LIMITS)).status is status


def test_descriptors_without_a_known_limit_are_not_judged(history: History) -> None:
    history.second(Sample(FDS, 10_000))
    assert fds.judge(history.subject(), LIMITS) is None


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (Lines(read=10, delivered=7, queued=3), Status.OK),
        (Lines(read=10, delivered=8, refused={"late": 1}, dropped={"late": 1}), Status.WARN),
        (Lines(read=10, delivered=8, queued=1), Status.FAIL),
    ],
)
def test_every_log_line_is_accounted_for(history: History, lines: Lines, status: Status) -> None:
    history.second()
    assert certain(logs_ledger.judge(history.subject(lines), LIMITS)).status is status


def test_lines_above_a_rate_limit_are_told_with_their_number(history: History) -> None:
    history.second()
    lines = Lines(read=5000, delivered=3000, dropped={"rate_limited": 2000})
    found = certain(logs_ledger.judge(history.subject(lines), LIMITS))
    assert found.status is Status.WARN
    assert found.title == "shop: 2,000 of 5,000 log lines did not arrive (2,000 rate_limited)"


class TestTargetDown:
    def test_an_ended_process_fails_with_its_pid_and_time(self, history: History) -> None:
        history.second()
        history.recorder.end("shop", history.now - 12)
        found = certain(target_down.judge(history.subject(), LIMITS))
        assert (found.status, found.title) == (
            Status.FAIL,
            "shop: pid 42 ended 12 s ago and has not come back",
        )

    @pytest.mark.parametrize(("times", "status"), [(1, Status.OK), (4, Status.WARN)])
    def test_a_restart_is_fine_and_a_crash_loop_is_not(
        self, history: History, times: int, status: Status
    ) -> None:
        history.second()
        for n in range(times):
            history.target = Target("shop", "shop", Identity(50 + n, n, T0 + n), "node")
            history.second()
        assert certain(target_down.judge(history.subject(), LIMITS)).status is status


class TestLoopUnmeasured:
    def test_a_loop_without_a_method_is_unknown_and_says_why(self, history: History) -> None:
        for _ in range(5):
            history.second()
        found = certain(loop_unmeasured.judge(history.subject(), LIMITS))
        assert found.status is Status.UNKNOWN
        assert "tickbird exec" in found.advice

    def test_a_measured_loop_is_ok(self, history: History) -> None:
        for _ in range(5):
            history.loop()
        assert certain(loop_unmeasured.judge(history.subject(), LIMITS)).status is Status.OK

    def test_a_loop_that_only_waits_is_measured_too(self, history: History) -> None:
        for _ in range(5):
            window = LoopWindow(history.now, 1.0, "trace", 0.001, 0, 0, 0, 0, {}, 0.0, 1.0)
            history.second(window)
        assert certain(loop_unmeasured.judge(history.subject(), LIMITS)).status is Status.OK

    def test_a_process_without_a_loop_is_not_asked(self) -> None:
        history = History(target(runtime="other"))
        for _ in range(5):
            history.second()
        assert loop_unmeasured.judge(history.subject(), LIMITS) is None


def test_the_agent_is_held_to_its_own_budget() -> None:
    thrifty = AgentUse(0.001, 30e6)
    assert certain(agent_budget.judge(thrifty)).status is Status.OK
    assert certain(agent_budget.judge(AgentUse(0.5, 30e6))).status is Status.WARN
    assert certain(agent_budget.judge(AgentUse(0.001, 90e6))).status is Status.WARN
    assert agent_budget.judge(AgentUse()) is None


def test_the_agent_says_what_it_sheds_to_keep_to_its_budget() -> None:
    use = AgentUse(0.019, 30e6, measuring=0.018, traced_ratio=0.125, pace=4)
    found = certain(agent_budget.judge(use))
    assert found.status is Status.WARN
    assert "loops are traced 12 % of the time" in found.title
    assert "sampled 4 times less often" in found.title


def test_logs_are_no_part_of_the_budget() -> None:
    use = AgentUse(0.5, 30e6, measuring=0.01)
    assert certain(agent_budget.judge(use)).status is Status.OK


def test_what_the_agent_cannot_do_is_told_in_its_own_words() -> None:
    found = certain(agent_problems.judge(AgentUse(problems=("cannot read /x", "port taken"))))
    assert found.title == "cannot read /x (and 1 more problem)"
    assert agent_problems.judge(AgentUse()) is None
