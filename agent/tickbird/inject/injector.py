"""The short-lived process that does it: ``python -m tickbird.inject.injector ORDER``.

It has a session of its own, so that what ends the agent does not end it half-way. Should it be
killed all the same, the journal tells the next one which inspector to close.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from ..errors import TickbirdError
from ..linux import sockdiag
from ..linux.loopthread import Place, place
from . import bundle, gates
from .inspector import Inspector, InspectorError
from .journal import STALE, Busy, Entry, Journal, turn

OLDEST = 18
"""First major version of Node that the probe runs in."""
OPENS = 60.0
"""Seconds that the inspector may take to open: the loop may stand still in a system call."""
TURNED = 5.0
"""Seconds after which one does not open any more in a process whose loop is seen to turn."""
ANSWERS = 30.0
CLOSES = 5.0
LATE = 2.0
"""Seconds after which an inspector that was asked for earlier would have opened."""
STARTS = 2.0
"""Seconds that a young process is given to make itself ready."""
TURN = 120.0
PATIENCE = 10
"""Reports, one a second, that the probe sends without an answer before it leaves."""
_LOOK = 0.002
_SLOWER = 0.05

# Closed by the target itself, whatever becomes of us, and after the answer is out. Not in this turn
# of its loop: Node asks twice for the inspector to be opened, by an interrupt and by the loop, and
# the second would open it again.
_CLOSE = """
  const close = () => { try { load('inspector').close(); } catch {} };
  const { setImmediate } = load('timers');
  setImmediate(() => setImmediate(close));
"""
_ASK = """
(() => {
  if (process.pid !== %d) return 'another process';
  const load = typeof require === 'function' ? require : process.getBuiltinModule;
  %s
  try { return %s; } catch (error) { return `failed: ${error && error.message}`; }
})()
"""
_WHY = {
    "launched": (
        "it was started by tickbird exec and reports already",
        "leave out --inject; its own agent has the report: tickbird health",
        False,
    ),
    "watched": (
        "another agent of Tickbird has put a probe into it already",
        "ask that agent (tickbird health), or end it first",
        True,
    ),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to do; ``pid`` 0: only close what was left open. The token comes by the environment."""

    pid: int = 0
    start_ticks: int = 0
    port: int = 0
    """Where the agent hears the probe."""
    threshold: float = 0.1
    """The shortest stall, seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``problem`` is None when the probe is in; ``again``: trying later may help."""

    problem: str | None = None
    remedy: str = ""
    again: bool = False
    version: str = ""


class _Failed(Exception):
    def __init__(self, reason: str, remedy: str, again: bool = False) -> None:
        super().__init__(reason)
        self.outcome = Outcome(reason, remedy, again)


def carry_out(order: Order, token: str) -> Outcome:
    """Close what was left open, and put the probe in. Never raises for what a target does."""
    try:
        with turn(TURN) as journal:
            for entry in journal.entries():
                _tidy(journal, entry)
            return _attach(journal, order, token) if order.pid else Outcome()
    except Busy:
        return Outcome("another attach takes long", "try again later", again=True)
    except _Failed as failed:
        return failed.outcome
    except TickbirdError as error:
        return Outcome(str(error), error.remedy or "", again=True)


def _tidy(journal: Journal, entry: Entry) -> None:
    """Close the inspector that an injector which died has opened."""
    facts = gates.look(entry.pid)
    if facts is None or facts.start_ticks != entry.start_ticks:
        journal.done(entry)
        return
    end = time.monotonic() + (0 if entry.asked else LATE)
    while (port := _opened(entry)) is None and time.monotonic() < end:
        time.sleep(_SLOWER)
    if port is not None:
        _close(entry, port)
        if _opened(entry) is None:
            journal.done(entry)
    elif entry.asked or time.time() - entry.at > STALE:
        journal.done(entry)


def _attach(journal: Journal, order: Order, token: str) -> Outcome:
    facts = _passed(order)
    with _held(order) as process:
        entry = Entry(
            facts.pid,
            facts.start_ticks,
            facts.inner_pid,
            facts.debug_port,
            tuple(sorted(facts.own)),
            time.time(),
        )
        journal.write(entry)
        try:
            signal.pidfd_send_signal(process, signal.SIGUSR1)
            port = _await_open(journal, entry, process)
            return _hand_over(journal, replace(entry, asked=True), port, order, token)
        except (ProcessLookupError, _Ended):
            journal.done(entry)
            raise _Failed("it ended meanwhile", "watch the process that takes its place") from None


