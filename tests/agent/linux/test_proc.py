import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.linux import proc

FIXTURES = Path(__file__).parents[2] / "fixtures/proc"


def fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.txt").read_bytes()


def test_a_command_with_parentheses_and_spaces_does_not_shift_the_fields():
    stat = proc.parse_stat(fixture("stat"))
    assert (stat.state, stat.threads, stat.start_ticks) == ("S", 1, 257048)
    assert stat.minor_faults == 136
    assert stat.virtual == 2990080
    assert stat.resident == 430 * proc.PAGE


def test_switches_io_waiting_and_limits_are_read_from_real_text():
    assert proc.parse_switches(fixture("status")) is not None
    assert proc.parse_resident(fixture("status")) == 1828 * 1024
    assert proc.parse_io(fixture("io")) == (0, 0)
    assert proc.parse_schedstat(fixture("schedstat")) == pytest.approx(0.001090662)
    assert proc.parse_descriptor_limit(fixture("limits")) == 20000


def test_an_unlimited_number_of_descriptors_is_no_number():
    text = b"Max open files            unlimited            unlimited            files     \n"
    assert proc.parse_descriptor_limit(text) is None


@given(st.binary(max_size=200))
def test_garbage_in_stat_is_a_value_error(data):
    try:
        stat = proc.parse_stat(data)
    except ValueError:
        return
    assert isinstance(stat.threads, int)


def test_a_kept_file_of_an_ended_process_says_that_it_is_gone():
    child = subprocess.Popen(["sleep", "60"])
    kept = proc.KeptFile(f"/proc/{child.pid}/stat")
    assert proc.parse_stat(kept.read()).threads == 1
    child.kill()
    child.wait()
    with pytest.raises(proc.GoneError):
        kept.read()
    kept.close()
    kept.close()


def test_descriptors_are_counted_whether_or_not_the_kernel_tells_their_number():
    kept = proc.KeptFile("/proc/self/fd")
    before = kept.entries()
    extra = os.open("/dev/null", os.O_RDONLY)
    assert kept.entries() == before + 1
    os.close(extra)
    kept.close()
