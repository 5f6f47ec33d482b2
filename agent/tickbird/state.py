"""Everything durable of one agent: its lock, its checkpoint in two generations, and pushed
telemetry that could not be sent before the end.

A state file that cannot be read never stops a start and never skips data: it is set aside, the
generation before is taken, and without one reading starts over (repeats, no loss).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from .errors import CannotCreate
from .paths import private_folder

_HEADER = struct.Struct("<4sI32s")
"""Of an unsent body: magic, number of items, SHA-256 of the body."""
_MAGIC = b"TBU1"
_ATTEMPT = struct.Struct("<16sQ8s")
"""Of an attempt: generation, offset, start of the SHA-256 of both."""


class State:
    """The state folder of one instance, made where missing and locked; the lock dies with this
    process. Raises ``CannotCreate`` when another process holds it (naming its pid), or when the
    folder cannot be written. ``problems`` has a line for each file set aside."""

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder)
        self.problems: list[str] = []
        self._lock: int | None = _locked(self.folder)
        self._attempts = os.open(folder / "attempts", os.O_RDWR | os.O_CREAT, 0o600)
        self._slots: dict[str, int] = {}

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._attempts)
            os.close(self._lock)
            self._lock = None

    def load(self) -> dict[str, Any]:
        """The newest checkpoint that is whole; empty when there is none."""
        for name in ("checkpoint", "checkpoint.previous"):
            path = self.folder / name
            try:
                return _decode(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self._set_aside(path, error)
        return {}

    def save(self, document: dict[str, Any]) -> None:
        """Make ``document`` the checkpoint; on disk when this returns. Raises ``OSError``, and then
        the one before still stands."""
        path = self.folder / "checkpoint"
        body = msgspec.json.encode(document)
        with contextlib.suppress(FileNotFoundError):
            _link_over(path, self.folder / "checkpoint.previous")
        _write(path, body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")

    def note_attempt(self, generation: str, offset: int) -> None:
        """Write ahead that bytes before ``offset`` of a file generation may have been sent. Not
        synced: it has to outlive this process, not the machine."""
        slot = self._slots.setdefault(generation, len(self._slots))
        name = generation.encode()
        digest = hashlib.sha256(name + offset.to_bytes(8, "little")).digest()[:8]
        os.pwrite(self._attempts, _ATTEMPT.pack(name, offset, digest), slot * _ATTEMPT.size)

    def attempts(self) -> dict[str, int]:
        """Offset by generation as noted by the process before; torn entries are left out."""
        found = {}
        data = os.pread(self._attempts, os.fstat(self._attempts).st_size, 0)
        whole = len(data) - len(data) % _ATTEMPT.size
        for name, offset, digest in _ATTEMPT.iter_unpack(data[:whole]):
            expected = hashlib.sha256(name.rstrip(b"\0") + offset.to_bytes(8, "little")).digest()
            if digest == expected[:8]:
                found[name.rstrip(b"\0").decode()] = offset
        return found

    def keep_attempts(self, kept: dict[str, int]) -> None:
        """Forget all attempts but ``kept``: called when files are gone, and at the start."""
        os.ftruncate(self._attempts, 0)
        self._slots.clear()
        for generation, offset in kept.items():
            self.note_attempt(generation, offset)

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


def _decode_unsent(data: bytes) -> tuple[int, bytes]:
    if len(data) < _HEADER.size:
        raise ValueError("it is cut off")
    magic, items, digest = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum is wrong")
    return items, body


def _decode(data: bytes) -> dict[str, Any]:
    body, newline, digest = data.rstrip(b"\n").rpartition(b"\n")
    if not newline or hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its checksum is wrong")
    return msgspec.json.decode(body, type=dict[str, Any])


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
    """Give ``path`` the second name ``copy``, so that at no moment neither stands."""
    temporary = copy.with_name(f"{copy.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.hardlink_to(path)
    temporary.replace(copy)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
