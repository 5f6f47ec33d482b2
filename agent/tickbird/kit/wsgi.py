"""WSGI middleware: correlation ID in and out, one span and one measurement per request."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .context import HEADERS
from .exchange import Exchange

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class WsgiMiddleware:
    """Wraps any WSGI application: ``application = WsgiMiddleware(application)``.

    WSGI has no word for the route's template: ``route_of`` may find it in the environ after the
    application has run (for Flask: ``lambda e: str(e["werkzeug.request"].url_rule)``); else it
    is unknown rather than the path, which would be a series per URL.
    """

    def __init__(
        self, app: Application, route_of: Callable[[Environ], str | None] | None = None
    ) -> None:
        self._app = app
        self._route_of = route_of

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        headers = {
            key[5:].replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        exchange = Exchange(
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            environ.get("wsgi.url_scheme", "http"),
            headers,
        )

        def start(status: str, theirs: list[tuple[str, str]], exc_info: Any = None) -> Any:
            exchange.status = int(status[:3])
            answer = [pair for pair in theirs if pair[0].lower() != HEADERS[0]]
            answer.append((HEADERS[0], exchange.correlation_id))
            return start_response(status, answer, exc_info)

        exchange.__enter__()
        body = _Body(exchange, lambda: self._route(environ))
        try:
            body.parts = self._app(environ, start)
        except BaseException:
            body.end(*sys.exc_info())
            raise
        return body

    def _route(self, environ: Environ) -> str | None:
        try:
            return self._route_of(environ) if self._route_of else None
        except (KeyError, AttributeError):
            return None


class _Body:
    """The response as it is sent: the exchange ends with ``close``, which the server calls."""

    def __init__(self, exchange: Exchange, route: Callable[[], str | None]) -> None:
        self.parts: Iterable[bytes] = ()
        self._exchange: Exchange | None = exchange
        self._find_route = route

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.parts
        except Exception:
            self.end(*sys.exc_info())
            raise

    def close(self) -> None:
        try:
            if hasattr(self.parts, "close"):
                self.parts.close()
        finally:
            self.end(None, None, None)

    def end(self, *failure: Any) -> None:
        if self._exchange is None:
            return
        exchange, self._exchange = self._exchange, None
        exchange.route = self._find_route()
        exchange.__exit__(*failure)
