"""The service: its process, and a thread for each of its pipes that never waits for a reader."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import TickbirdError
from .spool import Spool, Stream
from .tee import Tee

_CHUNK = 64 * 1024
_LEFT_OPEN = 1.0
"""Seconds that pipes may stay open after the service has ended: a grandchild may hold them."""


class StartError(TickbirdError):
    """The command cannot be run; exit codes as a shell's: 127 not found, 126 not allowed."""

    def __init__(self, message: str, remedy: str, code: int) -> None:
        super().__init__(message, remedy)
        self.exit_code = code


class Child:
    """``command`` with ``env``. What it writes goes to ``spool`` (None: kept nowhere) and, where
    given, on to the file descriptors ``tee`` (stdout, stderr). ``mask`` is the signal mask that
    it starts with, for a caller that blocks signals itself."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        spool: Spool | None,
        tee: tuple[int, int] | None = None,
        *,
        cwd: Path | None = None,
        mask: set[signal.Signals] | None = None,
    ) -> None:
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._mask = mask
        self._streams = [Stream(spool, one) if spool else None for one in ("stdout", "stderr")]
        self._tees = tuple(Tee(file) for file in tee) if tee else (None, None)
        self._pumps: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises :class:`StartError`."""
        program = self._command[0]
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                preexec_fn=self._restore_mask(),  # noqa: PLW1509 - no thread runs yet
            )
        except (FileNotFoundError, NotADirectoryError):
            raise StartError(
                f"{program}: command not found", "check its spelling and PATH", 127
            ) from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a command"
            raise StartError(f"{program}: {why}", "see that it is a program", 126) from None
        pipes = (self._process.stdout, self._process.stderr)
        for pipe, stream, tee in zip(pipes, self._streams, self._tees, strict=True):
            assert pipe is not None
            if tee:
                tee.start()
            pump = threading.Thread(target=_pump, args=(pipe.fileno(), stream, tee), daemon=True)
            pump.start()
            self._pumps.append(pump)

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def not_spooled(self) -> int:
        """Lines that did not get into the spool."""
        return sum(stream.not_spooled for stream in self._streams if stream)

    @property
    def not_shown(self) -> int:
        """Bytes that did not get through to our own output."""
        return sum(tee.not_shown for tee in self._tees if tee)

    def poll(self) -> int | None:
        """The exit code (128 + n after signal n) once it has ended."""
        code = self._running.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end; None when it did not come within ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running.wait(seconds)
        return self.poll()

    def send_signal(self, number: int) -> None:
        """To the service alone; nothing when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._running.send_signal(number)

    def close(self, seconds: float = 5.0) -> None:
        """After the end: read what is left in the pipes, write what is queued, then stop."""
        end = time.monotonic() + min(seconds, _LEFT_OPEN)
        for pump in self._pumps:
            pump.join(max(0.0, end - time.monotonic()))
        for stream, pump in zip(self._streams, self._pumps, strict=False):
            if stream and not pump.is_alive():
                stream.close()
        end = time.monotonic() + seconds
        for tee in self._tees:
            if tee:
                tee.finish(max(0.0, end - time.monotonic()))

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("start() first")
        return self._process

    def _restore_mask(self) -> Callable[[], object] | None:
        mask = self._mask
        return None if mask is None else lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _pump(pipe: int, stream: Stream | None, tee: Tee | None) -> None:
    while True:
        try:
            data = os.read(pipe, _CHUNK)
        except OSError:
            return
        if not data:
            return
        if stream:
            stream.write(data)
        if tee:
            tee.offer(data)
