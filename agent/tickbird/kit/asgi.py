"""ASGI middleware: correlation ID in and out, one span and one measurement per request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .context import HEADERS
from .exchange import Exchange
from .loop import watch_loop

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiMiddleware:
    """Wraps an ASGI application; with Starlette and FastAPI ``app.add_middleware`` takes it.

    The route is the template that Starlette or FastAPI leave in the scope; with other frameworks
    it is unknown rather than the path, which would be a series per URL. The first call also
    starts the loop monitor.

    Where FastAPI's own telemetry is on, spans and OpenTelemetry metrics are left to it, so that
    no request counts twice. A service that the agent starts should turn those metrics off
    (``FastAPI(telemetry={"metrics": False})``), since the agent gets them from the probe.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._watched = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._watched:
            self._watched = True
            watch_loop()
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        with Exchange(
            scope["method"],
            scope["path"],
            scope.get("scheme", "http"),
            headers,
            measured=_measured(scope),
        ) as exchange:
            try:
                await self._app(scope, receive, _answer(exchange, send))
            finally:
                exchange.route = _route(scope)


def _answer(exchange: Exchange, send: Send) -> Send:
    ours = (HEADERS[0].encode(), exchange.correlation_id.encode())

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            theirs = [pair for pair in message.get("headers", ()) if pair[0].lower() != ours[0]]
            message = {**message, "headers": [*theirs, ours]}
        await send(message)

    return answer


def _measured(scope: Scope) -> bool:
    """Whether FastAPI itself, around this middleware, measures the request."""
    settings = getattr(scope.get("app"), "_telemetry", None)
    return scope.get("fastapi.telemetry") is not None and bool(settings and settings["metrics"])


def _route(scope: Scope) -> str | None:
    route = scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    # root_path also holds where the server says that the application lives: no part of a route.
    root = scope.get("root_path", "")
    mounted: str = root.removeprefix(scope.get("app_root_path", root))
    return mounted if hasattr(route, "routes") else mounted + path
