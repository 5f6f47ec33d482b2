"""The words of the configuration: durations, sizes, ratios, addresses, URLs, secrets.

Each reader takes the text of one YAML scalar and returns its value, or raises ``ValueError`` with
a reason that never repeats the text: it may be a secret in the wrong place.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import re2
from msgspec import Meta

from ..commands import is_name

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)([KMGT]i?)?B?")
_RATIO = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)(%)?")
_SCALE = {"K": 1, "M": 2, "G": 3, "T": 4}
_LONGEST_REGEX = 4096


class Secret:
    """A value that must not be shown. Only :meth:`reveal` gives it away. ``again`` reads it anew
    from where it came, and raises ``ValueError`` when that is not to be had."""

    __slots__ = ("_again", "_value")

    def __init__(self, value: str, again: Callable[[], str] | None = None) -> None:
        self._value = value
        self._again = again

    def reveal(self) -> str:
        """The value as it is now: a rotated secret file is followed, a missing one is not."""
        if self._again is not None:
            with contextlib.suppress(ValueError):
                self._value = self._again()
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


class Listen(NamedTuple):
    """Where to listen; as it is, an argument for ``socket.bind``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def duration(text: str) -> float:
    """``10s``, ``100ms``, ``15m``, ``1h``, ``2d`` or a number of seconds, as seconds > 0."""
    if not (found := _DURATION.fullmatch(text)):
        raise ValueError("not a duration; write it like 10s, 100ms, 15m or 1h")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds <= 0:
        raise ValueError("must be longer than zero")
    return seconds


def interval(text: str) -> float:
    """A duration between two measurements: shorter than 100 ms would load the target."""
    seconds = duration(text)
    if not 0.1 <= seconds <= 3600:
        raise ValueError("must lie between 100ms and 1h")
    return seconds


def size(text: str) -> int:
    """``8MiB``, ``1GiB``, ``64MB`` or a number of bytes, as bytes of at least 64 KiB."""
    if not (found := _SIZE.fullmatch(text)):
        raise ValueError("not a size; write it like 8MiB, 1GiB or 64MB")
    unit = found[2] or ""
    scale = (1024 if unit.endswith("i") else 1000) ** _SCALE[unit[0]] if unit else 1
    count = int(float(found[1]) * scale)
    if count < 64 * 1024:
        raise ValueError("must be at least 64KiB")
    return count


def ratio(text: str) -> float:
    """``99.9%`` or ``0.999``, as a number above 0 and up to 1."""
    if not (found := _RATIO.fullmatch(text)):
        raise ValueError("not a ratio; write it like 99.9% or 0.999")
    value = float(found[1]) / (100 if found[2] else 1)
    if not 0 < value <= 1:
        raise ValueError("must lie above 0% and up to 100%; write a percentage with its % sign")
    return round(value, 12)


def url(text: str) -> str:
    """An http or https URL with a host and without credentials."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL; write it like http://127.0.0.1:4318") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("only http:// and https:// URLs are supported")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no credentials in a URL; put them into headers, by env or file")
    if not parts.hostname or port == 0 or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("not a URL; write it like http://127.0.0.1:4318")
    return text


def endpoint(text: str) -> str:
    """A URL, or ``none``."""
    return text if text == "none" else url(text).rstrip("/")


def listen(text: str) -> Listen:
    """``127.0.0.1:8425``: an address of this machine alone, with its port (0: any free one)."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        raise ValueError("not an address; write it like 127.0.0.1:8425")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ValueError("not an address; write it like 127.0.0.1:8425") from None
    if not loopback:
        raise ValueError(
            "only loopback addresses are allowed: what the agent shows is for this machine; "
            "put a proxy with its own access control in front to share it"
        )
    return Listen(host, int(port))


