"""What a watch makes of its sources: which are due, which fail, which of two is believed."""

from dataclasses import replace
from functools import partial

import pytest

from tickbird.errors import NoData, SourceError, TargetGone
from tickbird.histogram import index_of
from tickbird.meters import ITERATION, Meter
from tickbird.model import Identity, Instrument, Kind, LoopWindow, Sample, Stall, Target
from tickbird.sources import SourceType
from tickbird.store import Store
from tickbird.testing import ManualClock, context
from tickbird.watch import METHOD_HELD, RETRY_OPEN, Watch

VALUE = Instrument("value", Kind.GAUGE, "1", "A value.")
SHOP = Target("shop", "shop", Identity(7, 1, 50.0), "node")


class Scripted:
    """A source that says, or raises, what its test puts in ``says``."""

    interval = 1.0
    problems = ()

    def __init__(self):
        self.says = []
        self.closed = 0

    def read(self):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def close(self):
        self.closed += 1


class Place:
    """A watch over scripted sources, into a real store."""

    def __init__(self, *names, failing=None):
        self.clock = ManualClock()
        self.store = Store()
        self.items = []
        self.failing = failing
        self.sources = {name: Scripted() for name in names}
        self.watch = Watch(
            SHOP, context(clock=self.clock), self.deliver, self.release, Meter("node", 0.1)
        )
        self.watch.open([SourceType(name, (), partial(self.open, name)) for name in names])

    def open(self, name, _target, _context):
        if self.failing is not None:
            raise self.failing
        return self.sources[name]

    def deliver(self, target, kind, items, samples):
        self.items += items
        self.store.update(target, kind.name, samples, self.clock.time(), kind.whole)

    def release(self, target, metrics):
        self.store.release(target.key, metrics)

    def say(self, name, *items):
        self.sources[name].says = list(items)
        self.watch.read(name)

    def fail(self, name, error):
        self.sources[name].says = error
        self.watch.read(name)
        return self.watch.states[name]

    def values(self):
        return {(s.instrument.name, s.labels): s.value for s in self.store.series()}


def window(method, longest):
    histogram = {index_of(longest): 1}
    return LoopWindow(0.0, 1.0, method, 0.001, 1, longest, longest, longest, histogram, longest, 1)


def test_a_better_method_takes_the_loop_over_and_what_the_other_said_ends():
    place = Place("looptrace", "probe")
    place.say("probe", window("probe", 0.3), Sample(VALUE, 1))
    place.say("looptrace", window("trace", 0.2))
    found = place.values()
    assert found["nodejs.eventloop.delay.max", ("trace",)] == 0.2
    assert ("nodejs.eventloop.delay.max", ("probe",)) not in found
    assert found["value", ()] == 1
    ended = {(s.instrument.name, s.labels) for s in place.store.take_ended()}
    assert ("nodejs.eventloop.delay.max", ("probe",)) in ended
    assert ("nodejs.eventloop.utilization", ()) not in ended


def test_while_a_probe_is_silent_the_delay_grows_with_the_silence():
    place = Place("process", "probe")
    began = window("probe", 0.3)
    began.start = place.clock.time() - 1
    place.say("probe", began)
    grown = []
    for _ in range(5):
        place.clock.advance(1)
        place.say("process", Sample(VALUE, 1))
        place.say("probe")
        grown.append(place.values()["nodejs.eventloop.delay.p99", ("probe",)])
    assert grown == pytest.approx([0.3, 0.3, 3.0, 4.0, 5.0], rel=0.1)


def test_an_agent_that_was_suspended_takes_its_own_silence_for_no_delay():
    place = Place("process", "probe")
    began = window("probe", 0.3)
    began.start = place.clock.time() - 1
    place.say("probe", began)
    place.clock.advance(100)
    place.say("process", Sample(VALUE, 1))
    place.say("probe")
    assert place.values()["nodejs.eventloop.delay.max", ("probe",)] == 0.3


def test_iterations_that_one_method_counted_are_not_counted_by_the_next():
    place = Place("looptrace", "probe")
    place.say("probe", window("probe", 0.3))
    place.say("probe", window("probe", 0.3))
    place.say("looptrace", window("trace", 0.2))
    assert place.values()[ITERATION.name, ("trace",)].count == 1


def test_a_lesser_method_is_believed_once_the_better_one_is_silent():
    place = Place("looptrace", "probe")
    place.say("looptrace", window("trace", 0.2))
    place.clock.advance(METHOD_HELD)
    place.say("probe", window("probe", 0.3), Stall(0.0, 0.3, "probe"))
    assert [item.method for item in place.items] == ["trace"]
    place.clock.advance(1)
    place.say("probe", window("probe", 0.4))
    assert place.values()["nodejs.eventloop.delay.max", ("probe",)] == 0.4


