"""perf events on the epoll system calls of one thread, without a compiled part.

When a thread leaves epoll its loop begins a turn, when it enters again the turn ends: the time
between is the iteration. Only these tracepoints of one thread are read; nothing in it changes.
Layouts and numbers: perf_event_open(2), include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .tracepoints import CALLS

_OPEN_NUMBER = {"x86_64": 298, "aarch64": 241}
_BARRIER_NUMBER = {"x86_64": 324, "aarch64": 283}
RING_SIZES = (256 * 1024, 64 * 1024, 16 * 1024)
"""Bytes, the largest for 5,400 iterations. An ordinary user may lock little memory
(kernel.perf_event_mlock_kb per CPU, then RLIMIT_MEMLOCK), so later loops get smaller ones."""

_LOST, _SAMPLE = 2, 9
_WORDS = 3
"""64-bit words of a sample: kind and size, event id, time. A record of loss is as long: kind and
size, event id, how many."""

_ENABLE, _DISABLE, _SET_OUTPUT, _ID = 0x2400, 0x2401, 0x2405, 0x80082407
_HEAD, _TAIL = 128, 129
"""Words of the ring's first page: data_head and data_tail."""

_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQQQIi")
_ATTRIBUTES_SIZE = 112
_SAMPLE_ID_AND_TIME = 1 << 16 | 1 << 2
# exclude_kernel is what lets an ordinary user open it; the tracepoint is still seen
_FLAGS = 1 << 5 | 1 << 14 | 1 << 25  # exclude_kernel, watermark (half the ring), use_clockid
_CLOEXEC = 8
_libc = ctypes.CDLL(None, use_errno=True)

Event = tuple[bool | None, int]
"""True when the thread left epoll, False when it entered; and the time, CLOCK_MONOTONIC
nanoseconds. None where records were lost, and then how many, as far as is known."""


class Stretch(NamedTuple):
    """Events in order: single ones, then ``pairs`` (times of leaving and entering in turn,
    without an exception), then single ones again. Nearly all of the ten thousand events a second
    of a busy loop are pairs, which can be added up without a look at each."""

    before: Sequence[Event] = ()
    pairs: Sequence[int] = ()
    after: Sequence[Event] = ()


class LockedMemoryError(OSError):
    """The kernel grants this user no more memory for rings."""


