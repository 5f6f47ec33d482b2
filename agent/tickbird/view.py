"""What the agent shows of itself: the API, the page and the command line see only this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import __version__, telemetry
from .config import TargetConfig
from .health.checks import AgentUse
from .health.report import build
from .health.subject import Limits
from .model import Sample
from .sinks.otlp.delivery import LaneStatus
from .sinks.prometheus import Exposition
from .store import Store
from .watch import Watch

if TYPE_CHECKING:
    from .parts import Parts


class View:
    """Reads from the parts whatever is asked for; safe from any thread, changes nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._agent = telemetry.agent_target(parts.config.instance)
        self._everything = Exposition()
        self._own = Exposition()

    @property
    def instance(self) -> str:
        return self._parts.config.instance

    def ready(self) -> tuple[bool, str]:
        """Whether every part that was asked for works; a held Collector does not count, since
        nothing is lost meanwhile."""
        problems = list(self._parts.finder.problems)
        if problems and not self._parts.watches.targets():
            return False, problems[0]
        return True, "ok"

    def problems(self) -> list[str]:
        """One line for each thing that is wrong now, with what to do about it. That a loop cannot
        be traced is none: another way may measure it, else it is a finding with that reason."""
        found = [
            f"{watch.target.name}: {name}: {problem}"
            for watch in self._parts.watches.watched()
            for name, problem in _problems_of(watch).items()
            if name != "looptrace"
        ]
        return [*found, *self._own_problems()]

    def _own_problems(self) -> list[str]:
        """Those that are not of one source of one target."""
        parts = self._parts
        found = [*parts.finder.problems, *parts.logs.problems, *parts.state.problems]
        return found + [lane.status.problem for lane in parts.all_lanes() if lane.status.problem]

    def status(self) -> dict[str, Any]:
        """What runs, from where each metric comes, and how delivery does."""
        parts = self._parts
        return {
            "schema": 1,
            "instance": self.instance,
            "version": __version__,
            "collector": parts.config.collector.endpoint if parts.config.collector else None,
            "targets": [
                {
                    "key": watch.target.key,
                    "name": watch.target.name,
                    "pid": watch.target.pid,
                    "loop_method": watch.loop_method,
                    "sources": {
                        name: {"problem": state.problem, "errors": state.errors}
                        for name, state in watch.states.items()
                    },
                    "metrics_from": parts.store.owners(watch.target.key),
                }
                for watch in parts.watches.watched()
            ],
            "left": [asdict(left) for left in parts.finder.left],
            "lanes": [asdict(lane.status) for lane in parts.all_lanes()],
            "logs": {source: asdict(t) for source, t in parts.ledger.sources().items()},
            "warnings": list(parts.config.warnings),
            "problems": self.problems(),
        }

    def report(self, since: float, target: str | None) -> dict[str, Any]:
        """The JSON of docs/json.md over the last ``since`` seconds."""
        parts = self._parts
        now = parts.clock.time()
        watched = parts.watches.watched()
        return build(
            instance=self.instance,
            views=parts.recorder.since(since, now),
            sink="collector" if parts.config.collector else "recorder",
            totals=parts.ledger.totals,
            now=now,
            limits={w.target.name: _limits(w.context.spec) for w in watched},
            problems_of={w.target.key: _problems_of(w) for w in watched},
            agent=self._use(),
            problems=self._own_problems(),
            target=target,
            automatic=not parts.config.targets,
            launched=parts.inherited.probe_token is not None,
        )

    def _use(self) -> AgentUse:
        budget = self._parts.config.budget
        return AgentUse(
            cpu=self._parts.own_cpu.utilization(),
            memory=telemetry.resident_bytes(),
            cpu_budget=budget.cpu,
            memory_budget=budget.memory,
            measuring=self._parts.sampling.budget.used,
            traced_ratio=1 / self._parts.sampling.budget.step.stretches,
            pace=self._parts.sampling.budget.step.pace,
        )

    def metrics(self, own_only: bool) -> bytes:
        """Prometheus exposition: of the agent itself, or of everything it knows."""
        if own_only:
            return self._own.render(self._own_series())
        return self._everything.render([*self._own_series(), *self._parts.store.series()])

    def _own_series(self) -> Any:
        store = Store()
        store.update(self._agent, "agent", self._own_samples(), self._parts.clock.time())
        return store.series()

    def _own_samples(self) -> list[Sample]:
        parts = self._parts
        samples = [
            *telemetry.own_cost(),
            Sample(telemetry.TARGETS, len(parts.watches.targets())),
            Sample(telemetry.MISSED_TICKS, parts.watches.missed_ticks),
            Sample(telemetry.TRACED, 1 / parts.sampling.budget.step.stretches),
            Sample(telemetry.PACE, parts.sampling.budget.step.pace),
            Sample(telemetry.PROBE_DATAGRAMS, parts.probes.received, ("received",)),
            Sample(telemetry.PROBE_DATAGRAMS, parts.probes.rejected, ("rejected",)),
            Sample(telemetry.LOG_UNBALANCED, 0 if parts.ledger.balanced() else 1),
        ]
        for outcome, count in parts.intake.counts.items():
            samples.append(Sample(telemetry.INTAKE_REQUESTS, count, (outcome,)))
        for watch in parts.watches.watched():
            samples += _sources(watch)
            samples += _logs(watch.target.key, parts.ledger.totals(watch.target.key))
        samples += _lanes([lane.status for lane in parts.all_lanes()])
        return samples


