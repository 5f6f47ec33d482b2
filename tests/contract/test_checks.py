"""What every check must hold to, whoever wrote it: found by its file, pure, never surprised."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickbird.health import checks as package
from tickbird.health.checks import AgentCheck, AgentUse, Check, checks, runbook
from tickbird.health.subject import Limits, Subject, http_of, loop_of
from tickbird.histogram import index_of
from tickbird.ledger import Totals
from tickbird.model import (
    Finding,
    HttpSeries,
    HttpSnapshot,
    Identity,
    Instrument,
    Item,
    Kind,
    LoopWindow,
    Sample,
    Stall,
    Status,
    Target,
)
from tickbird.recorder import Recorder

T0 = 1_700_000_000.0
GAUGES = [
    Instrument(name, Kind.GAUGE, "1", name)
    for name in (
        "process.memory.usage",
        "process.unix.file_descriptor.count",
        "process.unix.file_descriptor.limit",
        "container.memory.limit",
        "v8js.memory.heap.used",
    )
]
CPU = Instrument("process.cpu.time", Kind.COUNTER, "s", "CPU time.", ("cpu.mode",))
HEADINGS = re.findall(
    r"(?m)^##+ (\w+)$", (Path(__file__).parents[2] / "alerts" / "RUNBOOK.md").read_text()
)

SIZES = st.one_of(st.just(0.0), st.floats(0, 1e12))
DURATIONS = st.floats(0, 120)


@st.composite
def windows(draw: st.DrawFn) -> LoopWindow:
    delay, count = draw(DURATIONS), draw(st.integers(0, 1_000))
    histogram = {index_of(delay): count} if count else {}
    times = (draw(DURATIONS), draw(DURATIONS))
    return LoopWindow(
        T0, 1.0, "probe", 0.001, count, delay * count, delay, delay, histogram, *times
    )


@st.composite
def snapshots(draw: st.DrawFn) -> HttpSnapshot:
    rows = draw(st.lists(st.tuples(st.text(), st.sampled_from([0, 200, 404, 503]), DURATIONS)))
    series = [
        HttpSeries("GET", route or None, status, 50, 50 * d, d, {index_of(d): 50})
        for route, status, d in rows
    ]
    return HttpSnapshot("probe", None, series)


STALLS = st.builds(
    Stall,
    start=st.floats(T0, T0 + 60),
    duration=DURATIONS,
    method=st.just("probe"),
    ongoing=st.booleans(),
    cause=st.sampled_from([None, "cpu"]),
    culprit=st.sampled_from([None, {}, {"function": "f"}, {"file": "x", "line": 3}]),
)
SAMPLES = st.one_of(
    st.builds(Sample, st.sampled_from(GAUGES), SIZES),
    st.builds(Sample, st.just(CPU), SIZES, st.just(("user",))),
)
ITEMS = st.one_of(windows(), snapshots(), STALLS, SAMPLES)
LEDGERS = st.one_of(
    st.none(),
    st.builds(Totals, read=st.integers(0, 99), delivered=st.integers(0, 99)),
    st.builds(Totals, read=st.integers(0, 99), refused=st.just({"late": 2})),
)


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    identity = draw(st.sampled_from([None, Identity(7, 1, T0)]))
    runtime = draw(st.sampled_from(["node", "asyncio", "python", "other"]))
    recorder = Recorder(900.0, 1 << 20)
    now = T0
    target = Target("shop", "shop", identity, runtime)
    for items in draw(st.lists(st.lists(ITEMS, max_size=4), min_size=1, max_size=30)):
        now += 1.0
        recorder.record(target, items, now)
    if draw(st.booleans()):
        recorder.end("shop", now)
    (view,) = recorder.since(900.0, now)
    return Subject(view, loop_of(view), http_of(view), draw(LEDGERS))


def names(kind: type) -> Iterator[str]:
    return (check.name for check in checks() if isinstance(check, kind))


def by_name(name: str) -> Check | AgentCheck:
    return next(check for check in checks() if check.name == name)


def hold(finding: Finding | None, name: str) -> None:
    """What every finding must be."""
    if finding is None:
        return
    assert finding.check == name
    assert finding.title and "\n" not in finding.title
    json.dumps(dict(finding.evidence), allow_nan=False)
    if finding.status is not Status.OK:
        assert finding.advice
        assert finding.evidence
        assert finding.runbook in {runbook(heading) for heading in HEADINGS}


def test_every_file_of_the_folder_is_a_check_named_like_it() -> None:
    folder = Path(inspect.getfile(package)).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {check.name for check in checks()} == files


@pytest.mark.parametrize("name", sorted(names(Check)))
@settings(max_examples=60, deadline=None)
@given(subject=subjects())
def test_a_check_judges_anything_and_the_same_twice(name: str, subject: Subject) -> None:
    check = by_name(name)
    assert isinstance(check, Check)
    finding = check.judge(subject, Limits())
    hold(finding, name)
    assert finding == check.judge(subject, Limits())
    assert finding is None or finding.target == "shop"


@pytest.mark.parametrize("name", sorted(names(Check)))
def test_a_check_that_knows_nothing_accuses_nobody(name: str) -> None:
    recorder = Recorder(900.0, 1 << 20)
    nothing: list[Item] = []
    recorder.record(Target("shop", "shop", None, "node"), nothing, T0)
    (view,) = recorder.since(900.0, T0)
    check = by_name(name)
    assert isinstance(check, Check)
    finding = check.judge(Subject(view, loop_of(view), http_of(view), None), Limits())
    assert finding is None or finding.status in (Status.OK, Status.UNKNOWN)


@pytest.mark.parametrize("name", sorted(names(AgentCheck)))
@given(cpu=st.none() | SIZES, memory=st.none() | SIZES, problems=st.lists(st.just("no log")))
def test_a_check_of_the_agent_judges_anything(
    name: str, cpu: float | None, memory: float | None, problems: list[str]
) -> None:
    check = by_name(name)
    assert isinstance(check, AgentCheck)
    hold(check.judge(AgentUse(cpu, memory, problems=tuple(problems))), name)


def test_every_heading_that_a_check_names_stands_in_the_runbook() -> None:
    named = {
        heading
        for path in Path(inspect.getfile(package)).parent.glob("*.py")
        for heading in re.findall(r"runbook\(\"(\w+)\"\)", path.read_text())
    }
    assert named
    assert named <= set(HEADINGS)
