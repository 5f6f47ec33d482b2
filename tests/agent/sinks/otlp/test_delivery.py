from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fixtures.logs.collector import OK, Answer, FakeCollector, refusing
from tickbird.clock import Deadline, SystemClock
from tickbird.config import CollectorConfig
from tickbird.logrecords import Records
from tickbird.sinks.otlp.delivery import Backoff, Lane, Outcome
from tickbird.sinks.otlp.logs import LogEncoder, payload

CLOCK = SystemClock()
QUICK = Backoff(first=0.01, longest=0.02, held=0.02)


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


class Running:
    """A lane with its thread, and the outcomes of what was offered."""

    def __init__(self, collector: FakeCollector, capacity: int = 1 << 20, timeout: float = 5.0):
        config = CollectorConfig(collector.url, timeout=timeout)
        self.lane = Lane(config, "logs", CLOCK, capacity, QUICK)
        self.outcomes: list[Outcome] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.lane.run, args=(self.stop,), daemon=True)
        self.encoder = LogEncoder()

    def offer(self, *lines: str, wait: float = 0) -> bool:
        records = self.encoder.encode(Records(range(len(lines)), {}, lines), 0)
        return self.lane.offer(payload(b"", records, self.outcomes.append), wait)

    def end(self, seconds: float = 5) -> int:
        self.stop.set()
        unsent = self.lane.drain(Deadline(CLOCK, seconds))
        return len(unsent)


@pytest.fixture
def lane(collector: FakeCollector) -> Iterator[Running]:
    running = Running(collector)
    running.thread.start()
    yield running
    running.end(0.1)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_payloads_arrive_in_order_and_are_settled_once(
    collector: FakeCollector, lane: Running
) -> None:
    for number in range(50):
        assert lane.offer(f"line {number}")
    until(lambda: len(lane.outcomes) == 50)
    assert lane.end() == 0
    assert collector.accepted == [f"line {number}" for number in range(50)]
    assert lane.outcomes == [Outcome(1)] * 50
    assert lane.lane.status.accepted == 50


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_overload_is_retried_until_it_ends(
    collector: FakeCollector, lane: Running, status: int
) -> None:
    collector.behave = lambda lines: Answer(status) if len(collector.requests) < 4 else OK
    lane.offer("one")
    lane.offer("two")
    until(lambda: len(lane.outcomes) == 2)
    assert collector.accepted == ["one", "two"]
    assert lane.lane.status.retried == 3
    assert lane.lane.status.problem is None


def test_row_43_retry_after_is_waited_for(collector: FakeCollector, lane: Running) -> None:
    late = Answer(503, headers={"retry-after": "1"})
    collector.behave = lambda lines: late if len(collector.requests) == 1 else OK
    start = time.monotonic()
    lane.offer("one")
    until(lambda: lane.outcomes)
    assert time.monotonic() - start >= 1


def test_row_45_partial_success_is_counted_and_not_sent_again(
    collector: FakeCollector, lane: Running
) -> None:
    collector.behave = lambda lines: refusing(2)
    lane.offer("a", "b", "c")
    until(lambda: lane.outcomes)
    assert lane.outcomes == [Outcome(1, {"partial_success": 2})]
    assert len(collector.requests) == 1


def test_row_46_one_poison_record_is_refused_and_all_others_arrive_in_order(
    collector: FakeCollector, lane: Running
) -> None:
    collector.behave = lambda lines: Answer(400) if "poison" in lines else OK
    lines = [f"line {n}" for n in range(400)]
    lines[123] = "poison"
    lane.offer(*lines)
    lane.offer("after")
    until(lambda: len(lane.outcomes) == 2)
    assert lane.outcomes == [Outcome(399, {"bad_request": 1}), Outcome(1)]
    assert collector.accepted == [line for line in lines if line != "poison"] + ["after"]
    assert len(collector.requests) <= 2 + 2 * 9


