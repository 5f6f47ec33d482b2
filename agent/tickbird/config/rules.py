"""Rules that no single value can be held to: which keys go together, which text is a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .document import Mapping, Node, Scalar, Sequence, shown
from .references import has_reference
from .schema import Config, MatchConfig, RateLimitConfig, RedactConfig, TargetConfig, TlsConfig

WORDS: dict[str, tuple[str, ...]] = {"default": ("default",), "none": ()}
"""What ``redact.patterns`` may be as one word."""

_SECRET_NAME = re.compile(r"auth|cookie|token|secret|passw|credential|(^|[-_])key($|[-_])", re.I)
_SECRET_VALUE = re.compile(r"\s*(bearer|basic|digest|apikey|token)\s", re.I)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_QUANTILE = re.compile(r"p(\d{1,2}(\.\d{1,3})?)")
_COUNT = re.compile(r"[0-9]{1,7}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

Problem = tuple[int, str, str]


def bad_key(path: str, key: str, value: Node) -> str | None:
    """Why ``key`` (or its value, as a header) cannot stand in the mapping at ``path``."""
    if path.endswith("headers"):
        return _bad_header(key, value)
    if path.endswith("latency"):
        return None if _QUANTILE.fullmatch(key) else "not a quantile; write it like p99 or p99.9"
    return None if _LABEL.fullmatch(key) else "not a label name; use letters, digits, _ . and -"


def _bad_header(key: str, value: Node) -> str | None:
    if not _HEADER.fullmatch(key):
        return "not a header name"
    if not isinstance(value, Scalar) or has_reference(value.text):
        return None
    if _SECRET_NAME.search(key) or _SECRET_VALUE.match(value.text):
        return "secrets by env or file only: write ${env:NAME} or ${file:/path}"
    return None


def problems_of(kind: type, node: Mapping, path: str) -> Iterator[Problem]:
    """What is wrong with a mapping as a whole."""
    if kind is MatchConfig and len(node.items) != 1:
        yield node.line, path, "needs exactly one of pid, pidfile, command, port, unit, container"
    elif kind is TlsConfig and ("cert" in node.items) != ("key" in node.items):
        yield node.line, path, "cert and key go together"
    elif kind is RateLimitConfig:
        yield from _rate_limit(node, path)
    elif kind is RedactConfig:
        yield from _redact(node, path)
    elif kind is TargetConfig:
        yield from _target(node, path)
    elif kind is Config:
        yield from _twice(node.items.get("targets"))


def _rate_limit(node: Mapping, path: str) -> Iterator[Problem]:
    rate, burst = node.items.get("lines_per_second"), node.items.get("burst")
    if not (isinstance(rate, Scalar) and isinstance(burst, Scalar)):
        return
    whole = all(_COUNT.fullmatch(one.text) for one in (rate, burst))
    if whole and int(burst.text) < int(rate.text):
        reason = "is less than lines_per_second; lines are read many at once, so give it more"
        yield burst.line, f"{path}.burst", reason


def _redact(node: Mapping, path: str) -> Iterator[Problem]:
    mode, salt = node.items.get("mode"), node.items.get("salt")
    if isinstance(mode, Scalar) and mode.text == "hash" and salt is None:
        reason = "is missing; without one, a hash gives a short secret away to who tries them all"
        yield node.line, f"{path}.salt", reason
    if isinstance(salt, Scalar) and not salt.empty and not has_reference(salt.text):
        reason = "secrets by env or file only: write ${env:NAME} or ${file:/path}"
        yield salt.line, f"{path}.salt", reason


def unfit_for_raw(config: Config) -> Iterator[tuple[str, str]]:
    """Path and reason of each setting of redaction that only parsed fields can be held to: raw mode
    sends the text."""
    if config.logs.mode != "raw":
        return
    if "default" not in config.redact.patterns:
        reason = "needs default among them with logs.mode: raw, which sends lines as text"
        yield "redact.patterns", f"{reason}; add default, or set logs.mode: structured"
    for key in config.redact.keys:
        last = key.rpartition(".")[2]
        if key.isascii() and last == key:
            continue
        reason = f"{shown(key)} can only be found in parsed fields, and logs.mode: raw sends text"
        instead = f"write {shown(last)}" if last.isascii() else "leave it out"
        yield "redact.keys", f"{reason}; {instead}, or set logs.mode: structured"


def _target(node: Mapping, path: str) -> Iterator[Problem]:
    if not {"match", "logs", "http", "scrape"} & node.items.keys():
        yield node.line, path, "watches nothing: give it match, logs, http or scrape"
    elif "match" not in node.items and "name" not in node.items:
        yield node.line, f"{path}.name", "is missing; a target without match needs one"


def _twice(targets: Node | None) -> Iterator[Problem]:
    if not isinstance(targets, Sequence):
        return
    seen: dict[str, int] = {}
    for number, target in enumerate(targets.items):
        name = target.items.get("name") if isinstance(target, Mapping) else None
        if not isinstance(name, Scalar) or name.empty:
            continue
        if name.text in seen:
            reason = f"same name as targets[{seen[name.text]}]; every target needs its own"
            yield name.line, f"targets[{number}].name", reason
        seen.setdefault(name.text, number)
