"""Has a probe put into a running Node process, where the configuration asks for it. What the probe
then reports is the source ``probe``'s to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import SourceError
from ..inject.injector import Order, Outcome
from ..inject.launch import Injection
from ..model import Identity, Item, Target
from . import Context, Source, SourceType
from .probe import ProbeReceiver

SILENT = 60.0
"""Seconds without a report after which the probe is taken for gone, and put in again."""
AGAIN = (5.0, 30.0, 120.0, 600.0)
"""Seconds until the next try, the last one ever after."""


class AttachSource:
    """One process. The injector works beside the agent, which never waits for it."""

    interval = 1.0

    def __init__(
        self, identity: Identity, context: Context, receiver: ProbeReceiver, threshold: float
    ) -> None:
        self.problems: Sequence[str] = ()
        self._clock = context.clock
        self._receiver = receiver
        self._identity = identity
        self._order = Order(identity.pid, identity.start_ticks, receiver.port, threshold)
        self._injection: Injection | None = None
        self._tries = 0
        self._due: float | None = 0.0
        self._seq = -1
        self._heard = 0.0
        receiver.keep(identity.pid)

    def read(self) -> Iterable[Item]:
        now = self._clock.monotonic()
        if self._injection is not None:
            if (outcome := self._injection.poll()) is not None:
                self._injection = None
                self._settle(outcome, now)
        elif self._due is not None:
            if now >= self._due:
                self._start()
        elif self._silent(now):
            self._retry(now)
        return ()

    def _start(self) -> None:
        try:
            self._injection = Injection(self._order, self._receiver.token)
        except OSError as error:
            raise SourceError(f"cannot start what attaches: {error.strerror}") from error

    def _settle(self, outcome: Outcome, now: float) -> None:
        self._due, self._heard = None, now
        if outcome.problem is None:
            self.problems = ()
            return
        self.problems = (
            f"cannot attach to process {self._identity.pid}: {outcome.problem}; what to do: "
            f"{outcome.remedy}",
        )
        if outcome.again:
            self._retry(now)

    def _retry(self, now: float) -> None:
        self._due = now + AGAIN[min(self._tries, len(AGAIN) - 1)]
        self._tries += 1

    def _silent(self, now: float) -> bool:
        if self.problems:
            return False
        seq = self._receiver.seq(self._identity.pid)
        if seq != self._seq:
            self._seq, self._heard, self._tries = seq, now, 0
        return now - self._heard > SILENT

    def close(self) -> None:
        """The probe leaves as soon as it is told so, or finds that nobody listens."""
        if self._injection is not None:
            self._injection.close()
            self._injection = None
        self._receiver.leave(self._identity.pid)


def open_source(target: Target, context: Context) -> Source | None:
    """None unless the configuration says ``loop.method: attach``."""
    spec, receiver = context.spec, context.probes
    if spec is None or spec.loop.method != "attach" or receiver is None or target.identity is None:
        return None
    return AttachSource(target.identity, context, receiver, spec.loop.stall_threshold)


SOURCE = SourceType("attach", (), open_source)
