"""The probe as one expression, evaluated in a real Node: what it reports, and that it leaves."""

import json
import os
import time

import pytest

from injecting import TOKEN, Target, until
from tickbird.inject import bundle

pytestmark = pytest.mark.node


def settings(stand, pid, **changes):
    return {
        "port": stand.heard.getsockname()[1],
        "token": TOKEN,
        "method": "attach",
        "pid": pid,
        "threshold": 0.1,
        "culprits": True,
        "patience": 10,
    } | changes


@pytest.fixture
def attached(stand, target):
    """A target with the probe in it."""
    assert stand.inject(target.pid).problem is None
    return target


def threads(target):
    return sum(1 for _ in os.scandir(f"/proc/{target.pid}/task"))


def test_loop_heap_collections_and_resources_are_reported(stand, attached):
    report, sender = stand.report()
    assert report["pid"] == attached.pid
    assert report["method"] == "attach"
    assert report["loop"]["active"] + report["loop"]["idle"] == pytest.approx(
        report["duration"], rel=0.2
    )
    assert report["memory"]["heap_used"] > 1e6
    size, used, available, physical = report["spaces"]["old_space"]
    assert 0 < used <= size
    assert available >= 0
    assert physical > 0
    assert any("TCP" in kind for kind in report["resources"])
    stand.heard.sendto(b"leave", sender)
    attached.well()


def test_every_request_from_the_injection_on_is_counted(stand, attached):
    for _ in range(7):
        attached.ask()
    total = 0
    while total < 7:
        report, sender = stand.report()
        stand.heard.sendto(b"keep", sender)
        total = sum(one["count"] for one in report["http"]["series"])
    assert total == 7
    stand.heard.sendto(b"leave", sender)
    attached.well()


def test_the_function_that_holds_the_loop_is_named_while_it_does(stand, attached):
    stand.report()
    until(lambda: threads(attached) > 7, "the watchdog's thread")
    time.sleep(0.3)  # it has to load before the loop stands still
    attached.ask("hold/600")
    found = []
    while not any(one.get("culprit") for one in found):
        found.append(json.loads(stand.heard.recv(65_535)))
    culprit = next(one["culprit"] for one in found if one.get("culprit"))
    assert culprit["function"] == "hold"
    assert culprit["file"].endswith("service.cjs")
    assert found[-1]["method"] == "attach"


def test_it_leaves_without_a_trace_when_it_is_told_to(stand, target):
    before = (threads(target), target.ask()["resources"])
    assert stand.inject(target.pid).problem is None
    _, sender = stand.report()
    assert target.ask()["watched"]
    stand.heard.sendto(b"leave", sender)
    target.well()
    until(lambda: threads(target) == before[0], "its thread to end")
    until(lambda: target.ask()["resources"] <= before[1], "its handles to be closed")


def test_it_leaves_when_nobody_listens_any_more(stand, attached):
    stand.report()
    stand.deaf()
    attached.well()


def evaluated(stand, tmp_path, **changes):
    """A target that evaluates the expression itself, as an inspector would have it do."""
    script = tmp_path / "evaluate.cjs"
    script.write_text(
        f"globalThis.said = {bundle.expression(settings(stand, 1, **changes))};"
        "process.stderr.write(globalThis.said);"
    )
    return Target([stand.node, "--inspect-port=0", "--require", str(script)], tmp_path)


def test_it_leaves_when_its_reports_are_not_answered(stand, tmp_path):
    target = evaluated(stand, tmp_path, patience=2)
    try:
        assert target.stderr.read_text() == "attached"
        for _ in range(3):
            _, sender = stand.report()
            stand.heard.sendto(b"keep", sender)
            assert target.ask()["probe"]
        until(lambda: not target.ask()["probe"], "it to leave")
        target.well()
    finally:
        target.close()


def test_a_probe_that_is_heard_is_not_replaced_and_one_that_is_not_is(stand, attached):
    _, sender = stand.report()
    stand.heard.sendto(b"keep", sender)
    refused = stand.inject(attached.pid)
    assert "another agent" in refused.problem
    assert refused.again
    stand.deaf()
    until(lambda: not attached.ask()["probe"], "the first one to leave")


def test_a_service_that_was_launched_with_a_probe_gets_no_second_one(stand, tmp_path):
    probe = bundle._RUNTIMES / "node" / "probe.cjs"
    env = {"TICKBIRD_PROBE": f"127.0.0.1:{stand.heard.getsockname()[1]}"}
    target = Target([stand.node, "--inspect-port=0", "--require", str(probe)], tmp_path, env)
    try:
        refused = stand.inject(target.pid)
        assert "exec" in refused.problem
        assert not refused.again
        assert not target.listening()
        assert target.process.poll() is None
    finally:
        target.close()
