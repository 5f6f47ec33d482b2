import json
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.errors import NoData
from tickbird.model import HttpSnapshot, LoopWindow, RuntimeInfo, Sample, Stall
from tickbird.net import datagrams
from tickbird.sources.probe import ProbeReceiver, ProbeSource, parse

TOKEN = "a-token-of-this-test"


def report(**changes):
    body = {
        "v": 1, "token": TOKEN, "pid": 7, "runtime": "node", "version": "20.20.2", "seq": 1,
        "start": 100.0, "duration": 1.0,
        "loop": {"error": 0.001, "count": 2, "sum": 0.3, "min": 0.1, "max": 0.2,
                 "hist": {"90": 1, "95": 1}, "active": 0.3, "idle": 0.7},
        "stalls": [{"start": 100.2, "duration": 0.2}],
        "http": {"active": 1, "series": [series()]},
    }  # fmt: skip
    return json.dumps(body | changes).encode()


@pytest.mark.parametrize(
    ("seconds", "cause"), [(0.5, None), (0.55, None), (0.65, "gc"), (0.7, "gc")]
)
def test_a_stall_that_was_spent_on_collections_is_told_as_such(receiver, seconds, cause):
    receiver.take(report(seq=1, stalls=[], gc={"major": [3, 0.5]}))
    receiver.take(report(seq=2, gc={"major": [4, seconds]}))
    (stall,) = [one for one in receiver.collect(7) if isinstance(one, Stall)]
    assert (stall.cause, stall.certainty) == (cause, "likely" if cause else None)


def test_collections_before_the_first_report_are_not_held_against_it(receiver):
    receiver.take(report(gc={"major": [40, 9.0]}))
    (stall,) = [one for one in receiver.collect(7) if isinstance(one, Stall)]
    assert stall.cause is None


def series(**changes):
    one = {"method": "GET", "route": "/a", "status": 200, "count": 5, "sum": 0.5, "max": 0.2,
           "hist": {"90": 5}}  # fmt: skip
    return one | changes


@pytest.fixture
def receiver():
    with datagrams() as sock:
        yield ProbeReceiver(sock, TOKEN)


def of(kind, items):
    return [item for item in items if isinstance(item, kind)]


def test_a_report_becomes_window_stall_runtime_and_requests(receiver):
    receiver.take(report())
    items = receiver.collect(7)
    assert of(RuntimeInfo, items) == [RuntimeInfo("node", "20.20.2")]
    window = of(LoopWindow, items)[0]
    assert (window.method, window.count, window.max, window.histogram) == (
        "probe", 2, 0.2, {90: 1, 95: 1},
    )  # fmt: skip
    assert of(Stall, items) == [Stall(100.2, 0.2, "probe")]
    snapshot = of(HttpSnapshot, items)[0]
    assert (snapshot.active, snapshot.series[0].route, snapshot.series[0].count) == (1, "/a", 5)


def test_a_datagram_without_the_token_is_not_believed(receiver):
    receiver.take(report(token="another"))
    assert not receiver.knows(7)
    assert (receiver.received, receiver.rejected) == (0, 1)


def test_requests_are_totals_so_a_lost_datagram_loses_none(receiver):
    receiver.take(report(seq=1))
    receiver.take(report(seq=9, http={"active": 0, "series": [series(count=50)]}))
    snapshots = of(HttpSnapshot, receiver.collect(7))
    assert [one.count for one in snapshots[-1].series] == [50]


def test_series_of_one_report_may_come_in_several_datagrams(receiver):
    receiver.take(report(http={"active": 0, "series": [series(route="/a")]}))
    receiver.take(report(loop=None, http={"active": 0, "series": [series(route="/b")]}))
    snapshot = of(HttpSnapshot, receiver.collect(7))[-1]
    assert {one.route for one in snapshot.series} == {"/a", "/b"}


def test_a_new_process_under_an_old_pid_brings_its_own_totals(receiver):
    receiver.take(report(seq=30, http={"active": 0, "series": [series(route="/old")]}))
    receiver.take(report(seq=1, http={"active": 0, "series": [series(route="/new")]}))
    snapshot = of(HttpSnapshot, receiver.collect(7))[-1]
    assert [one.route for one in snapshot.series] == ["/new"]


def test_a_process_that_never_reported_is_no_data_and_no_error(receiver):
    with pytest.raises(NoData):
        ProbeSource(receiver, 7).read()


def test_a_known_process_that_is_silent_says_nothing(receiver):
    receiver.take(report())
    source = ProbeSource(receiver, 7)
    assert list(source.read())
    assert list(source.read()) == []


def test_bucket_numbers_outside_the_scale_are_left_out(receiver):
    loop = json.loads(report())["loop"] | {"hist": {"-1": 4, "999": 4, "90": 1}}
    receiver.take(report(loop=loop))
    assert of(LoopWindow, receiver.collect(7))[0].histogram == {90: 1}


