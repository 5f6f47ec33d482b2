"""One generation of one log file: what stands behind a path between two rotations."""

from __future__ import annotations

import contextlib
import os
import secrets
import time

from .identity import HEAD, WINDOW, FileId, Mark, Opened, digest, open_regular
from .lines import MAX_LINE, Line, Lines

__all__ = ["CHUNK", "MAX_LINE", "FileId", "Line", "Mark", "Tail"]

CHUNK = 128 * 1024
GRAIN = 2_000_000_000
"""Nanoseconds after which another change to a file is sure to bear another time."""
_BOM = b"\xef\xbb\xbf"


class Tail:
    """``position`` is how far bytes were read, ``acked`` how far what was read is settled; what
    lies between is queued. For one thread at a time."""

    def __init__(
        self,
        path: str,
        source: str,
        opened: Opened,
        mark: Mark | None = None,
        *,
        at_end: bool = False,
    ) -> None:
        """Take over what was ``opened`` at ``path``, to go on at ``mark`` or begin (``at_end``:
        after the last whole line)."""
        self._file, self.file_id, self.packed = opened
        self.path = path
        """Where it is, or was last."""
        self.source = source
        """The path that it was written at: rotated names hang on that one."""
        self.generation = mark.generation if mark else secrets.token_hex(8)
        self.real = os.path.realpath(path) if os.path.islink(path) else ""  # noqa: PTH114 - 10,000 of them
        self._head = mark.head if mark else digest(b"")
        self._head_length = mark.head_length if mark else 0
        start = self._last_line_end() if at_end else 0
        self.acked = self.position = mark.offset if mark else start
        self._lines = Lines(self.position)
        self._window = self._before(self.position)
        self.closed = False
        self.gone = False
        """At none of the watched paths any more: rotated away or deleted."""
        self.changed = False
        """What was read is not there any more: the file was cut or overwritten."""
        self.last_data = 0.0
        """Monotonic time of the last read that gave something."""
        self.repeat_until = 0
        """Lines before this offset may have been sent by the process before."""
        self.saved = mark is not None
        """Whether the journal knows this generation as it is known now."""
        self.skipped = 0
        """NUL bytes left out: holes that a writer left which went on behind a truncation."""
        self.wide = False
        """It begins as UTF-16 does."""
        self._verified: tuple[int, int] | None = None
        """Size and time of change (ns) at which the content was last found to be the same."""
        status = self.stat()
        self.modified = status.st_mtime_ns
        self.begun_at = 0 if mark else self.modified
        """A copy of it is no older (Unix ns)."""
        self.empty_since = self.modified if status.st_size == 0 else None
        """When it was modified as it was seen to be empty: until it is looked at again with
        something in it, nobody can tell what came and went there meanwhile."""
        if mark and mark.modified and not mark.head_length:
            self.empty_since = mark.modified
        self._size: int | None = status.st_size
        """Bytes in the file at the last look; None: it has changed since."""
        self._grow_head()

    def mark(self) -> Mark:
        return Mark(
            self.path,
            self.source,
            self.generation,
            *self.file_id,
            head=self._head,
            head_length=self._head_length,
            offset=self.acked,
            window=digest(self._window),
            window_end=self.position,
            modified=self.modified,
            real=self.real,
        )

    @property
    def parked(self) -> bool:
        """Without a descriptor for now; ``read`` takes one."""
        return self._file < 0 and not self.closed

    @property
    def file(self) -> int:
        """The descriptor, which ``park`` and ``close`` make invalid."""
        return self._file

    def stat(self) -> os.stat_result:
        """Of the open file; not to be asked of a parked or closed one."""
        return os.fstat(self._file)

    def size(self) -> int:
        """Bytes in the file now; of a closed one, what was read; of a parked one, as last seen."""
        if self.closed:
            return self.position
        if self._file >= 0:
            return self.stat().st_size
        return self.position + 1 if self._size is None else self._size

    def drained(self) -> bool:
        """Whether every byte there is was read."""
        return self.position >= self.size()

    @property
    def begun(self) -> int:
        """Offset of the line whose end has not been seen: lines before it were given out."""
        return self._lines.begun

    def settled(self) -> bool:
        """Whether nothing that was read is still queued."""
        return self.acked >= self.begun

    def at_home(self) -> bool:
        """Whether it is read where it is written."""
        return self.path == self.source and not (self.gone or self.closed)

    def unfinished(self) -> bool:
        """Whether it ends in a line without an end."""
        return bool(self._lines)

    def note(self, status: os.stat_result | None) -> None:
        """What the file was like at a look; None: it has changed since."""
        self._size = status.st_size if status else None
        if status:
            self.modified = status.st_mtime_ns

    def doubtful(self, status: os.stat_result) -> bool:
        """Whether the file, which is like ``status`` now, has changed since it was found to be the
        same: only then ``rewritten`` has to be asked."""
        return (
            not (self.closed or self.packed)
            and (status.st_size, status.st_mtime_ns) != self._verified
        ) or self.changed

    def rewritten(self, status: os.stat_result) -> bool:
        """Whether the file, which is like ``status`` now, was cut or overwritten: by a
        copy-and-truncate rotation. Raises ``OSError``."""
        if status.st_size < self.position:
            return True
        self.unpark()
        if self._before(self.position) != self._window or not self._grow_head():
            return True
        # Two changes within the grain of the file system's clock bear the same time.
        settled = time.time_ns() - status.st_mtime_ns > GRAIN
        self._verified = (status.st_size, status.st_mtime_ns) if settled else None
        self.changed = False
        return False

    def holds(self, file: int) -> bool:
        """Whether an open file holds nothing but the beginning of this one: a copy of it, made or
        in the making. Raises ``OSError``."""
        self.unpark()
        size = os.fstat(file).st_size
        for start, length in ((0, HEAD), (max(0, size - WINDOW), WINDOW)):
            piece = os.pread(file, min(length, size), start)
            if os.pread(self._file, len(piece), start) != piece:
                return False
        return size > 0

    def continue_in(self, path: str, opened: Opened) -> None:
        """Go on with the same bytes in a copy of this generation."""
        self.park()
        self._file, self.file_id, self.packed = opened
        self.path = path
        self.saved = False
        self._verified = None
        self.changed = False

    def parkable(self) -> bool:
        """Whether it could be opened again; asked of an open one."""
        return not (self.gone or self.packed or self.stat().st_nlink == 0)

    def park(self) -> None:
        """Let go of the descriptor for now."""
        if self._file >= 0:
            self._size = self.stat().st_size
            os.close(self._file)
            self._file = -1

    def unpark(self) -> None:
        """Have a descriptor. Raises ``OSError``; ``FileNotFoundError`` also when another file has
        taken its place."""
        if self._file < 0:
            self._file = open_regular(self.path, self.file_id).file

    def read(self) -> list[Line]:
        """The lines that end in the next chunk; what follows the last line end is held until the
        rest of it is there. Raises ``OSError``."""
        if self.closed:
            return []
        self.unpark()
        known = len(self._window)
        data = os.pread(self._file, CHUNK + known, self.position - known)
        if not data.startswith(self._window):
            self.changed = True
            return []
        if len(data) == known:
            return []
        self._window = data[-WINDOW:]
        if self.position < HEAD:
            self._grow_head()
        if data[known] == 0 and not self._lines:
            return self._after_hole(data[known:])
        if self.position == 0 and data.startswith(_BOM):
            self.position = known = len(_BOM)
        return self._split(data[known:])

    def flush(self) -> list[Line]:
        """The unfinished last line, if there is one: nobody will finish it."""
        return [self._lines.end(self.position, partial=True)] if self._lines else []

    def close(self) -> None:
        self.park()
        self.closed = True

    def _split(self, chunk: bytes) -> list[Line]:
        offset, self.position = self.position, self.position + len(chunk)
        return self._lines.split(chunk, offset)

    def _after_hole(self, chunk: bytes) -> list[Line]:
        """Go over the hole that a writer leaves which goes on at its old offset after a
        truncation; where the file system knows holes, without reading it."""
        rest = chunk.lstrip(b"\0")
        self.position += len(chunk) - len(rest)
        self.skipped += len(chunk) - len(rest)
        if rest:
            return self._split(rest)
        with contextlib.suppress(OSError):  # nothing but hole is left
            data = os.lseek(self._file, self.position, os.SEEK_DATA)
            self.skipped += data - self.position
            self.position = data
        self._window = self._before(self.position)
        return []

    def _before(self, offset: int) -> bytes:
        start = max(0, offset - WINDOW)
        return os.pread(self._file, offset - start, start)

    def _grow_head(self) -> bool:
        """Take more of the beginning into the identity as the file grows; False when what was
        there has changed."""
        data = os.pread(self._file, HEAD, 0)
        self.wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        if digest(data[: self._head_length]) != self._head:
            return False
        if len(data) > self._head_length:
            self._head, self._head_length = digest(data), len(data)
            self.saved = False
        return True

    def _last_line_end(self) -> int:
        size = os.fstat(self._file).st_size
        start = max(0, size - CHUNK)
        found = os.pread(self._file, size - start, start).rfind(b"\n")
        return start + found + 1
