"""Lines that belong together into one: stack traces with their causes, printed objects.

A line continues the one before when it is indented deeper, closes a bracket that was left open, or
is a line that Node and Python write in the midst of a trace. Everything else begins anew, so lines
that only follow each other are never joined. A line that is a whole JSON object is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import Shaped

if TYPE_CHECKING:
    from ..sources.logtail import Line

MAX_LINES = 1000
MAX_BYTES = 240 * 1024
"""Of a joined line; what is beyond begins the next one, which takes what continues this."""
IDLE = 0.5
"""Seconds without another line after which a line is complete."""
LONGEST = 5.0
"""Seconds for which a line that goes on and on is held at most."""

_TRACEBACK = re.compile(
    rb"[ |+]*(?:Exception Group )?(?:Traceback|Stack) \(most recent call last\):"
)
_CHAINED = re.compile(
    rb"(?:During handling of the above exception, another exception occurred"
    rb"|The above exception was the direct cause of the following exception):"
)
_FAILING = re.compile(
    rb"(?i)err|exception|critical|fatal|warn|fail|panic|crash|unhandled|uncaught|raised|retrieved"
)
"""What a line says that a traceback may follow: else the trace is of something else."""
_NODE_FRAME = re.compile(rb"\s+at \S")
_CAUSED = re.compile(rb"(?i)caused by\b|\[cause\]|\.\.\. \d+ more")
_NODE_END = re.compile(rb"Node\.js v\d")
_THROWN_AT = re.compile(rb"(?:/|node:|file:)\S*:\d+")
"""The place that Node prints first of an exception that nobody caught."""
_ASYNCIO = re.compile(rb"(?:future|task|handle|transport|protocol|socket|source_traceback): ")
"""What asyncio's handler of exceptions tells between its first line and the traceback."""
_CARETS = re.compile(rb"\s*\^+\s*")
_BEGINNING = re.compile(
    rb"[\[<(]?(?:\d{4}[-/]\d\d[-/]\d\d|\d\d?:\d\d:\d\d|(?i:trace|debug|info|notice|warn|error"
    rb"|critical|fatal)(?:ing)?[\]>):\s|])|\{|Exception (?:in|ignored)"
)
"""How a line of a logger begins."""

_NOT_ALONE = re.compile(
    rb"[\s}\]){]|$|/|node:|file:|(?:Traceback|Stack) \(|(?i:caused by)|\.\.\. |" + _ASYNCIO.pattern
)
_MAYBE = frozenset([b"", *(bytes([byte]) for byte in b" \t\n\r\v\f}]){/.CSTcfhnpst")])
"""First bytes of such lines: they sort out most lines."""
_ALWAYS = {"place": "code", "carets": "frames"}
"""States in which any line goes on."""


