"""The local API, asked over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tickbird import config
from tickbird.api import Api
from tickbird.api import server as server_module
from tickbird.errors import CannotCreate


class Facts:
    """What an agent would say: constant data behind the real server."""

    instance = "test"

    def __init__(self) -> None:
        self.is_ready = True
        self.asked: list[tuple[float, str | None]] = []

    def status(self) -> dict[str, Any]:
        return {"instance": "test"}

    def report(self, since: float, target: str | None) -> dict[str, Any]:
        self.asked.append((since, target))
        if target == "broken":
            raise RuntimeError("a defect")
        return {"schema": 1, "targets": []}

    def metrics(self, own_only: bool) -> bytes:
        return b"up 1\n" if own_only else b"up 1\nmore 2\n"

    def ready(self) -> tuple[bool, str]:
        return self.is_ready, "no lock"


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(folder))
    return folder


def opened(facts: Facts, folder: Path, more: str = "") -> Api:
    text = f"instance: test\napi: {{listen: '127.0.0.1:0'{more}}}\n"
    return Api(config.parse(text, "test"), folder, facts)


@pytest.fixture
def api(facts: Facts, runtime: Path, tmp_path: Path) -> Iterator[Api]:
    with_threads = opened(facts, tmp_path)
    threads = [threading.Thread(target=body, daemon=True) for _, body in with_threads.servers()]
    for thread in threads:
        thread.start()
    yield with_threads
    with_threads.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def address(api: Api) -> tuple[str, int]:
    host, port = api.url.removeprefix("http://").split(":")
    return host, int(port)


def ask(
    api: Api, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection(*address(api), timeout=5)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def bearer(tmp_path: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {(tmp_path / 'token').read_text().strip()}"}


def raw(api: Api, text: bytes) -> bytes:
    """Send bytes as they are; all that comes back until the other side closes."""
    with socket.create_connection(address(api), timeout=10) as sock:
        sock.sendall(text)
        found = b""
        while part := sock.recv(65_536):
            found += part
        return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/healthz", b'{"status": "ok", "instance": "test"}'),
        ("/metrics", b"up 1\nmore 2\n"),
        ("/metrics/self", b"up 1\n"),
    ],
)
def test_what_monitoring_asks_needs_no_token(api: Api, path: str, body: bytes) -> None:
    assert ask(api, path)[::2] == (200, body)


def test_an_agent_that_is_not_ready_says_why(api: Api, facts: Facts) -> None:
    assert ask(api, "/readyz")[0] == 200
    facts.is_ready = False
    status, _, body = ask(api, "/readyz")
    assert (status, json.loads(body)["detail"]) == (503, "no lock")


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/targets", "/api/v1/health"])
def test_data_needs_the_token(api: Api, tmp_path: Path, path: str) -> None:
    assert ask(api, path)[0] == 401
    assert ask(api, path, {"Authorization": "Bearer wrong"})[0] == 401
    assert ask(api, path, {"Cookie": f"tickbird-{address(api)[1]}=wrong"})[0] == 401
    assert ask(api, path, bearer(tmp_path))[0] == 200


def test_the_token_in_the_address_is_traded_for_a_cookie(api: Api) -> None:
    path = api.login_url().removeprefix(api.url) + "&since=5m"
    status, headers, _ = ask(api, path)
    assert (status, headers["Location"]) == (302, "/?since=5m")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax"} <= set(attributes)
    assert api.login_url().split("token=")[1] not in cookie
    status, headers, body = ask(api, "/", {"Cookie": f"other=1; {cookie}"})
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Tickbird" in body


def test_a_wrong_token_in_the_address_gives_no_cookie(api: Api) -> None:
    status, headers, _ = ask(api, "/?token=wrong")
    assert (status, headers["Set-Cookie"]) == (401, None)


def test_the_token_file_is_for_its_owner_alone_and_is_kept(
    api: Api, facts: Facts, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    api.close()
    again = opened(facts, tmp_path)
    again.close()
    assert again.login_url().endswith(file.read_text().strip())


def test_a_configured_none_opens_the_json(facts: Facts, runtime: Path, tmp_path: Path) -> None:
    api = opened(facts, tmp_path, ", token_file: none")
    thread = threading.Thread(target=next(api.servers())[1], daemon=True)
    thread.start()
    assert ask(api, "/api/v1/status")[0] == 200
    api.close()
    assert not (tmp_path / "token").exists()


def test_a_name_that_is_not_ours_is_refused_so_that_dns_rebinding_gains_nothing(
    api: Api, tmp_path: Path
) -> None:
    for path in ("/metrics", "/api/v1/status"):
        assert ask(api, path, {"Host": "evil.example", **bearer(tmp_path)})[0] == 421
    for host in ("localhost", "LOCALHOST:8425", "127.0.0.1:1", "[::1]:8425"):
        assert ask(api, "/metrics", {"Host": host})[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]"])
def test_every_loopback_address_is_guarded_alike(
    facts: Facts, runtime: Path, tmp_path: Path, host: str
) -> None:
    text = f"instance: test\napi: {{listen: '{host}:0'}}\n"
    api = Api(config.parse(text, "test"), tmp_path, facts)
    threading.Thread(target=next(api.servers())[1], daemon=True).start()
    netloc = api.url.removeprefix("http://")
    connection = http.client.HTTPConnection(netloc, timeout=10)
    for name, status in ((netloc, 200), ("evil.example", 421)):
        connection.request("GET", "/metrics", headers={"Host": name})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()
    api.close()


def test_an_address_that_nobody_can_read_is_refused(api: Api) -> None:
    asked = b"GET http://[ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(api, asked).startswith(b"HTTP/1.1 400 ")


def test_the_window_and_the_target_are_passed_on(api: Api, facts: Facts, tmp_path: Path) -> None:
    ask(api, "/api/v1/health?since=90s&target=shop%2F2", bearer(tmp_path))
    ask(api, "/api/v1/health", bearer(tmp_path))
    assert facts.asked == [(90.0, "shop/2"), (900.0, None)]
    assert ask(api, "/api/v1/health?since=soon", bearer(tmp_path))[0] == 400


def test_what_is_not_there_and_what_would_act_get_json_errors(api: Api) -> None:
    status, _, body = ask(api, "/nothing")
    assert (status, list(json.loads(body))) == (404, ["error"])
    for method in ("POST", "DELETE", "BREW"):
        status, headers, body = ask(api, "/metrics", method=method)
        assert (status, headers["Allow"], list(json.loads(body))) == (405, "GET, HEAD", ["error"])


def test_head_answers_with_the_length_and_no_body(api: Api) -> None:
    status, headers, body = ask(api, "/metrics", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "12", b"")


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
def test_every_answer_bears_the_security_headers(api: Api, tmp_path: Path, path: str) -> None:
    headers = ask(api, path, bearer(tmp_path))[1]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers


def test_a_defect_is_an_answer_that_tells_nothing_of_it_and_a_line_in_the_log(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, body = ask(api, "/api/v1/health?target=broken", bearer(tmp_path))
    assert status == 500
    assert b"a defect" not in body
    assert "a defect" in capsys.readouterr().err


def test_one_connection_serves_several_requests(api: Api) -> None:
    connection = http.client.HTTPConnection(*address(api), timeout=5)
    for _ in range(3):
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == b"up 1\nmore 2\n"
    connection.close()


def test_the_socket_is_for_its_owner_alone_and_asks_for_no_token(api: Api) -> None:
    assert stat.S_IMODE(api.path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(api.path))
        sock.sendall(b"GET /api/v1/login HTTP/1.0\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert json.loads(answer.split(b"\r\n\r\n")[1]) == {"url": api.login_url()}
    assert ask(api, "/api/v1/login")[0] == 404


def test_a_stale_socket_is_replaced_and_a_living_agent_is_not(
    api: Api, facts: Facts, tmp_path: Path
) -> None:
    with pytest.raises(CannotCreate, match="another agent"):
        opened(facts, tmp_path)
    api.close()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(api.path))
    stale.close()
    opened(facts, tmp_path).close()
    assert not api.path.exists()


def test_a_client_that_drips_bytes_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.3)
    began = time.monotonic()
    with socket.create_connection(address(api), timeout=10) as sock:
        try:
            while time.monotonic() - began < 10:
                sock.sendall(b"X")
                time.sleep(0.05)
        except OSError:
            pass
    assert time.monotonic() - began < 5


def test_a_head_without_end_is_refused(api: Api) -> None:
    answer = raw(api, b"GET / HTTP/1.1\r\nA: ".ljust(server_module.HEAD_BYTES, b"b"))
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_gets_an_error_and_the_server_lives(api: Api) -> None:
    raw(api, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    raw(api, os.urandom(200) + b"\r\n\r\n")
    assert b" 400 " in raw(api, b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert ask(api, "/healthz")[0] == 200


def test_many_idle_connections_cost_no_more_than_the_cap_and_pass(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    idle = [socket.create_connection(address(api), timeout=5) for _ in range(200)]
    assert threading.active_count() - before <= server_module.CONNECTIONS
    for sock in idle:
        sock.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ask(api, "/healthz")[0] == 200
