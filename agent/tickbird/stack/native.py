"""The five backends as processes of this machine: up, down, status."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import CannotCreate, Unreachable
from ..paths import private_folder
from . import Progress, processes
from .backends import BACKENDS, Backend
from .build import Found
from .launch import Running, check_ports, start, wait_for_answers, write_config
from .processes import Process
from .site import Ports, Site, forget, read_json, remember, site, write_private

STOP_WITHIN = 30.0
"""Loki, stopped while it joins its ring, takes tens of seconds to go."""

RECORD = "stack.json"


@dataclass(frozen=True, slots=True)
class State:
    """One backend as it is now. ``problem`` is None when it runs and answers a real query."""

    name: str
    up: bool
    problem: str | None
    version: str | None
    url: str | None
    pid: int | None
    memory_bytes: int | None
    log: str


def recorded(name: str) -> tuple[Site, dict[str, Running]] | None:
    """The stack called ``name`` as it was started; None when it was not, or was taken down."""
    document = read_json(site(name, Ports()).folder / RECORD)
    if document is None:
        return None
    running = {
        backend: Running(
            Process(entry["pid"], entry["started"]), entry["program"], entry["version"]
        )
        for backend, entry in document["processes"].items()
    }
    return site(name, Ports(**document["ports"])), running


def up(
    name: str,
    ports: Ports | None,
    obtain: Callable[[], dict[str, Found]],
    progress: Progress,
) -> Site:
    """Start what does not run yet and wait until every backend answers a query.

    ``ports`` None: those of the record, else the defaults. CannotCreate when a port is taken,
    Unreachable when a backend ends or stays silent; then nothing that this call started is left.
    """
    with _locked(site(name, Ports()).folder):
        known = recorded(name)
        place = site(name, ports or (known[0].ports if known else Ports()))
        alive = {n: r for n, r in known[1].items() if r.process.alive()} if known else {}
        if known and alive and place.ports != known[0].ports:
            raise CannotCreate(
                f"the stack {name!r} runs on other ports",
                f"take it down first (tickbird stack down --name {name}), or choose another --name",
            )
        missing = [backend for backend in BACKENDS if backend.name not in alive]
        check_ports(place, missing)
        programs = obtain() if missing else {}
        if not alive:
            write_config(place)
        started: dict[str, Running] = {}
        try:
            for backend in missing:
                started[backend.name] = start(backend, place, programs[backend.recipe])
                _record(place, {**alive, **started})
            wait_for_answers(place, {**alive, **started}, progress)
        except BaseException:
            processes.stop([running.process for running in started.values()], STOP_WITHIN)
            _record(place, alive)
            raise
        remember(name, place.backends())
    return place


def down(name: str, progress: Progress) -> int:
    """Stop every process of the stack; return how many ran. Data and logs stay."""
    folder = site(name, Ports()).folder
    if not folder.is_dir():
        return 0
    with _locked(folder):
        known = recorded(name)
        forget(name)
        if known is None:
            return 0
        place, running = known
        alive = {backend: r.process for backend, r in running.items() if r.process.alive()}
        ordered = [alive[backend.name] for backend in reversed(BACKENDS) if backend.name in alive]
        if ordered:
            progress(f"stopping {len(ordered)} processes, at most {STOP_WITHIN:.0f} s")
        killed = processes.stop(ordered, STOP_WITHIN)
        for backend, process in alive.items():
            if process in killed:
                progress(f"{backend} did not stop by itself and was killed")
        (place.folder / RECORD).unlink(missing_ok=True)
        return len(ordered)


def status(name: str, timeout: float = 5.0) -> list[State]:
    """Each backend as it is now; all of them down when the stack was never started."""
    known = recorded(name)
    place, running = known or (site(name, Ports()), {})
    return [_state(backend, place, running.get(backend.name), timeout) for backend in BACKENDS]


def _state(backend: Backend, place: Site, running: Running | None, timeout: float) -> State:
    url = backend.url(place.backends())
    log = str(place.log(backend.name))
    state = State(backend.name, False, "it was not started", None, url, None, None, log)
    if running is None or url is None:
        return state
    state = replace(state, version=running.version, pid=running.process.pid)
    if not running.process.alive():
        return replace(state, problem=f"its process {running.process.pid} has ended", pid=None)
    problem = None
    try:
        backend.question(url, timeout)
    except Unreachable as error:
        problem = str(error)
    return replace(
        state, up=problem is None, problem=problem, memory_bytes=running.process.memory()
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One command at a time works on a stack."""
    private_folder(folder)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotCreate(
                f"another command is starting or stopping the stack {folder.name!r}",
                "wait until it is done",
            ) from error
        yield


def _record(place: Site, running: dict[str, Running]) -> None:
    if not running:
        (place.folder / RECORD).unlink(missing_ok=True)
        return
    entries = {
        name: {
            "pid": entry.process.pid,
            "started": entry.process.started,
            "program": entry.program,
            "version": entry.version,
        }
        for name, entry in running.items()
    }
    write_private(
        place.folder / RECORD,
        {"schema": 1, "kind": "native", "ports": asdict(place.ports), "processes": entries},
    )
