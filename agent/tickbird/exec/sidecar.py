"""The agent beside a service: a process of its own, started again when it dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CannotCreate
from ..paths import private_folder

_PROGRAM = (sys.executable, "-P", "-m", "tickbird", "run")
"""-P: a file of the service's folder must not pass for a module of the agent."""
_LARGEST_LOG = 1024 * 1024
_BACKOFF_FIRST = 0.5
_BACKOFF_MOST = 30.0
_STEADY = 60.0
"""An agent that ran this long before it died starts the backoff anew."""
_HOPELESS = (64, 78)
"""Exit codes that starting again cannot mend."""


class Sidecar:
    """``python -m tickbird run`` over a written configuration.

    ``document`` is the configuration as plain data, ``folder`` the instance's state folder. The
    ``probe`` and ``intake`` sockets stay open here, so an agent that is started again finds both
    and nothing is refused meanwhile. Call :meth:`poll` now and then; it starts and restarts.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        folder: Path,
        *,
        probe: socket.socket,
        intake: socket.socket,
        token: str,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = _PROGRAM,
    ) -> None:
        self._document = document
        self._folder = folder
        self._sockets = (probe, intake)
        self._environ = {**(os.environ if environ is None else environ)}
        self._environ["TICKBIRD_PROBE_TOKEN"] = token
        self._program = tuple(program)
        self._backoff = _BACKOFF_FIRST
        self._started = 0.0
        self._due: float | None = None
        self.pid: int | None = None
        self.problem: str | None = None

    @property
    def log(self) -> Path:
        """Where the agent's own words go."""
        return self._folder / "agent.log"

    def start(self) -> None:
        """Write the configuration and start the agent. Raises ``CannotCreate``."""
        private_folder(self._folder)
        try:
            _write_private(self._folder / "exec.yaml", json.dumps(self._document, indent=1))
            self._spawn()
        except OSError as error:
            raise CannotCreate(
                f"the agent cannot start: {error.strerror}", f"see {self._folder}"
            ) from error

    def poll(self) -> str | None:
        """Look after the agent; return one line when there is something to tell a person."""
        if self.pid is not None and (code := self._ended()) is not None:
            return self._after(code)
        if self.pid is None and self._due is not None and time.monotonic() >= self._due:
            with contextlib.suppress(OSError):
                self._spawn()
        return None

    def stop(self, seconds: float = 10.0, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask the agent to drain and end; after ``seconds``, or once ``hurry()`` says so, it is
        killed. What it had not sent stays in the spool."""
        self._due = None
        if self.pid is None:
            return
        end = time.monotonic() + seconds
        for number in (signal.SIGCONT, signal.SIGTERM):
            os.kill(self.pid, number)
        while self._ended() is None:
            if time.monotonic() >= end or hurry():
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                break
            time.sleep(0.02)
        self.pid = None

    def _after(self, code: int) -> str | None:
        lived = time.monotonic() - self._started
        self.pid = None
        if code in _HOPELESS:
            self._due = None
            return f"the agent ended (exit code {code}) and is not started again: {self._words()}"
        self._backoff = _BACKOFF_FIRST if lived >= _STEADY else self._backoff
        self._due = time.monotonic() + self._backoff
        first = self._backoff == _BACKOFF_FIRST
        self._backoff = min(_BACKOFF_MOST, self._backoff * 2)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the agent ended ({how}) and is started again: {self._words()}" if first else None

    def _words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        errors = [line for line in lines[-20:] if "error" in line]
        return errors[-1] if errors else f"see {self.log}"

    def _ended(self) -> int | None:
        assert self.pid is not None
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -signal.SIGKILL
        return os.waitstatus_to_exitcode(status) if pid else None

    def _spawn(self) -> None:
        """A session of its own, so that Ctrl-C is the service's alone. Of the supervisor's signal
        mask only SIGTERM stays, which the agent lets in once it can answer: it is to send what a
        service has said that ended before it was ready."""
        self._started, self._due = time.monotonic(), None
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        arguments = [*self._program, "-c", str(self._folder / "exec.yaml")]
        for option, sock in zip(("--probe-fd", "--intake-fd"), self._sockets, strict=True):
            os.set_inheritable(sock.fileno(), True)
            arguments += [option, str(sock.fileno())]
        arguments += ["--supervisor", str(os.getpid())]
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.pid = os.posix_spawnp(
            arguments[0],
            arguments,
            self._environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), log, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(signal.SIGTERM,),
        )


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write(text)
    draft.replace(path)
