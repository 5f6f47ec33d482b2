"""Where rotation puts a file. Names move while we look, so a file is known by what it is, and a
look counts only when the names stood still during it."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from .descriptors import Descriptors
from .identity import FileId, Mark, Opened, closed_on_error, file_id, same_bytes
from .logtail import GRAIN

TRIES = 20
_MORE = r"[\dTZ:_.+-]*"
_AFTER = re.compile(
    rf"(?P<base>.+?)(?:\.(?P<number>\d{{1,5}})|\.\d{_MORE}|[-_]\d{{6}}{_MORE}|[-_]\d{{4}}-{_MORE}"
    r"|[._-](?:old|bak|prev|orig))"
)
"""What logrotate, kubelet, Docker and Python's handlers append: app.log.1, app.log-20260131."""
_WITHIN = re.compile(rf"(?P<stem>.+?)[._-]\d{{4}}-?\d\d-?\d\d{_MORE}(?P<end>\.[A-Za-z]\w*)")
"""What others put before the end of the name, a date: app.2026-01-31_00-00.log."""


class Place(NamedTuple):
    """A file where it was when we looked. ``modified`` in nanoseconds; ``order``: of two that were
    modified at the same time, the greater is the newer."""

    modified: int
    order: float
    path: str
    file_id: FileId


def base_name(name: str) -> str | None:
    """The name that a rotated file had while it was written to; None: it is not a rotated one."""
    name = name.removesuffix(".gz")
    if found := _AFTER.fullmatch(name):
        return found["base"]
    if found := _WITHIN.fullmatch(name):
        return found["stem"] + found["end"]
    return None


def place(path: str, status: os.stat_result) -> Place:
    found = _AFTER.fullmatch(Path(path).name.removesuffix(".gz"))
    number = found["number"] if found else None
    order = -float(number) if number else 0.0 if found else 1.0
    return Place(status.st_mtime_ns, order, path, file_id(status))


def places(path: str, others: Iterable[str] = (), packed: bool = False) -> list[Place]:
    """``path``, what it leads to if it is a symlink, and what rotation may have made of both, the
    newest first; ``others``: paths to look at too; ``packed``: compressed ones count."""
    wanted = [path, os.path.realpath(path), *others]
    before = _look(wanted, packed)
    for _ in range(TRIES):
        now = _look(wanted, packed)
        if {(p.path, p.file_id) for p in now} == {(p.path, p.file_id) for p in before}:
            break
        before = now
    return sorted(before, reverse=True)


def find(
    mark: Mark, descriptors: Descriptors, others: Container[FileId]
) -> tuple[str, Opened] | None:
    """Where the generation of ``mark`` is now, opened: the same file, else a copy that a
    copy-and-truncate rotation made of it, but none of the files ``others``. Raises ``OSError``
    when the same file cannot be opened."""
    also = [path for path in (mark.path, mark.real) if path]
    packed = descriptors.unpack is not None
    before = places(mark.source, also, packed)
    for _ in range(TRIES):
        for candidate in sorted(before, key=lambda p: not _is_same(p, mark)):
            if candidate.file_id in others:
                continue
            if opened := _opened(candidate, mark, descriptors):
                return candidate.path, opened
        now = places(mark.source, also, packed)
        if now == before:
            return None
        before = now
    return None


def _opened(candidate: Place, mark: Mark, descriptors: Descriptors) -> Opened | None:
    """The candidate if it is the generation of ``mark``, or a copy that is no older."""
    same = _is_same(candidate, mark)
    if not same and not (mark.head_length and candidate.modified >= mark.modified - GRAIN):
        return None
    try:
        opened = descriptors.open(candidate.path, candidate.file_id)
    except OSError as error:
        if same and not isinstance(error, FileNotFoundError):
            raise
        return None
    try:
        with closed_on_error(opened):
            if same_bytes(opened.file, mark):
                return opened
    except OSError:
        if same:
            raise
        return None
    os.close(opened.file)
    return None


def _is_same(candidate: Place, mark: Mark) -> bool:
    return candidate.file_id == (mark.device, mark.inode)


def _look(wanted: Iterable[str], packed: bool) -> list[Place]:
    found: dict[FileId, Place] = {}
    for path in dict.fromkeys(wanted):
        folder, base = os.path.split(path)
        stem = base.rpartition(".")[0] or base
        for name in _names(folder or "."):
            if not name.startswith(stem) or (name.endswith(".gz") and not packed):
                continue
            if name != base and base_name(name) != base:
                continue
            there = str(Path(folder) / name)
            try:
                found.setdefault(file_id(status := Path(there).stat()), place(there, status))
            except OSError:
                continue  # it moved on
    return list(found.values())


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names only
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
