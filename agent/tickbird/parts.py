"""What is joined on to sampling: logs, delivery, intake, API; and what they do together, one step
a method.

Data goes one way: targets → sources → store and recorder → sinks. No part knows the agent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

from .api import Api
from .clock import Deadline
from .config import Config
from .errors import ConfigError, TickbirdError
from .ledger import Ledger
from .model import HttpSnapshot, Target
from .net import Inherited, address, listen
from .passthrough import Passthrough
from .pipeline import LogPipeline
from .sampling import Sampling
from .sinks.otlp.client import Signal
from .sinks.otlp.delivery import Lane, Payload
from .sinks.otlp.export import MetricsExport
from .sources.otlp import Intake
from .stages.join import Pairs
from .stallog import StallLog
from .state import State
from .targets import Finder
from .view import View

LANE_BYTES = 4 * 1024 * 1024
"""Most that waits in memory for the Collector, per signal."""
LOOK_UP = 60.0
"""Seconds between two looks of the intake at whether it was told to stop, which nobody does."""
SIGNALS: tuple[Signal, ...] = ("logs", "metrics", "traces")
FIXED = (
    "instance",
    "state_dir",
    "collector",
    "api",
    "intake",
    "logs",
    "redact",
    "recorder",
    "sampling",
)
"""Keys of the configuration that a running agent cannot change."""


class Parts:
    """``open`` takes what others could hold (lock, ports) and may raise ``CannotCreate``."""

    def __init__(
        self, sampling: Sampling, inherited: Inherited, say: Callable[[str], None]
    ) -> None:
        config, clock = sampling.config, sampling.clock
        self.sampling = sampling
        self.say = say
        self.clock = clock
        self.inherited = inherited
        self.stop_sending = threading.Event()
        self.ledger = Ledger()
        self.recorder, self.store = sampling.recorder, sampling.store
        self.watches, self.probes = sampling.watches, sampling.probes
        self.own_cpu = sampling.own_cpu
        sampling.ended = self._ended
        self.lanes: dict[Signal, Lane] = {}
        self.log_lane: Lane | None = None
        if (collector := config.collector) is not None:
            self.lanes = {s: Lane(collector, s, clock, LANE_BYTES) for s in SIGNALS}
            self.log_lane = Lane(collector, "logs", clock, LANE_BYTES)
        self.pairs = Pairs()
        self.passthrough = Passthrough(
            self.lanes,
            self.store,
            self.watches.targets,
            self._record_http,
            self.watches.tell,
            self.pairs,
        )
        lane = self.lanes.get("metrics")
        self._export = MetricsExport(self.store, lane) if lane else None
        self._stalls = StallLog(self.recorder, self.lanes["logs"]) if self.lanes else None
        self._logged: dict[str, Target] = {}
        self._reported: set[str] = set()
        self._open: list[Callable[[], None]] = []

    @property
    def config(self) -> Config:
        return self.sampling.config

    @property
    def finder(self) -> Finder:
        return self.sampling.finder

    def open(self) -> None:
        """Take the lock and the sockets, and what an earlier life left unsent."""
        self.state = State(self.config.folder)
        self._open.append(self.state.close)
        wanted = self.config.intake.otlp_http
        intake = self.inherited.intake or listen(wanted.host, wanted.port)
        self._open.append(intake.close)
        self.intake = Intake(intake, self.passthrough.receive)
        self.logs = LogPipeline(
            self.config,
            self.clock,
            self.state,
            self.ledger,
            self.log_lane,
            self.recorder,
            self.pairs,
        )
        self._open.append(self.logs.close)
        self.view = View(self)
        self.api = Api(self.config, self.state.folder, self.view)
        self._open.append(self.api.close)
        for signal in self.lanes:
            self._send_what_was_left(signal)

    def servers(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Thread bodies that answer on sockets until ``close``."""
        yield "intake", partial(self.intake.serve_forever, LOOK_UP)
        yield from self.api.servers()

    def greeting(self) -> str:
        where = self.config.collector.endpoint if self.config.collector else "the recorder only"
        intake = address(self.intake.socket)
        return f"page {self.api.url}, OTLP/HTTP intake {intake}, telemetry to {where}"

    def follow(self, ended: bool = False) -> None:
        """Look for targets, and watch exactly those that are there, and their logs; ``ended``: one
        is not there any more."""
        for one in self.sampling.follow(ended):
            if (
                one.spec is not None
                and one.first
                and self._logged.get(one.target.name) != one.target
            ):
                self._logged[one.target.name] = one.target
                self.recorder.know(one.target, self.clock.time())
                self.logs.watch(one.target, one.spec.logs)

    def _record_http(self, target: Target, snapshot: HttpSnapshot) -> None:
        self.recorder.record(target, [snapshot], self.clock.time())

    def _ended(self, target: Target) -> None:
        ends = self.passthrough.end(target.key, self.clock.time())
        if self._export is not None:
            self._export.end(ends)

    def export_metrics(self) -> None:
        if self._stalls is not None:
            self._stalls.send(self.clock.time())
        if self._export is not None:
            self._export.send(self.clock.time())
        else:
            self.store.take_ended()

    def new_problems(self) -> list[str]:
        """Problems that have come up since the last call; one that persists is told once."""
        now = set(self.view.problems())
        new = sorted(now - self._reported)
        self._reported = now
        return new

    def reconfigure(self, config: Config) -> Config:
        """Follow the new configuration's targets; the rest of it is fixed for a life."""
        changed = [key for key in FIXED if getattr(config, key) != getattr(self.config, key)]
        if changed:
            raise ConfigError([f"{key}: takes a restart to change" for key in changed])
        self.sampling.reconfigure(config)
        for target in self._logged.values():
            self.logs.unwatch(target.key)
        self._logged.clear()
        self.follow()
        return config

    def drain(self, deadline: Deadline) -> None:
        """Send what can be sent in time; keep on disk what was pushed to us and is unsent. Log
        lines need no keeping: their files are the queue."""
        self.passthrough.close()
        self.watches.close()
        self.logs.drain(Deadline(self.clock, deadline.remaining() / 3))
        self.export_metrics()
        self.stop_sending.set()
        if self.log_lane is not None:
            self.log_lane.drain(Deadline(self.clock, deadline.remaining() / 4))
        for left, (signal, lane) in enumerate(self.lanes.items(), -len(self.lanes)):
            unsent = lane.drain(Deadline(self.clock, deadline.remaining() / (1 - left)))
            self._keep(signal, unsent)

    def _keep(self, signal: Signal, unsent: list[Payload]) -> None:
        bodies = [(payload.items, payload.body) for payload in unsent]
        try:
            _, lost = self.state.save_unsent(signal, bodies, self.config.spool.size)
        except (OSError, TickbirdError) as error:
            self.say(f"{signal} that were not sent cannot be kept and are lost: {error}")
            return
        if lost:
            self.say(f"{lost} items of {signal} found no room in the spool and are lost")

    def _send_what_was_left(self, signal: Signal) -> None:
        for items, body in self.state.take_unsent(signal):
            if not self.lanes[signal].offer(Payload(body, items)):
                break  # and what was not taken stays on disk for the next life

    def all_lanes(self) -> list[Lane]:
        return [*self.lanes.values(), *([self.log_lane] if self.log_lane else [])]

    def close(self) -> None:
        for close in reversed(self._open):
            close()
