"""A thread beside the loop that names what holds it, and says so while the stall still lasts.

Like the probe it stands alone: standard library only, Python 3.8 and later, nothing of tickbird.
It reads the blocked thread's frames, which costs that thread nothing. A call into C that keeps the
interpreter lock delays it until the call returns. The loop's own report, which has the exact
length, ends the stall. Times are seconds.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import sysconfig
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from .tickbird_measure import LoopMonitor

FIRST_LOOK = 0.04
LOOK = 0.1
MAX_FRAMES = 20
MOST, HALF = 0.8, 0.5
"""Shares of a stall from which on something is what it was spent on."""
JOIN = 0.5

_STDLIB = os.path.join(sysconfig.get_paths()["stdlib"], "")  # noqa: PTH118
_OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")  # noqa: PTH100, PTH118, PTH120
_PACKAGES = ("site-packages", "dist-packages")
_LOCKS = (_STDLIB + "threading.py", _STDLIB + "queue.py")


class Spent:
    """What a thread and its process had used when this was made; ``known`` where Linux tells.
    ``ready``: the thread ran or was in line for a CPU, a wait that is counted only when it ends."""

    def __init__(self, thread: int) -> None:
        self.at = time.monotonic()
        self.process = time.process_time()
        self.computed = self.waited = 0.0
        self.known = self.ready = False
        try:
            with open(f"/proc/self/task/{thread}/stat", "rb") as file:  # noqa: PTH123
                self.ready = file.read().rpartition(b") ")[2][:1] == b"R"
            with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:  # noqa: PTH123
                computed, waited = file.read().split()[:2]
        except (OSError, ValueError):
            return
        self.computed, self.waited = int(computed) / 1e9, int(waited) / 1e9
        self.known = True


def cause(before: Spent, after: Spent, innermost: str) -> str | None:
    """What the time between two moments of one stall was spent on; None where it is not clear.
    ``innermost`` is the file of the frame that the thread stands in."""
    whole = after.at - before.at
    if not (before.known and after.known) or whole < FIRST_LOOK / 2:
        return None
    computed = (after.computed - before.computed) / whole
    waited = (after.waited - before.waited) / whole
    if waited >= HALF:
        return "starved"
    if computed >= MOST or (computed + waited >= MOST and computed > waited):
        return "cpu"
    others = (after.process - before.process) / whole - computed
    if after.ready or computed + waited > 1 - MOST or others >= HALF:
        return None  # while others compute, it may have waited for the interpreter lock
    return "lock" if innermost in _LOCKS else "blocking call"


def culprit(frame: FrameType | None) -> dict[str, Any] | None:
    """The innermost function of the service's, and the whole stack; None for an empty one."""
    frames: list[tuple[str, str, int]] = []
    while frame is not None and len(frames) < MAX_FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(_OURS):
            name = getattr(code, "co_qualname", code.co_name)
            frames.append((name, code.co_filename, frame.f_lineno or code.co_firstlineno))
        frame = frame.f_back
    if not frames:
        return None
    function, file, line = next((one for one in frames if _is_own(one[1])), frames[0])
    stack = [f"{name} {where}:{number}" for name, where, number in frames]
    return {"function": function, "file": file, "line": line, "stack": stack}


def _is_own(file: str) -> bool:
    """Whether a file is of the service or its packages, and not Python's own."""
    if file.startswith("<frozen"):
        return False
    return not file.startswith(_STDLIB) or any(name in file for name in _PACKAGES)


class Stall:
    """One stall under way, from ``since`` (monotonic) on."""

    def __init__(self, since: float, native: int) -> None:
        self.since = since
        self.start = time.time() - (time.monotonic() - since)
        self.culprit: dict[str, Any] | None = None
        self._native = native
        self._first = Spent(native)

    def report(self, frame: FrameType | None) -> dict[str, Any]:
        innermost = frame.f_code.co_filename if frame is not None else ""
        if self.culprit is None:
            self.culprit = culprit(frame)
        return {
            "start": self.start,
            "duration": time.monotonic() - self.since,
            "ongoing": True,
            "cause": cause(self._first, Spent(self._native), innermost),
            "culprit": self.culprit,
        }


class Watchdog:
    """One thread for a process, watching the loop that it was told of last."""

    def __init__(self, address: tuple[str, int], said: dict[str, Any], threshold: float) -> None:
        """``said`` goes with every datagram; ``threshold`` is the shortest stall."""
        self._address = address
        self._said = {**said, "type": "stall"}
        self._threshold = threshold
        self._watched: tuple[LoopMonitor, int, int] | None = None
        self._stall: Stall | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def watch(self, monitor: LoopMonitor) -> None:
        """Watch the loop of ``monitor``, which begins to run in the calling thread."""
        self._watched = (monitor, threading.get_ident(), threading.get_native_id())
        self.start()

    def start(self) -> None:
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="tickbird", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; ``start`` begins anew. A fork must not see it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(JOIN)

    def _run(self) -> None:
        pause = self._threshold
        before, computed = time.monotonic(), time.process_time()
        while not self._stop.wait(pause):
            now, used = time.monotonic(), time.process_time()
            late = now - before - pause
            # Who slept himself accuses nobody, unless it was the interpreter lock that held him.
            slept = late > max(0.05, self._threshold / 2) and used - computed < late * HALF
            before, computed = now, used
            try:
                pause = LOOK if slept else self._look(now)
            except Exception:  # noqa: BLE001, RUF100 - a probe never breaks its service
                pause = LOOK

    def _look(self, now: float) -> float:
        """Say what there is to say; return how long to wait for the next look."""
        if self._watched is None:
            return self._threshold
        monitor, thread, native = self._watched
        since = monitor.busy_since()
        limit = self._threshold + monitor.slack
        if since is None or now - since < limit:
            self._stall = None
            return limit - (now - since if since is not None else 0.0)
        first = self._stall is None or self._stall.since != since
        if first:
            self._stall = Stall(since, native)
        assert self._stall is not None
        report = self._stall.report(sys._current_frames().get(thread))
        if monitor.busy_since() == since:  # else the frame may be of what came after
            text = json.dumps({**self._said, **report}, separators=(",", ":"))
            self._socket.sendto(text.encode(), self._address)
        return FIRST_LOOK if first else LOOK
