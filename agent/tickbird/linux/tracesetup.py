"""What root does once per boot so that ordinary users can trace the loops of their own processes:
read the ids of six tracepoints and write them where every user's agent looks."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CannotCreate, SourceError
from . import perf, tracepoints
from .refusal import refusal

_CLONE_NEWNS = 0x20000
_NOT_SHARED = 1 << 18 | 1 << 14  # MS_PRIVATE, MS_REC
_PLAIN = 1 << 1 | 1 << 2 | 1 << 3  # MS_NOSUID, MS_NODEV, MS_NOEXEC; read-only would hit the host's
_NOBODY = 65534
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Published:
    """``changed`` is False where all was there already; ``mounted`` says whether tracefs had to
    be mounted, for a moment and for nobody else."""

    file: Path
    ids: dict[str, int]
    changed: bool
    mounted: bool


def publish(folder: Path) -> Published:
    """Write the ids of this boot to ``folder`` (made when missing, 0755) for every user to read.
    Raises CannotCreate for who is not root, and with what the kernel or container forbids."""
    ids, mounted = read_ids()
    made = make(folder)
    return keep(folder, ids, mounted, made)


def keep(folder: Path, ids: dict[str, int], mounted: bool = False, made: bool = False) -> Published:
    """Write ``ids`` to ``folder``, which is there; ``made``: ``remove`` may remove it too."""
    file = folder / tracepoints.IDS_FILE
    made = made or _made_folder(file)
    document = {**tracepoints.host_key(), "ids": ids, "made_folder": made}
    return Published(file, ids, _write(file, json.dumps(document, indent=1) + "\n"), mounted)


def read_ids() -> tuple[dict[str, int], bool]:
    """Ids by name, and whether tracefs had to be mounted for it. Raises as ``publish`` does."""
    _only_root()
    ids = tracepoints.from_tracefs(tracepoints.TRACEFS)
    mounted = not ids
    if mounted:
        ids = _ids_by_own_mount()
    if not tracepoints.usable(ids):
        raise CannotCreate(
            "this kernel has no tracepoints on epoll",
            "it needs CONFIG_FTRACE_SYSCALLS; without it use tickbird exec, which measures inside "
            "the process",
        )
    return ids, mounted


def remove(folder: Path) -> bool:
    """Remove the file, and the folder if ``publish`` made it and nothing else is in it; whether
    there was anything. Raises CannotCreate for who is not root."""
    _only_root()
    file = folder / tracepoints.IDS_FILE
    made = _made_folder(file)
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _cannot("remove", file, error) from error
    if made:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                raise _cannot("remove", folder, error) from error
    return True


def refused_to_users(ids: Mapping[str, int]) -> SourceError | None:
    """What keeps an ordinary user of this host (or container) from tracing a process of his own;
    None when nothing does. Found out by doing it, in a child that has given up root."""

    def attempt() -> dict[str, str | None] | None:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        try:
            perf.EpollTrace(perf.open_events(os.getpid(), ids)).close()
        except OSError as error:
            found = refusal(error, os.getpid())
            return {"message": str(found), "remedy": found.remedy}
        return None

    try:
        answer = in_child(attempt)
    except OSError as error:
        return SourceError(f"it could not be tried out as another user: {error.strerror}")
    return answer and SourceError(answer["message"], answer["remedy"])


def _only_root() -> None:
    if os.geteuid() != 0:
        raise CannotCreate(
            "only root can read the ids of tracepoints and write them down for all users",
            "run it as root: sudo tickbird setup trace",
        )


def _ids_by_own_mount() -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="tickbird-tracefs-") as folder:

        def read() -> dict[str, int]:
            _check(_libc.unshare(_CLONE_NEWNS))
            _check(_libc.mount(None, b"/", None, _NOT_SHARED, None))
            _check(_libc.mount(b"nodev", folder.encode(), b"tracefs", _PLAIN, None))
            return tracepoints.from_tracefs([Path(folder)])

        try:
            ids: dict[str, int] = in_child(read)
        except OSError as error:
            raise _no_tracefs(error) from error
    return ids


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _no_tracefs(error: OSError) -> CannotCreate:
    if error.errno in (errno.EPERM, errno.EACCES):
        return CannotCreate(
            "tracefs is not mounted, and root may not mount it here",
            "in a container: run this on the host and mount the folder that it names into the "
            "container, read-only; or give this one command the capability SYS_ADMIN",
        )
    if error.errno == errno.ENODEV:
        return CannotCreate(
            "this kernel has no tracefs",
            "without it use tickbird exec, which measures inside the process",
        )
    return CannotCreate(f"cannot mount tracefs: {error.strerror}")


def make(folder: Path) -> bool:
    """A folder that all may enter and only root may write to. Whether it was made; it is checked
    where it was there."""
    try:
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask
        return True
    except FileExistsError:
        found = folder.lstat()
    except OSError as error:
        raise _cannot("create", folder, error) from error
    if not stat.S_ISDIR(found.st_mode) or not tracepoints.trusted(found):
        raise CannotCreate(
            f"{folder} is not a folder that only root can write to", "remove it, then try again"
        )
    return False


def _made_folder(file: Path) -> bool:
    try:
        return json.loads(file.read_bytes())["made_folder"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(file: Path, text: str) -> bool:
    """Whole or not at all; whether anything had to be changed."""
    part = file.with_suffix(".part")
    try:
        if file.exists() and file.read_text() == text:
            file.chmod(0o644)
            return False
        part.write_text(text)
        part.chmod(0o644)
        part.replace(file)
    except OSError as error:
        raise _cannot("write", file, error) from error
    return True


def _cannot(what: str, path: Path, error: OSError) -> CannotCreate:
    return CannotCreate(f"cannot {what} {path}: {error.strerror}")


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returned (plain data), from a forked process with which all ends that it
    changed of itself: mounts, user. An OSError in it is raised here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                said = json.dumps({"value": work()})
            except OSError as error:
                said = json.dumps({"errno": error.errno or errno.EIO})
            os.write(writing, said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor, not a path
        answer = json.loads(pipe.read() or b'{"errno": 5}')
    os.waitpid(pid, 0)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    return answer["value"]
