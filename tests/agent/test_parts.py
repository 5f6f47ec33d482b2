"""The parts joined, without threads: what one life leaves to the next, and what the agent shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tickbird import config
from tickbird.clock import Deadline, SystemClock
from tickbird.errors import ConfigError
from tickbird.net import Inherited, datagrams
from tickbird.parts import LANE_BYTES, Parts
from tickbird.sampling import Sampling
from tickbird.sinks.otlp.delivery import Payload
from tickbird.sources.probe import ProbeReceiver
from tickbird.state import State

CLOCK = SystemClock()
NOBODY = "collector: {endpoint: 'http://127.0.0.1:9'}\n"
MYSELF = f"targets: [{{name: shop, match: {{pid: {os.getpid()}}}}}]\n"
ABSENT = "targets: [{name: shop, match: {port: 1}}]\n"

Open = Callable[..., Parts]


def parsed(folder: Path, more: str) -> config.Config:
    fixed = "api: {listen: 127.0.0.1:0}\nintake: {otlp_http: 127.0.0.1:0}\n"
    return config.parse(f"state_dir: {folder}\n{fixed}{more}", "test")


@pytest.fixture
def said() -> list[str]:
    """What was told to people."""
    return []


@pytest.fixture
def opened(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens parts on a configuration, and reads their targets once."""
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(tmp_path / "run"))
    living: list[Parts] = []
    sock = datagrams()

    def begin(more: str) -> Parts:
        sampling = Sampling(parsed(tmp_path, more), CLOCK, ProbeReceiver(sock, "token"))
        parts = Parts(sampling, Inherited(), said.append)
        living.append(parts)
        parts.open()
        parts.follow()
        parts.watches.read_due()
        return parts

    yield begin
    for parts in living:
        parts.watches.close()
        parts.close()
    sock.close()


def bodies(parts: Parts) -> list[bytes]:
    return [one.body for one in parts.lanes["traces"].drain(Deadline(CLOCK, 0))]


def ended(parts: Parts, seconds: float = 0) -> None:
    parts.drain(Deadline(CLOCK, seconds))
    parts.close()


def test_what_was_pushed_and_could_not_be_sent_goes_on_in_order_in_the_next_life(
    opened: Open,
) -> None:
    first = opened(NOBODY)
    for number in range(12):
        assert first.lanes["traces"].offer(Payload(b"%d" % number, 1))
    ended(first)
    assert bodies(opened(NOBODY)) == [b"%d" % number for number in range(12)]


def test_what_finds_no_room_in_the_next_life_stays_on_disk(opened: Open, tmp_path: Path) -> None:
    size = LANE_BYTES // 4
    state = State(parsed(tmp_path, NOBODY).folder)
    state.save_unsent("traces", [(1, bytes([number]) * size) for number in range(6)], 1 << 30)
    state.close()
    first = opened(NOBODY)
    taken = [body[0] for body in bodies(first)]
    ended(first)
    left = [body[0] for body in bodies(opened(NOBODY))]
    assert taken == [0, 1, 2, 3]
    assert left == [4, 5]


def test_a_disk_that_takes_nothing_costs_what_was_unsent_and_is_told(
    opened: Open, tmp_path: Path, said: list[str]
) -> None:
    parts = opened(NOBODY)
    (parsed(tmp_path, NOBODY).folder / "unsent").write_text("no folder")
    parts.lanes["metrics"].offer(Payload(b"x", 1))
    ended(parts)
    assert any("metrics that were not sent cannot be kept" in line for line in said)


def test_the_end_keeps_its_deadline_and_takes_nothing_more(opened: Open) -> None:
    parts = opened(NOBODY + MYSELF)
    began = CLOCK.monotonic()
    ended(parts, 2)
    assert CLOCK.monotonic() - began < 3
    assert parts.watches.targets() == []
    assert not parts.lanes["traces"].offer(Payload(b"late", 1))


def test_the_status_says_what_is_watched_and_from_where_each_metric_comes(opened: Open) -> None:
    (target,) = opened(MYSELF).view.status()["targets"]
    assert (target["name"], target["pid"]) == ("shop", os.getpid())
    assert target["sources"]["process"] == {"problem": None, "errors": 0}
    assert target["metrics_from"]["process.cpu.time"] == "process"


def test_its_own_metrics_stand_apart_from_those_of_its_targets(opened: Open) -> None:
    view = opened(MYSELF).view
    own, everything = view.metrics(own_only=True).decode(), view.metrics(own_only=False).decode()
    assert "tickbird_agent_targets" in own
    assert "process_memory_usage_bytes" not in own
    assert "process_memory_usage_bytes" in everything


def test_it_is_ready_once_something_is_watched_and_else_says_what_is_missing(opened: Open) -> None:
    assert opened(MYSELF).view.ready() == (True, "ok")


def test_it_is_not_ready_while_its_only_target_is_not_there(opened: Open) -> None:
    ready, why = opened(ABSENT).view.ready()
    assert not ready
    assert "shop" in why


def test_a_problem_that_persists_is_told_once_and_again_when_it_comes_back(
    opened: Open, tmp_path: Path
) -> None:
    parts = opened(ABSENT)
    assert [line for line in parts.new_problems() if "shop" in line]
    assert parts.new_problems() == []
    parts.reconfigure(parsed(tmp_path, MYSELF))
    assert parts.new_problems() == []
    parts.reconfigure(parsed(tmp_path, ABSENT))
    assert [line for line in parts.new_problems() if "shop" in line]


def test_a_reload_follows_the_new_targets_and_ends_the_old_series(
    opened: Open, tmp_path: Path
) -> None:
    parts = opened(MYSELF)
    parts.reconfigure(parsed(tmp_path, MYSELF.replace("shop", "cart")))
    parts.watches.read_due()
    assert {one.target.name for one in parts.store.series()} == {"cart"}
    assert {one.target.name for one in parts.store.take_ended()} == {"shop"}


def test_a_reload_leaves_an_unchanged_target_and_its_series_alone(
    opened: Open, tmp_path: Path
) -> None:
    parts = opened(MYSELF)
    (watch,) = parts.watches.watched()
    parts.reconfigure(parsed(tmp_path, MYSELF))
    assert parts.watches.watched() == [watch]
    assert list(parts.store.take_ended()) == []


def test_a_process_whose_settings_a_reload_changes_is_not_called_ended(
    opened: Open, tmp_path: Path
) -> None:
    parts = opened(MYSELF)
    parts.reconfigure(parsed(tmp_path, MYSELF.replace("}}]", "}, labels: {team: blue}}]")))
    parts.watches.read_due()
    (entry,) = parts.view.report(60, None)["targets"]
    assert entry["ended_at"] is None
    assert parts.watches.targets()[0].attributes["team"] == "blue"


def test_a_target_that_a_reload_leaves_out_leaves_the_report(opened: Open, tmp_path: Path) -> None:
    parts = opened(MYSELF)
    parts.reconfigure(parsed(tmp_path, MYSELF.replace("shop", "cart")))
    parts.watches.read_due()
    assert [entry["key"] for entry in parts.view.report(60, None)["targets"]] == ["cart"]


def test_a_reload_that_changes_what_is_fixed_names_every_key_and_changes_nothing(
    opened: Open, tmp_path: Path
) -> None:
    parts = opened(MYSELF)
    with pytest.raises(ConfigError) as refused:
        parts.reconfigure(parsed(tmp_path, ABSENT + "logs: {format: json}\n" + NOBODY))
    assert sorted(line.split(":")[0] for line in refused.value.problems) == ["collector", "logs"]
    assert parts.view.ready() == (True, "ok")
