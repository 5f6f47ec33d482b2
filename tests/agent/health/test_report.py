"""The document that everyone reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from histories import RSS, T0, History, Lines, target
from tickbird.health import render
from tickbird.health.checks import AgentUse
from tickbird.health.report import build, exit_code, findings_of
from tickbird.model import LogRecord, LoopWindow, RuntimeInfo, Sample, Stall, Status
from tickbird.recorder import Recorder

DOCS = Path(__file__).parents[3] / "docs" / "json.md"


def document(history: History, logs: Lines | None = None, **more: Any) -> dict[str, Any]:
    return build(
        instance="default",
        views=history.recorder.since(900.0, history.now),
        sink="recorder",
        totals=lambda key: logs,
        **more,
    )


@pytest.fixture
def busy() -> History:
    """A service of which everything is known, with a stall, a failing route and error lines."""
    history = History()
    culprit = {"function": "f", "file": "a.js", "line": 1, "stack": ["f", "g"]}
    history.requests("/a", [0.01] * 90)
    history.requests("/a", [0.01] * 10, 500)
    history.serve()
    history.loop(0.3, [Stall(history.now, 0.3, "probe", cause="cpu", culprit=culprit)])
    history.second(Sample(RSS, 90e6))
    history.recorder.record_log("shop", LogRecord("it broke", severity_number=17))
    return history


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "evidence":
                yield key
                yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_every_key_is_documented(busy: History) -> None:
    found = set(keys(document(busy, Lines(read=3, delivered=3))))
    quoted = " ".join(re.findall(r"`([^`]+)`", DOCS.read_text()))
    documented = set(re.findall(r"[a-z_0-9]+", quoted))
    assert found - documented == set()


def test_it_is_plain_json(busy: History) -> None:
    text = render.as_json(document(busy, Lines(read=1, queued=1)))
    assert json.loads(text)["schema"] == 1


def test_what_is_not_known_is_null_and_never_zero() -> None:
    history = History()
    history.second()
    (entry,) = document(history, Lines())["targets"]
    assert [entry[part] for part in ("loop", "http", "logs", "ended_at")] == [None] * 4
    assert entry["cpu"] == {"utilization": None}
    assert set(entry["memory"].values()) == set(entry["fds"].values()) == {None}


def test_a_loop_in_which_nothing_ended_has_no_delay() -> None:
    history = History()
    history.loop()
    (entry,) = build(
        instance="x",
        views=history.recorder.since(0.0, history.now + 10),
        sink="collector",
        totals=lambda key: None,
    )["targets"]
    assert set(entry["loop"]["delay_seconds"].values()) == {None}
    assert entry["loop"]["windows"] == []


def test_measured_things_are_there(busy: History) -> None:
    (entry,) = document(busy, Lines(read=5, delivered=4, queued=1))["targets"]
    assert entry["loop"]["method"] == "probe"
    assert entry["loop"]["delay_seconds"]["max"] == 0.3
    assert entry["loop"]["blocked_seconds"] == pytest.approx(0.2)
    (stall,) = entry["loop"]["stalls"]
    assert stall["culprit"] == {"function": "f", "file": "a.js", "line": 1, "stack": ["f", "g"]}
    assert (entry["http"]["requests"], entry["http"]["error_ratio"]) == (100, 0.1)
    assert entry["http"]["duration_seconds"]["p99"] == pytest.approx(0.01, rel=0.12)
    assert entry["logs"]["read"] == 5
    assert entry["service_instance_id"] == "id-shop"
    assert entry["errors"][0]["body"] == "it broke"


def test_a_probe_knows_its_runtime_better_than_the_process_table() -> None:
    history = History(target(runtime="python"))
    history.second(RuntimeInfo("uvloop", "3.11.7"))
    (entry,) = document(history)["targets"]
    assert (entry["runtime"], entry["runtime_version"]) == ("uvloop", "3.11.7")


def test_the_ten_seconds_before_a_stall_are_shown_with_it() -> None:
    history = History()
    for second in range(20):
        history.second(Sample(RSS, 50e6 + second))
    history.loop(2.0, [Stall(history.now, 2.0, "probe")])
    (stall,) = document(history)["targets"][0]["loop"]["stalls"]
    seconds = [window["start"] for window in stall["before"]]
    assert seconds == [stall["start"] - back for back in range(10, -1, -1)]
    assert stall["before"][0]["rss_bytes"] == 50e6 + 9
    assert stall["before"][0]["cpu_utilization"] == pytest.approx(0.1)
    assert stall["before"][0]["requests"] is None


def test_of_many_stalls_only_the_latest_and_the_worst_tell_what_was_before() -> None:
    history = History()
    for second in range(30):
        history.loop(0.2, [Stall(history.now, 0.9 if second == 3 else 0.2, "probe")])
    stalls = document(history)["targets"][0]["loop"]["stalls"]
    told = [number for number, stall in enumerate(stalls) if stall["before"] is not None]
    assert told == [3, *range(25, 30)]


def test_an_ongoing_stall_counts_in_the_maximum() -> None:
    history = History()
    history.loop()
    for _ in range(6):
        history.second()
    (entry,) = document(history)["targets"]
    assert entry["loop"]["delay_seconds"]["max"] >= 5.0


def test_workers_stand_under_their_master() -> None:
    recorder = Recorder(900.0, 8 << 20)
    for key, ordinal in (("shop/1", 1), ("shop", None), ("shop/0", 0)):
        history = History(target(key, ordinal=ordinal), recorder)
        history.second()
    (entry,) = document(history)["targets"]
    assert [worker["key"] for worker in entry["workers"]] == ["shop/0", "shop/1"]


def workers(*delays: tuple[float, ...], methods: str = "") -> History:
    """A master without a loop, and one worker for each of ``delays``, second by second."""
    recorder = Recorder(900.0, 8 << 20)
    History(target("shop", "python"), recorder).second()
    for number, seconds in enumerate(delays):
        history = History(target(f"shop/{number}", "asyncio", number), recorder)
        for seconds_late in seconds:
            stalls = [Stall(history.now, seconds_late, "probe")] if seconds_late >= 0.1 else []
            history.loop(seconds_late, stalls)
        history.second(Sample(RSS, 50e6))
    return history


def test_four_workers_are_four_entries_and_one_roll_up() -> None:
    found = document(workers((0.001, 0.4), (0.001, 0.2), (0.001, 0.001), (0.002, 0.001)))
    (entry,) = found["targets"]
    assert [worker["key"] for worker in entry["workers"]] == [f"shop/{n}" for n in range(4)]
    (service,) = found["services"]
    assert service["keys"] == ["shop", *(f"shop/{n}" for n in range(4))]
    (loop,) = service["loops"]
    assert len(loop["keys"]) == 4  # the master has none
    assert (loop["stalls"], loop["worst"]) == (2, "shop/0")
    assert loop["blocked_seconds"] == pytest.approx(0.3 + 0.1)
    assert loop["utilization"] == pytest.approx(0.2)
    assert service["memory"]["rss_bytes"] == 200e6


def test_quantiles_of_all_come_from_all_iterations_and_are_no_mean() -> None:
    found = document(workers((0.001,) * 9, (0.001,) * 9, (0.5,)))
    (loop,) = found["services"][0]["loops"]
    delay = loop["delay_seconds"]
    assert delay["p50"] == pytest.approx(0.001, rel=0.1)
    assert delay["p90"] == pytest.approx(0.001, rel=0.1)  # one second in nineteen was late
    assert delay["p99"] == pytest.approx(0.5, rel=0.1)
    assert (delay["min"], delay["max"]) == (0.001, 0.5)
    assert delay["mean"] == pytest.approx((18 * 0.001 + 0.5) / 19)


def test_loops_that_two_methods_measure_are_not_added_up() -> None:
    history = workers((0.001,))
    traced = History(target("shop/9", "asyncio", 9), history.recorder)
    traced.now = history.now
    window = LoopWindow(traced.now, 1.0, "trace", 0.001, 1, 0.3, 0.3, 0.3, {90: 1}, 0.3, 0.7)
    traced.second(window)
    loops = document(traced)["services"][0]["loops"]
    assert {loop["method"]: loop["keys"] for loop in loops} == {
        "probe": ["shop/0"],
        "trace": ["shop/9"],
    }


def test_requests_of_all_workers_are_counted_together() -> None:
    recorder = Recorder(900.0, 8 << 20)
    for number, status in enumerate((200, 500)):
        history = History(target(f"shop/{number}", "asyncio", number), recorder)
        history.requests("/a", [0.01] * 30, status)
        history.serve()
    http = document(history)["services"][0]["http"]
    assert (http["requests"], http["errors"], http["error_ratio"]) == (60, 30, 0.5)
    assert [route["requests"] for route in http["routes"]] == [60]


def test_a_worker_that_ended_uses_nothing_any_more_but_its_stalls_count() -> None:
    history = workers((0.4,), (0.001,))
    history.recorder.end("shop/0", history.now)
    (service,) = document(history)["services"]
    assert service["memory"]["rss_bytes"] == 50e6
    assert service["loops"][0]["stalls"] == 1


def test_a_service_of_one_process_has_no_roll_up(busy: History) -> None:
    assert document(busy)["services"] == []


def test_people_see_the_roll_up_too() -> None:
    found = document(workers((0.001, 0.4), (0.001, 0.2)))
    for rendered in (render.as_text(found), render.as_markdown(found), render.as_html(found)):
        assert "3 processes together" in rendered
        assert "2 loops, the worst shop/0" in rendered


def test_a_worker_without_a_master_stands_for_itself() -> None:
    history = History(target("shop/0", ordinal=0))
    history.second()
    assert [entry["key"] for entry in document(history)["targets"]] == ["shop/0"]


def test_a_finding_of_a_worker_decides_the_status_too() -> None:
    recorder = Recorder(900.0, 8 << 20)
    History(target("shop"), recorder).second()
    worker = History(target("shop/0", ordinal=0), recorder)
    worker.loop(2.0, [Stall(T0, 2.0, "probe")])
    found = document(worker)
    assert (found["status"], exit_code(found)) == ("fail", 2)


@pytest.mark.parametrize("wanted", ["shop", "42"])
def test_one_target_can_be_asked_for(wanted: str) -> None:
    recorder = Recorder(900.0, 8 << 20)
    for key in ("shop", "other"):
        history = History(target(key), recorder)
        history.second()
    found = document(history, target=wanted)
    assert "shop" in [entry["key"] for entry in found["targets"]]
    assert document(history, target="nothing")["targets"] == []


@pytest.mark.parametrize(
    ("status", "fail_on", "code"),
    [
        ("ok", None, 0),
        ("warn", None, 1),
        ("fail", None, 2),
        ("unknown", None, 3),
        ("warn", Status.FAIL, 0),
        ("warn", Status.WARN, 1),
        ("unknown", Status.WARN, 0),
        ("fail", Status.WARN, 2),
    ],
)
def test_exit_codes(status: str, fail_on: Status | None, code: int) -> None:
    assert exit_code({"status": status}, fail_on) == code


def test_nothing_watched_is_unknown() -> None:
    found = build(instance="x", views=[], sink="recorder", totals=lambda key: None, now=T0)
    assert exit_code(found) == 3
    assert "no target is watched" in render.as_text(found)


def test_problems_of_the_agent_are_findings(busy: History) -> None:
    found = document(busy, problems=["cannot read /var/log/x"], agent=AgentUse(0.9, 1.0))
    assert {f["check"] for f in found["findings"]} == {"agent_budget", "agent_problems"}


class TestRenderings:
    def test_text_fits_80_columns_and_says_what_to_do(self, busy: History) -> None:
        text = render.as_text(document(busy, Lines(read=1, delivered=1)))
        assert max(map(len, text.splitlines())) <= 80
        assert "GET /a fails 10 % of the time (10 of 100 requests)" in " ".join(text.split())
        assert "→" in text

    def test_a_python_service_whose_requests_nobody_counts_says_what_would(self) -> None:
        for runtime, told in (("asyncio", True), ("node", False)):
            history = History(target(runtime=runtime))
            history.second(Sample(RSS, 90e6))
            assert ("tickbird.kit" in render.as_text(document(history))) is told
        history = History(target(runtime="asyncio"))
        history.requests("/a", [0.01])
        history.serve()
        assert "tickbird.kit" not in render.as_text(document(history))

    def test_the_gravest_stands_first_and_ok_is_one_line(self, busy: History) -> None:
        text = render.as_text(document(busy))
        assert text.index("FAIL") < text.index("WARN") < text.index("ok: ")

    def test_colours_are_the_callers_affair(self, busy: History) -> None:
        painted = render.as_text(document(busy), lambda text, style: f"<{style}>{text}</>")
        assert "<fail>FAIL    </>" in painted
        assert "\x1b" not in render.as_text(document(busy))

    def test_what_comes_from_elsewhere_cannot_break_out(self) -> None:
        history = History()
        history.requests("/<script>alert(1)</script>\x1b[31m|`*", [0.01] * 50, 500)
        history.serve()
        found = document(history)
        assert "\x1b" not in render.as_text(found)
        assert "<script>" not in render.as_html(found)
        assert "<script>" not in render.as_markdown(found)

    def test_html_needs_nothing_else(self, busy: History) -> None:
        page = render.as_html(document(busy))
        assert "<script" not in page
        assert re.findall(r"(?:src|href|url)\s*[=(]", page) == []

    def test_markdown_names_every_grave_finding(self, busy: History) -> None:
        found = document(busy)
        text = render.as_markdown(found)
        grave = [f for f in findings_of(found) if f["status"] != "ok"]
        assert text.count("- **") == len(grave) > 0
