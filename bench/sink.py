"""What every log shipper of the benches sends to: counts records and forgets them.

``python -m bench.sink`` prints its HTTP and its TCP port. HTTP takes OTLP logs (protobuf or JSON)
and Scalyr's ``addEvents``; TCP takes lines. ``GET /`` answers with the number of records so far.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class Count:
    def __init__(self) -> None:
        self.records = 0
        self._lock = threading.Lock()

    def add(self, records: int) -> None:
        with self._lock:
            self.records += records


COUNT = Count()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(str(COUNT.records).encode(), "text/plain")

    def do_POST(self) -> None:
        body = self._body()
        if self.path != "/v1/logs":  # Scalyr's
            COUNT.add(body.count(b"message:`s"))  # its own superset of JSON
            self._answer(b'{"status": "success"}', "application/json")
            return
        kind = self.headers.get("content-type", "")
        COUNT.add(_json_records(body) if "json" in kind else _protobuf_records(body))
        self._answer(b"{}" if "json" in kind else b"", kind)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        encoding = self.headers.get("content-encoding", "")
        if encoding == "gzip":
            return gzip.decompress(body)
        return zlib.decompress(body) if encoding == "deflate" else body

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Lines(StreamRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 20):
            COUNT.add(data.count(b"\n"))


def _protobuf_records(body: bytes) -> int:
    request = ExportLogsServiceRequest.FromString(body)
    return sum(len(s.log_records) for r in request.resource_logs for s in r.scope_logs)


def _json_records(body: bytes) -> int:
    request = json.loads(body)
    return sum(len(s["logRecords"]) for r in request["resourceLogs"] for s in r["scopeLogs"])


def main() -> None:
    ThreadingTCPServer.allow_reuse_address = True
    ThreadingTCPServer.daemon_threads = True
    http = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    tcp = ThreadingTCPServer(("127.0.0.1", 0), Lines)
    print(http.server_port, tcp.server_address[1], flush=True)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    http.serve_forever()


if __name__ == "__main__":
    main()
