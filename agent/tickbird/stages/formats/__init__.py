"""Formats other than JSON: one file each, ``parse(text)`` → fields, or None when it is another's.

Fields are such as a logger would have written in JSON: what every record has under the spellings
of ``keys``, the rest flat and under the names of the OpenTelemetry conventions where there are
any. Patterns are possessive or anchored, so that a line costs time in proportion to its length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import access, logfmt, plain

Parse = Callable[[str], dict[str, Any] | None]

FORMATS: tuple[Parse, ...] = (access.parse, logfmt.parse, plain.parse)
"""In the order in which an unknown line is tried: ``plain`` takes what the others take better."""


class Detector:
    """The parser for the lines of one file: what fitted the last one is tried first, so files of
    one format cost one try a line, and mixed ones come out right line by line."""

    def __init__(self) -> None:
        self._order = list(FORMATS)

    def __call__(self, text: str) -> dict[str, Any] | None:
        for place, parse in enumerate(self._order):
            fields = parse(text)
            if fields is not None:
                if place and parse is not plain.parse:
                    self._order.insert(0, self._order.pop(place))
                return fields
        return None


def fields_parser(form: str) -> Parse | None:
    """A parser for one file under the setting ``logs.format``; None where lines that are no JSON
    are text and nothing else."""
    if form in ("json", "plain"):
        return None
    if form == "logfmt":
        return partial(logfmt.parse, least=1)
    return Detector()
