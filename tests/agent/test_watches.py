"""Targets that come, go and come back, with the real sources of real processes."""

import contextlib
import subprocess
import sys
import threading

import pytest

from running import until
from tickbird import testing
from tickbird.clock import SystemClock
from tickbird.config import parse
from tickbird.net import listen
from tickbird.sampling import Sampling
from tickbird.sources.probe import ProbeReceiver
from tickbird.targets import Found
from tickbird.watches import Watches

CLOCK = SystemClock()


class Place:
    """Watches over real sources; what was delivered and what ended is noted."""

    def __init__(self):
        self.delivered = []
        self.ended = []
        self.watches = Watches(
            CLOCK,
            lambda found: testing.context(),
            lambda target, kind, *_: self.delivered.append((target.identity, kind.name)),
            lambda *_: None,
            lambda target: self.ended.append(target.identity),
        )

    def sources(self, target):
        return {name for identity, name in self.delivered if identity == target.identity}


@pytest.fixture
def place():
    place = Place()
    yield place
    place.watches.close()


@pytest.fixture
def spawn():
    started = []

    def start():
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def watched(process, name="shop"):
    return Found(testing.target(name, process.pid, "other"), None)


def test_a_restart_under_the_same_name_ends_the_old_process_and_watches_the_new(place, spawn):
    old, new = watched(spawn()), watched(spawn())
    place.watches.follow([old])
    place.watches.read_due()
    place.watches.follow([new])
    place.watches.read_due()
    assert place.ended == [old.target.identity]
    assert place.watches.targets() == [new.target]
    assert place.sources(new.target) == {"process"}


def test_a_process_that_ended_is_told_at_the_next_read_and_let_go(place, spawn):
    process = spawn()
    found = watched(process)
    place.watches.follow([found])
    assert place.watches.read_due() is False
    process.kill()
    process.wait()
    (watch,) = place.watches.watched()
    watch.states["process"].ticker.due = CLOCK.monotonic()
    assert place.watches.read_due() is True
    place.watches.follow([found])
    assert place.watches.targets() == []
    assert place.ended == [found.target.identity]


def test_one_target_that_is_gone_leaves_the_other_watched(place, spawn):
    gone, stays = spawn(), spawn()
    found = [watched(gone, "gone"), watched(stays, "stays")]
    gone.kill()
    gone.wait()
    place.watches.follow(found)
    assert [target.name for target in place.watches.targets()] == ["stays"]


def test_closing_ends_every_target_once(place, spawn):
    place.watches.follow([watched(spawn(), "a"), watched(spawn(), "b")])
    place.watches.close()
    place.watches.close()
    assert len(place.ended) == 2
    assert place.watches.next_due() == float("inf")


def test_an_address_that_never_answers_delays_no_other_source(spawn):
    with listen("127.0.0.1", 0) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        pid = spawn().pid
        text = f"targets: [{{name: shop, match: {{pid: {pid}}}, http: {{url: '{url}'}}}}]"
        sampling = Sampling(parse(text, "test"), CLOCK, ProbeReceiver(None, "token"))
        with contextlib.closing(sampling.watches):
            worker = threading.Thread(target=sampling.watches.work, daemon=True)
            worker.start()
            sampling.follow()
            sampling.watches.read_due()
            (watch,) = sampling.watches.watched()
            silent.settimeout(10)
            held, _ = silent.accept()
            assert watch.states["http"].reading
            assert sampling.store.owner("shop", "process.memory.usage") == "process"
            assert "http" not in watch.due(CLOCK.monotonic() + 3600)
            held.close()
            until(lambda: watch.states["http"].problem, "the health check to fail")
            assert not watch.states["http"].reading
