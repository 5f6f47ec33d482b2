"""The in-process probe for Python services: the event loop by itself, requests by way of the kit.

Stands alone: standard library only, Python 3.8 and later, nothing of tickbird, since it runs in
the service's interpreter. Imports next to nothing until an event loop runs. What fails in here is
swallowed at its entry points: a probe never breaks its service.

The loop itself sends the report: while it is blocked the probe is silent, and the agent takes the
silence of a living process for lag. Times are seconds.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from .tickbird_measure import HttpTotals, LoopMonitor, call_later, open_monitor
    from .tickbird_watchdog import Watchdog
else:
    from tickbird_measure import HttpTotals, LoopMonitor, call_later, open_monitor

WINDOW = 1.0
MAX_DATAGRAM = 60_000


class Probe:
    """Watches one loop of this process, the main thread's if it has one, and reports for it."""

    def __init__(self, port: int, token: str, threshold: float) -> None:
        self._address = ("127.0.0.1", port)
        self._token = token
        self._threshold = threshold
        self._socket: Any = None
        self.begin()

    def begin(self) -> None:
        """A new process, by start or by fork: nothing has been measured yet."""
        self._pid = os.getpid()
        self._seq = 0
        self._monitor: LoopMonitor | None = None
        self._watchdog: Watchdog | None = None
        self._main = False
        self._expected = False
        self._http: HttpTotals | None = None
        self._reporting_thread = False

    def runs(self, loop: asyncio.AbstractEventLoop) -> None:
        """``loop`` begins to run in this thread."""
        import threading

        main = threading.current_thread() is threading.main_thread()
        watched = self._monitor
        if watched is not None and watched.loop is loop:
            watched.resume()
            self._guard(watched)
            return
        if watched is not None and watched.loop.is_running() and (self._main or not main):
            return
        self._main = main
        self._monitor = open_monitor(loop, self._threshold)
        call_later(loop, WINDOW, self._turn, self._monitor)
        self._guard(self._monitor)

    def _guard(self, monitor: LoopMonitor) -> None:
        """Have what holds the loop named, unless that is switched off."""
        if os.environ.get("TICKBIRD_CULPRITS") == "off":
            return
        if self._watchdog is None:
            said = {"v": 1, "token": self._token, "pid": self._pid}
            made: Watchdog = _neighbour("tickbird_watchdog").Watchdog(
                self._address, said, self._threshold
            )
            self._watchdog = made
        self._watchdog.watch(monitor)

    def pause(self) -> None:
        """Stand alone for a fork: a second thread would make it a dangerous one."""
        if self._watchdog is not None:
            self._watchdog.stop()

    def go_on(self) -> None:
        if self._watchdog is not None:
            self._watchdog.start()

    def stops(self, loop: asyncio.AbstractEventLoop) -> None:
        """``loop`` does not run any more: the silence that follows is no lag. The agent need not
        be told of a loop that it has not heard of."""
        if self._expected and self._monitor is not None and self._monitor.loop is loop:
            self.send()
            self.send()  # without a window now, which says that no loop runs
            self._expected = False

    def _turn(self, monitor: LoopMonitor) -> None:
        if monitor is self._monitor:
            self.send()
            call_later(monitor.loop, WINDOW, self._turn, monitor)

    @property
    def http(self) -> HttpTotals:
        if self._http is None:
            self._http = HttpTotals()
        if self._monitor is None and not self._reporting_thread:
            import threading

            self._reporting_thread = True
            threading.Thread(target=self._report_without_loop, daemon=True).start()
        return self._http

    def _report_without_loop(self) -> None:
        while self._monitor is None:
            time.sleep(WINDOW)
            self.send()
        self._reporting_thread = False

    def last_words(self) -> None:
        self.pause()
        if self._monitor is not None or self._http is not None:
            self.send()

    def send(self) -> None:
        """Report now. An agent that does not listen loses this report, nothing else."""
        try:  # noqa: SIM105 - contextlib is dear at start-up
            self._send()
        except Exception:  # noqa: BLE001, S110, RUF100 - a probe never breaks its service
            pass

    def _send(self) -> None:
        import socket

        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        for datagram in self._datagrams():
            self._socket.sendto(datagram, self._address)
        self._seq += 1

    def _datagrams(self) -> Iterator[bytes]:
        """The report, each part below the limit: HTTP series spill over into more."""
        import json

        def text(value: Any) -> str:
            return json.dumps(value, separators=(",", ":"))

        monitor, http = self._monitor, self._http
        own = monitor.take() if monitor and monitor.measured else {}
        self._expected = self._expected or bool(own)
        head: dict[str, Any] = {
            "v": 1,
            "token": self._token,
            "pid": self._pid,
            "runtime": monitor.runtime if monitor and own else "python",
            "version": ".".join(map(str, sys.version_info[:3])),
            "seq": self._seq,
            "start": time.time(),
            "duration": 0.0,
        }
        series = [text(one) for one in http.report()] if http else []
        fixed = text({**head, **own})
        while True:
            parts, size = [], len(fixed) + 100
            while series and size + len(series[-1]) < MAX_DATAGRAM:
                size += len(series[-1]) + 1
                parts.append(series.pop())
            tail = (
                f',"http":{{"active":{http.active},"series":[{",".join(parts)}]}}' if http else ""
            )
            yield (fixed[:-1] + tail + "}").encode()
            if not series:
                return
            fixed = text(head)


def _neighbour(name: str) -> Any:
    """A module of this folder, which is no longer on the path when the service runs."""
    from importlib.util import module_from_spec, spec_from_file_location

    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    spec = spec_from_file_location(name, f"{folder}/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Hook:
    """Import hook that waits for ``asyncio.events``, then steps aside."""

    def __init__(self, ready: Callable[[ModuleType], None]) -> None:
        self._ready = ready
        self._loader: Any = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "asyncio.events":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            # Before Python 3.12 a finder may be of an older kind; the interpreter asks those.
            find_spec = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    self._loader, spec.loader = spec.loader, self  # type: ignore[assignment]
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._ready(module)


def _hook_loops(events: ModuleType) -> None:
    """Every loop, asyncio's or not, says by ``_set_running_loop`` that it runs or stops."""
    original, running = events._set_running_loop, events._get_running_loop

    def _set_running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
        before = running()
        original(loop)
        if probe is not None:
            try:
                if loop is not None:
                    probe.runs(loop)
                elif before is not None:
                    probe.stops(before)
            except Exception:  # noqa: BLE001, S110, RUF100 - see the module's first lines
                pass

    events._set_running_loop = _set_running_loop  # type: ignore[attr-defined]


probe: Probe | None = None
"""None when this process was not started by ``tickbird exec``."""


def arm() -> None:
    """Start to report to the agent named in the environment; nothing without a valid address."""
    global probe  # noqa: PLW0603 - one per process, found by the kit under this name
    host, _, port = os.environ.get("TICKBIRD_PROBE", "").partition(":")
    if probe is not None or host != "127.0.0.1" or not port.isdigit() or len(port) > 5:
        return
    import atexit

    try:
        threshold = float(os.environ.get("TICKBIRD_STALL_SECONDS", "0.1"))
    except ValueError:
        threshold = 0.1
    probe = Probe(int(port), os.environ.get("TICKBIRD_PROBE_TOKEN", ""), threshold)
    os.register_at_fork(before=probe.pause, after_in_parent=probe.go_on, after_in_child=probe.begin)
    atexit.register(probe.last_words)
    if "asyncio.events" in sys.modules:
        _hook_loops(sys.modules["asyncio.events"])
    else:
        sys.meta_path.insert(0, _Hook(_hook_loops))
