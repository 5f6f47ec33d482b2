import errno
import os
import resource
import select
import threading
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.errors import CannotCreate, TargetGone
from tickbird.linux import perf, tracesetup
from tickbird.linux.perf import Stretch
from tickbird.linux.refusal import refusal

LEAVING = {7: True, 8: False, 17: True, 18: False}
HEAD = 24 << 48 | 1 << 32 | 9


def sample(identity: int, time: int) -> list[int]:
    return [HEAD, identity, time]


def lost(count: int) -> list[int]:
    return [24 << 48 | 2, 7, count]


def parse(*records: list[int]) -> Stretch:
    return perf.parse(array("Q", [word for record in records for word in record]), LEAVING)


def flat(stretch: Stretch) -> list[perf.Event]:
    turns = [(n % 2 == 0, time) for n, time in enumerate(stretch.pairs)]
    return [*stretch.before, *turns, *stretch.after]


def test_samples_become_events_and_lost_records_a_gap():
    found = parse(sample(7, 100), sample(8, 150), lost(3), sample(7, 900))
    assert flat(found) == [(True, 100), (False, 150), (None, 3), (True, 900)]


def test_turns_without_an_exception_come_as_pairs_with_what_is_cut_off_at_both_ends():
    found = parse(sample(8, 1), *(sample(7 + n % 2, 2 + n) for n in range(5)))
    assert found.before == [(False, 1)]
    assert list(found.pairs) == [2, 3, 4, 5]
    assert found.after == [(True, 6)]


def test_records_of_other_events_and_kinds_are_skipped():
    other = [16 << 48 | 5, 0]
    assert flat(parse(sample(99, 1), other, sample(8, 2))) == [(False, 2)]


@given(
    st.lists(st.tuples(st.sampled_from([7, 8, 17, 18, 99]), st.integers(0, 2**63))),
    st.integers(0, 3),
)
def test_pairs_say_the_same_as_a_look_at_each_record(events, turns):
    records = [sample(*one) for one in [*[(7, 1), (8, 2)] * turns, *events]]
    one_by_one = [(LEAVING[i], t) for _, i, t in records if i in LEAVING]
    assert flat(parse(*records)) == one_by_one


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_any_words_end_the_parser(words):
    assert len(flat(perf.parse(array("Q", words), LEAVING))) <= len(words)


def test_every_refusal_of_the_kernel_says_what_to_do():
    for code in (errno.EPERM, errno.EACCES, errno.EMFILE, errno.EINVAL, errno.ENOSYS):
        error = refusal(OSError(code, "refused"), 1)
        assert error.remedy, code
    assert "mlock" in str(refusal(perf.LockedMemoryError(errno.EPERM, "no"), 1).remedy)
    assert isinstance(refusal(OSError(errno.ESRCH, "none"), 1), TargetGone)
    assert "perf events" in str(refusal(OSError(errno.EIO, "broken"), 1))


# ---- the kernel's own ring -----------------------------------------------------------------


@pytest.fixture
def ids():
    try:
        found, _ = tracesetup.read_ids()
    except CannotCreate as error:
        pytest.skip(f"not on this host: {error}")
    return found


@pytest.fixture
def trace(ids):
    """Of the thread that runs the test."""
    opened = perf.EpollTrace(perf.open_events(threading.get_native_id(), ids))
    yield opened
    opened.close()
    opened.close()


def turn(times: int) -> None:
    with select.epoll() as polled:
        for _ in range(times):
            polled.poll(0)


def test_every_turn_is_read_once_and_in_order_over_the_end_of_the_ring(trace):
    events = []
    for _ in range(40):
        turn(1_000)  # the ring wraps after 5,461 of them, in the middle of a record
        events += flat(trace.read())
    assert not trace.pending()
    assert [left for left, _ in events] == [False, True] * 40_000
    times = [at for _, at in events]
    assert times == sorted(times)


def test_a_ring_that_was_full_says_so_and_counts_what_it_lost(trace):
    turn(10_000)
    first = flat(trace.read())
    assert first[-1] == (None, 0)  # nobody knows yet what came after
    turn(10)
    second = flat(trace.read())
    lost = [count for left, count in second if left is None]
    assert len(lost) == 1
    assert len(first) - 1 + lost[0] + len(second) - 1 == 2 * 10_010


def test_a_pause_records_nothing_and_a_resumed_trace_goes_on(trace):
    trace.pause(True)
    turn(100)
    assert not trace.pending()
    trace.pause(False)
    turn(1)
    assert len(flat(trace.read())) == 2


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_not_there_is_refused_and_leaves_no_descriptor_open(ids):
    before = open_files()
    with pytest.raises(ProcessLookupError):
        perf.open_events(2**22 + 1, ids)
    with pytest.raises(OSError, match=r"argument|file or directory"):
        perf.open_events(0, ids | {"sys_enter_epoll_pwait2": 2**31 - 1})
    assert open_files() == before


def test_rings_shrink_with_the_memory_that_a_user_may_lock_and_then_say_so(ids):
    def open_many() -> list[int]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        os.setgroups([])
        os.setresgid(65533, 65533, 65533)
        os.setresuid(65533, 65533, 65533)
        kept = []
        try:
            while len(kept) < 1_000:
                kept.append(perf.EpollTrace(perf.open_events(0, ids)))
        except perf.LockedMemoryError:
            return sorted({one.size for one in kept})
        return []

    try:
        sizes = tracesetup.in_child(open_many)
    except PermissionError:
        pytest.skip("not on this host: perf events for ordinary users")
    assert sizes[-1] == perf.RING_SIZES[0]
    assert len(sizes) > 1


def test_the_barrier_that_arm64_needs_works_here_too():
    barrier = perf.Barrier()
    barrier()
