"""Log files of container runtimes: the envelope off each line, and what was split put together.

Docker's ``json-file`` and the format of the Container Runtime Interface (containerd, CRI-O) both
write stdout and stderr into one file, and cut a line of the service at 16 KiB into several.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from . import Shaped
from .multiline import Joiner

if TYPE_CHECKING:
    from ..sources.logtail import Line

MAX_LINE = 240 * 1024
"""Bytes that are kept of a line put together; Loki takes 256 KB."""
UNFINISHED = 5.0
"""Seconds that a part waits for the rest of its line."""

_DOCKER_PATH = re.compile(r".*/containers/(?P<id>[0-9a-f]{64})/[^/]+")
_POD_PATH = re.compile(
    r".*/pods/(?P<namespace>[^_/]+)_(?P<pod>[^_/]+)_(?P<uid>[^_/]+)/(?P<name>[^/]+)/(?P<restarts>\d+)\.log.*"
)
_CONTAINER_PATH = re.compile(
    r".*/containers/(?P<pod>[^_/]+)_(?P<namespace>[^_/]+)_(?P<name>[^/]+)-(?P<id>[0-9a-f]{64})\.log"
)
_KEYS = {
    "id": "container.id",
    "namespace": "k8s.namespace.name",
    "pod": "k8s.pod.name",
    "uid": "k8s.pod.uid",
    "name": "k8s.container.name",
    "restarts": "k8s.container.restart_count",
}
_STREAMS = {b"stdout": "stdout", b"stderr": "stderr"}

Piece = tuple[bytes, str, str, bool]
"""A line, or a part of one; its stream, stdout or stderr; the time in RFC 3339 at which the runtime
took it; and whether no other part of the line follows."""
Unwrap = Callable[[bytes], Piece | None]


class _DockerLine(msgspec.Struct):
    log: str
    stream: Literal["stdout", "stderr"]
    time: str


_decode = msgspec.json.Decoder(_DockerLine).decode


def docker(line: bytes) -> Piece | None:
    """Of a line of Docker's ``json-file``; None when it is none."""
    try:
        found = _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    text = found.log.encode()
    last = text.endswith(b"\n")
    if last:
        text = text[:-2] if text.endswith(b"\r\n") else text[:-1]
    return text, found.stream, found.time, last


def cri(line: bytes) -> Piece | None:
    """Of a line of the Container Runtime Interface; None when it is none."""
    when, _, rest = line.partition(b" ")
    name, _, rest = rest.partition(b" ")
    tags, _, text = rest.partition(b" ")
    stream = _STREAMS.get(name)
    tag = tags.partition(b":")[0]
    if stream is None or tag not in (b"F", b"P") or when[10:11] != b"T" or not when.isascii():
        return None
    return text, stream, when.decode("ascii"), tag == b"F"


UNWRAP: dict[str, Unwrap] = {"docker": docker, "cri": cri}


def place(path: str) -> dict[str, str | int]:
    """What the path of a container's log says of it, by the names of the resource conventions."""
    for pattern in (_POD_PATH, _CONTAINER_PATH, _DOCKER_PATH):
        if found := pattern.fullmatch(path):
            said = {_KEYS[key]: value for key, value in found.groupdict().items()}
            return {key: int(v) if key.endswith("count") else v for key, v in said.items()}
    return {}


