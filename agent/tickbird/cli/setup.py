"""``tickbird setup``: what a host needs once, done only when somebody asks for it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from .. import paths
from ..errors import SourceError
from ..linux import tracepoints, tracesetup
from .output import say, say_json

GROUP = typer.Typer(no_args_is_help=True, help="Prepare this host for exact measurement.")
AT_BOOT = f"ExecStartPre=+{sys.executable} -m tickbird setup trace"


@GROUP.callback()
def _setup() -> None:
    """Keeps ``trace`` a subcommand while it is the only one."""


@GROUP.command("trace")
def trace(
    undo: Annotated[bool, typer.Option("--undo", help="Remove what it made.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, no text.")] = False,
) -> int:
    """As root, once per boot: let every user's agent measure its own loops exactly.

    Writes down the ids of six tracepoints, which only root may read. No right is given to anybody,
    and no setting of the kernel is changed; nothing else runs afterwards.
    """
    document = _undo() if undo else _do()
    if as_json:
        say_json(document)
    elif undo:
        say(f"{'removed' if document['changed'] else 'there is no'} {document['file']}")
    else:
        _tell(document)
    return 0


def _undo() -> dict[str, Any]:
    folder = paths.trace_home()
    changed = tracesetup.remove(folder)
    return {"file": str(folder / tracepoints.IDS_FILE), "changed": changed}


def _do() -> dict[str, Any]:
    done = tracesetup.publish(paths.trace_home())
    refused = tracesetup.refused_to_users(done.ids)
    return {
        "file": str(done.file),
        "changed": done.changed,
        "mounted_privately": done.mounted,
        "ids": done.ids,
        **tracepoints.host_key(),
        "users": _verdict(refused),
    }


def _verdict(refused: SourceError | None) -> dict[str, Any]:
    return {
        "allowed": refused is None,
        "problem": str(refused) if refused else None,
        "remedy": refused.remedy if refused else None,
    }


def _tell(document: dict[str, Any]) -> None:
    mounted = document["mounted_privately"]
    way = "tracefs, mounted for that moment and for nobody else" if mounted else "tracefs"
    done = "wrote" if document["changed"] else "nothing to do: up to date is"
    say(f"{done} {document['file']} ({len(document['ids'])} ids, read from {way})")
    users = document["users"]
    if users["allowed"]:
        say("tried as uid 65534: every user can now measure their own loops exactly")
        say("  tickbird attach PID")
        say("processes of other users need root or CAP_PERFMON, as before")
    else:
        say(f"ordinary users still cannot trace their processes here: {users['problem']}")
        if users["remedy"]:
            say(f"  what to do: {users['remedy']}")
    say("containers have a seccomp profile of their own: see docs/loop-tracing.md")
    say("it lasts until the next boot; in the agent's systemd unit this does it each time:")
    say(f"  {AT_BOOT}")
    say("undo: tickbird setup trace --undo")
