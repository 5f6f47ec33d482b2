"""What a stall was spent on, from the books of its thread."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tickbird.causes import SUSPECT, Inquest, verdict
from tickbird.linux.thread import FAULT, Look

MS = 1_000_000


def looks(*moments: tuple[int, int, int, str, str | None]) -> list[Look]:
    """(at, ran, waited) in ms, state, call."""
    return [
        Look(at * MS, ran * MS, waited * MS, ran / 1e3, 0.0, state, call)
        for at, ran, waited, state, call in moments
    ]


CASES = {
    "computing": ("cpu", [(20, 5, 0, "R", None), (400, 380, 5, "R", None)]),
    "computing-with-breaks": ("cpu", [(20, 0, 0, "R", None), (400, 230, 140, "R", None)]),
    "no-processor": ("starved", [(20, 0, 0, "R", None), (400, 100, 270, "R", None)]),
    "no-processor-yet": ("starved", [(20, 7, 0, "R", None), (400, 7, 0, "R", None)]),
    "sleeping": (
        "blocking call",
        [(20, 0, 0, "S", "clock_nanosleep"), (400, 1, 0, "S", "clock_nanosleep")],
    ),
    "a-disk": ("blocking call", [(20, 0, 0, "D", "fsync"), (400, 9, 0, "D", "fsync")]),
    "a-lock": ("lock", [(20, 0, 0, "S", "futex"), (400, 1, 0, "S", "futex")]),
    "a-lock-by-wchan": ("lock", [(20, 0, 0, "S", "futex_wait_queue"), (400, 1, 0, "S", None)]),
    "swapped-out": ("paging", [(20, 0, 0, "D", FAULT), (400, 10, 0, "D", FAULT)]),
    "a-debugger": ("stopped", [(20, 9, 0, "R", None), (200, 9, 0, "T", None)]),
    "a-crowded-host": ("starved", [(20, 0, 0, "R", None), (400, 100, 190, "R", None)]),
    "half-and-half": (None, [(20, 0, 0, "R", None), (400, 190, 0, "S", "read")]),
    "hidden-calls": ("blocking call", [(20, 0, 0, "S", None), (400, 1, 0, "S", None)]),
}


@pytest.mark.parametrize(("cause", "moments"), CASES.values(), ids=CASES)
def test_the_cause_is_what_most_of_the_stall_was_spent_on(cause, moments):
    found = verdict(0, 420 * MS, looks(*moments))
    assert found.cause == cause


def test_the_call_and_what_it_waits_for_are_named():
    waits = Look(280 * MS, 0, 0, 0.0, 0.0, "S", "read", "/srv/pipe")
    found = verdict(0, 300 * MS, [*looks((20, 0, 0, "S", "read")), waits])
    assert (found.evidence["call"], found.evidence["path"]) == ("read", "/srv/pipe")


@pytest.mark.parametrize(
    ("ended", "certainty"), [(420, "measured"), (900, "likely")], ids=["most", "a-part"]
)
def test_what_was_not_observed_makes_it_less_certain(ended, certainty):
    moments = looks((20, 0, 0, "R", None), (420, 398, 0, "R", None))
    found = verdict(0, ended * MS, moments)
    assert (found.cause, found.certainty) == ("cpu", certainty)


@pytest.mark.parametrize(
    "moments",
    [[], [(50, 0, 0, "R", None)], [(395, 0, 0, "R", None), (450, 50, 0, "R", None)]],
    ids=["no-look", "one-look", "a-moment"],
)
def test_with_too_little_evidence_the_cause_is_unknown(moments):
    found = verdict(0, 400 * MS, looks(*moments))
    assert (found.cause, found.certainty) == (None, None)


def test_work_that_came_after_the_stall_is_not_held_against_it():
    """It slept for all of the 60 ms that were seen, and then the loop had work for 40 ms."""
    moments = looks((90, 0, 0, "S", "read"), (190, 40, 0, "R", None))
    found = verdict(0, 150 * MS, moments)
    assert (found.cause, found.certainty) == ("blocking call", "likely")


def test_idling_after_the_stall_does_not_hide_that_it_computed():
    moments = looks((90, 0, 0, "R", None), (190, 60, 0, "S", "epoll_wait"))
    found = verdict(0, 150 * MS, moments)
    assert (found.cause, found.certainty) == ("cpu", "likely")


def test_the_share_of_the_kernel_in_the_computing_is_told():
    first = Look(0, 0, 0, 1.0, 1.0, "R")
    found = verdict(0, 400 * MS, [first, Look(400 * MS, 398 * MS, 0, 1.1, 1.3, "R")])
    assert found.evidence["system_ratio"] == pytest.approx(0.75)


class Thread:
    """Gives what its test has prepared, and counts how often it was asked."""

    def __init__(self, prepared: Iterable[Look]) -> None:
        self.prepared = list(prepared)
        self.asked = 0

    def __call__(self) -> Look | None:
        self.asked += 1
        return self.prepared.pop(0) if self.prepared else None


def test_nothing_is_read_of_a_loop_whose_turns_are_short():
    thread = Thread([])
    inquest = Inquest(thread)
    for now in range(0, 1000 * MS, 100 * MS):
        inquest.watch(None if now % 200 else now - SUSPECT // 2, now)
    assert thread.asked == 0


def test_a_turn_that_lasts_is_looked_at_until_its_end():
    thread = Thread(looks((50, 0, 0, "R", None), (150, 99, 0, "R", None), (250, 180, 0, "S", "x")))
    inquest = Inquest(thread)
    inquest.watch(0, 50 * MS)
    inquest.watch(0, 150 * MS)
    assert inquest.judge(0, 160 * MS, False).cause == "cpu"
    assert inquest.judge(0, 230 * MS, True).cause == "cpu"
    assert thread.asked == 3


def test_the_evidence_of_one_turn_is_not_used_for_another():
    inquest = Inquest(Thread(looks((50, 0, 0, "R", None), (150, 99, 0, "R", None))))
    inquest.watch(0, 50 * MS)
    inquest.watch(0, 150 * MS)
    assert inquest.judge(160 * MS, 300 * MS, True).cause is None
    inquest.watch(160 * MS, 400 * MS)
    assert inquest.judge(160 * MS, 400 * MS, False).cause is None


def test_a_thread_that_ended_leaves_the_cause_unknown():
    inquest = Inquest(Thread([]))
    inquest.watch(0, 50 * MS)
    assert inquest.judge(0, 300 * MS, True).cause is None
