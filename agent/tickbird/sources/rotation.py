"""Where rotation puts a file. Names move while we look, so a file is known by what it is, and a
look counts only when the names stood still during it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from .logtail import FileId, Mark, file_id, same_bytes

TRIES = 20
_ROTATED = re.compile(r"[.-](?:\d[\dT:_.-]*|old|bak|prev)")
"""What rotation appends to a name; compressed files are not among them."""


class Place(NamedTuple):
    """A file where it was when we looked; ``modified`` in nanoseconds."""

    modified: int
    path: str
    file_id: FileId


def places(path: str) -> list[Place]:
    """``path`` and what rotation may have made of it, the newest first."""
    before = _look(path)
    for _ in range(TRIES):
        now = _look(path)
        if {(p.path, p.file_id) for p in now} == {(p.path, p.file_id) for p in before}:
            break
        before = now
    return sorted(before, reverse=True)


def find(mark: Mark, offset: int | None = None) -> Place | None:
    """Where the generation of ``mark`` is now, if it reaches to ``offset`` (the mark's own unless
    given): the same file, else a copy that a copy-and-truncate rotation made of it."""
    wanted = mark if offset is None else _at(mark, offset)
    before = places(mark.path)
    for _ in range(TRIES):
        same = [place for place in before if same_bytes(place.path, place.file_id, wanted)]
        exact = [place for place in same if place.file_id == (mark.device, mark.inode)]
        if exact or (same and mark.head_length):
            return (exact or same)[0]
        now = places(mark.path)
        if now == before:
            return None
        before = now
    return None


def _at(mark: Mark, offset: int) -> Mark:
    return Mark(
        mark.path, mark.source, mark.generation, mark.device, mark.inode, mark.head,
        mark.head_length, offset,
    )  # fmt: skip


def _look(path: str) -> list[Place]:
    folder, base = Path(path).parent, Path(path).name
    found = []
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(base)]
    except OSError:
        return []
    for name in names:
        if name != base and not _ROTATED.fullmatch(name.removeprefix(base)):
            continue
        try:
            status = (folder / name).stat()
        except OSError:
            continue  # it moved on
        found.append(Place(status.st_mtime_ns, str(folder / name), file_id(status)))
    return found
