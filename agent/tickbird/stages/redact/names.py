"""Names of keys whose values never pass, and where such a value ends in text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .line import Line

_ENDINGS = (
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "authorization",
    "cookie", "cookies", "credential", "credentials", "connection string", "password hash",
    "secret key base", "api key", "access key", "secret key", "private key", "signing key",
    "encryption key", "master key", "account key", "shared key", "auth key",
)  # fmt: skip
"""A key that ends so is secret, without case, dashes, underscores and spaces."""
_WHOLE = ("sig", "jwt", "cvv", "cvv2", "cvc", "ssn", "x amz signature")
"""A key that is called so is secret."""
_HARMLESS = ("nexttoken", "pagetoken", "continuationtoken", "canceltoken", "cancellationtoken")

_NOTHING = frozenset((b"null", b"none", b"nil", b"undefined", b"true", b"false", b"nan", b"-"))
_PROSE = frozenset(
    b"""a an and any are as at bool bytes by cannot changed does empty expired failed field for from
    found has have in incorrect int invalid is it long mismatch missing must needs not number object
    of ok on or please provided received rejected required reset sent short should str string the
    this to too undefined unknown updated was were will with wrong you your""".split()
)
"""Words after ``password: `` that speak of it."""
_WORD = re.compile(rb"[A-Z]?[a-z]{0,18}[.,:;!?]?")

_KEY_BEFORE = re.compile(rb"[A-Za-z0-9_.$-]{0,64}\Z")
_QUOTE = re.compile(rb"(?:[bur])?(\\*)([\"'`])")
_AUTHORIZATION = re.compile(rb"(?i:bearer|basic|token|negotiate|ntlm|apikey|dpop) +")
_PARTED = re.compile(rb"(?i:digest|aws4)")
_COOKIES = re.compile(rb"[^\s\"\\;]+(?:; ?[^\s\"\\;]+)*")
_REST = re.compile(rb"(?:[^\\\r]|\\[^rn])*")
_VALUE_OF_JSON = re.compile(rb"[^\s,}\]]+")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]')

# A comma, a semicolon or a closing bracket ends a bare value only where what follows tells so.
_BARE = rb"""(?:[^\s"'`\\&<>,;)}\]]
    |[,;](?![\s"'`]|\Z|[A-Za-z_][\w.-]{0,40}["']?\ ?[=:])
    |[)}\]](?=[^\s,;)}\]"'\\])
    |%s)+"""
_BARE_IN_TEXT = re.compile(_BARE % rb"\\", re.VERBOSE)
_BARE_IN_JSON = re.compile(_BARE % rb"\\\\|\\u[0-9A-Fa-f]{4}", re.VERBOSE)


def plain(key: str) -> str:
    """``key`` as names are compared: without case, dashes, underscores and spaces."""
    return key.lower().replace("-", "").replace("_", "").replace(" ", "")


def is_word(text: bytes) -> bool:
    """Whether ``text`` is one word as prose has them, and not too long for one."""
    return _WORD.fullmatch(text) is not None


def secret_name(more: Iterable[str]) -> Callable[[str], bool]:
    """A function that says whether a key, dotted or not, names a secret. ``more``: names beside
    the shipped ones."""
    whole = {plain(name) for name in (*_WHOLE, *more)}
    dotted = tuple(f".{name}" for name in whole if "." in name)
    endings = tuple(map(plain, _ENDINGS))

    def secret(key: str) -> bool:
        last = plain(key.rpartition(".")[2])
        return (
            last in whole
            or f".{plain(key)}".endswith(dotted)
            or (last.endswith(endings) and not last.endswith(_HARMLESS))
        )

    return secret


def opening(more: Iterable[str]) -> str:
    """RE2 for what stands before the value of a secret key: its name's end and the separator of
    JSON, logfmt, headers, a query, source code, XML, or of an option on a command line."""
    names = sorted({*_ENDINGS, *_WHOLE, *filter(str.isascii, map(_parted, more))})
    words = "|".join(re.escape(name).replace("\\ ", "[-_ ]?") for name in names)
    quote = r"\\*[\"'`]?"
    return (
        rf"(?i:(?:{words})(?:{quote}[ \t]*(?:=>?|:=?)[ \t]*|>)"
        rf"|--[a-z-]{{0,20}}(?:{words})(?:[ \t]+|{quote},[ \t]*))"
    )


def _parted(name: str) -> str:
    """``cardNumber``, ``card_number`` and ``card-number`` as ``card number``."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.rpartition(".")[2])
    return re.sub(r"[-_ ]+", " ", parts).strip().lower()


