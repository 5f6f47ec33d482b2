"""Limits and throttling that the kernel's control groups hold a process to, versions 1 and 2.

Files are found below ``root``, which is ``/`` except in tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_UNLIMITED = 1 << 62
"""Version 1 writes a huge number, rounded to pages, where there is no limit."""


class Mount(NamedTuple):
    """Where a hierarchy is mounted; ``root`` is the part of it that the mount shows."""

    root: str
    point: str


class Limits(NamedTuple):
    """What bounds a process; None where nothing does. ``cpu`` is a number of CPUs, ``throttled``
    the file that counts how long the group with that limit was held back."""

    memory: int | None = None
    cpu: float | None = None
    throttled: Path | None = None


def parse_mounts(mountinfo: str) -> dict[str, Mount]:
    """Controller (of version 1) or ``""`` (version 2) → its mount, from /proc/self/mountinfo."""
    found: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        mount = Mount(_unescaped(fields[3]), _unescaped(fields[4]))
        if kind[0] == "cgroup2":
            found.setdefault("", mount)
        elif kind[0] == "cgroup":
            for option in kind[2].split(","):
                found.setdefault(option, mount)
    return found


def parse_membership(text: str) -> dict[str, str]:
    """Controller or ``""`` → path of the group, from /proc/PID/cgroup."""
    found = {}
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            for controller in fields[1].split(","):
                found[controller] = fields[2]
    return found


def parse_throttled(stat: bytes) -> float | None:
    """Seconds throttled, from cpu.stat of either version; None where it is not counted."""
    for line in stat.splitlines():
        key, _, value = line.partition(b" ")
        if key == b"throttled_usec":
            return int(value) / 1e6
        if key == b"throttled_time":
            return int(value) / 1e9
    return None


def parse_memory_limit(text: str) -> int | None:
    """Bytes in memory.max or memory.limit_in_bytes; None for no limit."""
    value = text.strip()
    return int(value) if value.isdigit() and int(value) < _UNLIMITED else None


def parse_cpu_limit(quota: str, period: str) -> float | None:
    """CPUs that a quota per period amounts to; None for ``max`` or -1."""
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def limits(pid: int, root: Path = Path("/")) -> Limits:
    """The tightest limits on the way from the group of ``pid`` up to the hierarchy's root; all
    None where there are no cgroups or they cannot be read."""
    mounts = parse_mounts(_text(root / "proc/self/mountinfo") or "")
    member = parse_membership(_text(root / f"proc/{pid}/cgroup") or "")
    memory = [
        limit for folder in _folders("memory", mounts, member, root) if (limit := _memory(folder))
    ]
    tightest: tuple[float, Path] | None = None
    for folder in _folders("cpu", mounts, member, root):
        cpus = _cpu(folder)
        if cpus is not None and (tightest is None or cpus < tightest[0]):
            tightest = (cpus, folder / "cpu.stat")
    return Limits(min(memory, default=None), *(tightest or (None, None)))


def _folders(
    controller: str, mounts: Mapping[str, Mount], member: Mapping[str, str], root: Path
) -> Iterator[Path]:
    """The group's folder and its parents, where this mount shows them."""
    key = controller if controller in mounts and controller in member else ""
    if key not in mounts or key not in member:
        return
    mount, path = mounts[key], member[key].rstrip("/")
    base = mount.root.rstrip("/")
    if path != base and not path.startswith(base + "/"):
        return
    parts = [part for part in path[len(base) :].split("/") if part]
    if ".." in parts:  # the group lies outside of our cgroup namespace
        return
    top = root / mount.point.lstrip("/")
    for depth in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:depth])


def _memory(folder: Path) -> int | None:
    text = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
    return parse_memory_limit(text or "")


def _cpu(folder: Path) -> float | None:
    if both := (_text(folder / "cpu.max") or "").split():
        return parse_cpu_limit(both[0], both[-1])
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return parse_cpu_limit((quota or "").strip(), (period or "").strip())


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _unescaped(field: str) -> str:
    return field.replace("\\040", " ").replace("\\134", "\\")
