"""What the agent begins with: targets, their sources, and where the samples go. All else that it
does is joined on afterwards (``parts``), since importing that takes as long as a first sample."""

from __future__ import annotations

from collections.abc import Callable, Collection

from .budget import Budget
from .clock import Clock
from .config import Config
from .model import Item, Sample, Stall, Target
from .recorder import Recorder
from .sources import Context, SourceType
from .sources.probe import ProbeReceiver
from .sources.tracereader import TraceReader
from .store import Store
from .targets import Finder, Found
from .telemetry import OwnCpu
from .watches import Watches


class Sampling:
    """Follows the targets of ``config`` and reads them into ``store`` and ``recorder``; ``ended``
    is called with a target that is over, after both know."""

    def __init__(self, config: Config, clock: Clock, probes: ProbeReceiver) -> None:
        self.config = config
        self.clock = clock
        self.probes = probes
        self.recorder = Recorder(config.recorder.keep, config.recorder.memory)
        self.store = Store()
        self.finder = Finder(config, clock)
        self.watches = Watches(clock, self._context, self._deliver, self._release, self._end)
        self.own_cpu = OwnCpu()
        self.budget = Budget(config.budget.cpu)
        self.budget.count()
        self.ended: Callable[[Target], None] | None = None
        self.tracer = TraceReader()
        probes.on_stall = self.tracer.on_stall = self._stalled

    def follow(self, ended: bool = False) -> list[Found]:
        """Look for targets, and watch exactly those that are there; ``ended``: one is not."""
        self.own_cpu.look(self.clock.monotonic())
        self.tracer.rest(not self.budget.look(self.clock.monotonic()))
        self.watches.slow(self.budget.step.pace)
        found = self.finder.find(ended)
        self.watches.follow(found)
        return found

    def reconfigure(self, config: Config) -> None:
        """Follow the targets of ``config`` from now on. Those that it does not change go on; those
        that it leaves out are forgotten, since they did not end."""
        self.config = config
        self.budget.limit = config.budget.cpu
        self.finder.reconfigure(config)
        for target in self.watches.keep(self.finder.find()):
            self.recorder.forget(target.key)

    def _context(self, found: Found) -> Context:
        return Context(self.config, found.spec, self.clock, self.probes, self.tracer)

    def _deliver(
        self, target: Target, kind: SourceType, items: list[Item], samples: list[Sample]
    ) -> None:
        now = self.clock.time()
        self.store.update(target, kind.name, samples, now, kind.whole)
        self.recorder.record(target, items, now)

    def _stalled(self, pid: int, stall: Stall) -> None:
        """A stall that goes on is known at once, not with the next read. It moves no series, and
        it names the culprit of a stall that another method measures."""
        for target in self.watches.targets():
            if target.pid == pid:
                self.recorder.record(target, [stall], self.clock.time())

    def _release(self, target: Target, metrics: Collection[str]) -> None:
        self.store.release(target.key, metrics)

    def _end(self, target: Target) -> None:
        self.store.end(target.key)
        self.recorder.end(target.key, self.clock.time())
        if self.ended is not None:
            self.ended(target)
