"""Plain text that begins with a time, a level or both; and stack traces without either.

Taken are the shapes of Python's logging (``basicConfig`` and the usual formats), uvicorn, gunicorn,
loguru, winston and log4js printers, pino-pretty, NestJS, nginx' error log and Node's warnings.
"""

from __future__ import annotations

import re
from typing import Any

from . import severity

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_TIME = re.compile(
    r"\s*\[?(?:(?P<date>\d{4}[-/]\d\d[-/]\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,]\d{1,9}+)?"
    r"(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)|\d\d?:\d\d:\d\d(?:[.,]\d{1,9}+)?)(?=[\]\s|,:]|$)"
)
"""At the beginning, maybe in brackets. A time of day without a date cannot be placed, but a level
may follow it."""
_BASIC = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):\S")
"""``LEVEL:logger:message`` of ``logging.basicConfig``."""
_TOKEN = re.compile(r"[^\s|\[(<]{1,64}+")
_FRAME = re.compile(r"\n[ \t|]*+(?:at \S|File \")")
_PYTHON = "Traceback (most recent call last):"
_NODE_TYPE = re.compile(r"(?:Uncaught )?([A-Za-z_$][\w$.]{0,100}+)(?: \[\w+\])?(?::|\n)")
_PYTHON_TYPE = re.compile(r"^[ |]*([A-Za-z_][\w.]{0,100}+)(?::|$)", re.MULTILINE)

FIRST = 256
"""Characters in which a time and a level are looked for."""
TOKENS = 6
"""Words after the time among which the level is."""


def parse(text: str) -> dict[str, Any] | None:
    """Time and level of a line, and the type of the exception whose trace it is; the line itself,
    whole, as the message. None when it says none of them."""
    fields: dict[str, Any] = {}
    head = text[:FIRST].partition("\n")[0]
    if "\x1b" in head:
        head = _COLOUR.sub("", head)
    when = _TIME.match(head)
    if level := _level(head, when.end() if when else 0):
        fields["level"] = level[0]
        when = when or _TIME.match(head, level[1])
    if when and when["date"]:
        fields["time"] = when["date"]
    if "\n" in text and _FRAME.search(text):
        fields.setdefault("level", "error")
        if kind := _exception(text):
            fields["exception.type"] = kind
    if fields:
        fields["message"] = text
    return fields or None


def _level(head: str, after: int) -> tuple[str, int] | None:
    """A level that is the first word, or stands soon after the time: as a word in capitals, in
    brackets, or before a colon, since any text may speak of an error. With it, where it ends."""
    if head.startswith("(node:") and "Warning: " in head:
        return "warn", 0
    tokens = TOKENS if after or head.startswith("[Nest]") else 1
    for found in _TOKEN.finditer(head, after):
        token = found[0]
        if basic := _BASIC.match(token):
            return basic[1], found.end()
        word = token.rstrip("])>:,-")
        if word.lower() in severity.NAMES:
            before = head[found.start() - 1 : found.start()]
            if word.isupper() or token.endswith(":") or (token != word and before in "[(<"):
                return word, found.end()
        tokens -= bool(word)
        if not tokens:
            return None
    return None


def _exception(text: str) -> str | None:
    if _PYTHON in text:
        # The last trace of a chain is the one that was raised in the end.
        tail = text[text.rfind(_PYTHON) :]
        found = next((f for f in _PYTHON_TYPE.finditer(tail, len(_PYTHON)) if f[1] != "File"), None)
        return found[1] if found else None
    frame = _FRAME.search(text)
    head = text[: frame.start() + 1] if frame else text
    start = max(head.rfind("\n", 0, len(head) - 1) + 1, 0)
    node = _NODE_TYPE.match(head, start) or _NODE_TYPE.match(head)
    return node[1] if node else None
