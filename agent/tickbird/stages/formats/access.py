"""Access logs of nginx and Apache: the Common Log Format, ``combined``, and what people append.

Attribute names are those of OpenTelemetry's HTTP conventions.
"""

from __future__ import annotations

import re
from typing import Any

from . import logfmt

_QUOTED = r'"((?:[^"\\]|\\.)*+)"'
_LINE = re.compile(
    r"(?:([^\s:]{1,255}+):\d{1,5}\ )?(\S{1,255}+)\ \S{1,64}+\ (\S{1,255}+)\ \[([^\]]{20,40}+)\]"
    rf"\ {_QUOTED}\ (\d{{3}})\ (\d{{1,18}}+|-)(?:\ {_QUOTED}\ {_QUOTED})?(.*)",
    re.DOTALL,
)
_REQUEST = re.compile(r"([A-Z]{1,32}+)\ (\S++)(?:\ HTTP/(\d(?:\.\d)?))?")


def parse(text: str) -> dict[str, Any] | None:
    """The fields of an access line, itself as the message; None when it is none. The level is the
    status's: error for 5xx, warn for 4xx, else info."""
    if ' "' not in text or "[" not in text:
        return None
    found = _LINE.match(text)
    if found is None:
        return None
    server, client, user, when, request, status, size, referer, agent, rest = found.groups()
    fields: dict[str, Any] = {
        "message": text,
        "time": when,
        "level": "error" if status >= "500" else "warn" if status >= "400" else "info",
        "client.address": client,
        "http.response.status_code": int(status),
    }
    if size != "-":
        fields["http.response.body.size"] = int(size)
    for key, value in (
        ("server.address", server),
        ("user.name", user),
        ("http.request.header.referer", referer),
        ("user_agent.original", agent),
    ):
        if value and value != "-":
            fields[key] = value
    fields.update(_of_request(request))
    appended = logfmt.parse(rest, least=1) if rest else None
    return fields if appended is None else appended | fields


def _of_request(request: str) -> dict[str, Any]:
    """Nothing for what is no request, such as TLS bytes sent to a plain port."""
    found = _REQUEST.fullmatch(request)
    if found is None:
        return {}
    method, target, version = found.groups()
    path, question, query = target.partition("?")
    fields = {"http.request.method": method, "url.path": path}
    if question:
        fields["url.query"] = query
    if version:
        fields["network.protocol.version"] = version
    return fields
