"""The same facts by psutil, where there is no /proc."""

from __future__ import annotations

from pathlib import Path

import psutil

from .proc import Stat

_GONE = (psutil.Error, OSError)


class Portable:
    """Start times are kept as hundredths of a second, so that they compare like clock ticks;
    a socket stands for itself by its port, since there are no inodes to share."""

    def pids(self) -> list[int]:
        return psutil.pids()

    def stat(self, pid: int) -> Stat | None:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                state = "Z" if process.status() == psutil.STATUS_ZOMBIE else "S"
                ticks = int(process.create_time() * 100)
                return Stat(pid, process.name(), state, process.ppid(), ticks)
        except _GONE:
            return None

    def started_at(self, stat: Stat) -> float:
        return stat.start_ticks / 100

    def command(self, pid: int) -> tuple[str, ...]:
        try:
            return tuple(psutil.Process(pid).cmdline())
        except _GONE:
            return ()

    def executable(self, pid: int) -> str:
        try:
            return psutil.Process(pid).exe()
        except _GONE:
            return ""

    def owner(self, pid: int) -> int | None:
        try:
            return psutil.Process(pid).uids().real
        except _GONE:
            return None

    def folder(self, pid: int) -> Path | None:
        try:
            return Path(psutil.Process(pid).cwd())
        except _GONE:
            return None

    def groups(self, pid: int) -> str:  # noqa: ARG002 - cgroups are Linux's own
        return ""

    def maps(self, pid: int) -> bytes:  # noqa: ARG002 - not to be had without root
        return b""

    def polls(self, pid: int) -> bool:  # noqa: ARG002 - epoll is Linux's own
        return False

    def sockets(self, pid: int) -> frozenset[int] | None:
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except _GONE:
            return None
        return frozenset(c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN)

    def listening(self) -> dict[int, int]:
        return {port: port for pid in self.pids() for port in self.sockets(pid) or ()}
