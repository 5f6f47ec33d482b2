import os
import threading
import time

import pytest

from tickbird.clock import Deadline, Ticker
from tickbird.sources import Source
from tickbird.testing import ManualClock, context, identity_of, read_until


def test_a_manual_clock_moves_only_when_told_and_waits_without_sleeping():
    clock = ManualClock()
    before = clock.monotonic(), clock.time()
    assert (clock.monotonic(), clock.time()) == before
    assert clock.wait(threading.Event(), 3600) is False
    assert clock.monotonic() == before[0] + 3600
    event = threading.Event()
    event.set()
    assert clock.wait(event, 5) is True
    assert clock.monotonic() == before[0] + 3600


def test_a_step_of_the_wall_clock_moves_no_timer():
    clock = ManualClock()
    deadline, ticker = Deadline(clock, 10), Ticker(clock, 1)
    clock.step(-3600)
    assert deadline.remaining() == 10
    assert ticker.advance(clock.monotonic()) == 0


def test_the_identity_of_this_process_is_in_the_past_and_stays():
    mine = identity_of(os.getpid())
    assert mine == identity_of(os.getpid())
    assert 0 < mine.started_at <= time.time()
    assert mine.pid == os.getpid()


def test_a_context_takes_its_first_target_from_the_configuration():
    assert context().spec is None
    given = context("targets: [{name: shop, match: {pid: 1}}]")
    assert given.spec is not None
    assert given.spec.name == "shop"


def test_reading_until_enough_gives_up_with_what_it_has():
    class Silent(Source):
        interval = 1.0

        def read(self):
            return []

        def close(self) -> None:
            pass

    with pytest.raises(AssertionError, match="not within"):
        read_until(Silent(), bool, limit=0.1)
