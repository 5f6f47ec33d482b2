"""Where the things of one service lie: the state folder of its agent's instance, and its spool."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CannotCreate
from ..paths import private_folder, state_home
from .spool import Spool

if TYPE_CHECKING:
    from ..config import Config

_SPOOL_SIZE = 1024**3
_MOST_OF_A_NAME = 100
_LOCK = "exec.lock"


class Place(NamedTuple):
    """``folder`` is the instance's state folder; ``spool`` is None where none can be written."""

    name: str
    folder: Path
    spool: Spool | None


def load(path: Path | None) -> Config | None:
    """Only a file that was asked for is read before the service starts: if it is wrong, the
    service does not start at all."""
    if path is None:
        return None
    from .. import config  # noqa: PLC0415 - see above

    return config.load(path)


def only_target(base: Config | None) -> str | None:
    """The name of the one target, where there is but one."""
    return base.targets[0].name if base and len(base.targets) == 1 else None


def claim(base: Config | None, name: str, say: Callable[[str], None]) -> Place:
    """Take a place for the service ``name``. Two services of one name run beside each other, so a
    folder in use makes the next number the instance."""
    home = base.state_dir if base else state_home()
    size = base.spool.size if base else _SPOOL_SIZE
    # Each service has an agent, so an instance, of its own.
    instance = name if base is None or base.instance == "default" else base.instance
    try:
        for number in range(1, _MOST_OF_A_NAME):
            folder = home / (instance if number == 1 else f"{instance}-{number}")
            if _lock(private_folder(folder)):
                private_folder(folder / "spool")
                return Place(name, folder, Spool(folder / "spool" / name, size))
        why = f"{number} services named {name} run already; give another --name"
    except CannotCreate as error:
        why = str(error)
    say(f"the service runs without its agent, and its output is not kept: {why}")
    return Place(name, home / instance, None)


def leave(place: Place) -> None:
    """Nothing ran: no folder stays, unless an earlier run has left something in it."""
    if place.spool is None:
        return
    with contextlib.suppress(OSError):
        place.spool.folder.rmdir()
        place.spool.folder.parent.rmdir()
        if os.listdir(place.folder) == [_LOCK]:  # noqa: PTH208 - names only
            (place.folder / _LOCK).unlink()
            place.folder.rmdir()


def _lock(folder: Path) -> bool:
    """Whether the folder is ours now. The lock ends with this process, so the file stays open."""
    try:
        lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreate(f"cannot write in {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True
