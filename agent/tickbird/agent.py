"""The agent's life: open → run → drain → close. The only place that starts threads.

One deadline governs the end: it is passed to everything that waits. What the Collector has not
taken by then stays where it is safe: log lines in their files, pushed telemetry in the spool.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from .clock import Clock, Deadline, SystemClock, Ticker
from .config import Config
from .errors import TickbirdError
from .health.words import count
from .inject.journal import left_over
from .inject.launch import close_left_over
from .net import Inherited, datagrams
from .sampling import Sampling
from .sinks.console import Console
from .sources.probe import ProbeReceiver
from .watches import TOGETHER

if TYPE_CHECKING:
    from .parts import Parts

SHUTDOWN_SECONDS = 10.0
REFRESH = 1.0
"""Seconds between two looks for targets."""
RESTART = 1.0
"""Seconds before a thread that failed is started again."""
WORKERS = 4
"""Threads that read sources which wait for the network."""

Say = Callable[[str], None]


class Agent:
    """``run`` returns when ``stop`` is called or a signal came; ``say`` takes lines for people,
    and when ``chatty`` also one for each target every few seconds."""

    def __init__(
        self,
        config: Config,
        inherited: Inherited,
        say: Say,
        reload: Callable[[], Config] | None = None,
        *,
        chatty: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._config = config
        self._inherited = inherited
        self._say = say
        self._reload = reload
        self._chatty = chatty
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._reload_asked = False
        self._threads: list[threading.Thread] = []

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def handle_signals(self) -> None:
        """TERM and INT drain and end; HUP reads the configuration again."""
        for number, answer in (
            (signal.SIGTERM, self.stop),
            (signal.SIGINT, self.stop),
            (signal.SIGHUP, self._ask_reload),
        ):
            signal.signal(number, partial(_in_a_thread, answer))
        # What started us may have kept it back until now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _ask_reload(self) -> None:
        self._reload_asked = True
        self._wake.set()

    def run(self) -> None:
        """The whole life. Raises ``TickbirdError`` when it cannot begin; leaves nothing open."""
        with ExitStack() as opened:
            sampling = self._sample_first(opened)
            # Half of all that there is to import: it comes after the first sample.
            from .parts import Parts  # noqa: PLC0415

            parts = Parts(sampling, self._inherited, self._say)
            opened.callback(parts.close)
            parts.open()
            parts.follow()
            gc.freeze()
            gc.enable()
            gc.set_threshold(50_000, 20, 100)
            self._start_threads(parts)
            self._say(parts.greeting())
            try:
                self._keep_up("main loop", partial(self._loop, parts))
            finally:
                self._drain(parts)

    def _sample_first(self, opened: ExitStack) -> Sampling:
        """The first sample comes before everything that can wait."""
        probe = self._inherited.probe or datagrams()
        opened.callback(probe.close)
        receiver = ProbeReceiver(probe, self._inherited.probe_token or secrets.token_hex(16))
        sampling = Sampling(self._config, self._clock, receiver)
        opened.callback(sampling.watches.close)
        sampling.follow()
        sampling.watches.read_due()
        self._say(f"watching {count(len(sampling.watches.targets()), 'target')}")
        return sampling

    def _start_threads(self, parts: Parts) -> None:
        for lane in parts.all_lanes():
            self._start(f"send-{lane.signal}", partial(lane.run, parts.stop_sending))
        self._start("logs", partial(self._read_logs, parts))
        counted = parts.sampling.budget.counted
        self._start("probes", counted(partial(parts.probes.run, self._stop)))
        self._start("traces", counted(partial(parts.sampling.tracer.run, self._stop)))
        for name, serve in parts.servers():
            self._start(name, serve)
        if left_over():
            self._start("inspectors", close_left_over)
        for number in range(WORKERS):
            self._start(f"worker-{number}", counted(parts.watches.work))

    def _start(self, name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._keep_up, args=(name, body), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _keep_up(self, name: str, body: Callable[[], None]) -> None:
        """A defect in one thread is said, once, and costs a second; the others go on. Each begins
        even if the end has come by then: what sends is needed for the last lines."""
        said = ""
        while not (said and self._stop.is_set()):
            try:
                body()
                break
            except Exception as error:
                if said != (said := repr(error)):
                    self._say(f"{name} failed by a defect of the agent and starts again: {said}")
                self._clock.wait(self._stop, RESTART)

    def _loop(self, parts: Parts) -> None:
        refresh = Ticker(self._clock, REFRESH)
        # In step with the samples, so that one waking a second serves both.
        refresh.due = min(refresh.due + REFRESH, parts.watches.next_due())
        export = Ticker(self._clock, self._config.sampling.export_interval)
        console = Console(lambda since: parts.view.report(since, None), self._say, self._clock)
        while not (self._stop.is_set() or self._orphaned()):
            now = self._clock.monotonic()
            soon = now + TOGETHER
            ended = parts.watches.read_due()
            if ended or refresh.is_due(soon):
                refresh.advance(now)
                parts.follow(ended)
            if export.is_due(soon):
                export.advance(now)
                parts.export_metrics()
            for problem in parts.new_problems():
                self._say(problem)
            if self._chatty:
                console.poll(now)
            if self._reload_asked:
                self._reload_asked = False
                self._reload_into(parts)
            due = min(refresh.due, export.due, parts.watches.next_due())
            self._clock.wait(self._wake, due - self._clock.monotonic())
            self._wake.clear()

    def _orphaned(self) -> bool:
        """Whether the supervisor that started this agent has gone: then nobody else ends it."""
        return self._inherited.supervisor not in (None, os.getppid())

    def _read_logs(self, parts: Parts) -> None:
        while not self._stop.is_set():
            if parts.logs.poll() == 0:
                parts.logs.wait()

    def _reload_into(self, parts: Parts) -> None:
        """Take the new configuration wholly, or keep the old one and say why."""
        if self._reload is None:
            return
        try:
            self._config = parts.reconfigure(self._reload())
        except TickbirdError as error:
            self._say(f"configuration not reloaded, the old one stays: {error}")
        else:
            self._say("configuration reloaded")

    def _drain(self, parts: Parts) -> None:
        deadline = Deadline(self._clock, SHUTDOWN_SECONDS)
        self._stop.set()
        parts.logs.wake()
        self._say("stopping: what is queued is sent, or kept on disk")
        for thread in self._threads:
            if thread.name == "logs":
                thread.join(deadline.remaining() / 4)
        parts.drain(deadline)


def _in_a_thread(answer: Callable[[], None], *_: object) -> None:
    """A handler interrupts the main thread anywhere, also while it holds the lock of an event."""
    threading.Thread(target=answer, daemon=True).start()
