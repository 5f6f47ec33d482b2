"""Secrets out of log lines, before anything else sees them.

One RE2 union, whose time is linear in the text whatever a pattern says, runs over a chunk of many
lines at once; what is costly (whose key is this, where does its value end, do the check digits
hold) is done in Python and only where it found something. Measured on JSON lines of 390 bytes of
which 2 % bear a secret: about 1 µs a line (``bench/redact.py``).

For the log path::

    redactor = Redactor(config.redact)
    lines = redactor.clean_lines(lines)      # None where a line is to be withheld
    chunk = redactor.clean(chunk)            # or the whole chunk; on any exception withhold it
    if redactor.secret(key):                 # once for each key, when fields are named
        value = redactor.hide(value)

``clean`` sees every secret of a line that is JSON, at any depth and behind escapes, so nothing has
to be looked at again after parsing; ``secret`` is for keys that parsing alone shows, as dotted
names of the configuration do.
"""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import re2

from ...errors import ConfigError
from ..shape import json_text
from . import names
from .line import Line, is_json
from .rules import DEFAULTS, EMAIL, Rule

if TYPE_CHECKING:
    from ...config import RedactConfig

REDACTED = "[redacted]"

_MARKER = re.compile(rb"\[redacted(?::[0-9a-f]{12})?\]")
_HIDING = re.compile(rb"\\(?:/|u00[2-7])")
"""An escape of JSON for a character that needs none."""
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9A-Fa-f])|(.))")
_WHOLE_WORDS = re.compile(rb".*[\s\"',;&]", re.DOTALL)
_LONGEST_WORD = 4096
_SHORTEST_HALF = 8
"""Bytes of a word from which on it may be the first half of a secret that tells something."""


class Hit(NamedTuple):
    """``chunk[start:end]`` gives way to ``text``; ``rule`` is the name of what it is."""

    start: int
    end: int
    text: bytes
    rule: str


class Redactor:
    """Stateless but for its patterns; one thread at a time."""

    def __init__(self, config: RedactConfig) -> None:
        """Raises ``ConfigError`` for patterns that cannot be searched for together."""
        self.secret = names.secret_name(config.keys)
        """Whether a key, dotted or not, names a secret."""
        plain_keys = all(key.isascii() and "." not in key for key in config.keys)
        self.parsed_only = not plain_keys or "default" not in config.patterns
        """Whether there are secret keys that ``clean`` does not look for."""
        self._salt = config.salt.reveal().encode() if config.mode == "hash" and config.salt else b""
        shipped, own = _rules(config, self.secret)
        self.rules = shipped
        """The shipped rules that are in use."""
        self._search = _union([*(rule.opening for rule in shipped), *own])
        # Asked of few bytes, where groups are cheap, and of no pattern of others.
        self._which = re.compile("|".join(f"({r.opening})" for r in shipped).encode()).match

    def clean(self, chunk: bytes) -> bytes:
        """``chunk``, lines joined by newlines, without its secrets: as many newlines, and a line
        that was JSON still is. Raises whatever goes wrong; then nothing of it may pass."""
        chunk = self.unescaped(chunk)
        parts: list[bytes] = []
        done = 0
        for hit in self.hits(chunk):
            parts += (chunk[done : hit.start], hit.text)
            done = hit.end
        if not parts:
            return chunk
        parts.append(chunk[done:])
        return b"".join(parts)

    def clean_lines(self, lines: Sequence[bytes]) -> Sequence[bytes | None]:
        """The same for lines of which one may hold newlines. When something goes wrong, each line
        is tried by itself, and None stands for one that cannot be looked at."""
        chunk = b"\n".join(lines)
        try:
            cleaned = self.clean(chunk)
        except Exception:  # whatever it is: what was not looked at must not pass
            return [None] if len(lines) == 1 else [self.clean_lines([one])[0] for one in lines]
        if cleaned is chunk:
            return lines
        parts = cleaned.split(b"\n")
        if len(parts) == len(lines):
            return parts
        rest = iter(parts)
        return [b"\n".join(next(rest) for _ in range(one.count(b"\n") + 1)) for one in lines]

    def hits(self, chunk: bytes) -> Iterator[Hit]:
        """What ``clean`` replaces in a chunk that is ``unescaped``, in order, without overlap and
        within one line each."""
        position = 0
        line = None
        while self._search and position < len(chunk) and (found := self._search(chunk, position)):
            start, end = found.span()
            if line is None or start > line.end:
                line = Line(chunk, start)
            kind = self._which(chunk, start, end)
            rule = self.rules[kind.lastindex - 1] if kind and kind.lastindex else None
            span = rule.find(line, start, end) if rule and rule.find else (start, end)
            if span is None or span[1] <= start:
                position = start + 1
                continue
            start, position = span
            for hit in self._replacements(line, start, position, rule):
                position = max(position, hit.end)
                yield hit

    def hide(self, value: Any) -> Any:
        """What is shown in place of a secret key's ``value``. None, true, false and an empty text
        tell no secret."""
        if value is None or isinstance(value, bool) or value == "":
            return value
        if not isinstance(value, str):
            value = json_text(value)
        raw = value.encode(errors="surrogatepass")
        return value if _MARKER.fullmatch(raw) else self._marker(raw).decode()

    def _replacements(self, line: Line, start: int, end: int, rule: Rule | None) -> Iterator[Hit]:
        chunk = line.chunk
        while start < end:
            if start > line.end:
                line = Line(chunk, start)
            stop = min(end, line.end)
            whole = rule is not None and rule.name == KEY and line.json and not line.inside(start)
            bare = chunk[start - 1 : start] not in (b"'", b"`")
            pieces = [(start, stop, bare)] if whole else line.replaceable(start, stop)
            for first, last, quoted in pieces:
                seen = _MARKER.match(chunk, first)
                if seen is not None and seen.end() >= last:
                    continue
                text = self._marker(chunk[first:last], line.json and not quoted)
                shown = b'"%b"' % text if quoted else text
                yield Hit(first, last, shown, rule.name if rule else PATTERN)
            start = stop + 1

    def _marker(self, secret: bytes, escaped: bool = False) -> bytes:
        if not self._salt:
            return REDACTED.encode()
        if escaped and b"\\" in secret:
            with contextlib.suppress(msgspec.DecodeError, ValueError):
                secret = msgspec.json.decode(b'"%b"' % secret, type=str).encode()
        digest = hmac.digest(self._salt, secret, "sha256").hex()
        return b"[redacted:%b]" % digest[:12].encode()

    def unescaped(self, chunk: bytes) -> bytes:
        """``chunk`` with the escapes undone that JSON needs not have: a secret could hide behind
        them. What is not JSON is only changed when one does."""
        if not _HIDING.search(chunk):
            return chunk
        lines = chunk.split(b"\n")
        for number, line in enumerate(lines):
            if _HIDING.search(line):
                plain = _ESCAPE.sub(_as_character, line)
                if is_json(line, 0, len(line)) or next(self.hits(plain), None):
                    lines[number] = plain
        return b"\n".join(lines)


