"""logfmt: ``key=value key="quoted value"``, as of logrus, go-kit, Heroku and structlog."""

from __future__ import annotations

import re
from typing import Any

# Possessive throughout, so nothing is tried twice: linear in the line, whatever it is.
_PAIR = re.compile(r'([A-Za-z_@][\w.@/-]{0,127}+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+))(?:\s++|$)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def parse(text: str, least: int = 2) -> dict[str, Any] | None:
    """The pairs of ``text``; None unless all of it is pairs, and at least ``least``: one pair
    alone may stand in any text."""
    fields: dict[str, Any] = {}
    position = len(text) - len(text.lstrip())
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None:
            return None
        position = found.end()
        key, quoted, bare = found.groups()
        fields[key] = bare if quoted is None else _unescaped(quoted)
    return fields if len(fields) >= least else None


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text)