def parse(words: array[int], leaving: Mapping[int, bool]) -> Stretch:
    """What a piece of ring says; ``leaving`` maps event ids to True for exits of epoll. A record
    that is cut off or of size zero ends it."""
    count, rest = divmod(len(words), _WORDS)
    heads = words[::_WORDS]
    if rest or count < 3 or _kind_and_size(heads[0]) != (_SAMPLE, _WORDS):
        return Stretch(_each(words, leaving))
    ids, times = words[1::_WORDS], words[2::_WORDS]
    first = 0 if leaving.get(ids[0]) else 1
    end = count - (count - first) % 2
    turn = ids[first : first + 2]
    if (
        heads.count(heads[0]) != count
        or [leaving.get(one) for one in turn] != [True, False]
        or ids[first:end] != turn * ((end - first) // 2)
    ):
        return Stretch(_each(words, leaving))
    split = first * _WORDS, end * _WORDS
    return Stretch(
        _each(words[: split[0]], leaving), times[first:end], _each(words[split[1] :], leaving)
    )


def _kind_and_size(head: int) -> tuple[int, int]:
    return head & 0xFFFFFFFF, head >> 51  # size in words of 8 bytes


def _each(words: Sequence[int], leaving: Mapping[int, bool]) -> list[Event]:
    found: list[Event] = []
    at = 0
    while at < len(words):
        kind, size = _kind_and_size(words[at])
        if size == 0 or at + size > len(words):
            break
        if size == _WORDS and kind == _SAMPLE and words[at + 1] in leaving:
            found.append((leaving[words[at + 1]], words[at + 2]))
        elif size >= _WORDS and kind == _LOST:
            found.append((None, words[at + 2]))
        at += size
    return found


def open_events(thread: int, ids: Mapping[str, int]) -> list[int]:
    """Descriptors for a thread, two for each call that ``ids`` has both ends of: leaving it, then
    entering it. Raises OSError with the kernel's reason."""
    fds: list[int] = []
    try:
        for call in CALLS:
            enter, leave = ids.get(f"sys_enter_{call}"), ids.get(f"sys_exit_{call}")
            if enter is not None and leave is not None:
                fds.append(open_event(thread, leave))
                fds.append(open_event(thread, enter))
    except OSError:
        close_all(fds)
        raise
    return fds


def open_event(thread: int, tracepoint: int) -> int:
    """A descriptor that samples, and counts, one tracepoint of one thread (0: the caller)."""
    attributes = _ATTRIBUTES.pack(
        2,  # PERF_TYPE_TRACEPOINT
        _ATTRIBUTES_SIZE,
        tracepoint,
        1,  # every event
        _SAMPLE_ID_AND_TIME,
        0,
        _FLAGS,
        *(0, 0, 0, 0, 0, 0, 0),
        1,  # clockid: CLOCK_MONOTONIC
    ).ljust(_ATTRIBUTES_SIZE, b"\0")
    return _system_call(_OPEN_NUMBER, attributes, thread, -1, -1, _CLOEXEC)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _system_call(numbers: Mapping[str, int], *arguments: object) -> int:
    number = numbers.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "unknown machine")
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class EpollTrace:
    """Epoll events of one thread in one ring, in order; times are CLOCK_MONOTONIC."""

    def __init__(self, fds: Sequence[int]) -> None:
        """Takes over what ``open_events`` gave. Raises OSError, LockedMemoryError among them."""
        self._fds = list(fds)
        self._map: mmap.mmap | None = None
        try:
            self._leaving = {_identity(fd): n % 2 == 0 for n, fd in enumerate(fds)}
            self._map, self.size = _map_ring(fds[0])
            for fd in fds[1:]:
                fcntl.ioctl(fd, _SET_OUTPUT, fds[0])
        except BaseException:
            self.close()
            raise
        page = mmap.PAGESIZE
        self._control = memoryview(self._map)[:page].cast("Q")
        self._data = memoryview(self._map)[page:]
        self._poll = select.poll()
        self._poll.register(self._fds[0], 0)

    def fileno(self) -> int:
        """Readable when half of the ring is full."""
        return self._fds[0]

    def pending(self) -> bool:
        """Whether something happened since the last read."""
        return self._control[_HEAD] != self._control[_TAIL]

    def read(self) -> Stretch:
        """What happened since the last call."""
        head, tail = self._control[_HEAD], self._control[_TAIL]
        if head == tail:
            return Stretch()
        barrier()  # data is read after the head that says it is there ...
        begin, end = tail % self.size, head % self.size
        words = array("Q")
        if begin < end:
            words.frombytes(self._data[begin:end])
        else:
            words.frombytes(self._data[begin:])
            words.frombytes(self._data[:end])
        barrier()  # ... and before the kernel may overwrite it
        self._control[_TAIL] = head
        found = parse(words, self._leaving)
        if head - tail > self.size - 8 * _WORDS:  # full: nobody knows what came after it
            return found._replace(after=[*found.after, (None, 0)])
        return found

    def ended(self) -> bool:
        """Whether the thread does not exist any more."""
        return any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def pause(self, paused: bool) -> None:
        """Stop the kernel from recording, at no cost to the thread; or have it go on."""
        for fd in self._fds:
            fcntl.ioctl(fd, _DISABLE if paused else _ENABLE)

    def close(self) -> None:
        if self._map is not None:
            with contextlib.suppress(AttributeError):  # not wholly built
                self._control.release()
                self._data.release()
            self._map.close()
            self._map = None
        close_all(self._fds)
        self._fds = []


def _identity(fd: int) -> int:
    """The kernel's id of an event, which its samples bear."""
    buffer = bytearray(8)
    fcntl.ioctl(fd, _ID, buffer)
    return int.from_bytes(buffer, "little")


def _map_ring(fd: int) -> tuple[mmap.mmap, int]:
    """The largest ring that may be had, and its size in bytes."""
    for size in RING_SIZES:
        whole = max(size, mmap.PAGESIZE)
        try:
            return mmap.mmap(fd, whole + mmap.PAGESIZE), whole
        except PermissionError:
            continue
    raise LockedMemoryError(errno.EPERM, os.strerror(errno.EPERM))


class Barrier:
    """membarrier(2) on all threads of this process, the caller's among them: Python has no fence
    of its own, and arm64 needs one between the ring's head and its data."""

    _REGISTER, _PRIVATE_EXPEDITED = 1 << 4, 1 << 3

    def __init__(self) -> None:
        _system_call(_BARRIER_NUMBER, self._REGISTER, 0, 0)

    def __call__(self) -> None:
        _system_call(_BARRIER_NUMBER, self._PRIVATE_EXPEDITED, 0, 0)


def _no_barrier() -> None:
    """x86-64 keeps loads and stores in this order by itself; a kernel without membarrier (seccomp
    may forbid it) leaves nothing better than the 100 ms between two looks."""


def _barrier_of(machine: str) -> Callable[[], None]:
    try:
        return _no_barrier if machine == "x86_64" else Barrier()
    except OSError:
        return _no_barrier


barrier = _barrier_of(os.uname().machine)
