"""``tickbird pipe`` with the real agent: what comes in on stdin arrives, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.logs.collector import Answer, FakeCollector
from running import TICKBIRD, environment, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


class Pipe:
    """``tickbird pipe --name shop`` over a Collector; a context that ends it."""

    def __init__(self, folder: Path, collector: FakeCollector) -> None:
        runtime = folder / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.state = folder / "state" / "shop"
        config = folder / "tickbird.yaml"
        settings = {
            "state_dir": str(folder / "state"),
            "collector": {"endpoint": collector.url},
            "api": {"listen": "127.0.0.1:0"},
            "intake": {"otlp_http": "127.0.0.1:0"},
        }
        config.write_text(json.dumps(settings))
        self.shown = folder / "shown"
        with self.shown.open("ab") as shown:
            self.process = subprocess.Popen(
                [*TICKBIRD, "pipe", "--name", "shop", "-c", config],
                stdin=subprocess.PIPE,
                stdout=shown,
                env=environment(runtime),
            )

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        agent = self.agent()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        if agent:
            until(lambda: not Path(f"/proc/{agent}").exists(), "the agent to end with it")

    def write(self, *lines: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def agent(self) -> int | None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else None

    def spooled(self) -> str:
        return "".join(
            path.read_text() for path in sorted((self.state / "spool" / "shop").glob("*.log"))
        )

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


def said(number: int) -> str:
    return json.dumps({"level": 30, "msg": f"line {number}"})


def test_what_comes_in_is_delivered_and_passed_on(tmp_path: Path, collector: FakeCollector) -> None:
    trace = "Error: x\n    at f (a.js:1:2)"
    with Pipe(tmp_path, collector) as pipe:
        pipe.write(*map(said, range(1000)), trace)
        assert pipe.end() == 0
    assert collector.accepted == [*(f"line {number}" for number in range(1000)), trace]
    assert pipe.shown.read_text() == "".join(f"{said(n)}\n" for n in range(1000)) + f"{trace}\n"


def test_row_54_a_killed_agent_is_started_again_and_nothing_is_missing(
    tmp_path: Path, collector: FakeCollector
) -> None:
    with Pipe(tmp_path, collector) as pipe:
        pipe.write(said(0))
        until(lambda: "line 0" in collector.accepted, "the first line")
        agent = pipe.agent()
        assert agent
        os.kill(agent, signal.SIGKILL)
        pipe.write(*map(said, range(1, 100)))
        until(lambda: "line 99" in collector.accepted, "the last line")
        assert pipe.end() == 0
    assert list(dict.fromkeys(collector.accepted)) == [f"line {n}" for n in range(100)]


def test_row_54_what_a_killed_pipe_had_read_arrives_with_the_next(
    tmp_path: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(503)
    with Pipe(tmp_path, collector) as pipe:
        pipe.write(*map(said, range(100)))
        until(lambda: "line 99" in pipe.spooled(), "the spool to have it")
        until(pipe.agent, "the agent to start")
    collector.behave = lambda lines: Answer()
    with Pipe(tmp_path, collector) as pipe:
        pipe.write(said(100))
        until(lambda: "line 100" in collector.accepted, "the next line")
        assert pipe.end() == 0
    assert sorted(set(collector.accepted)) == sorted(f"line {n}" for n in range(101))


def test_row_53_sigterm_ends_it_with_what_was_still_in_the_pipe(
    tmp_path: Path, collector: FakeCollector
) -> None:
    with Pipe(tmp_path, collector) as pipe:
        pipe.write(said(0))
        until(lambda: "line 0" in pipe.spooled(), "it to read")
        pipe.write(said(1))
        pipe.process.send_signal(signal.SIGTERM)
        assert pipe.process.wait(60) == 0
    assert collector.accepted == ["line 0", "line 1"]


def test_ctrl_c_is_the_writer_s_alone(tmp_path: Path, collector: FakeCollector) -> None:
    with Pipe(tmp_path, collector) as pipe:
        pipe.write(said(0))
        until(lambda: "line 0" in pipe.spooled(), "it to read")
        pipe.process.send_signal(signal.SIGINT)
        pipe.write(said(1))
        assert pipe.end() == 0
    assert collector.accepted == ["line 0", "line 1"]