def test_row_47_what_is_too_large_is_split_and_a_single_giant_is_refused(
    collector: FakeCollector, lane: Running
) -> None:
    def small_only(lines: list[str]) -> Answer:
        return Answer(413) if sum(map(len, lines)) > 100 else OK

    collector.behave = small_only
    lane.offer(*["x" * 40] * 7, "y" * 200)
    until(lambda: lane.outcomes)
    assert lane.outcomes == [Outcome(7, {"too_large": 1})]


def test_row_48_a_refused_credential_holds_and_names_the_problem(
    collector: FakeCollector, lane: Running
) -> None:
    collector.behave = lambda lines: Answer(401)
    lane.offer("kept")
    until(lambda: lane.lane.status.problem)
    assert "collector.headers" in str(lane.lane.status.problem)
    assert not lane.outcomes
    collector.behave = lambda lines: OK
    until(lambda: lane.outcomes)
    assert collector.accepted == ["kept"]
    assert lane.lane.status.problem is None


def test_row_44_a_permanent_refusal_is_counted_by_its_code(
    collector: FakeCollector, lane: Running
) -> None:
    collector.behave = lambda lines: Answer(500)
    lane.offer("a", "b")
    until(lambda: lane.outcomes)
    assert lane.outcomes == [Outcome(0, {"http_500": 2})]
    assert lane.lane.status.refused == {"http_500": 2}


def test_a_full_lane_makes_the_offerer_wait_and_takes_it_when_there_is_room(
    collector: FakeCollector,
) -> None:
    running = Running(collector, capacity=100)
    assert running.offer("x" * 60)
    assert not running.offer("y" * 60)
    running.thread.start()
    assert running.offer("z" * 60, wait=5)
    assert running.end() == 0
    assert collector.accepted == ["x" * 60, "z" * 60]


def test_a_payload_beyond_the_capacity_passes_alone(collector: FakeCollector) -> None:
    running = Running(collector, capacity=10)
    assert running.offer("x" * 1000)
    assert not running.offer("y")
    running.end(0)


def test_drain_sends_what_waits(collector: FakeCollector) -> None:
    running = Running(collector)
    for number in range(20):
        running.offer(str(number))
    assert running.end() == 0
    assert collector.accepted == [str(number) for number in range(20)]
    assert not running.offer("too late")


@pytest.mark.parametrize("action", ["hang", "drip"])
def test_drain_keeps_its_deadline_when_the_collector_never_answers(
    collector: FakeCollector, action: str
) -> None:
    collector.behave = lambda lines: Answer(action=action)
    running = Running(collector, timeout=60)
    running.thread.start()
    running.offer("one")
    running.offer("two")
    until(lambda: collector.requests)
    start = time.monotonic()
    assert running.end(0.5) == 2
    assert time.monotonic() - start < 1.5
    assert not running.outcomes
    collector.released.set()
    running.thread.join(5)
    assert not running.thread.is_alive()
    assert not running.outcomes


def test_what_drain_hands_back_and_what_was_settled_is_everything(
    collector: FakeCollector,
) -> None:
    collector.behave = lambda lines: OK if len(collector.requests) <= 5 else Answer(503)
    running = Running(collector)
    running.thread.start()
    for number in range(20):
        running.offer(str(number))
    until(lambda: running.lane.status.problem)
    assert running.end(0.2) + len(running.outcomes) == 20


@pytest.mark.parametrize("action", ["reset", "cut"])
def test_row_52_an_answer_lost_on_the_way_repeats_at_most_that_request(
    collector: FakeCollector, lane: Running, action: str
) -> None:
    collector.behave = lambda lines: Answer(action=action) if len(collector.requests) == 2 else OK
    for line in ("a", "b", "c"):
        lane.offer(line)
    until(lambda: len(lane.outcomes) == 3)
    assert collector.requests == [["a"], ["b"], ["b"], ["c"]]
