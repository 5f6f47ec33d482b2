"""Finds a running agent and asks it; every command that shows data goes through here."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ..errors import CannotCreate, Unreachable, UsageError
from ..net import answers
from ..paths import runtime_home

START_ONE = "start one: tickbird run, or tickbird exec -- COMMAND, or tickbird attach PID"
TIMEOUT = 10.0


class Client:
    """Asks one agent, over its Unix socket or over HTTP with its token."""

    def __init__(self, name: str, path: Path | None, url: str | None, token: str | None) -> None:
        self.name = name
        self._path = path
        self._url = url
        self._token = token

    @classmethod
    def of_socket(cls, path: Path) -> Client:
        return cls(path.stem, path, None, None)

    @classmethod
    def of_url(cls, url: str) -> Client:
        """``http://host:port``; the token comes from ``?token=`` or from TICKBIRD_TOKEN."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"not the address of an agent: {url}", "like http://127.0.0.1:8425")
        token = parse_qs(parts.query).get("token", [os.environ.get("TICKBIRD_TOKEN")])[0]
        return cls(f"{parts.scheme}://{parts.netloc}", None, parts.netloc, token)

    def get(self, path: str, **query: str | None) -> dict[str, Any]:
        """The JSON at ``path``. Raises ``Unreachable`` when the agent does not answer, and
        ``UsageError`` with its own words when it refuses."""
        given = {name: value for name, value in query.items() if value is not None}
        connection = self._connection()
        try:
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            where = f"{path}?{urlencode(given)}" if given else path
            connection.request("GET", where, headers=headers)
            answer = connection.getresponse()
            return _document(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"agent {self.name} does not answer: {error}", START_ONE) from error
        finally:
            connection.close()

    def report(self, since: float, target: str | None = None) -> dict[str, Any]:
        """The document of docs/json.md over the last ``since`` seconds."""
        return self.get("/api/v1/health", since=f"{since:.3f}s", target=target)

    def _connection(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _UnixConnection(self._path)
        return http.client.HTTPConnection(self._url or "", timeout=TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _document(status: int, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Unreachable(f"what answered is no tickbird agent (HTTP {status})") from error
    if status == 200 and isinstance(document, Mapping):
        return dict(document)
    said = document.get("error") if isinstance(document, Mapping) else None
    if status in (401, 403):
        raise UsageError(
            f"the agent asks for its token: {said or status}",
            "set TICKBIRD_TOKEN, or ask over its socket with --instance",
        )
    raise (UsageError if status < 500 else Unreachable)(f"the agent says: {said or status}")


def find(instance: str | None = None, api: str | None = None) -> Client:
    """The agent to ask: the one at ``api`` (or TICKBIRD_API), the one called ``instance``, or the
    only one that runs. Raises ``Unreachable`` when there is none and ``UsageError`` when there
    are several to choose from."""
    if instance is None and (url := api or os.environ.get("TICKBIRD_API")):
        return Client.of_url(url)
    running = agents()
    if instance is not None:
        for client in running:
            if client.name == instance:
                return client
        raise Unreachable(f"no agent called {instance} is running", _others(running))
    if not running:
        raise Unreachable("no agent is running", START_ONE)
    if len(running) > 1:
        raise UsageError(f"{len(running)} agents are running", _others(running))
    return running[0]


def wait_for(instance: str, seconds: float, alive: Callable[[], bool] = lambda: True) -> Client:
    """The agent called ``instance`` as soon as it answers. Raises ``Unreachable`` when it has not
    within ``seconds``, or is not ``alive`` any more."""
    client = Client.of_socket(runtime_home() / f"{instance}.sock")
    end = time.monotonic() + seconds
    while True:
        try:
            client.get("/healthz")
        except Unreachable:
            if time.monotonic() >= end or not alive():
                raise
            time.sleep(0.05)
        else:
            return client


def agents() -> list[Client]:
    """Every agent of this user that answers on its socket; a socket left behind is passed over."""
    try:
        sockets = sorted(runtime_home().glob("*.sock"))
    except CannotCreate:
        return []
    return [Client.of_socket(path) for path in sockets if answers(path)]


def _others(running: list[Client]) -> str:
    if not running:
        return START_ONE
    return "choose one: " + ", ".join(f"--instance {client.name}" for client in running)
