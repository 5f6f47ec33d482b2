"""One generation of one log file, held open: bytes in, whole lines out.

A generation is what stands behind a path between two rotations. It is known again by device,
inode and the hash of its growing head, so neither a reused inode nor an equal head misleads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import time
from typing import NamedTuple

from msgspec import Struct

CHUNK = 64 * 1024
MAX_LINE = 240 * 1024
"""Bytes of a line that are kept; Loki takes 256 KB."""
GRAIN = 2_000_000_000
"""Nanoseconds after which another change to a file is sure to bear another time."""
HEAD = 1024
"""Bytes of a file's beginning that identify it."""
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line without its end. ``end`` is the offset after it; ``truncated``: it was longer than
    ``MAX_LINE``; ``partial``: the file ended without a line end."""

    data: bytes
    offset: int
    end: int
    truncated: bool = False
    partial: bool = False


class FileId(NamedTuple):
    device: int
    inode: int


class Mark(Struct, frozen=True):
    """What a checkpoint keeps of a generation: who it is, and how far it is acknowledged."""

    path: str
    source: str
    generation: str
    device: int
    inode: int
    head: str = ""
    head_length: int = 0
    offset: int = 0


class Tail:
    """``position`` is how far bytes were read, ``acked`` how far what was read is settled; what
    lies between is queued. For one thread at a time."""

    def __init__(
        self,
        path: str,
        source: str,
        mark: Mark | None = None,
        *,
        expected: FileId | None = None,
        at_end: bool = False,
    ) -> None:
        """Open ``path``, to go on at ``mark`` or begin (``at_end``: after its last whole line).
        Raises ``OSError``; ``FileNotFoundError`` also when it is not the file ``expected``."""
        self._file = open_regular(path, expected)
        self.path = path
        """Where it is, or was last while at a watched path: rotated names hang on that one."""
        self.source = source
        self.file_id = file_id(os.fstat(self._file))
        self.generation = mark.generation if mark else secrets.token_hex(8)
        self._head = mark.head if mark else _hash(b"")
        self._head_length = mark.head_length if mark else 0
        start = self._last_line_end() if at_end else 0
        self.acked = self.line_start = self.position = mark.offset if mark else start
        self._held = bytearray()
        self._overlong = False
        self.closed = False
        self.gone = False
        """At none of the watched paths any more: rotated away or deleted."""
        self.last_data = 0.0
        """Monotonic time of the last read that gave something."""
        self.repeat_until = 0
        """Lines before this offset may have been sent by the process before."""
        self.saved = mark is not None
        """Whether a checkpoint knows this generation."""
        self._verified: tuple[int, int] | None = None
        """Size and time of change (ns) at which the head was last found to be the same."""
        self.grow_head()

    def mark(self) -> Mark:
        return Mark(
            self.path,
            self.source,
            self.generation,
            *self.file_id,
            head=self._head,
            head_length=self._head_length,
            offset=self.acked,
        )

    def stat(self) -> os.stat_result:
        """Of the open file; not to be asked once closed."""
        return os.fstat(self._file)

    def size(self) -> int:
        """Bytes in the file now; of a closed one, what was read."""
        return self.position if self.closed else self.stat().st_size

    def drained(self) -> bool:
        """Whether every byte there is was read."""
        return self.position >= self.size()

    def settled(self) -> bool:
        """Whether nothing that was read is still queued."""
        return self.acked >= self.line_start

    def rewritten(self) -> bool:
        """Whether the file was cut or overwritten: a copy-and-truncate rotation."""
        if self.closed:
            return False
        status = self.stat()
        found = status.st_size, status.st_mtime_ns
        if found == self._verified:
            return False
        if status.st_size < self.position or not self.grow_head():
            return True
        # Two changes within the grain of the file system's clock bear the same time.
        self._verified = found if time.time_ns() - status.st_mtime_ns > GRAIN else None
        return False

    def grow_head(self) -> bool:
        """Take more of the beginning into the identity as the file grows; False when what was
        there has changed."""
        data = os.pread(self._file, HEAD, 0)
        if _hash(data[: self._head_length]) != self._head:
            return False
        if len(data) > self._head_length:
            self._head, self._head_length = _hash(data), len(data)
        return True

    def continue_in(self, path: str, expected: FileId) -> None:
        """Go on with the same bytes in a copy of this generation. Raises ``OSError``."""
        file = open_regular(path, expected)
        os.close(self._file)
        self._file = file
        self.file_id = file_id(os.fstat(file))
        self._verified = None

    def read(self) -> list[Line]:
        """The lines that end in the next chunk; what follows the last line end is held until the
        rest of it is there. Raises ``OSError``."""
        if self.closed:
            return []
        chunk = os.pread(self._file, CHUNK, self.position)
        if not chunk:
            return []
        if self.position == 0:
            chunk, skipped = chunk.removeprefix(_BOM), len(chunk)
            self.position = skipped - len(chunk)
        lines = []
        pieces = chunk.split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            self._hold(piece)
            self.position += len(piece) + 1
            lines.append(self._line())
        self._hold(rest)
        self.position += len(rest)
        return lines

    def flush(self) -> list[Line]:
        """The unfinished last line, if there is one: nobody will finish it."""
        return [self._line()._replace(partial=True)] if self._held else []

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
            self.closed = True

    def _hold(self, piece: bytes) -> None:
        if not self._held and piece.startswith(b"\0"):
            # The hole that a writer leaves which goes on at its old offset after a truncation.
            piece = piece.lstrip(b"\0")
        room = MAX_LINE - len(self._held)
        self._overlong = self._overlong or len(piece) > room
        self._held += piece[:room]

    def _line(self) -> Line:
        if self._held.endswith(b"\r") and not self._overlong:
            del self._held[-1]
        line = Line(bytes(self._held), self.line_start, self.position, self._overlong)
        self.line_start = self.position
        self._held.clear()
        self._overlong = False
        return line

    def _last_line_end(self) -> int:
        size = os.fstat(self._file).st_size
        start = max(0, size - CHUNK)
        found = os.pread(self._file, size - start, start).rfind(b"\n")
        return start + found + 1


def open_regular(path: str, expected: FileId | None = None) -> int:
    """A descriptor of a regular file, and of ``expected`` if given. Raises ``OSError`` for anything
    else (``FileNotFoundError`` for another file): without O_NONBLOCK, a FIFO would hold us here."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    if expected is not None and file_id(status) != expected:
        os.close(file)
        raise FileNotFoundError(errno.ENOENT, "it was moved away", path)
    return file


def file_id(found: os.stat_result) -> FileId:
    return FileId(found.st_dev, found.st_ino)


def same_bytes(path: str, expected: FileId, mark: Mark) -> bool:
    """Whether ``path`` is the file ``expected``, begins as ``mark`` remembers and reaches to its
    offset."""
    try:
        file = open_regular(path, expected)
    except OSError:
        return False
    try:
        long_enough = os.fstat(file).st_size >= mark.offset
        return long_enough and _hash(os.pread(file, mark.head_length, 0)) == mark.head
    finally:
        os.close(file)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
