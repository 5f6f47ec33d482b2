"""Any sequence of writes, rotations, kills and answers: every line arrives, in order within its
file, and the books add up."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fixtures.logs.collector import OK, Answer, FakeCollector
from tickbird import config
from tickbird.clock import Deadline, SystemClock
from tickbird.ledger import Ledger
from tickbird.model import Target
from tickbird.pipeline import LogPipeline
from tickbird.sinks.otlp.delivery import Backoff, Lane
from tickbird.state import State

CLOCK = SystemClock()
SHOP = Target("shop", "shop", None, "node", attributes={"service.name": "shop"})
ANSWERS = {
    "ok": lambda lines: OK,
    "overloaded": lambda lines: Answer(503),
    "unauthorized": lambda lines: Answer(401),
    "reset": lambda lines: Answer(action="reset"),
    "small": lambda lines: Answer(413) if len(lines) > 3 else OK,
}


class Delivery(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.log = self.folder / "app.log"
        self.log.touch()
        self.collector = FakeCollector()
        self.written = self.rotated = self.kills = 0
        self.generation_of: list[int] = []
        self.alive = False
        self.start()

    def start(self) -> None:
        text = f"state_dir: {self.folder}/state\ncollector: {{endpoint: '{self.collector.url}'}}"
        parsed = config.parse(text, "test")
        assert parsed.collector is not None
        self.ledger, self.state, self.stop = Ledger(), State(parsed.folder), threading.Event()
        backoff = Backoff(0.005, 0.01, 0.01)
        self.lane = Lane(parsed.collector, "logs", CLOCK, 1 << 16, backoff)
        self.pipeline = LogPipeline(parsed, CLOCK, self.state, self.ledger, self.lane, None)
        threading.Thread(target=self.lane.run, args=(self.stop,), daemon=True).start()
        self.pipeline.watch(SHOP, [str(self.log)])
        self.pipeline.poll()
        self.alive = True

    @rule(lines=st.integers(1, 40))
    def write(self, lines: int) -> None:
        with self.log.open("a") as file:
            file.writelines(f'{{"msg":"{self.written + n}"}}\n' for n in range(lines))
        self.written += lines
        self.generation_of += [self.rotated] * lines

    @rule()
    def rename(self) -> None:
        self._age()
        self.log.rename(f"{self.log}.1")
        self.log.touch()

    @rule()
    def copy_and_truncate(self) -> None:
        self._age()
        shutil.copyfile(self.log, f"{self.log}.1")
        with self.log.open("r+") as file:
            file.truncate(0)

    def _age(self) -> None:
        for age in range(self.rotated, 0, -1):
            Path(f"{self.log}.{age}").rename(f"{self.log}.{age + 1}")
        self.rotated += 1

    @rule(answer=st.sampled_from(sorted(ANSWERS)))
    def answer(self, answer: str) -> None:
        self.collector.behave = ANSWERS[answer]

    @precondition(lambda self: self.alive)
    @rule()
    def poll(self) -> None:
        self.pipeline.poll()

    @precondition(lambda self: self.alive)
    @rule(seconds=st.sampled_from([0.0, 0.05]))
    def push(self, seconds: float) -> None:
        self.pipeline.drain(Deadline(CLOCK, seconds))

    @precondition(lambda self: self.alive)
    @rule(saved=st.booleans())
    def die(self, saved: bool) -> None:
        """By SIGKILL, or (``saved``) in order."""
        self.stop.set()
        self.lane.drain(Deadline(CLOCK, 0))
        if saved:
            self.pipeline.close()
        self.state.close()
        self.kills += 1
        self.alive = False

    @precondition(lambda self: not self.alive)
    @rule()
    def live_again(self) -> None:
        self.start()

    @invariant()
    def the_books_add_up(self) -> None:
        if getattr(self, "alive", False):
            assert self.ledger.balanced()

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.collector.behave = ANSWERS["ok"]
            if not self.alive:
                self.start()
            self.pipeline.drain(Deadline(CLOCK, 20))
            self._judge()
        finally:
            self.stop.set()
            self.lane.drain(Deadline(CLOCK, 0))
            self.pipeline.close()
            self.state.close()
            self.collector.close()
            shutil.rmtree(self.folder)

    def _judge(self) -> None:
        first = list(dict.fromkeys(int(line) for line in self.collector.accepted))
        assert sorted(first) == list(range(self.written))
        assert sorted(first, key=lambda n: self.generation_of[n]) == sorted(first)
        totals = self.ledger.totals("shop")
        assert totals.balanced()
        assert totals.delivered == totals.read == self.written
        assert totals.queued == 0


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
