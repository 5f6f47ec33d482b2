from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tickbird.errors import Unreachable
from tickbird.stack import ask


class _Backend(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/object": (200, b'{"status": "success"}'),
            "/list": (200, b"[1]"),
            "/page": (200, b"<html>"),
            "/empty-ring": (500, b"empty ring\n"),
        }[self.path.partition("?")[0]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Backend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_object_is_read(url: str) -> None:
    assert ask.document(f"{url}/object", {"query": "vector(1)"}) == {"status": "success"}


@pytest.mark.parametrize("path", ["/list", "/page"])
def test_something_else_than_an_object_is_no_answer(url: str, path: str) -> None:
    with pytest.raises(Unreachable, match="not with a JSON object"):
        ask.document(url + path)


def test_a_refusal_is_told_with_its_reason(url: str) -> None:
    with pytest.raises(Unreachable, match=r"answers 500: empty ring"):
        ask.document(f"{url}/empty-ring")


def test_a_closed_port_is_told_with_its_address() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        port = held.getsockname()[1]
        with pytest.raises(Unreachable, match=f":{port} does not answer"):
            ask.text(f"http://127.0.0.1:{port}/")


def test_one_that_takes_the_request_and_stays_silent_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match="did not answer in"):
            ask.text(f"http://127.0.0.1:{port}/", timeout=0.3)


def test_no_proxy_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask.document(f"{url}/object") == {"status": "success"}
