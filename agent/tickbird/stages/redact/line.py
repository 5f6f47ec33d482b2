"""One line of a chunk, and which bytes of it may be replaced so that JSON stays JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = re.compile(rb'(?:[^"\\]|\\.)*+')
"""The rest of a JSON string; ends before its closing quote or an escape that is cut in two."""
_OUTSIDE = re.compile(rb"""[^\s,:\[\]{}"'`]+""")
"""A number or word of JSON that stands in no string."""
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")


class Line:
    """The line of ``chunk`` that holds the byte at ``at``: ``start`` to ``end``, no newline."""

    __slots__ = ("_inside", "_looked", "_string", "_text", "chunk", "end", "json", "start")

    def __init__(self, chunk: bytes, at: int) -> None:
        self.chunk = chunk
        self.start = chunk.rfind(b"\n", 0, at) + 1
        end = chunk.find(b"\n", at)
        self.end = len(chunk) if end < 0 else end
        self.json = is_json(chunk, self.start, self.end)
        self._looked = self.start
        self._inside = False
        # A string may bear thousands of hits: each end is looked for once.
        self._string = self._text = (0, -1)

    def inside(self, at: int) -> bool:
        """Whether the byte at ``at`` stands in a JSON string. What lies before is looked at once,
        as long as ``at`` only grows."""
        if not self.json:
            return False
        if at < self._looked:
            self._looked, self._inside = self.start, False
        seen = self.chunk[self._looked : at]
        if b"\\" in seen:
            seen = _ESCAPE.sub(b"", seen)
        if seen.endswith(b"\\"):
            at -= 1
            seen = seen[:-1]
        self._inside ^= seen.count(b'"') & 1 == 1
        self._looked = at
        return self._inside

    def string_end(self, at: int) -> int:
        """Where the JSON string ends that the byte at ``at`` stands in: at its closing quote, else
        with the line."""
        first, last = self._string
        if not first <= at <= last:
            found = _STRING.match(self.chunk, at, self.end)
            last = found.end() if found else self.end
            self._string = (at, last)
        return last

    def text_end(self, at: int) -> int:
        """Where the text of an XML element ends that the byte at ``at`` stands in: at the next tag,
        else with the line."""
        first, last = self._text
        if not first <= at <= last:
            last = self.chunk.find(b"<", at, self.end)
            last = self.end if last < 0 else last
            self._text = (at, last)
        return last

    def replaceable(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """What of ``start`` to ``end`` may be replaced, (start, end, needs quotes): no quote, no
        half of an escape, and a bare value of JSON as a whole."""
        if not self.json:
            yield start, end, False
            return
        inside = self.inside(start)
        if inside:
            start = self._after_escape(start)
        while start < end:
            if inside:
                stop = _STRING.match(self.chunk, start, end).end()  # type: ignore[union-attr]
                if stop > start:
                    yield start, stop, False
            else:
                quote = self.chunk.find(b'"', start, end)
                stop = end if quote < 0 else quote
                yield from self._bare(start, stop)
            start = stop + 1
            inside = not inside

    def _bare(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        while start > self.start and _OUTSIDE.match(self.chunk, start - 1, start):
            start -= 1
        for found in _OUTSIDE.finditer(self.chunk, start, self.end):
            if found.start() >= end:
                return
            yield found.start(), found.end(), True

    def _after_escape(self, start: int) -> int:
        """``start``, or the end of the escape that it would cut in two."""
        before = self.chunk[max(self.start, start - 6) : start]
        cut = _CUT_ESCAPE.search(before)
        if cut is None or self._escaped(start - len(before) + cut.start()):
            return start
        whole = 6 if self.chunk[start - len(cut[0]) + 1 : start + 1].startswith(b"u") else 2
        return min(self.end, start - len(cut[0]) + whole)

    def _escaped(self, at: int) -> bool:
        """Whether the backslash at ``at`` is itself what an escape stands for."""
        first = at
        while first > self.start and self.chunk[first - 1] == 0x5C:
            first -= 1
        return (at - first) & 1 == 1


def is_json(chunk: bytes, start: int, end: int) -> bool:
    """Whether a line is read as JSON: it begins with a brace."""
    while start < end and chunk[start] in b" \t\r":
        start += 1
    return start < end and chunk[start] == 0x7B