def regex(text: str) -> str:
    """A pattern in RE2's syntax, checked; kept as text."""
    if not text or len(text) > _LONGEST_REGEX:
        raise ValueError(f"a pattern has 1 to {_LONGEST_REGEX} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options=options)
    except (re2.error, UnicodeError):
        raise ValueError(
            "not a pattern that RE2 understands (it has no look-around and no back-references)"
        ) from None
    return text


def salt(text: str) -> Secret:
    """What a hash is salted with: 16 characters or more."""
    if len(text) < 16:
        raise ValueError("needs 16 characters or more; make one by: openssl rand -hex 16")
    return Secret(text)


def path(text: str) -> Path:
    """An absolute path; ``~`` is the home folder of the agent's user."""
    return Path(glob(text))


def glob(text: str) -> str:
    """An absolute path, with ``*`` and ``?`` if wanted."""
    if text.startswith("~/"):
        text = str(Path.home() / text[2:])
    if not text.startswith("/") or "\0" in text:
        raise ValueError("must be an absolute path: begin it with / or ~/")
    return text


def token_path(text: str) -> Path | Literal["none"]:
    return "none" if text == "none" else path(text)


def name(text: str) -> str:
    """A name that is also fit for a file: letters, digits, dot, dash, underscore."""
    if not is_name(text):
        raise ValueError(
            "must be 1 to 63 letters, digits, dots, dashes or underscores, "
            "beginning with a letter or digit"
        )
    return text


def label(text: str) -> str:
    if not 1 <= len(text) <= 256 or not text.isprintable():
        raise ValueError("must be 1 to 256 printable characters")
    return text


def pid(text: str) -> int:
    return _whole(text, 1, 2**22, "a process id")


def port(text: str) -> int:
    return _whole(text, 1, 65535, "a port")


def http_status(text: str) -> int:
    return _whole(text, 400, 599, "an HTTP status of failure")


def line_count(text: str) -> int:
    return _whole(text, 1, 1_000_000, "a number of lines")


def _whole(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text) or not low <= int(text) <= high:
        raise ValueError(f"not {what}; it is a whole number from {low} to {high}")
    return int(text)


def _meta(read: Any, kind: str | list[str] = "string", **schema: Any) -> Meta:
    return Meta(extra={"read": read}, extra_json_schema={"written": kind, **schema})


_LIKE = ["string", "number"]
Duration = Annotated[float, _meta(duration, _LIKE, examples=["10s", "100ms", "15m"])]
Interval = Annotated[float, _meta(interval, _LIKE, examples=["1s", "10s"])]
Size = Annotated[int, _meta(size, ["string", "integer"], examples=["8MiB", "1GiB"])]
Ratio = Annotated[float, _meta(ratio, _LIKE, examples=["99.9%", 0.999])]
Url = Annotated[str, _meta(url, pattern="^https?://")]
Endpoint = Annotated[str, _meta(endpoint, pattern="^(none$|https?://)")]
ListenAt = Annotated[Listen, _meta(listen, examples=["127.0.0.1:8425"])]
Regex = Annotated[str, _meta(regex, minLength=1, maxLength=_LONGEST_REGEX)]
File = Annotated[Path, _meta(path, pattern="^(/|~/|\\$\\{)")]
Glob = Annotated[str, _meta(glob, pattern="^(/|~/|\\$\\{)")]
TokenFile = Annotated[Any, _meta(token_path, pattern="^(none$|/|~/|\\$\\{)")]
Name = Annotated[str, _meta(name)]
Label = Annotated[str, _meta(label, ["string", "number", "boolean"])]
Pid = Annotated[int, _meta(pid, "integer", minimum=1, maximum=2**22)]
Port = Annotated[int, _meta(port, "integer", minimum=1, maximum=65535)]
LineCount = Annotated[int, _meta(line_count, "integer", minimum=1, maximum=1_000_000)]
HttpStatus = Annotated[int, _meta(http_status, "integer", minimum=400, maximum=599)]
Hidden = Annotated[Secret, _meta(Secret)]
Salt = Annotated[Secret, _meta(salt)]
