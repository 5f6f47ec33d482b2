"""A stall as a person sees it: in the report of a running agent, while it lasts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from running import TICKBIRD, environment, until
from tickbird.cli.client import Client
from tickbird.errors import TickbirdError

pytestmark = pytest.mark.e2e

NODE = """
function resizeImage() {
  const end = Date.now() + 700;
  while (Date.now() < end);
}
setTimeout(() => setInterval(() => { console.log(Date.now() / 1000); resizeImage(); }, 2000), 500);
"""
PYTHON = """
import asyncio, time
def resizeImage():
    time.sleep(0.7)
async def main():
    while True:
        await asyncio.sleep(1.3)
        print(time.time(), flush=True)
        resizeImage()
asyncio.run(main())
"""
STALLS = 5


def stalls_of(client: Client) -> list[dict[str, Any]]:
    entries = client.report(60.0)["targets"]
    return [stall for entry in entries if entry["loop"] for stall in entry["loop"]["stalls"]]


def watch(client: Client, seconds: float) -> dict[float, float]:
    """When each ongoing stall was first seen with its culprit, by its start (Unix seconds)."""
    seen: dict[float, float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(seen) <= STALLS:
        for stall in stalls_of(client):
            if stall["ongoing"] and stall["culprit"]:
                assert stall["culprit"]["function"] == "resizeImage"
                seen.setdefault(round(stall["start"], 2), time.time())
        time.sleep(0.01)
    return seen


@pytest.mark.parametrize("runtime", [pytest.param("node", marks=pytest.mark.node), "python"])
def test_a_stall_is_in_the_report_with_its_culprit_while_it_lasts(
    tmp_path: Path, runtime: str
) -> None:
    program = shutil.which("node" if runtime == "node" else "python3")
    if program is None:
        pytest.skip(f"needs {runtime} on PATH")
    source = tmp_path / "service"
    source.write_text(NODE if runtime == "node" else PYTHON)
    config = tmp_path / "t.yaml"
    listen = "api: {listen: 127.0.0.1:0}\nintake: {otlp_http: 127.0.0.1:0}\n"
    config.write_text(f"state_dir: {tmp_path}/state\n{listen}")
    words = [*TICKBIRD, "exec", "-c", str(config), "--name", "svc", "--", program, str(source)]
    run = subprocess.Popen(words, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    try:
        client = Client.of_socket(tmp_path / "svc.sock")

        def answers() -> bool:
            try:
                return bool(stalls_of(client))
            except TickbirdError:
                return False

        until(answers, "the first stall in the report")
        seen = watch(client, 2.0 * (STALLS + 1))
        final = stalls_of(client)
    finally:
        run.send_signal(signal.SIGTERM)
        out, _ = run.communicate(timeout=30)
    starts = [float(line) for line in out.split()]
    late = [at - min(starts, key=lambda start: abs(start - known)) for known, at in seen.items()]
    assert len(late) >= STALLS
    # The first may have been going on when the watching began.
    assert sum(one <= 0.3 for one in late) >= len(late) - 1, late
    ended = [stall for stall in final if not stall["ongoing"]]
    assert ended
    for stall in ended:
        assert stall["duration_seconds"] == pytest.approx(0.7, abs=0.1)
        assert stall["culprit"]["function"] == "resizeImage"
        assert stall["cause"] in ({"cpu", "starved"} if runtime == "node" else {"blocking call"})
