"""What secrets look like: for each kind where it begins, in RE2, and which bytes are secret.

An opening is as short as tells the kind for sure; how far the secret goes is looked up in the line,
only where there is one. Sources of the shapes: the issuers' documentation of their token formats,
ISO/IEC 7812 for cards, ISO 13616 for IBANs, RFC 7468 for PEM, RFC 7519 for JWT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from . import checks
from .line import Line

Find = Callable[[Line, int, int], tuple[int, int] | None]
"""The secret, (start, end), that begins with the opening at (start, end); None: it is none."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``name`` is what people see; ``opening`` has no groups; without ``find``, all of it is
    secret."""

    name: str
    opening: str
    find: Find | None = None


_START = r"(?:\b|\\[nrtbf])"
"""A word begins, or follows an escape of JSON, whose letter would seem to belong to it."""
_NUMBER = r"(?:(?m:^)|[^0-9A-Za-z_.\n]|[^0-9]\.|\\[nrtbf])"
"""The same for a number, which the digits after a decimal point are none."""
_TAIL = re.compile(rb"[A-Za-z0-9_-]*")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_.~=-]*")
_KEY_LINES = re.compile(
    rb"(?:\\+[nrt]|[A-Za-z0-9+/=:, \t-])*"  # in one line, as an escaped string has them
    rb"(?:\n[ \t>|]*(?:[A-Za-z0-9+/=]{1,100}|[A-Za-z-]{4,20}: [^\n\"]{0,100}|)(?=\r?\n|\r?\Z)\r?)*"
    rb"(?:\n?[ \t>|]*-----END [A-Z ]{0,40}-----)?"
)
_ESCAPED = re.compile(rb"\\[nrtbf]")


def _token(tail: re.Pattern[bytes] = _TAIL, check: Callable[[bytes], bool] | None = None) -> Find:
    """The hit and the ``tail`` that goes on; None when the ``check`` of the hit and of as much
    again fails."""

    def find(line: Line, start: int, end: int) -> tuple[int, int] | None:
        start = _begin(line, start, end)
        if check and not check(line.chunk[start : min(line.end, 2 * end - start)]):
            return None
        return start, tail.match(line.chunk, end, line.end).end()  # type: ignore[union-attr]

    return find


def _after_scheme(check: Callable[[bytes], bool]) -> Find:
    """What follows ``Bearer`` or ``Basic``."""

    def find(line: Line, start: int, end: int) -> tuple[int, int] | None:
        words = _BASE64.match(line.chunk, end, line.end)
        end = words.end() if words else end
        start = max(line.chunk.rfind(b" ", start, end), line.chunk.rfind(b"\t", start, end)) + 1
        return (start, end) if check(line.chunk[start:end]) else None

    return find


def _password_of_url(line: Line, start: int, end: int) -> tuple[int, int] | None:
    first = line.chunk.index(b":", start + 3) + 1
    return (first, end - 1) if end - 1 > first else None


def _private_key(line: Line, start: int, end: int) -> tuple[int, int]:
    return start, _KEY_LINES.match(line.chunk, end).end()  # type: ignore[union-attr]


def _key_line(line: Line, start: int, end: int) -> tuple[int, int] | None:
    """A whole line of base64: of a PEM block whose beginning is in another chunk. A digest in hex
    is none."""
    word = line.chunk[start:end]
    return None if re.fullmatch(rb"[0-9a-f]+|[0-9A-F]+\r?", word) else (start, end)


def _card(line: Line, start: int, end: int) -> tuple[int, int] | None:
    chunk = line.chunk
    while not chunk[start : start + 1].isdigit():
        start += 1
    if line.json and (chunk[start - 1] == 0x2D or chunk[end : end + 1] in (b".", b"e", b"E")):
        return None  # a number of JSON, of which a part cannot be replaced
    digits = chunk[start:end].replace(b" ", b"").replace(b"-", b"")
    return (start, end) if checks.luhn(digits) else None


def _iban(line: Line, start: int, end: int) -> tuple[int, int] | None:
    """The longest beginning of the hit, by groups, that is an IBAN: a word may follow it."""
    start = _begin(line, start, end)
    words = line.chunk[start:end].split(b" ")
    for count in range(len(words), 0, -1):
        text = b" ".join(words[:count])
        if checks.iban(text.replace(b" ", b"")):
            return start, start + len(text)
    return None


def _begin(line: Line, start: int, end: int) -> int:
    escape = _ESCAPED.match(line.chunk, start, end)
    return escape.end() if escape else start


DEFAULTS = (
    Rule("private-key", r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----", _private_key),
    Rule(
        "private-key-base64",
        "LS0tLS1CRUdJTi(?:BSU0EgUFJJVkFURSBLRVk|BQUklWQVRFIEtFWS|BFQyBQUklWQVRFIEtFWS"
        "|BPUEVOU1NIIFBSSVZBVEUg|BFTkNSWVBURUQgUFJJVkFURSBLRVkt)",
        _token(re.compile(rb"[A-Za-z0-9+/=]*")),
    ),
    Rule(
        "private-key-line",
        r"(?m:^)[ \t]*(?:[A-Za-z0-9+/]{64}|[A-Za-z0-9+/]{70}|[A-Za-z0-9+/]{76})\r?(?m:$)",
        _key_line,
    ),
    Rule(
        "private-key-end",
        r"(?m:^)[ \t]*[A-Za-z0-9+/]{4,76}={0,2}\r?\n[ \t]*-----END [A-Z ]{0,40}PRIVATE KEY-----",
    ),
    Rule("url-password", r"://[^\s/:@\"]*:[^\s/\"]*@", _password_of_url),
    Rule(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.",
        _token(re.compile(rb"[A-Za-z0-9_.-]*")),
    ),
    Rule(
        "bearer",
        r"(?i:bearer)[ \t]+[A-Za-z0-9+/_.~=-]{8}",
        _after_scheme(lambda word: re.search(rb"[0-9]", word) is not None or len(word) > 32),
    ),
    Rule("basic", r"(?i:basic)[ \t]+[A-Za-z0-9+/]{3}", _after_scheme(checks.basic_credentials)),
    Rule("aws", _START + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", _token()),
    Rule("github", r"gh[opsur]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}", _token()),
    Rule("gitlab", r"gl(?:pat|ptt|rt|dt|soat)-[A-Za-z0-9_-]{20}", _token()),
    Rule(
        "slack",
        r"xox[abeoprs]-[A-Za-z0-9-]{10}|xapp-[0-9]-[A-Za-z0-9-]{10}"
        r"|hooks\.slack\.com/services/[A-Za-z0-9/]{20}",
        _token(re.compile(rb"[A-Za-z0-9/-]*")),
    ),
    Rule("stripe", r"[rs]k_(?:live|test)_[A-Za-z0-9]{10}|whsec_[A-Za-z0-9+/]{20}", _token()),
    Rule("sk", _START + r"sk-[A-Za-z0-9_-]{20}", _token(check=checks.random_looking)),
    Rule(
        "google",
        r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20}|GOCSPX-[A-Za-z0-9_-]{20}",
        _token(),
    ),
    Rule(
        "package-registry",
        r"npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{20}|dckr_pat_[A-Za-z0-9_-]{20}",
        _token(),
    ),
    Rule("sendgrid", _START + r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16}", _token()),
    Rule("twilio", _START + r"SK[0-9a-f]{32}\b", _token()),
    Rule(
        "vendor",
        r"do[opr]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|glsa_[A-Za-z0-9]{32}"
        r"|NRAK-[A-Z0-9]{27}|AGE-SECRET-KEY-1[A-Z0-9]{40}",
        _token(),
    ),
    Rule(
        "vault",
        _START + r"(?:hv[sb]\.[A-Za-z0-9_-]{24}|hf_[A-Za-z]{30}|dapi[a-f0-9]{32})",
        _token(),
    ),
    Rule("telegram", _START + r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}", _token()),
    Rule(
        "card",
        _NUMBER + r"(?:(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6[0-9]{3}|35[0-9]{2})"
        r"(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}"
        r"|3[068][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{4})\b",
        _card,
    ),
    Rule(
        "iban",
        _START + r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        _iban,
    ),
)

EMAIL = Rule("email", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,24}\b")
