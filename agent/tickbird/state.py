"""Everything durable of one agent: its lock, its checkpoint in two generations, the journal of what
happened since, and pushed telemetry that could not be sent before the end.

A checkpoint is on disk before the one before it goes, so it outlives the machine. The journal is
not synced: it outlives this process, and a loss of power costs repeats since the last checkpoint.
A state file that cannot be read never stops a start and never skips data: it is set aside, the
generation before is taken, and without one reading starts over (repeats, no loss).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from .errors import CannotCreate
from .paths import private_folder

_HEADER = struct.Struct("<4sI32s")
"""Of an unsent body: magic, number of items, SHA-256 of the body."""
_MAGIC = b"TBU1"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
T = TypeVar("T")


class State:
    """The state folder of one instance, made where missing and locked; the lock dies with this
    process. Raises ``CannotCreate`` when another process holds it (naming its pid), or when the
    folder cannot be written. ``problems`` has a line for each file set aside."""

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder)
        self.problems: list[str] = []
        self._lock: int | None = _locked(self.folder)
        self._journal = _open_journal(self.folder / "journal")
        self._torn = True
        """Whether the last line of the journal may lack its end."""

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._journal)
            os.close(self._lock)
            self._lock = None

    def load(self, kind: type[T]) -> T | None:
        """The newest checkpoint that is whole and a ``kind``; None when there is none."""
        for name in ("checkpoint", "checkpoint.previous"):
            path = self.folder / name
            try:
                return msgspec.json.decode(_checked(path.read_bytes()), type=kind)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self._set_aside(path, error)
        return None

    def save(self, document: msgspec.Struct) -> None:
        """Make ``document`` the checkpoint; on disk when this returns. Raises ``OSError``, and then
        the one before still stands."""
        path = self.folder / "checkpoint"
        body = msgspec.json.encode(document)
        with contextlib.suppress(FileNotFoundError):
            _link_over(path, self.folder / "checkpoint.previous")
        _write(path, body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")

    def append(self, entry: bytes) -> None:
        """Add ``entry`` (without a line feed) to the journal. Raises ``OSError``, and then it may
        be there in part, which ``entries`` leaves out."""
        line = b"%08x %b\n" % (zlib.crc32(entry), entry)
        line = b"\n" + line if self._torn else line
        self._torn = True
        if os.write(self._journal, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False

    def entries(self) -> Iterator[bytes]:
        """What was appended since the checkpoint before the last, in order, at the least; an entry
        that is damaged or torn is left out."""
        for name in ("journal.previous", "journal"):
            with contextlib.suppress(FileNotFoundError):
                for line in (self.folder / name).read_bytes().split(b"\n"):
                    digest, _, entry = line.partition(b" ")
                    if digest == b"%08x" % zlib.crc32(entry):
                        yield entry

    def begin_journal(self) -> None:
        """Go on in a new journal; the one until now is kept beside it, the one before that is not.
        To be called as a checkpoint is taken that holds all that the present one says. Raises
        ``OSError``, and then that one goes on."""
        path = self.folder / "journal"
        journal = _open_journal(path.with_name("journal.new"))
        try:
            with contextlib.suppress(FileNotFoundError):  # somebody has removed it
                path.replace(path.with_name("journal.previous"))
            path.with_name("journal.new").replace(path)
        except OSError:
            os.close(journal)
            raise
        os.close(self._journal)
        self._journal = journal

    def save_unsent(
        self, signal: str, unsent: Iterable[tuple[int, bytes]], limit: int
    ) -> tuple[int, int]:
        """Keep bodies (with their number of items) that could not be sent, oldest first, up to
        ``limit`` bytes on disk. Returns the items kept and the items that found no room."""
        folder = private_folder(self.folder / "unsent")
        used = sum(path.stat().st_size for path in folder.iterdir())
        number = max((int(p.stem.rpartition("-")[2]) for p in folder.glob("*-*.bin")), default=0)
        kept = lost = 0
        for items, body in unsent:
            used += _HEADER.size + len(body)
            if used > limit:
                lost += items
                continue
            number += 1
            header = _HEADER.pack(_MAGIC, items, hashlib.sha256(body).digest())
            _write(folder / f"{signal}-{number:08}.bin", header + body)
            kept += items
        return kept, lost

    def take_unsent(self, signal: str) -> Iterator[tuple[int, bytes]]:
        """What ``save_unsent`` kept, in order. A body is removed from disk when the next is asked
        for: stop asking when one cannot be handed on, and it stays. A damaged one is set aside."""
        for path in sorted((self.folder / "unsent").glob(f"{signal}-*.bin")):
            try:
                items, body = _decode_unsent(path.read_bytes())
            except (OSError, ValueError) as error:
                self._set_aside(path, error)
                continue
            yield items, body
            path.unlink(missing_ok=True)

    def _set_aside(self, path: Path, why: Exception) -> None:
        number = 1
        while (bad := path.with_name(f"{path.name}.bad-{number}")).exists():
            number += 1
        with contextlib.suppress(OSError):
            path.rename(bad)
        self.problems.append(
            f"{path} cannot be used ({why}) and was set aside as {bad.name}; reading goes on from "
            "an earlier place, so some lines may arrive twice"
        )


def _locked(folder: Path) -> int:
    """A descriptor of the folder's lock file, held, with this process's pid in the file."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotCreate(
            f"cannot write to {folder}: {error.strerror}",
            "choose a folder that you can write to: state_dir in the configuration",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise CannotCreate(
            f"{folder} is in use by another agent (pid {pid})",
            "stop that agent, or give this one another instance name",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _open_journal(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _decode_unsent(data: bytes) -> tuple[int, bytes]:
    if len(data) < _HEADER.size:
        raise ValueError("it is cut off")
    magic, items, digest = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum is wrong")
    return items, body


def _checked(data: bytes) -> bytes:
    body, newline, digest = data.rstrip(b"\n").rpartition(b"\n")
    if not newline or hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its checksum is wrong")
    return body


def _write(path: Path, data: bytes) -> None:
    """Replace ``path`` as a whole; on disk when this returns."""
    temporary = path.with_name(f"{path.name}.new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(file, "wb", closefd=False) as out:
            out.write(data)
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)
    _sync_folder(path.parent)


def _link_over(path: Path, copy: Path) -> None:
    """Give ``path`` the second name ``copy``, so that at no moment neither stands; where the file
    system has no such names, ``copy`` is one."""
    temporary = copy.with_name(f"{copy.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _write(copy, path.read_bytes())
    else:
        temporary.replace(copy)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
