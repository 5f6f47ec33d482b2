"""Secrets out of records: by the name of a key, and by patterns in text.

Patterns run on RE2, whose time is linear in the text whatever a pattern says. When a field cannot
be looked at, the field is dropped: nothing passes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import re2

from ..model import LogRecord
from . import Stage

if TYPE_CHECKING:
    from ..config import RedactConfig

REDACTED = "[redacted]"

_NAMES = """
    password passwd pwd passphrase secret token authorization proxyauthorization apikey cookie
    setcookie accesstoken refreshtoken idtoken authtoken clientsecret privatekey secretkey accesskey
    secretaccesskey credentials sessiontoken xapikey xauthtoken connectionstring
"""
KEYS = frozenset(_NAMES.split())
"""Names of keys whose value never passes, without case, dashes and underscores."""

_WORDS = r"password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|authorization"
DEFAULTS = (
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|\n)*(?:-----END [A-Z ]{0,40}-----)?",
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/_.~=-]{8,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[opsur]_[A-Za-z0-9]{36,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s/:@]*:[^\s/@]+@",
    rf"(?i)\b[A-Za-z0-9_-]{{0,40}}(?:{_WORDS})[\"']?\s*[=:]\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&}}]+)",
)
"""One union of these is searched for; without groups, which RE2 is slow at."""

_ASSIGNED = re.compile(r"[\"']?\s*[=:]\s*")


def redactor(config: RedactConfig) -> Stage:
    """The stage for the ``redact`` part of the configuration."""
    scrub = scrubber(config.patterns)
    sensitive = _sensitive({_plain(key) for key in config.keys} | KEYS)

    def redact(record: LogRecord) -> LogRecord:
        record.body = _guarded(scrub, record.body) or ""
        for key, value in list(record.attributes.items()):
            if sensitive(key):
                record.attributes[key] = REDACTED
                continue
            if isinstance(value, int | float):
                continue
            clean = _guarded(lambda v: _deep(v, scrub, sensitive), value)
            if clean is None:
                del record.attributes[key]
            else:
                record.attributes[key] = clean
        return record

    return redact


def scrubber(patterns: tuple[str, ...]) -> Callable[[str], str]:
    """A function that replaces what matches any of ``patterns`` (RE2; the word ``default`` stands
    for the shipped set). Of an assignment and of a URL only the secret part goes."""
    every = [p for pattern in patterns for p in (DEFAULTS if pattern == "default" else (pattern,))]
    if not every:
        return lambda text: text
    union = re2.compile("|".join(f"(?:{pattern})" for pattern in every))

    def scrub(text: str) -> str:
        return str(union.sub(_replacement, text))

    return scrub


def _replacement(found: Any) -> str:
    text: str = found.group()
    scheme, slashes, rest = text.partition("://")
    if slashes and rest.endswith("@"):
        return f"{scheme}://{rest.partition(':')[0]}:{REDACTED}@"
    if not text.startswith("-") and (assigned := _ASSIGNED.search(text)):
        return text[: assigned.end()] + REDACTED
    return REDACTED


def _sensitive(names: set[str]) -> Callable[[str], bool]:
    known: dict[str, bool] = {}

    def sensitive(key: str) -> bool:
        answer = known.get(key)
        if answer is None:
            answer = any(_plain(part) in names for part in (key, key.rpartition(".")[2]))
            if len(known) < 10_000:
                known[key] = answer
        return answer

    return sensitive


def _plain(key: str) -> str:
    return key.lower().replace("-", "").replace("_", "")


def _deep(value: Any, scrub: Callable[[str], str], sensitive: Callable[[str], bool]) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [_deep(one, scrub, sensitive) for one in value]
    if isinstance(value, dict):
        return {
            scrub(key): REDACTED if sensitive(key) else _deep(one, scrub, sensitive)
            for key, one in value.items()
        }
    return value


def _guarded(clean: Callable[[Any], Any], value: Any) -> Any:
    try:
        return clean(value)
    except Exception:  # whatever it is: the field must not pass
        return None
