"""What leaves the log path, whichever way, was redacted: what is sent, recorded and saved."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tickbird import config
from tickbird.clock import Deadline, SystemClock
from tickbird.ledger import Ledger, Totals
from tickbird.model import Target
from tickbird.pipeline import LogPipeline
from tickbird.recorder import Recorder
from tickbird.sinks.otlp.delivery import Lane
from tickbird.state import State

CLOCK = SystemClock()
SHOP = Target("shop", "shop", None, "node", attributes={"service.name": "shop"})
SECRETS = ("hunter2", "AKIAIOSFODNN7EXAMPLE", "MIIEpAIBAAKC", "4111111111111111")
LOG = r"""{"level":50,"msg":"login failed","password":"hunter2","card":4111111111111111}
{"level":50,"msg":"p\u0061ssword=hunter2","err":{"stack":"AKIAIOSFODNN7EXAMPLE\n    at f (a.js)"}}
level=error msg="db down" url=postgres://bob:hunter2@db/shop key=AKIAIOSFODNN7EXAMPLE
2026-01-02 03:04:05 ERROR cannot use
-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCMIIEpAIBAAKCMIIEpAIBAAKCMIIEpAIBAAKCMIIEpAIBAAKCMIIE
-----END RSA PRIVATE KEY-----
TypeError: token=hunter2
    at g (/srv/app.js:3:4)
poison password=hunter2
{"level":30,"msg":"cut","authorization":"Basic hunter2
"""


class Sink(HTTPServer):
    """Takes every request and keeps its body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        packed = self.headers.get("content-encoding") == "gzip"
        assert isinstance(self.server, Sink)
        self.server.bodies.append(gzip.decompress(body) if packed else body)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Life:
    def __init__(self, folder: Path, sink: Sink) -> None:
        endpoint = f"http://127.0.0.1:{sink.server_port}"
        settings = config.parse(f"state_dir: {folder}/state\ncollector: {{endpoint: '{endpoint}'}}")
        assert settings.collector is not None
        self.ledger = Ledger()
        self.recorder = Recorder(900, 8 << 20)
        self.state = State(settings.folder)
        self.lane = Lane(settings.collector, "logs", CLOCK, 1 << 20)
        self.pipeline = LogPipeline(
            settings, CLOCK, self.state, self.ledger, self.lane, self.recorder
        )
        self.stop = threading.Event()
        threading.Thread(target=self.lane.run, args=(self.stop,), daemon=True).start()

    def read(self, log: Path) -> Totals:
        self.recorder.know(SHOP, CLOCK.time())
        self.pipeline.watch(SHOP, [str(log)])
        self.pipeline.drain(Deadline(CLOCK, 30))
        self.stop.set()
        self.lane.drain(Deadline(CLOCK, 5))
        self.pipeline.close()
        self.state.close()
        return self.ledger.totals("shop")


def left(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_row_75_no_secret_is_sent_recorded_or_kept(tmp_path: Path, sink: Sink) -> None:
    log = tmp_path / "app.log"
    log.write_text(LOG)
    life = Life(tmp_path, sink)
    totals = life.read(log)
    assert totals.delivered == totals.read > 5
    sent = b"".join(sink.bodies).decode(errors="replace")
    assert "login failed" in sent
    assert not left(sent)
    recorded = repr([view.__dict__ if hasattr(view, "__dict__") else view
                     for view in life.recorder.since(900, CLOCK.time())])  # fmt: skip
    assert "login failed" in recorded
    assert not left(recorded)
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if left(path.read_bytes().decode(errors="replace"))]


def test_row_76_a_line_that_cannot_be_looked_at_is_dropped_and_counted(
    tmp_path: Path, sink: Sink
) -> None:
    log = tmp_path / "app.log"
    log.write_text(LOG)
    life = Life(tmp_path, sink)
    redactor = life.pipeline._batcher._stages._redactor
    search = redactor._search

    def failing(chunk: bytes, position: int) -> object:
        if b"poison" in chunk:
            raise MemoryError
        return search(chunk, position)

    redactor._search = failing
    totals = life.read(log)
    assert totals.dropped == {"redaction_failed": 1}
    assert totals.delivered == totals.read - 1
    sent = b"".join(sink.bodies).decode(errors="replace")
    assert "poison" not in sent
    assert not left(sent)
