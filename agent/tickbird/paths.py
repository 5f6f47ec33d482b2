"""Where things live: state, sockets, caches and the bundle that travels in the wheel."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import CannotCreate, UsageError

_STATE = "TICKBIRD_STATE_DIR"
_RUNTIME = "TICKBIRD_RUNTIME_DIR"


def _base(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def _chosen(variable: str) -> Path | None:
    """The folder that ``variable`` names; raises ``UsageError`` for one that would be another
    folder wherever the command is started."""
    value = os.environ.get(variable, "")
    if value and not value.startswith("/"):
        raise UsageError(
            f"{variable} must be an absolute path, not {value!r}", f"begin {variable} with /"
        )
    return Path(value) if value else None


def state_home() -> Path:
    """Where state goes unless the configuration's ``state_dir`` says otherwise:
    TICKBIRD_STATE_DIR, else /var/lib/tickbird as root and the XDG state directory as anybody
    else."""
    if chosen := _chosen(_STATE):
        return chosen
    if os.geteuid() == 0:
        return Path("/var/lib/tickbird")
    return _base("XDG_STATE_HOME", ".local/state") / "tickbird"


def cache_home() -> Path:
    """Where built backends are kept."""
    return _base("XDG_CACHE_HOME", ".cache") / "tickbird"


def runtime_home() -> Path:
    """Folder of the sockets of this user's agents, made with mode 0700; refuses one that another
    user owns, since whoever owns the folder can answer in the agent's place. TICKBIRD_RUNTIME_DIR
    puts it elsewhere, as containers do that share a volume."""
    if chosen := _chosen(_RUNTIME):
        path = chosen
    elif os.geteuid() == 0:
        path = Path("/run/tickbird")
    elif (base := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/") and Path(base).is_dir():
        path = Path(base) / "tickbird"
    else:
        path = Path(f"/tmp/tickbird-{os.getuid()}")  # noqa: S108 - owner and mode checked below
    return private_folder(path, f"the variable {_RUNTIME}")


def trace_home() -> Path:
    """Where root leaves what the agents of all users need to trace loops; TICKBIRD_TRACE_DIR puts
    it elsewhere."""
    chosen = os.environ.get("TICKBIRD_TRACE_DIR", "")
    return Path(chosen if chosen.startswith("/") else "/run/tickbird-trace")


def private_folder(
    path: Path, choice: str = f"state_dir in the configuration, or the variable {_STATE}"
) -> Path:
    """``path`` as a folder of this user that nobody else can enter; made when missing. Raises
    ``CannotCreate``, which names the ``choice`` of another."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise CannotCreate(
            f"cannot create {path}: {error.strerror}",
            f"choose a folder that you can write to: {choice}",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise CannotCreate(
            f"{path} is a link, a file or another user's", "remove it, or ask its owner to"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return path


def bundle() -> Path:
    """The bundle's root: boards, rules, compose, Collector configuration, samples. In a wheel it
    lies inside the package; in a checkout it is the checkout itself."""
    packaged = Path(__file__).parent / "bundle"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]
