"""The agent's side: starts an injector, and asks now and then what came of it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from .injector import Order, Outcome

_PROGRAM = (sys.executable, "-P", "-m", "tickbird.inject.injector")
_MOST = 65_536


class Injection:
    """One injector at work. Raises ``OSError`` when it cannot be started."""

    def __init__(self, order: Order, token: str = "") -> None:
        self._answer = b""
        self._said, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self.pid = os.posix_spawn(
                _PROGRAM[0],
                [*_PROGRAM, json.dumps(asdict(order))],
                {**os.environ, "TICKBIRD_PROBE_TOKEN": token},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
                setsigmask=(),
            )
        except OSError:
            self.close()
            raise
        finally:
            os.close(theirs)

    def poll(self) -> Outcome | None:
        """None while it is at work. Call it no more once it has told."""
        try:
            while data := os.read(self._said, _MOST):
                self._answer += data
        except BlockingIOError:
            return None
        _, status = os.waitpid(self.pid, 0)
        self.close()
        try:
            return Outcome(**json.loads(self._answer))
        except (ValueError, TypeError):
            code = os.waitstatus_to_exitcode(status)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Outcome(f"what does it was ended ({how})", "it is tried again", again=True)

    def close(self) -> None:
        """The injector goes on and ends by itself: half-way is the worst place to stop."""
        if self._said >= 0:
            os.close(self._said)
            self._said = -1


def close_left_over() -> None:
    """Have closed what an injector that was killed has left open; waits for that, seconds."""
    injection = Injection(Order())
    try:
        os.waitpid(injection.pid, 0)
    finally:
        injection.close()
