"""What /proc says about processes, one fact a call; ``None`` where it says nothing (any more).

A process may end between two reads at any place: that is normal and never an error here.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ..linux import sockdiag

_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h
_MAX_FDS = 65_536


class Stat(NamedTuple):
    """Of /proc/PID/stat: ``state`` is one letter, ``start_ticks`` counts from boot."""

    pid: int
    name: str
    state: str
    parent: int
    start_ticks: int


class Processes(Protocol):
    """The processes of this machine, as the finder asks about them."""

    def pids(self) -> list[int]: ...
    def stat(self, pid: int) -> Stat | None: ...
    def started_at(self, stat: Stat) -> float: ...
    def command(self, pid: int) -> tuple[str, ...]: ...
    def executable(self, pid: int) -> str: ...
    def owner(self, pid: int) -> int | None: ...
    def folder(self, pid: int) -> Path | None: ...
    def groups(self, pid: int) -> str: ...
    def maps(self, pid: int) -> bytes: ...
    def polls(self, pid: int) -> bool: ...
    def sockets(self, pid: int) -> frozenset[int] | None: ...
    def listening(self) -> dict[int, int]: ...


class Proc:
    """Linux. ``root`` is /proc, or a captured copy of one."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = str(root)
        self._boot = _boot_time(self._read("stat"))
        self._hertz = os.sysconf("SC_CLK_TCK")

    def pids(self) -> list[int]:
        return [int(name) for name in os.listdir(self._root) if name.isdigit()]  # noqa: PTH208 - hot path

    def stat(self, pid: int) -> Stat | None:
        return parse_stat(self._read(f"{pid}/stat"))

    def started_at(self, stat: Stat) -> float:
        """Unix seconds, as exact as a clock tick (10 ms)."""
        return self._boot + stat.start_ticks / self._hertz

    def command(self, pid: int) -> tuple[str, ...]:
        """The arguments; empty for a kernel thread or a zombie."""
        data = self._read(f"{pid}/cmdline", 16_384)
        return tuple(data.decode("utf-8", "replace").rstrip("\0").split("\0")) if data else ()

    def executable(self, pid: int) -> str:
        """Path of the program; empty where this user may not know it."""
        return (self._link(f"{pid}/exe") or "").removesuffix(" (deleted)")

    def owner(self, pid: int) -> int | None:
        """User id; from the folder's owner, so one call and no parsing."""
        try:
            return os.stat(f"{self._root}/{pid}").st_uid  # noqa: PTH116 - hot path
        except OSError:
            return None

    def folder(self, pid: int) -> Path | None:
        link = self._link(f"{pid}/cwd")
        return Path(link) if link else None

    def groups(self, pid: int) -> str:
        """The text of /proc/PID/cgroup."""
        return self._read(f"{pid}/cgroup").decode("utf-8", "replace")

    def maps(self, pid: int) -> bytes:
        """The text of /proc/PID/maps: paths of the files that are mapped, among others. Writing it
        out costs the kernel a millisecond or two."""
        return self._read(f"{pid}/maps", 4 * 1024 * 1024)

    def polls(self, pid: int) -> bool:
        """Whether it has an epoll descriptor, as what runs an event loop has."""
        try:
            return any("[eventpoll]" in link for link in self._links(pid))
        except OSError:
            return False

    def sockets(self, pid: int) -> frozenset[int] | None:
        """Inodes of the open sockets; None where this user may not look."""
        inodes = set()
        try:
            for link in self._links(pid):
                if link.startswith("socket:["):
                    inodes.add(int(link[8:-1]))
        except PermissionError:
            return None
        except OSError:
            pass
        return frozenset(inodes)

    def _links(self, pid: int) -> Iterator[str]:
        with os.scandir(f"{self._root}/{pid}/fd") as entries:
            for entry in itertools.islice(entries, _MAX_FDS):
                yield self._link(f"{pid}/fd/{entry.name}") or ""

    def listening(self) -> dict[int, int]:
        """Port by socket inode of every TCP listener in the agent's network namespace."""
        if self._root == "/proc" and (found := sockdiag.listening()) is not None:
            return found
        return dict(
            pair
            for table in ("net/tcp", "net/tcp6")
            for pair in parse_listeners(
                self._read(table, 16 * 1024 * 1024).decode("ascii", "replace")
            )
        )

    def _read(self, name: str, limit: int = 65_536) -> bytes:
        try:
            with open(f"{self._root}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - hot path
                chunks = []
                while limit > 0 and (chunk := file.read(limit)):
                    chunks.append(chunk)
                    limit -= len(chunk)
                return b"".join(chunks)
        except OSError:
            return b""

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(f"{self._root}/{name}")  # noqa: PTH115 - hot path
        except OSError:
            return None


def parse_stat(data: bytes) -> Stat | None:
    """The name stands in parentheses and may hold any byte, a parenthesis too."""
    start, end = data.find(b"("), data.rfind(b")")
    fields = data[end + 1 :].split()
    if start < 1 or len(fields) < 20:
        return None
    name = data[start + 1 : end].decode("utf-8", "replace")
    return Stat(int(data[:start]), name, fields[0].decode(), int(fields[1]), int(fields[19]))


def parse_listeners(text: str) -> Iterator[tuple[int, int]]:
    """``(inode, port)`` of each listening line of /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            yield int(fields[9]), int(fields[1].rpartition(":")[2], 16)


def _boot_time(data: bytes) -> float:
    for line in data.splitlines():
        if line.startswith(b"btime "):
            return float(line[6:])
    return 0.0
