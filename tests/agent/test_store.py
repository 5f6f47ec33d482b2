from tickbird.model import Distribution, Identity, Instrument, Kind, Sample, Target
from tickbird.store import Store

REQUESTS = Instrument("requests", Kind.COUNTER, "{request}", "Requests.", ("route",))
MEMORY = Instrument("memory", Kind.UPDOWN, "By", "Memory.")
TIMES = Instrument("times", Kind.HISTOGRAM, "s", "Times.", (), (0.1,))


def target(ticks=1, key="shop"):
    return Target(key, key, Identity(7, ticks, 50.0), "node")


def values(store):
    return {(s.instrument.name, s.labels): (s.value, s.start_time) for s in store.series()}


def test_the_latest_value_replaces_the_one_before():
    store = Store()
    store.update(target(), "process", [Sample(MEMORY, 5)], 100)
    store.update(target(), "process", [Sample(MEMORY, 6)], 101)
    assert values(store) == {("memory", ()): (6, 50.0)}


def test_a_metric_of_a_target_has_one_source():
    store = Store()
    store.update(target(), "probe", [Sample(REQUESTS, 3, ("/a",))], 100)
    store.update(target(), "scrape", [Sample(REQUESTS, 900, ("/b",))], 100)
    assert values(store) == {("requests", ("/a",)): (3, 50.0)}
    assert store.owner("shop", "requests") == "probe"


def test_another_source_takes_over_once_the_first_has_let_go():
    store = Store()
    store.update(target(), "probe", [Sample(REQUESTS, 3, ("/a",))], 100)
    store.release("shop", {"requests"})
    store.update(target(), "scrape", [Sample(REQUESTS, 900, ("/b",))], 101)
    assert list(values(store)) == [("requests", ("/b",))]
    assert [s.labels for s in store.take_ended()] == [("/a",)]


def test_a_counter_that_went_down_began_anew_when_it_was_last_seen():
    store = Store()
    store.update(target(), "probe", [Sample(REQUESTS, 9, ("/a",))], 100)
    store.update(target(), "probe", [Sample(REQUESTS, 2, ("/a",))], 110)
    assert values(store) == {("requests", ("/a",)): (2, 100)}


def test_a_histogram_that_went_down_began_anew():
    store = Store()
    store.update(target(), "probe", [Sample(TIMES, Distribution((5, 5), 1.0, 10))], 100)
    store.update(target(), "probe", [Sample(TIMES, Distribution((1, 0), 0.1, 1))], 110)
    assert [s.start_time for s in store.series()] == [100]


def test_a_reused_pid_starts_a_new_series_and_ends_what_does_not_come_back():
    store = Store()
    store.update(target(1), "probe", [Sample(MEMORY, 1), Sample(REQUESTS, 9, ("/old",))], 100)
    store.update(target(2), "probe", [Sample(MEMORY, 2)], 200)
    assert [s.labels for s in store.take_ended()] == [("/old",)]
    assert values(store) == {("memory", ()): (2, 50.0)}


def test_every_series_of_a_target_ends_with_it_and_is_handed_out_once():
    store = Store()
    store.update(target(), "process", [Sample(MEMORY, 5)], 100)
    store.end("shop")
    assert list(store.series()) == []
    assert [s.instrument.name for s in store.take_ended()] == ["memory"]
    assert store.take_ended() == []


def test_a_series_missing_from_a_whole_reading_has_ended():
    store = Store()
    both = [Sample(REQUESTS, 1, ("/a",)), Sample(REQUESTS, 1, ("/b",))]
    store.update(target(), "scrape", both, 100, whole=True)
    store.update(target(), "process", [Sample(MEMORY, 5)], 105)
    store.update(target(), "scrape", both[:1], 110, whole=True)
    assert [s.labels for s in store.take_ended()] == [("/b",)]
    assert set(values(store)) == {("requests", ("/a",)), ("memory", ())}


def test_a_name_that_comes_with_another_meaning_is_another_series():
    store = Store()
    other = Instrument("times", Kind.HISTOGRAM, "s", "Times.", (), (0.1, 1.0))
    store.update(target(), "scrape", [Sample(TIMES, Distribution((5, 5), 1.0, 10))], 100)
    store.update(target(), "scrape", [Sample(other, Distribution((1, 2, 3), 9.0, 6))], 110)
    (series,) = store.series()
    assert series.instrument.bounds == (0.1, 1.0)
    assert series.value.counts == (1, 2, 3)


def test_a_label_that_joins_a_family_ends_none_of_its_series():
    store = Store()
    wider = Instrument("requests", Kind.COUNTER, "{request}", "Requests.", ("host", "route"))
    store.update(target(), "scrape", [Sample(REQUESTS, 1, ("/a",))], 100, whole=True)
    store.update(target(), "scrape", [Sample(wider, 2, ("", "/a"))], 110, whole=True)
    assert store.take_ended() == []
    assert values(store) == {("requests", ("", "/a")): (2, 50.0)}
