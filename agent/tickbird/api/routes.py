"""Which path answers what, and to whom. Knows no socket: a request goes in, an answer comes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..config.units import duration
from .tokens import cookie_of, same
from .view import AgentView

STATIC = Path(__file__).with_name("static")
_STATIC_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
SINCE = 900.0

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Sent with every answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """``trusted``: it came over the Unix socket, which only the owner of the agent can open."""

    method: str
    target: str
    headers: Mapping[str, str]
    trusted: bool = False

    @property
    def path(self) -> str:
        """Raises ``RefusedError`` when the target is no address."""
        try:
            return urlsplit(self.target).path
        except ValueError:
            raise RefusedError(400, "not an address that can be read") from None

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request that gets an error for an answer; the message is for its sender."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


Handler = Callable[[AgentView, Request], Answer]


class Routes:
    """``hosts``: names that a browser may have called us by, since a page elsewhere can point its
    own name at this machine. ``token`` None: the read-only JSON is open to everyone."""

    def __init__(
        self,
        view: AgentView,
        token: str | None,
        hosts: frozenset[str],
        login: Callable[[], str],
        cookie: str,
    ) -> None:
        self._view = view
        self._token = token
        self._hosts = hosts
        self._login = login
        self._cookie = cookie

    def answer(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except RefusedError as refusal:
            body = json.dumps({"error": str(refusal)}).encode()
            return Answer(refusal.status, body, headers=refusal.headers)

    def _answer(self, request: Request) -> Answer:
        if not request.trusted:
            self._check_host(request)
        if request.method not in ("GET", "HEAD"):
            raise RefusedError(405, "this API only reads", {"Allow": "GET, HEAD"})
        path = request.path
        if path == "/api/v1/login" and request.trusted:
            return as_json({"url": self._login()})
        if (handler := OPEN.get(path)) is not None:
            return handler(self._view, request)
        if (handler := GUARDED.get(path)) is None:
            raise RefusedError(404, f"there is nothing at {path}")
        if (given := request.query.get("token")) is not None and self._token is not None:
            return self._log_in(request, given)
        self._check_token(request)
        return handler(self._view, request)

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("Host", "")
        if not host:
            raise RefusedError(400, "the request names no host")
        if _without_port(host) not in self._hosts:
            raise RefusedError(421, f"this agent is not called {host[:100]!r}")

    def _check_token(self, request: Request) -> None:
        if request.trusted or self._token is None:
            return
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and same(given.strip(), self._token):
            return
        if same(_cookie(request.headers.get("Cookie", ""), self._cookie), cookie_of(self._token)):
            return
        raise RefusedError(
            401,
            "a token is needed: `tickbird page` prints the address with it",
            {"WWW-Authenticate": "Bearer"},
        )

    def _log_in(self, request: Request, given: str) -> Answer:
        """Trade the token in the address for a cookie, so that it stays in no history."""
        if self._token is None or not same(given, self._token):
            raise RefusedError(401, "this is not the token: `tickbird page` prints it")
        rest = {name: value for name, value in request.query.items() if name != "token"}
        where = request.path + (f"?{urlencode(rest)}" if rest else "")
        # Not Strict: the browser comes here from a file of ours (cli/page.py). All answers only
        # read, and a page elsewhere cannot read them.
        cookie = f"{self._cookie}={cookie_of(self._token)}; HttpOnly; SameSite=Lax; Path=/"
        return Answer(302, headers={"Location": where, "Set-Cookie": cookie})


def as_json(document: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document, allow_nan=False).encode())


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).strip("[]").lower()


def _cookie(header: str, name: str) -> str:
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _since(request: Request) -> float:
    text = request.query.get("since")
    if text is None:
        return SINCE
    try:
        return duration(text)
    except ValueError as error:
        raise RefusedError(400, f"since: {error}") from error


def _report(view: AgentView, request: Request) -> Answer:
    return as_json(view.report(_since(request), request.query.get("target")))


def _healthz(view: AgentView, request: Request) -> Answer:  # noqa: ARG001 - as every handler
    return as_json({"status": "ok", "instance": view.instance})


def _readyz(view: AgentView, request: Request) -> Answer:  # noqa: ARG001 - as every handler
    ready, why = view.ready()
    return as_json({"ready": ready, "detail": why}, 200 if ready else 503)


@cache
def _static(name: str) -> Answer:
    file = STATIC / name
    return Answer(200, file.read_bytes(), f"{_STATIC_TYPES[file.suffix]}; charset=utf-8")


OPEN: Mapping[str, Handler] = {
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/metrics": lambda view, _: Answer(200, view.metrics(False), EXPOSITION),
    "/metrics/self": lambda view, _: Answer(200, view.metrics(True), EXPOSITION),
    "/static/page.js": lambda *_: _static("page.js"),
    "/static/page.css": lambda *_: _static("page.css"),
}
"""Paths that need no token: they show no log line, no stack, no secret."""

GUARDED: Mapping[str, Handler] = {
    "/": lambda *_: _static("page.html"),
    "/api/v1/status": lambda view, _: as_json(view.status()),
    "/api/v1/targets": _report,
    "/api/v1/health": _report,
}
