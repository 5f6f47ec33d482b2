"""What the agent's process must never hold: each of these would cost more than all of Tickbird."""

import json
import os
import subprocess
import sys
from pathlib import Path

FORBIDDEN = (
    "asyncio",
    "click",
    "google.protobuf.json_format",
    "grpc",
    "httpx",
    "opentelemetry.sdk",
    "prometheus_client",
    "psutil",
    "pydantic",
    "requests",
    "rich",
    "structlog",
    "typer",
    "urllib3",
)

DRIVER = """
import json, os, signal, sys, threading, time
from tickbird.__main__ import main
from tickbird.cli.client import wait_for

def ask():
    try:
        client = wait_for("imports", 30)
        while not (seen := client.report(60)["targets"]) or not seen[0]["memory"]["rss_bytes"]:
            time.sleep(0.05)
        client.get("/api/v1/status")
        print(json.dumps(sorted(sys.modules)), flush=True)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=ask, daemon=True).start()
sys.argv = ["tickbird", "run", "-c", sys.argv[1]]
main()
"""


def test_an_agent_that_samples_and_answers_imports_nothing_heavy(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text('{"level": "error", "msg": "one line"}\n')
    config = tmp_path / "tickbird.yaml"
    config.write_text(
        "instance: imports\n"
        "api: {listen: '127.0.0.1:0'}\n"
        "intake: {otlp_http: '127.0.0.1:0'}\n"
        "collector: {endpoint: 'http://127.0.0.1:9'}\n"
        f"targets: [{{name: self, match: {{pid: {os.getpid()}}}, logs: ['{log}']}}]\n"
    )
    places = {"TICKBIRD_STATE_DIR": str(tmp_path / "state"), "TICKBIRD_RUNTIME_DIR": str(tmp_path)}
    agent = subprocess.run(
        [sys.executable, "-c", DRIVER, str(config)],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert agent.stdout, agent.stderr
    loaded = set(json.loads(agent.stdout))
    assert "tickbird.parts" in loaded
    if sys.platform != "linux":
        loaded.discard("psutil")
    assert loaded.isdisjoint(FORBIDDEN)


def test_before_the_first_sample_nothing_that_delivers_or_answers_is_imported() -> None:
    code = "import sys, tickbird.cli.lean, tickbird.sources; tickbird.sources.source_types(); "
    code += "print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    later = {"google.protobuf", "http.server", "http.client", "ssl", "tickbird.parts"}
    assert later.isdisjoint(said.stdout.split())