class Container:
    """The line stage of a file that may be a container's: ``form`` docker or cri, or auto, which
    takes the first line of each read for an answer until one is in an envelope. A line without
    one passes as it is. ``joiner`` makes what joins the lines of one stream, if anything does.

    A line of one stream may be complete while one of the other waits. It goes out at once, but its
    ``end`` lies before what waits, which would else be acknowledged with it.
    """

    def __init__(self, form: str, path: str, joiner: Callable[[], Joiner] | None) -> None:
        self._unwrap = UNWRAP.get(form)
        self._joiner = joiner
        self._place = place(path)
        self._streams: dict[str, _Stream] = {}
        self._reached = 0

    @property
    def held(self) -> bool:
        return any(stream.waits() is not None for stream in self._streams.values())

    def feed(self, lines: Sequence[Line | Shaped], now: float) -> Sequence[Line | Shaped]:
        """Take the next lines in order; return what is complete, in order."""
        if self._unwrap is None and lines:
            self._unwrap = next((u for u in UNWRAP.values() if u(lines[0].data)), None)
        if self._unwrap is None:
            return self._stream("").join(lines, now)
        out: list[Line | Shaped] = []
        run: list[Line | Shaped] = []
        stream = self._stream("")
        for line in lines:
            piece = self._unwrap(line.data)
            own = self._stream(piece[1] if piece else "")
            if own is not stream:
                out += stream.join(run, now)
                stream, run = own, []
            whole = own.take(line, piece, now) if piece else line
            if whole is not None:
                run.append(whole)
        out += stream.join(run, now)
        return self._behind_what_waits(out)

    def flush(self, now: float, final: bool) -> Sequence[Line | Shaped]:
        """What was held too long; all that is held when the file is ``final``."""
        out: list[Line | Shaped] = []
        for stream in self._streams.values():
            out += stream.flush(now, final)
        return self._behind_what_waits(out)

    def _stream(self, name: str) -> _Stream:
        found = self._streams.get(name)
        if found is None:
            said = {**self._place, "log.iostream": name} if name else {}
            found = self._streams[name] = _Stream(said, self._joiner and self._joiner())
        return found

    def _behind_what_waits(self, lines: list[Line | Shaped]) -> list[Line | Shaped]:
        waits = [w for stream in self._streams.values() if (w := stream.waits()) is not None]
        most = min(waits, default=sys.maxsize)
        for place, line in enumerate(lines):
            end = line.end
            if self._reached < end <= most:
                self._reached = end
                continue
            self._reached = max(self._reached, end)
            lines[place] = line._replace(end=min(self._reached, most))
        return lines


class _Stream:
    """One stream of a container: the parts of a line that is not complete, and what joins lines.
    ``said``: what is known of every line of it."""

    def __init__(self, said: Mapping[str, Any], joiner: Joiner | None) -> None:
        self._said = said
        self._joiner = joiner
        self._text = bytearray()
        self._first: tuple[int, str] | None = None
        """Offset and time of the first part."""
        self._end = 0
        self._since = 0.0
        self._truncated = self._partial = False

    def waits(self) -> int | None:
        """Where what is held begins in the file."""
        joining = self._joiner.offset if self._joiner else None
        return joining if joining is not None or self._first is None else self._first[0]

    def take(self, line: Line | Shaped, piece: Piece, now: float) -> Shaped | None:
        """Add a part; returns the line once it is whole."""
        text, _, time, last = piece
        if last and self._first is None:
            said = {**self._said, "time": time}
            return Shaped(text, line.offset, line.end, line.truncated, line.partial, said)
        if self._first is None:
            self._first, self._since = (line.offset, time), now
        # Behind a cut nothing may follow: what the cut has left of a word is looked for at the end.
        room = 0 if self._truncated else MAX_LINE - len(self._text)
        self._truncated = self._truncated or line.truncated or len(text) > room
        self._partial = self._partial or line.partial
        self._text += text[:room]
        self._end = line.end
        return self._whole() if last else None

    def join(self, lines: Sequence[Line | Shaped], now: float) -> Sequence[Line | Shaped]:
        return self._joiner.feed(lines, now) if self._joiner else lines

    def flush(self, now: float, final: bool) -> list[Line | Shaped]:
        out: list[Line | Shaped] = []
        if self._first and (final or now - self._since >= UNFINISHED):
            out += self.join([self._whole()._replace(partial=True)], now)
        if self._joiner:
            out += self._joiner.flush(now, final)
        return out

    def _whole(self) -> Shaped:
        assert self._first is not None
        offset, time = self._first
        said = {**self._said, "time": time}
        cut, partial = self._truncated, self._partial
        line = Shaped(bytes(self._text), offset, self._end, cut, partial, said)
        self._text.clear()
        self._first, self._truncated, self._partial = None, False, False
        return line
