import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from tickbird.errors import TargetGone
from tickbird.linux import perf

LEAVING = {7: True, 8: False}


def sample(identity: int, time: int) -> bytes:
    return struct.pack("<IHHQQ", 9, 0, 24, identity, time)


def lost(count: int) -> bytes:
    return struct.pack("<IHHQQ", 2, 0, 24, 7, count)


def test_samples_become_events_and_lost_records_a_gap():
    data = sample(7, 100) + sample(8, 150) + lost(3) + sample(7, 900)
    assert perf.parse_records(data, LEAVING) == [
        (True, 100),
        (False, 150),
        (None, 0),
        (True, 900),
    ]


def test_records_of_other_events_and_kinds_are_skipped():
    other = struct.pack("<IHHQ", 5, 0, 16, 0)
    assert perf.parse_records(sample(99, 1) + other + sample(8, 2), LEAVING) == [(False, 2)]


@given(st.binary(max_size=300))
def test_any_bytes_end_the_parser(data):
    assert len(perf.parse_records(data, LEAVING)) <= len(data) // 8


def test_every_refusal_of_the_kernel_says_what_to_do():
    for code in (errno.EPERM, errno.EACCES, errno.EMFILE, errno.EINVAL):
        error = perf.refusal(OSError(code, "refused"), 1)
        assert error.remedy, code
    assert isinstance(perf.refusal(OSError(errno.ESRCH, "none"), 1), TargetGone)
    assert "perf events" in str(perf.refusal(OSError(errno.ENOSYS, "not built in"), 1))