def test_datagrams_arrive_over_the_socket(receiver):
    stop = threading.Event()
    thread = threading.Thread(target=receiver.run, args=(stop,))
    thread.start()
    arrived = threading.Event()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(report(), receiver._socket.getsockname())
        for _ in range(500):
            if receiver.knows(7):
                break
            arrived.wait(0.01)
    finally:
        stop.set()
        thread.join()
    assert receiver.knows(7)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=10,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_datagram_can_raise(datagram):
    assert parse(datagram) is None


def test_a_datagram_of_brackets_alone_is_rejected(receiver):
    receiver.take(b'{"x":' + b"[" * 50_000)
    assert (receiver.received, receiver.rejected) == (0, 1)


@pytest.mark.parametrize("count", [-1, 1 << 60])
def test_a_count_that_no_metric_could_carry_is_rejected(receiver, count):
    receiver.take(report(http={"active": 1, "series": [series(hist={"90": count})]}))
    assert (receiver.received, receiver.rejected) == (0, 1)


def test_a_reused_pid_begins_without_the_requests_of_the_process_before(receiver):
    receiver.take(report(seq=1))
    source = ProbeSource(receiver, 7)
    assert of(HttpSnapshot, source.read())
    source.close()
    receiver.take(report(seq=9, http={"active": 0, "series": [series(route="/new")]}))
    (snapshot,) = of(HttpSnapshot, ProbeSource(receiver, 7).read())
    assert [one.route for one in snapshot.series] == ["/new"]


def live(**changes):
    body = {
        "v": 1, "token": TOKEN, "pid": 7, "type": "stall", "start": 100.19, "duration": 0.12,
        "ongoing": True, "cause": "cpu",
        "culprit": {"function": "hash", "file": "/srv/app.js", "line": 4,
                    "stack": ["hash /srv/app.js:4"]},
    }  # fmt: skip
    return json.dumps(body | changes).encode()


def test_a_stall_is_told_of_while_it_lasts_and_named_when_it_has_ended(receiver):
    told = []
    receiver.on_stall = lambda pid, stall: told.append((pid, stall))
    receiver.take(live())
    ((pid, stall),) = told
    assert (pid, stall.start, stall.ongoing, stall.culprit["function"]) == (7, 100.19, True, "hash")
    receiver.take(report())
    (ended,) = of(Stall, receiver.collect(7))
    assert (ended.start, ended.duration, ended.ongoing) == (100.2, 0.2, False)
    assert (ended.cause, ended.culprit) == ("cpu", stall.culprit)


def test_the_name_of_one_stall_is_not_given_to_the_next(receiver):
    receiver.take(live(start=100.0, duration=0.21))
    receiver.take(report())
    (ended,) = of(Stall, receiver.collect(7))
    assert (ended.cause, ended.culprit) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "another"},
        {"cause": "because"},
        {"culprit": {"function": "f" * 3_000, "file": "", "line": 1}},
        {"culprit": {"function": "f", "file": "", "line": 1, "stack": ["f"] * 21}},
    ],
)
def test_a_stall_is_believed_only_within_its_bounds(receiver, changes):
    told = []
    receiver.on_stall = lambda pid, stall: told.append(pid)
    receiver.take(live(**changes))
    assert (told, receiver.rejected) == ([], 1)


def test_a_probe_that_was_put_in_is_told_to_stay_or_to_leave(receiver):
    with datagrams() as probe:
        probe.settimeout(10)
        sender = probe.getsockname()
        receiver.take(report(method="attach"), sender)
        assert probe.recv(10) == b"leave"
        receiver.keep(7)
        receiver.take(report(method="attach", seq=2), sender)
        assert probe.recv(10) == b"keep"
        receiver.leave(7)
        assert probe.recv(10) == b"leave"
    window = of(LoopWindow, receiver.collect(7))[0]
    assert window.method == "attach"


def test_a_probe_that_was_launched_gets_no_answer(receiver):
    with datagrams() as probe:
        probe.settimeout(0.1)
        receiver.take(report(), probe.getsockname())
        with pytest.raises(TimeoutError):
            probe.recv(10)


def test_spaces_of_the_heap_and_active_resources_become_series(receiver):
    receiver.take(report(spaces={"old_space": [9, 5, 4, 8]}, resources={"TCPServerWrap": 1}))
    found = {
        (one.instrument.name, one.labels): one.value for one in of(Sample, receiver.collect(7))
    }
    assert found["v8js.memory.heap.space.size", ("old_space",)] == 9
    assert found["tickbird.v8js.heap.space.used", ("old_space",)] == 5
    assert found["v8js.resource.active", ("TCPServerWrap",)] == 1
