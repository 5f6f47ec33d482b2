"""The life of ``tickbird pipe``: stdin through the spool to an agent, and on to stdout.

What was read is in the spool before more is read, so it outlives the death of this process, of the
agent and of the service. It is not forced to the disk: like the output of ``exec``, what a crash of
the machine itself takes with it is what the kernel had not written by itself.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from .beside import link, start_agent
from .place import claim, load, only_target
from .spool import Spool, Stream
from .tee import Tee

_CHUNK = 64 * 1024
_ROUND = 0.5
_DRAIN = 10.0
_LAST_WORDS = 1.0
"""Seconds for what is still in the pipe when a signal ends us; a busy writer never stops."""
_ENDING = {signal.SIGTERM, signal.SIGHUP}
_IMPATIENT = {signal.SIGINT, signal.SIGTERM}


class Options(NamedTuple):
    """The words after ``tickbird pipe``."""

    config: Path | None = None
    name: str | None = None
    offline: bool = False


def run(options: Options, say: Callable[[str], None]) -> int:
    """Read stdin to its end; return the exit code. ``say`` tells a person one line.

    Ctrl-C reaches the writer too, whose end is ours: its last words are still to be read. Only
    where a person types the lines, nobody else would end us."""
    ending = _ENDING | ({signal.SIGINT} if os.isatty(0) else set())
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING | {signal.SIGINT, signal.SIGCHLD})
    base = load(options.config)
    name = options.name or only_target(base)
    if name is None:
        raise UsageError("pipe needs the name of the service", "tickbird pipe --name NAME")
    place = claim(base, name, say)
    pump = _Pump(place.spool)
    pump.start()
    sidecar = None
    if place.spool:
        sidecar = start_agent(options.config, place, None, link(base), say, offline=options.offline)
    while not pump.ended.is_set():
        found = signal.sigtimedwait(ending | {signal.SIGCHLD}, _ROUND)
        if found and found.si_signo in ending:
            pump.finish(_LAST_WORDS)
        if sidecar and (line := sidecar.poll()):
            say(line)
    pump.close()
    if sidecar:
        while signal.sigtimedwait(_IMPATIENT, 0):
            pass  # what ended the writer is not meant for the draining agent
        sidecar.stop(_DRAIN, lambda: bool(signal.sigpending() & _IMPATIENT))
    if pump.not_spooled:
        say(f"{pump.not_spooled} lines were not kept: the spool was full")
    if pump.not_shown:
        say(f"{pump.not_shown} bytes were not passed on: nobody read them in time")
    return 0


class _Pump:
    """Reads stdin on a thread of its own, which waits for nobody but the disk."""

    def __init__(self, spool: Spool | None) -> None:
        self.ended = threading.Event()
        self._stream = Stream(spool, "stdout") if spool else None
        self._tee = Tee(1)
        self._until: float | None = None

    @property
    def not_spooled(self) -> int:
        return self._stream.not_spooled if self._stream else 0

    @property
    def not_shown(self) -> int:
        return self._tee.not_shown

    def start(self) -> None:
        self._tee.start()
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    def finish(self, seconds: float) -> None:
        """Read what is there, for so long at most, and then no more."""
        self._until = time.monotonic() + seconds

    def close(self) -> None:
        """After the end."""
        if self._stream:
            self._stream.close()
        self._tee.finish(_DRAIN / 2)

    def _run(self) -> None:
        try:
            self._read()
        finally:
            self.ended.set()
            os.kill(os.getpid(), signal.SIGCHLD)  # the main thread waits for signals

    def _read(self) -> None:
        ready = select.poll()
        ready.register(0, select.POLLIN)
        while self._until is None or time.monotonic() < self._until:
            if not ready.poll(_ROUND * 1000):
                if self._until is not None:
                    return
                continue
            try:
                data = os.read(0, _CHUNK)
            except OSError:
                return
            if not data:
                return
            if self._stream:
                self._stream.write(data)
            self._tee.offer(data)
