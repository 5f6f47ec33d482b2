"""Ids of the kernel's tracepoints on epoll. They differ from kernel to kernel and only root may
read them, so root writes them down once per boot for everybody (``tickbird setup trace``)."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ..errors import SourceError

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
IDS_VARIABLE = "TICKBIRD_TRACEPOINT_IDS"
IDS_FILE = "trace-ids.json"
CALLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
"""arm64 has no epoll_wait; nothing but a name is lost where a kernel lacks one of them."""


def tracepoint_ids(
    folders: Iterable[Path], tracefs: tuple[Path, ...] = TRACEFS
) -> Mapping[str, int]:
    """Ids by name (``sys_enter_epoll_wait`` …): from tracefs, else from the environment, else
    from ``trace-ids.json`` in one of ``folders``, written on this boot by root or this user.
    Raises SourceError when there are none. tracefs is looked at once in a process: whether that
    may read it does not change."""
    ids = _once(tracefs) or parse_ids(os.environ.get(IDS_VARIABLE, ""))
    for folder in folders:
        ids = ids or _from_file(folder / IDS_FILE)
    if not usable(ids):
        unmounted = os.geteuid() == 0
        why = "tracefs is not mounted" if unmounted else "this user cannot read them"
        raise SourceError(
            f"exact loop lag needs the ids of the kernel's epoll tracepoints, and {why}",
            "once per boot: sudo tickbird setup trace",
        )
    return ids


def usable(ids: Mapping[str, int]) -> bool:
    """Whether both ends of at least one call are known."""
    return any(f"sys_enter_{c}" in ids and f"sys_exit_{c}" in ids for c in CALLS)


def parse_ids(text: str) -> dict[str, int]:
    """``sys_enter_epoll_wait=1069,…`` → name and id; what does not fit is left out."""
    found = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if value.isdigit() and name.startswith("sys_"):
            found[name] = int(value)
    return found


def host_key() -> dict[str, str]:
    """What tracepoint ids are valid for: this boot of this kernel."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"boot_id": boot, "release": os.uname().release}


def from_tracefs(roots: Iterable[Path]) -> dict[str, int]:
    """Ids by name as the first of ``roots`` has them; none where no root can be read."""
    for root in roots:
        found = {}
        for name in (f"sys_{side}_{call}" for call in CALLS for side in ("enter", "exit")):
            try:
                found[name] = int((root / "events/syscalls" / name / "id").read_text())
            except (OSError, ValueError):
                continue
        if found:
            return found
    return {}


@cache
def _once(roots: tuple[Path, ...]) -> Mapping[str, int]:
    return from_tracefs(roots)


def _from_file(path: Path) -> dict[str, int]:
    try:
        document = json.loads(_read_trusted(path))
        if {key: document[key] for key in ("boot_id", "release")} != host_key():
            return {}
        return {str(name): int(value) for name, value in document["ids"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _read_trusted(path: Path) -> bytes:
    """PermissionError where somebody else than root and this user could have written it."""
    with open(path, "rb", opener=_no_link) as file:
        if not (trusted(os.fstat(file.fileno())) and trusted(path.parent.lstat())):
            raise PermissionError(path)
        return file.read(65536)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def trusted(found: os.stat_result) -> bool:
    """Whether only root and this user can change what ``found`` is the status of."""
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