def _passed(order: Order) -> gates.Facts:
    """The facts of a process that every gate is open for."""
    end = time.monotonic() + STARTS
    while True:
        facts = gates.look(order.pid)
        if facts is None or facts.start_ticks != order.start_ticks:
            raise _Failed("it has ended", "watch the process that took its place")
        if (found := gates.refusal(facts)) is None:
            return facts
        if facts.catches or not found.again or time.monotonic() > end:
            raise _Failed(found.reason, found.remedy, found.again)
        time.sleep(_SLOWER)


@contextmanager
def _held(order: Order) -> Iterator[int]:
    """A descriptor that stays this very process, whoever gets its pid."""
    try:
        process = os.pidfd_open(order.pid)
    except OSError as error:
        raise _Failed(f"it cannot be held: {error.strerror}", "needs Linux 5.3 or newer") from error
    try:
        facts = gates.look(order.pid)
        if facts is None or facts.start_ticks != order.start_ticks:
            raise _Failed("it has ended", "watch the process that took its place")
        yield process
    finally:
        os.close(process)


class _Ended(Exception):
    pass


def _await_open(journal: Journal, entry: Entry, process: int) -> int:
    """The port at which the inspector of exactly this process listens."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < OPENS:
        if (port := _opened(entry)) is not None:
            return port
        if waited > TURNED and place(entry.pid, entry.pid) is Place.EPOLL:
            journal.done(entry)
            raise _Failed(
                "its inspector did not open: it is open already on another port, or code of its "
                "own takes SIGUSR1",
                "end a debugger that is left over; else start it by tickbird exec",
                again=True,
            )
        if select.select([process], [], [], _LOOK if waited < 1 else _SLOWER)[0]:
            raise _Ended
    raise _Failed(
        f"its inspector did not open within {OPENS:g} s: its loop stands still in a system call",
        "try again; should the inspector open later, the next start of Tickbird closes it",
        again=True,
    )


def _opened(entry: Entry) -> int | None:
    """Port of a listener that the process has now and had not before."""
    listening = sockdiag.listening() or {}
    new = {
        inode: port
        for inode, port in listening.items()
        if inode not in entry.before and entry.port in (0, port)
    }
    own = gates.own_sockets(entry.pid) if new else frozenset()
    return next((port for inode, port in new.items() if inode in own), None)


def _hand_over(journal: Journal, entry: Entry, port: int, order: Order, token: str) -> Outcome:
    settings = {
        "port": order.port,
        "token": token,
        "method": "attach",
        "pid": order.pid,
        "threshold": order.threshold,
        "culprits": True,
        "patience": PATIENCE,
    }
    try:
        with Inspector(port, ANSWERS) as inspector:
            version = inspector.version()
            if int(version.partition(".")[0]) < OLDEST:
                raise _Failed(f"it is Node {version}", f"the probe needs Node {OLDEST} or newer")
            journal.write(entry)
            said = inspector.evaluate(_ask(entry, bundle.expression(settings)))
    except (InspectorError, ValueError) as error:
        if _ended(order.pid):
            raise _Ended from error
        raise _Failed(f"its inspector failed: {error}", "try again", again=True) from error
    finally:
        _see_closed(journal, entry, port)
    if said == "attached":
        return Outcome(version=version)
    reason, remedy, again = _WHY.get(
        str(said),
        (f"the probe could not begin: {said}", "start the service by tickbird exec", False),
    )
    raise _Failed(reason, remedy, again)


def _ended(pid: int) -> bool:
    facts = gates.look(pid)
    return facts is None or facts.state in "ZX"


def _ask(entry: Entry, what: str) -> str:
    return _ASK % (entry.inner_pid, _CLOSE, what)


def _see_closed(journal: Journal, entry: Entry, port: int) -> None:
    """Forget the entry when the inspector is closed; it stays, for the next start, when not."""
    end = time.monotonic() + CLOSES
    while _opened(entry) is not None:
        if time.monotonic() > end:
            _close(entry, port)
            break
        time.sleep(_LOOK)
    if _opened(entry) is not None:
        raise _Failed(
            f"its inspector is still open, on port {port} of loopback",
            "it is tried again; restart the target should that not help",
            again=True,
        )
    journal.done(entry)


def _close(entry: Entry, port: int) -> None:
    try:
        with Inspector(port, ANSWERS) as inspector:
            inspector.evaluate(_ask(entry, "'closed'"))
    except InspectorError:
        return
    end = time.monotonic() + CLOSES
    while _opened(entry) is not None and time.monotonic() < end:
        time.sleep(_LOOK)


def main() -> None:
    """Say the outcome as one line of JSON, to an agent that may be gone by then."""
    outcome = carry_out(
        Order(**json.loads(sys.argv[1])), os.environ.pop("TICKBIRD_PROBE_TOKEN", "")
    )
    try:
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()
    except OSError:
        sys.stderr.close()


if __name__ == "__main__":
    main()
