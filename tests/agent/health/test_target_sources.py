"""What a target's own sources say of it: its health check, and what could not be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from histories import History
from tickbird.health.checks import http_check, loop_unmeasured, sources, target_down
from tickbird.health.subject import Limits
from tickbird.model import Finding, Sample, Status
from tickbird.sources.http import DURATION, ERROR, STATUS

LIMITS = Limits()
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


@pytest.fixture
def history() -> History:
    return History()


def certain(finding: Finding | None) -> Finding:
    assert finding is not None
    return finding


def answered(history: History, kind: str | None) -> None:
    """A health check of that class; None: no answer."""
    history.second(
        *(Sample(STATUS, float(one == kind), (one,)) for one in CLASSES),
        Sample(ERROR, float(kind is None)),
        *([Sample(DURATION, 0.012)] if kind else []),
    )


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        ("2xx", Status.OK, "the health check passes (12 ms)"),
        ("4xx", Status.FAIL, "the health check answered 4xx"),
        ("5xx", Status.FAIL, "the health check answered 5xx"),
        (None, Status.FAIL, "the health check got no answer"),
    ],
)
def test_the_last_answer_of_the_health_check_decides(
    history: History, kind: str | None, status: Status, says: str
) -> None:
    answered(history, "5xx" if kind == "2xx" else "2xx")
    answered(history, kind)
    found = certain(http_check.judge(history.subject(), LIMITS))
    assert (found.status, found.title) == (status, f"shop: {says}")


def test_a_target_without_a_health_check_is_not_judged_by_it(history: History) -> None:
    history.second()
    assert http_check.judge(history.subject(), LIMITS) is None


def test_a_source_that_fails_is_a_finding_of_its_target(history: History) -> None:
    history.second()
    told = {"scrape": "the scrape failed: x answered 500", "looptrace": "no", "http": "no"}
    found = certain(sources.judge(replace(history.subject(), problems=told), LIMITS))
    assert (found.status, found.title) == (Status.WARN, "shop: the scrape failed: x answered 500")


def test_what_nobody_asked_for_may_end(history: History) -> None:
    history.second()
    history.recorder.end("shop", history.now)
    found = replace(history.subject(), automatic=True)
    assert certain(target_down.judge(found, LIMITS)).status is Status.WARN


def test_an_agent_that_has_just_begun_does_not_complain_of_silence(history: History) -> None:
    history.now += 100
    history.second()
    assert loop_unmeasured.judge(history.subject(), LIMITS) is None


def test_a_service_of_exec_is_not_told_to_use_exec(history: History) -> None:
    for _ in range(5):
        history.second()
    found = certain(loop_unmeasured.judge(replace(history.subject(), launched=True), LIMITS))
    assert "tickbird exec" not in found.advice