def _limits(spec: TargetConfig | None) -> Limits:
    """The target's own objectives in place of the defaults."""
    if spec is None:
        return Limits()
    slo = spec.slo
    errors = 1 - slo.availability if slo.availability is not None else Limits().errors_warn
    return Limits(
        stall=spec.loop.stall_threshold,
        errors_warn=errors,
        errors_fail=max(errors, Limits().errors_fail),
        latency=slo.latency,
    )


def _problems_of(watch: Watch) -> dict[str, str]:
    return {name: state.problem for name, state in watch.states.items() if state.problem}


def _sources(watch: Any) -> list[Sample]:
    found = []
    for name, state in watch.states.items():
        labels = (watch.target.key, name)
        found.append(Sample(telemetry.SOURCE_UP, 0 if state.problem else 1, labels))
        found.append(Sample(telemetry.SOURCE_ERRORS, state.errors, labels))
    return found


def _lanes(statuses: Sequence[LaneStatus]) -> list[Sample]:
    """Of each signal: log files and pushed logs have a lane each."""
    found = []
    for signal in dict.fromkeys(status.signal for status in statuses):
        mine = [status for status in statuses if status.signal == signal]
        refused = sum(sum(status.refused.values()) for status in mine)
        accepted = sum(status.accepted for status in mine)
        retried = sum(status.retried for status in mine)
        waiting = sum(status.queued_bytes for status in mine)
        found += [
            Sample(telemetry.EXPORT_ITEMS, accepted, (signal, "accepted")),
            Sample(telemetry.EXPORT_ITEMS, refused, (signal, "refused")),
            Sample(telemetry.EXPORT_RETRIES, retried, (signal,)),
            Sample(telemetry.QUEUE_BYTES, waiting, (signal,)),
        ]
    return found


def _logs(target: str, totals: Any) -> list[Sample]:
    found = [
        Sample(telemetry.LOG_RECORDS, totals.read, (target, "read", "")),
        Sample(telemetry.LOG_RECORDS, totals.delivered, (target, "delivered", "")),
        Sample(telemetry.LOG_RECORDS, totals.queued, (target, "queued", "")),
    ]
    for state, reasons in (("refused", totals.refused), ("dropped", totals.dropped)):
        for reason, count in reasons.items():
            found.append(Sample(telemetry.LOG_RECORDS, count, (target, state, reason)))
    return found
