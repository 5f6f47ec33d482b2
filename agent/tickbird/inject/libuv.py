"""Which signals a Node program handles itself, read from outside out of the memory of its libuv.

The kernel shows the same for Node's own SIGUSR1 handler and for the program's (SigCgt). libuv keeps
what the program asked for among the handles of its loop. Offsets are those of libuv 1 on 64-bit
machines, which its promise of a stable ABI has fixed.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from .elf import Elf

NODE = "_ZN4node5StartEiPPc"  # node::Start(int, char**)
_LIBRARIES = ("libnode.so", "libuv.so")

_LOOP_HANDLES = 0x10  # uv_loop_t.handle_queue: next, prev
_HANDLE_QUEUE = 0x20  # uv_handle_t.handle_queue
_HANDLE = struct.Struct("<8xQI12xQQ")  # loop, type; next and prev of the queue
_SIGNUM = struct.Struct("<i")
_SIGNUM_AT = 0x68  # uv_signal_t.signum
_IS_SIGNAL = 16  # UV_SIGNAL
_MOST_HANDLES = 1_000_000
_TRIES = 20
# x86-64: uv_default_loop begins by loading the pointer, `mov r64, [rip + n]`.
_LOADS_POINTER = re.compile(rb"[\x48\x4c]\x8b[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](....)", re.DOTALL)
_POINTER = struct.Struct("<Q")


class Unseen(Exception):
    """It cannot be told; the text says why."""


def is_node(pid: int) -> bool:
    """Whether the program is Node, whatever its file is called. Raises ``OSError`` when its files
    cannot be read."""
    return any(_has_node(path) for path, _ in _files(pid))


def _has_node(path: Path) -> bool:
    try:
        elf = Elf(path)
    except ValueError:
        return False
    try:
        return elf.symbol(NODE) is not None
    finally:
        elf.close()


def handled_signals(pid: int) -> set[int]:
    """Signals for which the program has a handler of its own. Raises ``Unseen``.

    Every loop has a watcher that waits for no signal; without it this is no loop that is known.
    """
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise Unseen("this user may not look into its memory") from None
    except OSError as error:
        raise Unseen(str(error)) from error
    try:
        loop = _default_loop(pid, memory)
        for _ in range(_TRIES):  # it goes on running, and may change what is being read
            if found := _walk(memory, loop):
                return found - {0}
    except OSError as error:
        raise Unseen(str(error)) from error
    finally:
        os.close(memory)
    raise Unseen("the handles of its event loop cannot be read")


def _files(pid: int) -> list[tuple[Path, int]]:
    """The program and the libraries that may hold Node or libuv, each with the address from which
    its own count."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        lines = [line.split(maxsplit=5) for line in file]
    first: dict[str, int] = {}
    for fields in lines:
        if len(fields) == 6 and fields[5].startswith("/"):
            first.setdefault(fields[5].strip(), int(fields[0].partition("-")[0], 16))
    program = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115
    found = [(Path(f"/proc/{pid}/exe"), first.get(program, 0))]
    for path, start in first.items():
        if path.rpartition("/")[2].startswith(_LIBRARIES):
            found.append((Path(f"/proc/{pid}/root{path}"), start))
    return found


def _default_loop(pid: int, memory: int) -> int:
    for path, base in _files(pid):
        try:
            elf = Elf(path)
        except (OSError, ValueError):
            continue
        try:
            for address in pointers(elf):
                at = address + (base if elf.movable else 0)
                loop = _POINTER.unpack(_read(memory, at, 8))[0]
                if loop and _is_queue(memory, loop + _LOOP_HANDLES):
                    return int(loop)
        finally:
            elf.close()
    raise Unseen("the event loop of this build of Node is not found in its memory")


def pointers(elf: Elf) -> list[int]:
    """Addresses at which the pointer to the default loop may be."""
    if (known := elf.symbol("default_loop_ptr")) is not None:
        return [known]
    return decoded(elf)


def decoded(elf: Elf) -> list[int]:
    """The same from the code of ``uv_default_loop``, which a stripped file exports too."""
    if os.uname().machine != "x86_64" or (start := elf.symbol("uv_default_loop")) is None:
        return []
    code = elf.bytes_at(start, 40)
    return [
        start + one.end() + int.from_bytes(one[1], "little", signed=True)
        for one in _LOADS_POINTER.finditer(code)
    ]


def _is_queue(memory: int, head: int) -> bool:
    following: int = _POINTER.unpack(_read(memory, head, 8))[0]
    return _read(memory, following + 8, 8) == _POINTER.pack(head)


def _walk(memory: int, loop: int) -> set[int] | None:
    """Signals of the loop's handles, 0 among them; None when the queue changed meanwhile."""
    head = loop + _LOOP_HANDLES
    found: set[int] = set()
    before, at = head, _POINTER.unpack(_read(memory, head, 8))[0]
    for _ in range(_MOST_HANDLES):
        if at == head:
            return found
        handle = _read(memory, at - _HANDLE_QUEUE, _SIGNUM_AT + _SIGNUM.size)
        owner, kind, following, previous = _HANDLE.unpack_from(handle)
        if owner != loop or previous != before:
            return None
        if kind == _IS_SIGNAL:
            found.add(_SIGNUM.unpack_from(handle, _SIGNUM_AT)[0])
        before, at = at, following
    return None


def _read(memory: int, address: int, size: int) -> bytes:
    data = os.pread(memory, size, address)
    if len(data) < size:
        raise OSError("its memory ends there")
    return data
