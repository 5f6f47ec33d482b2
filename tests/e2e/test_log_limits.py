"""What the agent passes on, the real Loki takes: nothing accepted is refused further on."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends import Stack
from live import Agent
from running import until
from tickbird.stack import ask
from tickbird.stages.limit import MAX_ATTRIBUTES, MAX_BODY

pytestmark = [pytest.mark.e2e, pytest.mark.backends]


def ago(**how_long: float) -> str:
    return (datetime.now(UTC) - timedelta(**how_long)).isoformat()


def lines() -> list[str]:
    """Each bears its place as ``n``, or, where it is cut and stays text, as its first number."""
    said: list[dict[str, Any] | str] = [
        {"n": 0, "msg": "as usual", "time": ago(seconds=1)},
        {"n": 1, "msg": "200 keys", **{f"key{number}": "value" for number in range(200)}},
        {"n": 2, "msg": "x" * 300_000},
        "3 " + "y" * 300_000,
        {"n": 4, "msg": "a large value", "value": "z" * 100_000},
        {"n": 5, "msg": "of 1970", "time": "1970-01-01T00:00:01Z"},
        {"n": 6, "msg": "of last year", "time": ago(days=365)},
        {"n": 7, "msg": "of tomorrow", "time": ago(days=-1)},
        {"n": 8, "msg": "of six days ago", "time": ago(days=6)},
        {"n": 9, "msg": "of three hours ago", "time": ago(hours=3)},
        {"n": 10, "msg": "deep", "a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}},
        {"n": 11, "msg": "as usual", "time": ago(seconds=0)},
    ]
    return [one if isinstance(one, str) else json.dumps(one) for one in said]


def in_loki(stack: Stack, name: str) -> dict[int, tuple[int, str, dict[str, str]]]:
    """Time (ns), text and metadata of each line, by its place."""
    now = time.time_ns()
    query = {
        "query": f'{{service_name="{name}"}}',
        "start": str(now - 8 * 24 * 3600 * 10**9),
        "end": str(now + 3600 * 10**9),
        "limit": "1000",
    }
    answer = ask.document(f"{stack.loki}/loki/api/v1/query_range", query)
    found = {}
    for stream in answer["data"]["result"]:
        for when, text in stream["values"]:
            place = stream["stream"].get("n") or re.findall(r"\d+", text[:10])[0]
            found[int(place)] = int(when), text, stream["stream"]
    return found


@pytest.fixture(scope="module")
def arrived(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[int, str, dict[str, str]]]:
    folder: Path = tmp_path_factory.mktemp("limits")
    name = f"limits-{uuid4().hex[:8]}"
    wanted = lines()
    log = folder / "app.log"
    log.write_text("".join(f"{line}\n" for line in wanted[:-1]))
    settings = {
        "collector": {"endpoint": stack.collector},
        "targets": [{"name": name, "logs": [str(log)]}],
    }
    agent = Agent(folder, settings).ready()
    try:
        until(lambda: 0 in in_loki(stack, name), "the first lines in Loki")
        with log.open("a") as file:  # after these, Loki's stream is as far as it will be
            file.write(f"{wanted[-1]}\n")
        until(lambda: len(wanted) - 1 in in_loki(stack, name), "the last line in Loki")
        # It shows lines that lie hours behind the newest only once they are written out.
        flush = urllib.request.Request(f"{stack.loki}/flush", method="POST")
        urllib.request.urlopen(flush, timeout=30).close()
        with contextlib.suppress(AssertionError):  # the tests say which is missing
            until(lambda: len(in_loki(stack, name)) == len(wanted), "every line in Loki", 15)
        return in_loki(stack, name)
    finally:
        agent.end()


def test_row_77_every_line_arrives_whatever_it_says(arrived: dict[int, Any]) -> None:
    assert sorted(arrived) == list(range(len(lines())))


def test_row_21_a_line_of_200_keys_arrives_with_the_first_of_them(arrived: dict[int, Any]) -> None:
    _, text, metadata = arrived[1]
    assert text == "200 keys"
    kept = [key for key in metadata if key.startswith("key")]
    assert MAX_ATTRIBUTES - 10 < len(kept) < MAX_ATTRIBUTES
    assert "key0" in metadata


@pytest.mark.parametrize("place", [2, 3])
def test_row_16_a_line_of_300_kb_arrives_cut_and_says_so(
    arrived: dict[int, Any], place: int
) -> None:
    _, text, metadata = arrived[place]
    assert MAX_BODY * 0.9 < len(text) <= MAX_BODY
    assert metadata["tickbird_log_truncated"] == "true"


def test_row_21_a_large_value_is_left_out_and_the_line_arrives(arrived: dict[int, Any]) -> None:
    _, text, metadata = arrived[4]
    assert text == "a large value"
    assert "value" not in metadata


@pytest.mark.parametrize(("place", "year"), [(5, "1970"), (6, str(datetime.now(UTC).year - 1))])
def test_row_22_a_line_of_long_ago_arrives_now_and_says_its_own_time(
    arrived: dict[int, Any], place: int, year: str
) -> None:
    when, _, metadata = arrived[place]
    assert time.time_ns() - when < 3600 * 10**9
    assert metadata["tickbird_log_time"].startswith(year)


def test_row_22_a_line_of_tomorrow_arrives_now_and_says_its_own_time(
    arrived: dict[int, Any],
) -> None:
    when, _, metadata = arrived[7]
    assert abs(time.time_ns() - when) < 3600 * 10**9
    assert metadata["tickbird_log_time"]


@pytest.mark.parametrize(("place", "hours"), [(8, 6 * 24), (9, 3)])
def test_row_77_a_line_of_the_last_week_keeps_its_time_behind_newer_ones(
    arrived: dict[int, Any], place: int, hours: int
) -> None:
    when, _, metadata = arrived[place]
    assert abs((time.time_ns() - when) / 3.6e12 - hours) < 1
    assert "tickbird_log_time" not in metadata