KEY = "key"
PATTERN = "pattern"
"""The names, to people, of what the name of a key told and of what the configuration's own
patterns found."""


def without_cut_word(line: bytes) -> bytes:
    """A line that was cut at its size limit, less the word that the cut went through: of a secret,
    what is left of it might be too short to be known."""
    rest = line[-_LONGEST_WORD:]
    whole = _WHOLE_WORDS.match(rest)
    return line[: len(line) - len(rest) + (whole.end() if whole else 0)]


def without_torn_word(line: bytes) -> bytes:
    """A line that its writer has not ended, without a last word that could be half a secret. What
    is whole as JSON stays, and so does a last word that is short or plain letters."""
    with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
        msgspec.json.decode(line, type=dict)
        return line
    rest = without_cut_word(line)
    word = line[len(rest) :]
    return line if len(word) < _SHORTEST_HALF or names.is_word(word) else rest or REDACTED.encode()


def _rules(
    config: RedactConfig, secret: Callable[[str], bool]
) -> tuple[tuple[Rule, ...], list[str]]:
    """The shipped rules that are wanted, and the patterns of the configuration."""

    def find(line: Line, start: int, end: int) -> tuple[int, int] | None:
        return names.value_of(line, start, end, secret)

    key = Rule(KEY, names.opening(config.keys), find)
    shipped = {"default": (key, *DEFAULTS), "email": (EMAIL,)}
    rules = tuple(rule for word in shipped if word in config.patterns for rule in shipped[word])
    return rules, [pattern for pattern in config.patterns if pattern not in shipped]


def _union(patterns: Sequence[str]) -> Callable[[bytes, int], Any] | None:
    options = re2.Options()
    options.never_capture = True  # groups would cost RE2 its fast way
    options.log_errors = False
    try:
        union = re2.compile("|".join(f"(?:{one})" for one in patterns), options=options)
    except re2.error:
        problem = "redact.patterns: together they are larger than RE2 takes"
        remedy = "have fewer of them, with smaller numbers of repetitions"
        raise ConfigError([problem], remedy) from None
    search: Callable[[bytes, int], Any] = union.search
    return search if patterns else None


def _as_character(found: re.Match[bytes]) -> bytes:
    code, other = found.groups()
    if code is None:
        return b"/" if other == b"/" else found[0]
    character = bytes((int(code, 16),))
    return b"\\" + character if character in b'"\\' else character
