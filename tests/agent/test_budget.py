"""What the agent sheds to stay within its budget, in which order, and when it takes it back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

from tickbird.budget import JUDGED, PATIENCE, PERIOD, START, STEPS, Budget, Step

LIMIT = 0.02


class Agent:
    """Second by second, with a cost of ``tracing`` (while it traces) and of ``sampling``."""

    def __init__(self, tracing: float, sampling: float = 0.0) -> None:
        self.tracing, self.sampling = tracing, sampling
        self.now = self.spent = 0.0
        self.budget = Budget(LIMIT, lambda: self.spent)
        self.traced: list[bool] = []
        self.costs: list[float] = []

    def run(self, seconds: float) -> Agent:
        for _ in range(round(seconds)):
            self.traced.append(self.budget.look(self.now))
            cost = self.tracing * self.traced[-1] + self.sampling / self.budget.step.pace
            self.costs.append(cost)
            self.spent += cost
            self.now += 1.0
        return self

    def until(self, condition: Callable[[Agent], bool], limit: float = 3600.0) -> Agent:
        while not condition(self):
            assert self.now < limit, (self.budget.level, self.budget.used)
            self.run(1)
        return self


def test_within_the_budget_everything_is_measured() -> None:
    agent = Agent(tracing=0.01, sampling=0.005).run(600)
    assert agent.budget.level == 0
    assert all(agent.traced)


def test_beyond_it_loops_are_traced_for_a_part_of_the_time_first() -> None:
    agent = Agent(tracing=0.03, sampling=0.002).run(75)
    assert agent.budget.step == Step(2, 1)
    assert agent.traced[-20:].count(True) == 10
    assert sum(agent.costs[-20:]) / 20 <= LIMIT


def test_when_that_is_not_enough_processes_are_sampled_less_often() -> None:
    agent = Agent(tracing=0.02, sampling=0.06).run(600)
    assert agent.budget.step.stretches == 8
    assert agent.budget.step.pace == 4
    assert sum(agent.costs[-80:]) / 80 <= LIMIT


def test_starved_of_everything_it_goes_to_the_last_step_and_stays() -> None:
    agent = Agent(tracing=1.0, sampling=1.0).run(600)
    assert agent.traced[:15].count(False) == 0
    assert agent.budget.step == STEPS[-1]


def test_each_step_sheds_more_than_the_one_before() -> None:
    shed = [(step.stretches, step.pace) for step in STEPS]
    assert shed == sorted(shed)
    assert len(set(shed)) == len(shed)
    slowed = [step for step in STEPS if step.pace > 1]
    assert all(step.stretches == STEPS[-1].stretches for step in slowed)


def test_what_was_shed_comes_back_when_it_costs_little_again() -> None:
    agent = Agent(tracing=0.15).run(120)
    assert agent.budget.level == 3
    agent.tracing = 0.002
    agent.until(lambda agent: agent.budget.level == 0)
    assert agent.run(PERIOD).traced[-1]


def test_it_does_not_go_back_and_forth_where_the_cost_lies_between_two_steps() -> None:
    agent = Agent(tracing=0.03).run(30)
    levels = []
    for _ in range(1200):
        levels.append(agent.run(1).budget.level)
    changes = sum(a != b for a, b in pairwise(levels))
    assert changes <= 2
    assert sum(agent.costs[-600:]) / 600 <= LIMIT


def test_taken_back_too_early_it_waits_longer_the_next_time() -> None:
    """The load comes and goes with the steps: calm while shed, too much when not."""
    agent = Agent(tracing=0.0)
    ups = []
    for _ in range(1800):
        agent.tracing = 0.05 if agent.budget.level == 0 else 0.001
        before = agent.budget.level
        agent.run(1)
        if agent.budget.level > before:
            ups.append(agent.now)
    gaps = [b - a for a, b in pairwise(ups)]
    assert gaps[0] >= PATIENCE
    assert gaps[-1] > 4 * gaps[0]


def test_an_agent_that_was_suspended_judges_by_the_time_that_passed() -> None:
    agent = Agent(tracing=0.01).run(10)
    agent.now += 3600
    assert agent.run(10).budget.level == 0


def test_only_the_threads_that_measure_are_counted() -> None:
    budget = Budget(LIMIT)
    done, end = threading.Event(), threading.Event()

    def burn() -> None:
        began = time.thread_time()
        while time.thread_time() - began < 0.05:
            pass
        done.set()
        end.wait(30)

    one = threading.Thread(target=budget.counted(burn))
    one.start()
    assert done.wait(30)
    budget.look(0.0)
    budget.look(START - 1)
    began = time.thread_time()
    while time.thread_time() - began < 0.2:
        pass  # this thread's work is none of it
    budget.look(START + JUDGED)
    assert budget.used is not None
    assert budget.used * JUDGED < 0.1
    end.set()
    one.join()


def test_a_thread_that_ended_does_no_harm() -> None:
    budget = Budget(LIMIT)
    ended = threading.Thread(target=budget.count)
    ended.start()
    ended.join()
    budget.look(0.0)
    budget.look(START + JUDGED)
    assert budget.used == 0.0


def test_what_it_took_to_start_is_not_held_against_it() -> None:
    agent = Agent(tracing=0.5).run(START - 1)
    agent.tracing = 0.01
    assert agent.run(600).traced.count(False) == 0
