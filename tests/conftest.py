"""What all tests share: the real backends, and that a skip is never silent."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from backends import Stack, running_stack

# How long a machine takes to draw an example says nothing of the code under test.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

NOT_ON_THIS_HOST = "not on this host:"
"""How the reason of a skip begins that no installation could prevent (a kernel, a privilege)."""


def pytest_configure() -> None:
    """A shell that starts a job in the background has it, and all that it starts, ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The five real backends, started once; see ``backends.Stack``. Tests that kill one start it
    again."""
    yield from running_stack(tmp_path_factory.mktemp("stack"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Under CI=true a component that is missing is a failure, not a reason to look away."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = _reason(report)
        if not reason.startswith(NOT_ON_THIS_HOST):
            report.outcome = "failed"
            report.longrepr = f"skipped under CI=true: {reason}"
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    """Skipped tests by reason, once each."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("skipped, by reason")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:4}  {reason}")


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
