"""A report says a thing once and everywhere alike, and blesses nothing that it cannot know."""

from __future__ import annotations

from typing import Any

from histories import History
from tickbird.health import render
from tickbird.health.checks import http_errors, http_slow
from tickbird.health.report import build
from tickbird.health.subject import Limits
from tickbird.model import Finding, Status

LIMITS = Limits()


def certain(finding: Finding | None) -> Finding:
    assert finding is not None
    return finding


def test_slow_requests_among_fast_ones_without_a_route_are_not_called_ok() -> None:
    history = History()
    history.requests("", [0.01] * 60 + [1.4] * 40)
    history.serve()
    found = certain(http_slow.judge(history.subject(), LIMITS))
    assert found.status is Status.UNKNOWN
    assert "cannot be told apart by route" in found.title


def test_fast_requests_without_a_route_are_ok() -> None:
    history = History()
    history.requests("", [0.01] * 100)
    history.serve()
    assert certain(http_slow.judge(history.subject(), LIMITS)).status is Status.OK


def test_an_error_without_a_route_says_who_gave_none() -> None:
    history = History()
    history.requests("", [0.01] * 100, 500)
    history.serve()
    found = certain(http_errors.judge(history.subject(), LIMITS))
    assert "GET (the framework gave no route)" in found.title


def test_cpu_is_one_number_in_a_report_and_what_is_long_past_is_not_in_it() -> None:
    history = History()
    for _ in range(100):
        history.second(cpu=0.1)
    for _ in range(60):
        history.second(cpu=0.97)
    (entry,) = report(history)["targets"]
    (finding,) = [one for one in entry["findings"] if one["check"] == "cpu_high"]
    assert finding["status"] == "warn"
    assert finding["evidence"]["utilization"] == entry["cpu"]["utilization"] > 0.9


def test_every_form_tells_what_passed_and_since_when_it_was_watched() -> None:
    history = History()
    history.now += 3600
    for _ in range(12):
        history.loop()
    document = report(history)
    assert "watched for 11 s" in render.as_text(document)
    for form in (render.as_text, render.as_markdown, render.as_html):
        assert "ok: " in form(document)


def report(history: History) -> dict[str, Any]:
    views = history.recorder.since(900.0, history.now)
    return build(instance="a", views=views, sink="recorder", totals=lambda _: None)
