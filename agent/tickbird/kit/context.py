"""The correlation ID of the request at hand, for everything that runs on its behalf."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar, Token

HEADERS = ("x-request-id", "x-correlation-id")
"""Request headers that may bear the ID, in order; the first is also the response header."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_current: ContextVar[str | None] = ContextVar("tickbird_correlation_id", default=None)


def correlation_id() -> str | None:
    """The ID of the request at hand; None outside of one."""
    return _current.get()


def bind(value: str) -> Token[str | None]:
    """Make ``value`` the current ID; ``release`` with the token undoes it."""
    return _current.set(value)


def release(token: Token[str | None]) -> None:
    """In another context than ``bind`` ran in, which a WSGI server may close a body in, there is
    nothing to undo."""
    with suppress(ValueError):
        _current.reset(token)


def accept(headers: Mapping[str, str]) -> str:
    """The ID that a request's headers (names in lower case) bear: its request or correlation ID,
    else its trace ID. A server is an edge, so one is made for a request that bears none; a value
    with other characters or of more than 128 is as none, since IDs end up in logs and headers."""
    for name in HEADERS:
        if _ACCEPTABLE.fullmatch(headers.get(name, "")):
            return headers[name]
    if parent := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        return parent[1]
    return uuid.uuid4().hex
