"""What a log file is known by: device, inode, the hash of its growing head, and the hash of the
last bytes that were read. So neither a reused inode nor an equal head misleads."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from msgspec import Struct

HEAD = 1024
"""Bytes of a file's beginning that identify it."""
WINDOW = 256
"""Bytes before the place of reading that have to be there still at the next look."""


class FileId(NamedTuple):
    device: int
    inode: int


NOWHERE = FileId(0, 0)
"""Of a generation whose inode belongs to another one now, or to none."""


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
    window: str = ""
    """Hash of the ``WINDOW`` bytes before ``window_end``, which is as far as it was read."""
    window_end: int = 0
    modified: int = 0
    """Unix nanoseconds."""
    real: str = ""
    """Where ``path`` led to, if it was a symlink."""


class Opened(NamedTuple):
    """A descriptor, and whose: of a ``packed`` file it is that of its unpacked content."""

    file: int
    file_id: FileId
    packed: bool = False


def open_regular(path: str, expected: FileId | None = None) -> Opened:
    """A regular file, and ``expected`` if given. Raises ``OSError`` for anything else
    (``FileNotFoundError`` for another file): without O_NONBLOCK, a FIFO would hold us here."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    if expected is not None and file_id(status) != expected:
        os.close(file)
        raise FileNotFoundError(errno.ENOENT, "it was moved away", path)
    return Opened(file, file_id(status))


@contextmanager
def closed_on_error(opened: Opened) -> Iterator[None]:
    """For what reads an opened file to take it over, and may find that it cannot be read."""
    try:
        yield
    except OSError:
        os.close(opened.file)
        raise


def file_id(found: os.stat_result) -> FileId:
    return FileId(found.st_dev, found.st_ino)


def same_bytes(file: int, mark: Mark) -> bool:
    """Whether an open file begins as ``mark`` remembers, reaches as far as it was read, and has
    the same bytes there. Raises ``OSError``."""
    if os.fstat(file).st_size < max(mark.offset, mark.window_end):
        return False
    if digest(os.pread(file, mark.head_length, 0)) != mark.head:
        return False
    start = max(0, mark.window_end - WINDOW)
    return not mark.window or digest(os.pread(file, mark.window_end - start, start)) == mark.window


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
