"""Processes that outlive the command that starts them, known again by pid and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_KEEP_LOG = 10 * 1024 * 1024
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Process:
    """``started`` is the start time in Unix seconds: a reused pid has another one."""

    pid: int
    started: float

    def alive(self) -> bool:
        """Whether this very process runs; one that has ended and is not reaped yet does not."""
        return self._found() is not None

    def memory(self) -> int | None:
        """Resident bytes."""
        found = self._found()
        try:
            return int(found.memory_info().rss) if found else None
        except psutil.Error:
            return None

    def _found(self) -> psutil.Process | None:
        child = _CHILDREN.get(self.pid)
        if child is not None:
            child.poll()
        try:
            found = psutil.Process(self.pid)
            # The kernel counts from boot, and the time of boot moves when the clock is set.
            same = abs(found.create_time() - self.started) < 2.0
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def start(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> Process:
    """Start ``command`` in a session of its own, its output appended to ``log``."""
    if log.exists() and log.stat().st_size > _KEEP_LOG:
        log.replace(log.with_suffix(".log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    _CHILDREN[child.pid] = child
    return Process(child.pid, psutil.Process(child.pid).create_time())


def stop(processes: Sequence[Process], grace: float) -> list[Process]:
    """SIGTERM to all, SIGKILL after ``grace`` seconds; return those that had to be killed."""
    _signal(processes, signal.SIGTERM)
    stubborn = _wait(processes, grace)
    _signal(stubborn, signal.SIGKILL)
    _wait(stubborn, 10.0)
    return stubborn


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        if process.alive():
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue


def _wait(processes: Sequence[Process], seconds: float) -> list[Process]:
    end = time.monotonic() + seconds
    left = [process for process in processes if process.alive()]
    while left and time.monotonic() < end:
        time.sleep(0.05)
        left = [process for process in left if process.alive()]
    return left
