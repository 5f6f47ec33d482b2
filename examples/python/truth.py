"""What really happened, written beside: the measure that others' reports are held to."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

KEPT_DURATIONS = 10_000
INTERVAL = 0.5


class Truth:
    def __init__(self, path: Path | None, seed: int) -> None:
        self._path = path
        self._seed = seed
        self.port: int | None = None
        self.drawn: dict[str, Any] = {}
        self.log_lines = 0
        self.held_bytes = 0
        self._blocks: list[dict[str, float]] = []
        self._routes: dict[str, dict[str, Any]] = {}

    async def keep(self) -> None:
        """Write now, then again and again: off the loop, since a slow disk would block it, and
        that would be in no truth file."""
        self.write()
        while True:
            await asyncio.sleep(INTERVAL)
            await asyncio.to_thread(self._put, self._text())

    def blocked(self, start: float, duration: float, turn: float) -> None:
        """A block of the loop, and how long the turn took that it was a part of; seconds."""
        self._blocks.append({"start": start, "duration": duration, "turn": turn})

    def served(self, key: str, status: int, seconds: float) -> None:
        """One request; ``status`` 0 when no answer was sent."""
        one = self._routes.setdefault(
            key, {"requests": 0, "errors": 0, "aborted": 0, "durations": []}
        )
        one["requests"] += 1
        one["errors"] += status >= 500
        one["aborted"] += status == 0
        if len(one["durations"]) < KEPT_DURATIONS:
            one["durations"].append(round(seconds, 6))

    def count_line(self, _logger: Any, _method: str, line: Any) -> Any:
        """structlog's last processor: one call is one line on stdout."""
        self.log_lines += 1
        return line

    def write(self) -> None:
        self._put(self._text())

    def _put(self, text: str) -> None:
        if self._path is not None:
            new = self._path.with_name(self._path.name + ".new")
            new.write_text(text)
            new.replace(self._path)

    def _text(self) -> str:
        truth = {
            "seed": self._seed,
            "runtime": "python",
            "pid": os.getpid(),
            "port": self.port,
            "drawn": self.drawn,
            "blocks": self._blocks,
            "routes": self._routes,
            "log_lines": self.log_lines,
            "heap": {
                "rate_bytes_per_second": self.drawn["leak"]["bytes_per_second"],
                "held_bytes": self.held_bytes,
            },
        }
        return json.dumps(truth)


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Measured:
    """Outermost ASGI layer: times requests by itself, so that the kit can be checked too."""

    def __init__(self, app: Callable[..., Awaitable[None]], truth: Truth) -> None:
        self._app = app
        self._truth = truth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 0, time.perf_counter()

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._truth.served(f"{scope['method']} {route}", status, time.perf_counter() - began)
