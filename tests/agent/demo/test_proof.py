"""The proof of the demo must be able to fail: each lie about one thing breaks a claim about it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tickbird.demo.proof import EDGE, prove

BEGAN = 1000.0
ENDED = 1060.0
FAILING, SLOW = "/checkout", "/search"

Document = dict[str, Any]


def truth() -> Document:
    counts = {"requests": 100, "errors": 20, "durations": [0.01] * 100}
    return {
        "port": 3000,
        "log_lines": 500,
        "drawn": {
            "block": {"function": "grind"},
            "fail": {"route": FAILING},
            "slow": {"route": SLOW},
        },
        "blocks": [{"start": start, "duration": 0.3, "turn": 0.31} for start in (1010.0, 1030.0)],
        "routes": {
            f"POST {FAILING}": counts,
            f"GET {SLOW}": counts | {"durations": [0.8] * 100},
        },
        "heap": {"rate_bytes_per_second": 1e6},
    }


def report() -> Document:
    findings = [
        {"check": check, "status": "warn", "title": title, "evidence": {}}
        for check, title in (
            ("loop_blocked", "the loop was blocked"),
            ("http_errors", f"POST {FAILING} fails"),
            ("http_slow", f"GET {SLOW} is slow"),
            ("memory_growth", "the heap grows"),
        )
    ]
    stalls = [
        {"start": start, "duration_seconds": 0.305, "culprit": {"function": "grind"}}
        for start in (1010.0, 1030.0)
    ]
    routes = [
        {"route": FAILING, "requests": 100, "errors": 20, "p99_seconds": 0.01},
        {"route": SLOW, "requests": 100, "errors": 0, "p99_seconds": 0.8},
    ]
    logs = {"read": 500, "delivered": 490, "queued": 4, "refused": {"x": 1}, "dropped": {"y": 5}}
    entry = {
        "name": "shop",
        "loop": {"stalls": stalls},
        "http": {"routes": routes},
        "logs": logs,
        "findings": findings,
    }
    return {"generated_at": ENDED, "targets": [entry]}


def broken(lie: Callable[[Document], object], about: Document | None = None) -> set[str]:
    """The claims that do not hold once ``lie`` has changed the report's target."""
    told = copy.deepcopy(report())
    lie(told["targets"][0])
    claims = prove(told, {"shop": about or truth()}, BEGAN)
    return {claim.what for claim in claims if not claim.holds}


def test_a_report_that_says_what_happened_holds() -> None:
    assert broken(lambda _: None) == set()


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda e: e["loop"]["stalls"].pop(), "blocks of the loop"),
        (lambda e: e["loop"]["stalls"][0].update(start=1020.0), "blocks of the loop"),
        (lambda e: e["loop"]["stalls"][0].update(duration_seconds=0.4), "a stall's length"),
        (lambda e: e["loop"]["stalls"][0].update(duration_seconds=0.2), "a stall's length"),
        (lambda e: e["findings"].pop(0), "the blocked loop is named"),
        (lambda e: e["findings"][1].update(title="POST /cart fails"), "the failing endpoint"),
        (lambda e: e["findings"][1].update(status="ok"), "the failing endpoint"),
        (lambda e: e["findings"].pop(2), "the slow endpoint"),
        (lambda e: e["findings"].pop(3), "the growing heap"),
        (lambda e: e["http"]["routes"][0].update(errors=30), "error ratio"),
        (lambda e: e["http"]["routes"].pop(0), "error ratio"),
        (lambda e: e["http"]["routes"][1].update(p99_seconds=0.6), "p99"),
        (lambda e: e["http"]["routes"][1].update(p99_seconds=None), "p99"),
        (lambda e: e["logs"].update(read=499, delivered=489), "log lines read"),
        (lambda e: e["logs"].update(delivered=489), "adds up"),
        (lambda e: e.update(logs=None), "log lines read"),
        (lambda e: e.update(name="another"), "is watched"),
    ],
)
def test_a_lie_breaks_the_claim_about_it(lie: Callable[[Document], object], words: str) -> None:
    failed = broken(lie)
    assert any(words in what for what in failed), failed


def test_blocks_at_the_edges_of_what_was_watched_are_not_held_against_it() -> None:
    about = truth()
    for start in (BEGAN + EDGE / 2, ENDED - EDGE - 0.1):
        about["blocks"].append({"start": start, "duration": 0.3, "turn": 0.3})
    assert broken(lambda _: None, about) == set()


def test_a_run_without_any_block_proves_nothing() -> None:
    about = truth()
    about["blocks"] = []
    assert "blocks of the loop" in broken(lambda e: e["loop"].update(stalls=[]), about)