def test_a_method_that_speaks_once_a_minute_is_not_taken_for_silent_meanwhile():
    place = Place("one", "two")
    slow = window("otlp", 0.3)
    slow.duration = 60.0
    place.say("one", slow)
    place.clock.advance(100)
    place.say("two", window("scrape", 0.2))
    assert place.watch.loop_method == "otlp"
    place.clock.advance(51)
    place.say("two", window("scrape", 0.2))
    assert place.watch.loop_method == "scrape"


def test_the_values_of_a_method_that_fell_silent_do_not_stay():
    place = Place("looptrace")
    place.say("looptrace", window("trace", 0.2), Sample(VALUE, 1))
    place.clock.advance(METHOD_HELD)
    assert place.clock.monotonic() <= place.watch.loop_until
    place.clock.advance(1)
    assert place.clock.monotonic() > place.watch.loop_until
    place.watch.let_loop_go()
    assert place.values() == {("value", ()): 1}
    assert place.watch.loop_method is None
    ended = {s.instrument.name for s in place.store.take_ended()}
    assert {"nodejs.eventloop.delay.max", ITERATION.name} <= ended
    place.say("looptrace", window("trace", 0.2))
    assert place.values()["nodejs.eventloop.delay.max", ("trace",)] == 0.2


def test_a_probe_that_is_silent_because_its_loop_hangs_keeps_its_value():
    place = Place("process", "probe")
    began = window("probe", 0.3)
    began.start = place.clock.time() - 1
    place.say("probe", began)
    for _ in range(20):
        place.clock.advance(1)
        place.say("process", Sample(VALUE, 1))
        place.say("probe")
    place.watch.let_loop_go()
    assert place.values()["nodejs.eventloop.delay.max", ("probe",)] == pytest.approx(20)


@pytest.mark.parametrize(
    "error", [SourceError("broken", "mend it"), KeyError("a defect")], ids=["failure", "defect"]
)
def test_a_source_that_fails_costs_only_itself_and_says_so(error):
    place = Place("one", "two")
    state = place.fail("one", error)
    place.say("two", Sample(VALUE, 1))
    assert state.errors == 1
    assert state.problem
    assert place.values() == {("value", ()): 1}
    assert not place.watch.gone
    place.say("one", Sample(VALUE, 2))
    assert state.problem is None


def test_no_data_is_neither_an_error_nor_a_problem():
    state = Place("one").fail("one", NoData("nothing here"))
    assert (state.errors, state.problem) == (0, None)


def test_a_source_whose_process_ended_ends_the_watch():
    place = Place("one")
    place.fail("one", TargetGone("ended"))
    assert place.watch.gone


@pytest.mark.parametrize(
    "error", [SourceError("no right", "get it"), OSError(24, "too many files")]
)
def test_a_source_that_cannot_be_opened_is_tried_again_after_half_a_minute(error):
    place = Place("one", failing=error)
    began = place.clock.monotonic()
    for times in (1, 2):
        assert place.watch.next_due() == began + times * RETRY_OPEN
        place.clock.advance(RETRY_OPEN)
        place.watch.read("one")
    assert place.watch.states["one"].errors == 3
    place.failing = None
    place.clock.advance(RETRY_OPEN)
    place.watch.read("one")
    assert place.watch.states["one"].problem is None
    assert place.watch.states["one"].source is place.sources["one"]


def test_what_is_read_while_the_watch_closes_is_not_delivered_and_its_source_closes_after():
    place = Place("one")
    source = place.sources["one"]

    def read():
        place.watch.close()
        assert source.closed == 0
        return [Sample(VALUE, 1)]

    source.read = read
    place.watch.read("one")
    assert place.items == []
    assert source.closed == 1


def test_only_patient_sources_are_slowed_down():
    place = Place("one", "process")
    place.watch.states["process"].kind = replace(place.watch.states["process"].kind, patient=True)
    place.watch.slow(4)
    waits = {}
    for name in place.sources:
        place.say(name)
        before = place.watch.states[name].ticker.due
        place.clock.advance(before - place.clock.monotonic())
        place.say(name)
        waits[name] = place.watch.states[name].ticker.due - before
    assert waits == {"one": 1.0, "process": 4.0}
    place.watch.slow(1)
    assert place.watch.states["process"].ticker.interval == 1.0


def test_a_source_that_waits_for_a_worker_is_not_due_again():
    place = Place("one")
    assert place.watch.due(place.clock.monotonic()) == ["one"]
    place.watch.reserve("one")
    assert place.watch.due(place.clock.monotonic()) == []
    assert place.watch.next_due() == float("inf")