def value_of(
    line: Line, start: int, end: int, secret: Callable[[str], bool]
) -> tuple[int, int] | None:
    """The value, as (start, end), that belongs to a key found from ``start`` to ``end``; None when
    it is none, or no secret's."""
    key = _key(line, start, end)
    if not secret(key.decode(errors="replace")):
        return None
    if line.json and not line.inside(end):
        return _json_value(line, end)
    limit = line.string_end(end) if line.json else line.end
    opened = _QUOTE.match(line.chunk, end, limit)
    if opened:
        return _quoted(line.chunk, opened, limit)
    return _bare_value(line, key, end, limit)


def _key(line: Line, start: int, end: int) -> bytes:
    chunk = line.chunk
    low = max(line.start, start - 64)
    before = _KEY_BEFORE.search(chunk, low, start)[0]  # type: ignore[index]
    if before and start - len(before) > line.start and chunk[start - len(before) - 1] == 0x5C:
        before = before[1:]  # the letter of an escape
    return before + chunk[start:end].rstrip(b"=:> \t").rstrip(b"\"'`\\, \t")


def _json_value(line: Line, start: int) -> tuple[int, int] | None:
    chunk, end = line.chunk, line.end
    first = chunk[start : start + 1]
    if first == b'"':
        stop = line.string_end(start + 1)
        return (start + 1, stop) if stop > start + 1 else None
    if first and first in b"[{":
        return start, _closing(chunk, start, end)
    if opened := _QUOTE.match(chunk, start, end):
        return _quoted(chunk, opened, end)  # an object printed by Node or Python
    found = _VALUE_OF_JSON.match(chunk, start, end)
    if found is None or found[0].lower() in _NOTHING:
        return None
    return found.span()


def _closing(chunk: bytes, start: int, end: int) -> int:
    depth = 0
    for found in _BRACKETS.finditer(chunk, start, end):
        if found[0] in b"[{":
            depth += 1
        elif found[0] in b"]}":
            depth -= 1
            if depth == 0:
                return found.end()
    return end


def _quoted(chunk: bytes, opened: re.Match[bytes], limit: int) -> tuple[int, int] | None:
    escape, quote = opened.groups()
    start = opened.end()
    closing = re.compile(rb"(?<!\\)" + re.escape(escape + quote))
    found = closing.search(chunk, start, limit)
    end = found.start() if found else limit
    return (start, end) if end > start else None


def _bare_value(line: Line, key: bytes, start: int, limit: int) -> tuple[int, int] | None:
    chunk = line.chunk
    name = key.lower()
    bare = _BARE_IN_JSON if line.json else _BARE_IN_TEXT
    at = start
    if name.endswith(b"pwd") and chunk[start : start + 1] == b"/":
        return None  # the working directory
    if chunk[start - 1 : start] == b">" and chunk[start - 2 : start] != b"=>":
        return _element(line, key, start, limit)
    if name.endswith(b"authorization"):
        if scheme := _AUTHORIZATION.match(chunk, start, limit):
            at = scheme.end()
        elif _PARTED.match(chunk, start, limit):
            bare = _REST
    elif name.endswith((b"cookie", b"cookies")):
        bare = _COOKIES
    found = bare.match(chunk, at, limit)
    if found is None or _harmless(chunk, key, start, found.span()):
        return None
    return start, found.end()


def _element(line: Line, key: bytes, start: int, limit: int) -> tuple[int, int] | None:
    end = line.text_end(start)
    if not start < end <= limit - 2 or line.chunk[end : end + 2] != b"</":
        return None
    return None if _harmless(line.chunk, key, start, (start, end)) else (start, end)


def _harmless(chunk: bytes, key: bytes, start: int, found: tuple[int, int]) -> bool:
    first, last = found
    value = chunk[first:last]
    word = value.rstrip(b".,:;!?").lower()
    if word in _NOTHING or not value.strip(b"*"):
        return True
    if chunk[start - 1] not in b" \t" or first > start:
        return False
    prose = chunk[max(0, start - 8) : start].rstrip(b" \t").endswith(b":")
    word_only = prose and b"pass" not in key.lower() and is_word(value)
    return word in _PROSE or word_only
