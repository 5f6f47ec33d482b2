from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from fixtures.logs.collector import OK, Answer, FakeCollector, refusing
from tickbird import config
from tickbird.clock import Deadline, SystemClock
from tickbird.journal import Journal
from tickbird.ledger import Ledger, Totals
from tickbird.logbatch import Batch
from tickbird.model import LogRecord, Target
from tickbird.pipeline import LogPipeline
from tickbird.sinks.otlp.delivery import Backoff, Lane
from tickbird.sources.logtail import Line, Mark
from tickbird.state import State

CLOCK = SystemClock()
SHOP = Target("shop", "shop", None, "node", attributes={"service.name": "shop"})


class Noted:
    """Stands where the recorder stands."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []

    def record_log(self, target_key: str, record: LogRecord) -> None:
        self.records.append(record)


class Life:
    """One life of the log path on a state folder; ``end`` drains it, ``kill`` does not."""

    def __init__(
        self,
        folder: Path,
        collector: FakeCollector | None,
        capacity: int = 1 << 20,
        more: str = "",
    ):
        url = collector.url if collector else "none"
        text = f"state_dir: {folder}/state\ncollector: {{endpoint: '{url}', timeout: 5s}}\n{more}"
        self.config = config.parse(text, "test")
        self.ledger = Ledger()
        self.state = State(self.config.folder)
        self.recorder = Noted()
        self.lane = None
        if self.config.collector:
            backoff = Backoff(0.01, 0.02, 0.02)
            self.lane = Lane(self.config.collector, "logs", CLOCK, capacity, backoff)
        self.pipeline = LogPipeline(
            self.config,
            CLOCK,
            self.state,
            self.ledger,
            self.lane,
            self.recorder,  # type: ignore[arg-type]
        )
        self.stop = threading.Event()
        if self.lane:
            threading.Thread(target=self.lane.run, args=(self.stop,), daemon=True).start()

    def totals(self) -> Totals:
        return self.ledger.totals("shop")

    def drain(self, seconds: float = 10) -> Totals:
        self.pipeline.drain(Deadline(CLOCK, seconds))
        assert self.ledger.balanced()
        return self.totals()

    def poll_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            assert self.ledger.balanced()
            if self.pipeline.poll() == 0:
                time.sleep(0.01)

    def end(self, seconds: float = 1) -> None:
        self.stop.set()
        if self.lane:
            self.lane.drain(Deadline(CLOCK, seconds))
        self.pipeline.close()
        self.state.close()

    def kill(self) -> None:
        """Nothing more is saved, as after SIGKILL."""
        self.stop.set()
        if self.lane:
            self.lane.drain(Deadline(CLOCK, 0))
        self.state.close()


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def write(path: Path, *lines: object) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def saved_offset(life: Life) -> int:
    (mark,) = marks_in(life.state)
    return mark.offset


def marks_in(state: State) -> list[Mark]:
    """Of the shop, as the next life would find them."""
    return Journal(state, Ledger(), durable=True).restore()["shop"]


def test_lines_arrive_in_order_and_the_ledger_says_so(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, *range(2000))
    totals = life.drain()
    assert collector.accepted == [str(number) for number in range(2000)]
    assert (totals.read, totals.delivered, totals.queued) == (2000, 2000, 0)
    assert list(life.ledger.sources()) == [str(log)]
    life.end()
    assert life.pipeline.problems == []


def test_an_offset_moves_only_when_the_collector_has_accepted(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(503)
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, "a", "b")
    life.poll_until(lambda: len(collector.requests) > 2)
    assert saved_offset(life) == 0
    assert life.totals().queued == 2
    collector.behave = lambda lines: OK
    life.drain()
    assert saved_offset(life) == 4
    life.end()
    assert saved_offset(life) == 4


def test_reading_stops_while_the_collector_does_not_answer(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(503)
    life = Life(tmp_path, collector, capacity=100_000)
    write(log, *(f"{number} {'x' * 500}" for number in range(10_000)))
    life.pipeline.watch(SHOP, [str(log)])
    for _ in range(30):
        life.pipeline.poll()
    queued = life.totals().queued
    assert 0 < queued < 1500
    life.pipeline.poll()
    assert life.totals().queued == queued
    collector.behave = lambda lines: OK
    assert life.drain().delivered == 10_000
    assert [int(line.split()[0]) for line in collector.accepted] == list(range(10_000))
    life.end()


def test_what_becomes_of_every_line_is_counted(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(400) if "poison" in lines else OK
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, "a", "", "poison", "b", "   ")
    write(log, '{"msg":"joined","reqId":"r1"}')
    totals = life.drain()
    assert totals.read == 6
    assert totals.delivered == 3
    assert totals.refused == {"bad_request": 1}
    assert totals.dropped == {"empty": 2}
    life.end()


def test_lines_above_a_rate_limit_are_counted_and_the_offset_moves_past_them(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    limit = "logs: {rate_limit: {lines_per_second: 1, burst: 20}}"
    life = Life(tmp_path, collector, more=limit)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, *(f"line {n}" for n in range(2000)), '{"level":"error","msg":"down"}')
    totals = life.drain()
    assert (totals.read, totals.queued) == (2001, 0)
    assert totals.delivered == len(collector.accepted) == 2001 - totals.dropped["rate_limited"]
    assert 19 <= totals.delivered < 2001
    assert collector.accepted[0] == "line 0"
    assert collector.accepted[-1] == "down"
    life.end()
    second = Life(tmp_path, collector, more=limit)
    assert saved_offset(second) == log.stat().st_size
    assert second.totals() == totals
    second.end()


def test_what_the_collector_took_only_in_part_is_counted_at_its_file(
    tmp_path: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: refusing(2) if "a" in lines else OK
    life = Life(tmp_path, collector)
    write(tmp_path / "a.log", "a", "a", "a")
    write(tmp_path / "b.log", "b")
    life.pipeline.watch(SHOP, [str(tmp_path / "*.log")])
    life.drain()
    sources = life.ledger.sources()
    assert sources[str(tmp_path / "a.log")].refused == {"partial_success": 2}
    assert sources[str(tmp_path / "b.log")].refused == {}
    life.end()


def test_the_next_life_goes_on_where_this_one_stopped(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    first = Life(tmp_path, collector)
    first.pipeline.watch(SHOP, [str(log)])
    write(log, "a", "b")
    first.drain()
    first.end()
    write(log, "c")
    second = Life(tmp_path, collector)
    second.pipeline.watch(SHOP, [str(log)])
    totals = second.drain()
    assert collector.accepted == ["a", "b", "c"]
    assert (totals.read, totals.delivered, totals.redelivered) == (3, 3, 0)
    second.end()


def test_what_is_sent_again_after_a_kill_is_counted_apart(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    first = Life(tmp_path, collector)
    first.pipeline.watch(SHOP, [str(log)])
    write(log, *range(10))
    first.poll_until(lambda: first.totals().delivered == 10)
    collector.behave = lambda lines: Answer(action="hang")
    write(log, *range(10, 15))
    first.poll_until(lambda: len(collector.requests) == 2)
    first.kill()
    collector.behave = lambda lines: OK
    write(log, *range(15, 20))
    second = Life(tmp_path, collector)
    second.pipeline.watch(SHOP, [str(log)])
    totals = second.drain()
    assert collector.accepted == [str(number) for number in range(20)]
    assert (totals.read, totals.delivered) == (20, 20)
    assert totals.redelivered == 5
    second.end()


def test_what_is_sent_again_since_a_line_before_it_waited_is_counted_apart(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    at = "2026-01-02T03:04:05.123456789Z"
    write(log, f"{at} stderr P waits", *(f"{at} stdout F {number}" for number in range(200)))
    first = Life(tmp_path, collector)
    first.pipeline.watch(SHOP, [str(log)])
    first.poll_until(lambda: first.totals().delivered >= 200)
    first.kill()
    second = Life(tmp_path, collector)
    second.pipeline.watch(SHOP, [str(log)])
    totals = second.drain()
    twice = len(collector.accepted) - 201
    assert set(collector.accepted) == {"waits", *map(str, range(200))}
    assert totals.delivered == 201 + twice
    assert twice <= totals.redelivered <= twice + 1
    second.end()


def test_a_repeat_is_known_behind_a_line_that_is_none() -> None:
    tail = SimpleNamespace(acked=0, repeat_until=10)
    batch = Batch(None, tail, 0.0)  # type: ignore[arg-type]
    batch.add([Line(b"new", 10, 14), Line(b"joined late", 4, 14)], [b"1", b"2"])
    assert (batch.repeated, batch.end, batch.reach) == (1, 14, 14)


def test_without_a_collector_the_recorder_is_the_sink_and_nothing_is_saved(
    tmp_path: Path, log: Path
) -> None:
    life = Life(tmp_path, None)
    life.pipeline.watch(SHOP, [str(log)])
    before = time.time_ns()
    write(log, "a", '{"msg":"b","level":50,"password":"hunter2"}')
    totals = life.drain()
    assert (totals.read, totals.delivered, totals.queued) == (2, 2, 0)
    assert [record.body for record in life.recorder.records] == ["b"]
    assert before <= life.recorder.records[0].observed_ns <= time.time_ns()
    assert "hunter2" not in repr(life.recorder.records)
    life.end()
    assert not (life.state.folder / "checkpoint").exists()


@pytest.mark.parametrize("with_collector", [True, False])
def test_a_segment_of_the_spool_is_removed_when_done_and_a_newer_is_there(
    tmp_path: Path, collector: FakeCollector, with_collector: bool
) -> None:
    life = Life(tmp_path, collector if with_collector else None)
    spool = life.state.folder / "spool" / "shop"
    spool.mkdir(parents=True)
    first, second = spool / "stdout-000001.log", spool / "stdout-000002.log"
    write(first, *range(100))
    life.pipeline.watch(SHOP, [f"{spool}/*.log"])
    life.drain()
    assert first.exists()
    write(second, "x")
    life.poll_until(lambda: not first.exists())
    assert second.exists()
    assert life.drain().read == 101
    assert [Path(source).name for source in life.ledger.sources()] == ["stdout"]
    life.end()


def test_a_segment_stays_while_the_collector_has_not_accepted_it(
    tmp_path: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(503)
    life = Life(tmp_path, collector)
    spool = life.state.folder / "spool" / "shop"
    spool.mkdir(parents=True)
    write(spool / "stdout-000001.log", "a")
    write(spool / "stdout-000002.log", "b")
    life.pipeline.watch(SHOP, [f"{spool}/*.log"])
    life.poll_until(lambda: len(collector.requests) > 3)
    assert (spool / "stdout-000001.log").exists()
    collector.behave = lambda lines: OK
    life.poll_until(lambda: not (spool / "stdout-000001.log").exists())
    assert life.drain().delivered == 2
    life.end()


def test_the_last_words_of_a_service_without_a_line_end_are_read(
    tmp_path: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    spool = life.state.folder / "spool" / "shop"
    spool.mkdir(parents=True)
    (spool / "stdout-000001.log").write_text("bye\ncut off")
    life.pipeline.watch(SHOP, [f"{spool}/*.log"])
    assert life.drain().delivered == 2
    assert collector.accepted == ["bye", "cut off"]
    life.end()


def test_logs_of_a_service_and_its_spool_are_read_side_by_side(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    spool = life.state.folder / "spool" / "shop"
    spool.mkdir(parents=True)
    write(spool / "stderr-000001.log", "from the spool")
    write(log, "from the file")
    life.pipeline.watch(SHOP, [str(log), f"{spool}/*.log"])
    assert life.drain().delivered == 2
    attributes = dict(collector.attributes)
    assert attributes["from the spool"]["log.iostream"] == "stderr"
    assert "log.file.path" not in attributes["from the spool"]
    assert attributes["from the file"]["log.file.path"] == str(log)
    life.end()


def test_workers_of_one_service_share_its_files(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    for key in ("shop/1", "shop/2", "shop/3"):
        life.pipeline.watch(Target(key, "shop", None, "node"), [str(log)])
    write(log, "a", "b")
    assert life.drain().read == 2
    assert collector.accepted == ["a", "b"]
    life.end()


def test_a_target_that_is_let_go_is_drained_first_and_resumed_later(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, *range(100))
    life.pipeline.unwatch("shop")
    life.poll_until(lambda: not life.pipeline._watched)
    assert len(collector.accepted) == 100
    write(log, 100)
    life.pipeline.watch(SHOP, [str(log)])
    assert life.drain().read == 101
    assert collector.accepted[-1] == "100"
    assert len(collector.accepted) == 101
    life.end()


def test_drain_ends_when_a_file_is_cut_meanwhile(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    def cutting(lines: list[str]) -> Answer:
        os.truncate(log, 0)
        return OK

    collector.behave = cutting
    life = Life(tmp_path, collector, capacity=50_000)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, *("x" * 999 for _ in range(3000)))
    deadline = Deadline(CLOCK, 30)
    life.pipeline.drain(deadline)
    assert not deadline.passed()
    assert life.totals().read < 3000
    life.end()


def test_drain_keeps_its_deadline_and_leaves_the_rest_in_the_file(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(action="hang")
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, "a", "b")
    start = time.monotonic()
    totals = life.drain(0.5)
    life.end(0.3)
    assert time.monotonic() - start < 3
    assert totals.queued == 2
    assert saved_offset(life) == 0
    collector.behave = lambda lines: OK
    collector.released.set()
    again = Life(tmp_path, collector)
    again.pipeline.watch(SHOP, [str(log)])
    assert again.drain().delivered == 2
    again.end()


def test_a_writer_that_never_rests_does_not_hold_up_the_end(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    write(log, *range(100))
    stop = threading.Event()

    def busy() -> None:
        while not stop.wait(0.001):
            write(log, "more")

    writer = threading.Thread(target=busy)
    writer.start()
    start = time.monotonic()
    life.drain(20)
    assert time.monotonic() - start < 10
    stop.set()
    writer.join()
    life.end()


def test_files_take_turns(tmp_path: Path, collector: FakeCollector) -> None:
    write(tmp_path / "a.log", *("a" * 1000 for _ in range(5000)))
    write(tmp_path / "z.log", "z", "held until it is known whether a trace follows")
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(tmp_path / "*.log")])
    life.pipeline.poll()
    sources = life.ledger.sources()
    assert sources[str(tmp_path / "z.log")].read == 1
    assert sources[str(tmp_path / "a.log")].read < 5000
    life.end()


@pytest.mark.parametrize(
    "document", [b"{}", b'{"files": 3}', b'{"files": {}, "totals": [7]}', b'{"version": 99}']
)
def test_a_checkpoint_of_another_make_never_stops_a_start(
    tmp_path: Path, log: Path, collector: FakeCollector, document: bytes
) -> None:
    state = State(tmp_path / "state" / "default")
    state.save(msgspec.defstruct("Other", [])())
    (state.folder / "checkpoint").write_bytes(
        document + b"\n" + hashlib.sha256(document).hexdigest().encode() + b"\n"
    )
    state.close()
    write(log, "a")
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(log)])
    assert life.drain().delivered == 1
    life.end()


def test_what_cannot_be_read_is_a_problem_with_a_remedy(
    tmp_path: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    life.pipeline.watch(SHOP, [str(tmp_path / "nowhere" / "*.log")])
    life.pipeline.poll()
    (problem,) = life.pipeline.problems
    assert "there is no folder" in problem
    assert "what to do" in problem
    life.end()
