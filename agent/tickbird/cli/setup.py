"""``tickbird setup``: what a host needs once, done only when somebody asks for it."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import paths
from ..errors import SourceError, UsageError
from ..linux import traceaccess, tracecheck, tracehelper, tracepoints, tracesearch, tracesetup
from .output import note, say, say_json

GROUP = typer.Typer(no_args_is_help=True, help="Prepare this host for exact measurement.")
AT_BOOT = f"ExecStartPre=+{sys.executable} -m tickbird setup trace"
PROFILE = "compose/seccomp/tickbird-agent.json"
FAILED = 2
"""Exit code of a check that found something missing, as of ``tickbird health``."""


@GROUP.command("trace")
def trace(
    pid: Annotated[
        int | None, typer.Argument(help="With --check: the process to try.", show_default=False)
    ] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Say what works here, for whom.")] = False,
    helper: Annotated[
        bool, typer.Option("--helper", help="As root, until ended: open traces for users.")
    ] = False,
    search: Annotated[
        bool, typer.Option("--search", help="Without root: find the ids by trying, in seconds.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what it made.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, no text.")] = False,
) -> int:
    """As root, once per boot: let every user's agent measure its own loops exactly.

    Writes down the ids of six tracepoints, which only root may read. No right is given to anybody,
    and no setting of the kernel is changed; nothing else runs afterwards.

    Where users may not open perf events at all (kernel.perf_event_paranoid 3 and 4, containers),
    --helper runs a small service of root instead, which opens them for each user's own processes.
    """
    if check + helper + search + undo > 1:
        raise UsageError("--check, --helper, --search and --undo exclude each other")
    if pid is not None and not check:
        raise UsageError("a pid goes with --check only", f"tickbird setup trace --check {pid}")
    if helper:
        return _help()
    if check:
        return _check(pid, as_json)
    document, lines = _search() if search else _undo() if undo else _publish()
    if as_json:
        say_json(document)
    else:
        say("\n".join(lines))
    return 0


@GROUP.command("seccomp")
def seccomp() -> int:
    """Print a seccomp profile for the agent's container: what it calls, with perf_event_open.

    For docker and podman: --security-opt seccomp=FILE.
    """
    say((paths.bundle() / PROFILE).read_text(encoding="utf-8").rstrip("\n"))
    return 0


def _help() -> int:
    ids, _ = tracesetup.read_ids()
    folder = paths.trace_home()
    tracesetup.make(folder)
    note(f"opens epoll events for each user's own processes, at {folder / traceaccess.SOCKET}")
    tracehelper.serve(folder, ids)
    return 0


def _search() -> tuple[dict[str, Any], list[str]]:
    ids = tracesearch.search()
    done = tracesetup.keep(paths.private_folder(paths.state_home()), ids)
    lines = [
        f"found {len(ids)} ids by trying and wrote {done.file}; they hold until the next boot",
        "your agents can measure your own loops exactly now: tickbird attach PID",
    ]
    return {"file": str(done.file), "ids": ids, **tracepoints.host_key()}, lines


def _undo() -> tuple[dict[str, Any], list[str]]:
    folder = paths.trace_home()
    changed = tracesetup.remove(folder)
    file = str(folder / tracepoints.IDS_FILE)
    return {"file": file, "changed": changed}, [f"{'removed' if changed else 'there is no'} {file}"]


def _publish() -> tuple[dict[str, Any], list[str]]:
    done = tracesetup.publish(paths.trace_home())
    refused = tracesetup.refused_to_users(done.ids)
    document = {
        "file": str(done.file),
        "changed": done.changed,
        "mounted_privately": done.mounted,
        "ids": done.ids,
        **tracepoints.host_key(),
        "users": _verdict(refused),
    }
    return document, _told(done, refused)


def _verdict(refused: SourceError | None) -> dict[str, Any]:
    return {
        "allowed": refused is None,
        "problem": str(refused) if refused else None,
        "remedy": refused.remedy if refused else None,
    }


def _told(done: tracesetup.Published, refused: SourceError | None) -> list[str]:
    way = "tracefs, mounted for that moment and for nobody else" if done.mounted else "tracefs"
    wrote = "wrote" if done.changed else "nothing to do: up to date is"
    lines = [f"{wrote} {done.file} ({len(done.ids)} ids, read from {way})"]
    if refused is None:
        lines += [
            "tried as uid 65534: every user can now measure their own loops exactly",
            "  tickbird attach PID",
            "processes of other users need root or CAP_PERFMON, as before",
        ]
    else:
        lines.append(f"ordinary users still cannot trace their processes here: {refused}")
        lines += [f"  what to do: {refused.remedy}"] if refused.remedy else []
    return [
        *lines,
        "containers have a seccomp profile of their own: see docs/loop-tracing.md",
        "it lasts until the next boot; in the agent's systemd unit this does it each time:",
        f"  {AT_BOOT}",
        "undo: tickbird setup trace --undo",
    ]


def _check(pid: int | None, as_json: bool) -> int:
    if pid is not None and not Path(f"/proc/{pid}").is_dir():
        raise UsageError(f"there is no process {pid}", "look it up: pgrep -fl NAME")
    folders = (paths.state_home(), paths.trace_home())
    found = tracecheck.check(pid or os.getpid(), "python", folders, paths.trace_home())
    if as_json:
        say_json({"pid": pid, "uid": os.geteuid(), **asdict(found)})
    else:
        say("\n".join(_access(found, pid)))
    return 0 if found.way else FAILED


def _access(found: tracecheck.Access, pid: int | None) -> list[str]:
    what = f"process {pid}" if pid is not None else "processes of their own"
    able = {
        "itself": f"can trace {what}",
        "helper": f"can trace {what}, by root's helper",
        None: f"cannot trace {what}: {found.problem}",
    }[found.way]
    level = "unknown" if found.paranoid is None else found.paranoid
    return [
        f"uid {os.geteuid()} {able}",
        *([f"  what to do: {found.remedy}"] if found.remedy and found.way is None else []),
        f"kernel.perf_event_paranoid {level}; seccomp filter {'yes' if found.seccomp else 'no'}; "
        f"CAP_PERFMON {'yes' if found.perfmon else 'no'}",
    ]
