"""One moment of one thread, from text of the kernel and from real threads."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tickbird.linux import proc, thread


def test_the_call_that_a_thread_sleeps_in_is_named():
    numbers = {"x86_64": 0, "aarch64": 63}
    number = numbers[os.uname().machine]
    text = f"{number} 0x7 0x7ffd1 0x1 0x0 0x0 0x0 0x7ffd0 0x7f00\n".encode()
    assert thread.parse_syscall(text) == ("read", 7)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"running\n", None),
        (b"", None),
        (b"-1 0x7ffc84 0x7f0a2\n", (thread.FAULT, 0)),
        (b"9999 0x1 0x0 0x0 0x0 0x0 0x0 0x7ffc 0x7f\n", ("system call 9999", 1)),
    ],
)
def test_a_thread_that_is_in_no_known_call_is_told_as_such(text, found):
    assert thread.parse_syscall(text) == found


def test_the_books_are_nanoseconds():
    assert thread.parse_schedstat(b"8417629 69476 2\n") == (8417629, 69476)


def test_a_real_thread_that_reads_a_pipe_is_seen_to_sleep_in_read():
    reading, writing = os.pipe()
    other = threading.Thread(target=os.read, args=(reading, 1), daemon=True)
    other.start()
    try:
        assert other.native_id
        end = time.monotonic() + 30
        while (seen := thread.look(os.getpid(), other.native_id)) is None or seen.state != "S":
            assert time.monotonic() < end, seen
            time.sleep(0.01)
        assert seen.call is not None
        assert "read" in seen.call  # by the kernel function, where calls are hidden
        assert seen.path in (None, f"pipe:[{os.fstat(reading).st_ino}]")
    finally:
        os.write(writing, b"x")
        other.join(30)
        os.close(reading)
        os.close(writing)


def test_computing_shows_in_the_books_of_a_real_thread():
    me = threading.get_native_id()
    first = thread.look(os.getpid(), me)
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < 50_000_000:
        pass
    second = thread.look(os.getpid(), me)
    assert first is not None and second is not None
    assert second.ran - first.ran >= 40_000_000
    assert second.state == "R"
    assert second.call is None


def test_a_thread_that_ended_has_no_books():
    other = threading.Thread(target=lambda: None)
    other.start()
    number = other.native_id
    other.join()
    assert number is not None
    end = time.monotonic() + 30
    while thread.look(os.getpid(), number) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_thread_name_with_spaces_does_not_shift_the_fields():
    fields = " ".join(["S", *["1"] * 10, "250", "75", *["0"] * 20])
    state, user, system = thread.parse_stat(f"7 (a) b (c) {fields}".encode())
    assert (state, user, system) == ("S", 250 / proc.TICKS, 75 / proc.TICKS)
