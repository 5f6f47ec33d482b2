"""Commands that start processes, ended by others: nothing of theirs goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from running import TICKBIRD, environment, service, until

pytestmark = pytest.mark.e2e

MARK = "TICKBIRD_TEST_MARK"


def marked(mark: str) -> list[int]:
    """Every process that inherited the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@contextmanager
def command(runtime: Path, mark: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    folders = {"TICKBIRD_STATE_DIR": mark, "TMPDIR": mark, MARK: mark}
    process = subprocess.Popen(
        [*TICKBIRD, *arguments],
        env=environment(runtime) | folders,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="a kernel promise of Linux")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_of_a_demo_outlives_it(
    runtime: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with command(runtime, str(tmp_path), "demo", "--for", "60s") as demo:
        until(lambda: list(runtime.glob("demo-*.sock")), "the agent's socket")
        assert len(marked(str(tmp_path))) >= 3  # the demo, a service, the agent
        demo.send_signal(number)
        code = demo.wait(30)
        until(lambda: not marked(str(tmp_path)), "the end of services, load and agent")
    assert code == (-9 if number == signal.SIGKILL else 128 + number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_attach_that_is_told_to_end_takes_its_agent_and_its_folder_along(
    runtime: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with (
        service() as process,
        command(runtime, str(tmp_path), "attach", str(process.pid), "--for", "60s") as attach,
    ):
        until(lambda: list(runtime.glob("attach-*.sock")), "the agent's socket")
        assert list(tmp_path.glob("tickbird-attach-*"))
        attach.send_signal(number)
        code = attach.wait(30)
        assert marked(str(tmp_path)) == []
        assert list(tmp_path.glob("tickbird-attach-*")) == []
    assert code == 128 + number
