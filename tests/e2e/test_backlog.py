"""A backlog is streamed from its files: memory stays what it is without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.logs.collector import OK, Answer, FakeCollector
from live import Agent
from running import until

pytestmark = pytest.mark.e2e

LINES = 100_000
PADDING = "x" * 450


def highest(pid: int) -> int:
    """Bytes of memory at its most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_row_41_a_restart_with_a_backlog_takes_no_more_memory_than_the_budget(
    tmp_path: Path,
) -> None:
    collector = FakeCollector(lambda lines: Answer(503))
    log = tmp_path / "app.log"
    with log.open("w") as file:
        file.writelines(f'{{"msg":"{number} {PADDING}"}}\n' for number in range(LINES))
    settings = {
        "collector": {"endpoint": collector.url},
        "targets": [{"name": "backlog", "logs": [str(log)]}],
    }
    try:
        first = Agent(tmp_path, settings).ready()
        until(lambda: len(collector.requests) > 3, "requests that are turned down")
        held = highest(first.process.pid)
        first.kill()
        collector.behave = lambda lines: OK
        again = Agent(tmp_path, settings).ready()
        until(lambda: len(collector.accepted) >= LINES, "every line", 90)
        drained = highest(again.process.pid)
        again.end()
    finally:
        collector.close()
    assert [int(line.split()[0]) for line in collector.accepted] == list(range(LINES))
    assert held <= 64 * 2**20
    assert drained <= 64 * 2**20