class Joiner:
    """The line stage that joins; one for each file generation, or stream of a container."""

    def __init__(self) -> None:
        self._parts: list[Line | Shaped] = []
        self._size = 0
        self._began = self._fed = 0.0
        self._forget()

    @property
    def held(self) -> bool:
        return bool(self._parts)

    @property
    def offset(self) -> int | None:
        """Where what is held begins in the file."""
        return self._parts[0].offset if self._parts else None

    def feed(self, lines: Sequence[Line | Shaped], now: float) -> Sequence[Line | Shaped]:
        """Take the next lines in order; return what is complete, in order."""
        if not self._parts and _all_json(lines):
            return lines
        out: list[Line | Shaped] = []
        place = 0
        while place < len(lines):
            alone = 0 if self._state else _count_alone(lines, place)
            if alone:
                self._emit(out)
                place += alone
                out += lines[place - alone : place - 1]
                self._begin(lines[place - 1], now)
            else:
                self._step(lines[place], now, out)
                place += 1
        self._fed = now
        return out

    def flush(self, now: float, final: bool) -> Sequence[Line | Shaped]:
        """What was held too long; all that is held when the file is ``final``."""
        out: list[Line | Shaped] = []
        if final or now - self._fed >= IDLE:
            self._emit(out)
            self._forget()
        return out

    def _step(self, line: Line | Shaped, now: float, out: list[Line | Shaped]) -> None:
        data = line.data
        whole = _is_json(data)
        if not whole and self._parts and self._continues(data):
            self._add(line, now, out)
            return
        self._emit(out)
        self._forget()
        if whole or not data or data.isspace():
            out.append(line)
        else:
            self._begin(line, now)

    def _begin(self, line: Line | Shaped, now: float) -> None:
        self._forget()
        data = line.data
        self._indent = len(data) - len(data.lstrip(b" \t"))
        if _TRACEBACK.match(data):
            self._state = _trace(data)
        elif _THROWN_AT.fullmatch(data):
            self._state = "place"
        elif _NODE_FRAME.match(data) or data.startswith(b'  File "'):
            self._state = "frames"
        self._hold(line, now)

    def _add(self, line: Line | Shaped, now: float, out: list[Line | Shaped]) -> None:
        full = self._size + len(line.data) > MAX_BYTES or len(self._parts) >= MAX_LINES
        if full or now - self._began >= LONGEST:
            self._emit(out)
        self._hold(line, now)

    def _hold(self, line: Line | Shaped, now: float) -> None:
        if not self._parts:
            self._began = now
        self._parts.append(line)
        self._size += len(line.data) + 1
        end = line.data.rstrip()[-1:]
        self._depth += bool(end) and end in b"{[("

    def _emit(self, out: list[Line | Shaped]) -> None:
        """Hand out what is held as one line. The state stays: what continues a line that was cut
        at a limit continues its next part."""
        parts, self._parts, self._size = self._parts, [], 0
        if len(parts) < 2 or self._state in ("place", "code"):  # no trace has followed the place
            out += parts
        elif parts:
            first, last = parts[0], parts[-1]
            out.append(
                Shaped(
                    b"\n".join(part.data for part in parts).rstrip(),
                    first.offset,
                    last.end,
                    any(part.truncated for part in parts),
                    last.partial,
                    first.extra if isinstance(first, Shaped) else {},
                )
            )

    def _forget(self) -> None:
        self._state = ""
        """What the trace that is held has come to; see ``_next``."""
        self._indent = 0
        self._depth = 0
        """Brackets that were left open at the end of a line."""
        self._blank = False

    def _continues(self, data: bytes) -> bool:
        """Whether a line belongs to what is held; what it is changes what may follow."""
        if not data or data.isspace():
            # Maybe a gap in a trace; at its end it is left out.
            self._blank = self._state not in ("", "place", "code") or self._depth > 0
            return self._blank
        after_blank, self._blank = self._blank, False
        if (following := self._next(data, after_blank)) is not None:
            self._state = following
            return True
        if self._depth and data[:1] in b"}])":
            self._depth -= 1
            return True
        return data[:1] in b" \t" and self._indented(data, after_blank)

    def _indented(self, data: bytes, after_blank: bool) -> bool:
        if self._state in ("place", "code", "over") or (after_blank and not self._depth):
            return False
        if _NODE_FRAME.match(data):
            self._state = "frames"
        return bool(self._state) or len(data) - len(data.lstrip(b" \t")) > self._indent

    def _next(self, data: bytes, after_blank: bool) -> str | None:
        """The state after ``data`` where it is the line that a trace in this state goes on with.

        Python: ``python`` (frames) → ``raised`` (the exception's line) → ``chained`` → ``python``;
        ``group`` (frames with a margin, or no exception's line after them).
        Node: ``place`` → ``code`` → ``carets`` → ``frames`` → ``over``.
        """
        state = self._state
        if state in _ALWAYS:
            return _ALWAYS[state]
        if state == "code":
            return "carets" if _CARETS.fullmatch(data) else None
        if _TRACEBACK.match(data):
            return _trace(data) if self._trace_follows(data) else None
        if data[:1] in b" \t":
            return None
        return self._after_a_gap(data) if after_blank else self._at_once(data)

    def _after_a_gap(self, data: bytes) -> str | None:
        if self._state in ("python", "raised", "group") and _CHAINED.match(data):
            return "chained"
        return "over" if self._state == "frames" and _NODE_END.match(data) else None

    def _at_once(self, data: bytes) -> str | None:
        state = self._state
        if state == "python" or (state == "raised" and self._message_goes_on(data)):
            return "raised"
        if _CAUSED.match(data):
            return state or "frames"
        return "" if state == "" and _ASYNCIO.match(data) and self._failing() else None

    def _trace_follows(self, data: bytes) -> bool:
        if self._state:
            return self._state in ("chained", "group") or data.startswith(b"Stack")
        return data.startswith(b"Stack") or self._failing()

    def _failing(self) -> bool:
        return _FAILING.search(self._parts[0].data[:1000]) is not None

    def _message_goes_on(self, data: bytes) -> bool:
        """Of an exception whose message has several lines; only where a logger has written it can
        the next line of the log be told from it."""
        logged = _BEGINNING.match(self._parts[0].data) is not None
        return logged and not _BEGINNING.match(data)


def _count_alone(lines: Sequence[Line | Shaped], place: int) -> int:
    """How many lines from ``place`` on, outside of a trace, continue none and begin no trace."""
    for end in range(place, len(lines)):
        data = lines[end][0]
        if data[:1] in _MAYBE and _NOT_ALONE.match(data):
            return end - place
    return len(lines) - place


def _trace(head: bytes) -> str:
    return "python" if head.startswith(b"Traceback") else "group"


def _all_json(lines: Sequence[Line | Shaped]) -> bool:
    for line in lines:
        if line[0][:1] != b"{":
            return False
    return not lines or _is_json(lines[-1].data)


def _is_json(data: bytes) -> bool:
    return data[:1] == b"{" and data.rstrip()[-1:] == b"}"
