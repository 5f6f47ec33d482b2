"""``tickbird attach``: watch running processes for a while, from outside, and report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config.units import duration
from ..errors import Unreachable, UsageError
from ..health import render
from ..health.report import exit_code
from ..linux.process import is_kernel_thread
from ..sinks.console import line
from .client import Client, wait_for
from .ending import unwinding
from .output import coloured, note, say, say_json

START_SECONDS = 15.0
STOP_SECONDS = 15.0
SHOW_SECONDS = 2.0


def attach(
    pids: Annotated[list[int], typer.Argument(help="The processes to watch.", metavar="PID...")],
    for_: Annotated[str, typer.Option("--for", help="How long: 15s, 2m.")] = "15s",
    inject: Annotated[
        bool,
        typer.Option(
            "--inject", help="Put a probe into Node processes; it is taken out at the end."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, no text.")] = False,
) -> int:
    """Watch running processes from outside, without a change to them.

    With --inject also from inside: SIGUSR1 opens the inspector of a Node process, which takes in a
    probe and is closed at once. Then requests, heap and the function that blocks are seen too.

    Exit code as that of `tickbird health`: 0 ok, 1 warn, 2 fail, 3 unknown.
    """
    try:
        seconds = duration(for_)
    except ValueError as error:
        raise UsageError(f"--for {for_}: {error}") from error
    document = observe(pids, seconds, quiet=as_json, inject=inject)
    if as_json:
        say_json(document)
    else:
        say(render.as_text(document, coloured).rstrip("\n"))
    return exit_code(document)


def observe(
    pids: Sequence[int], seconds: float, quiet: bool, inject: bool = False
) -> dict[str, Any]:
    """Run an agent of its own on ``pids`` for ``seconds`` and return its document; shows a line
    per target meanwhile unless ``quiet``; ``inject`` has probes put into Node processes. Raises
    ``UsageError`` for a pid that cannot be watched.
    """
    pids = list(dict.fromkeys(pids))
    for pid in pids:
        _check(pid)
    with unwinding(), _agent(pids, "attach" if inject else "auto") as client:
        if not quiet:
            note(f"watching {', '.join(map(str, pids))} for {seconds:g} s; Ctrl-C ends it early")
        try:
            _wait(client, seconds, quiet)
        except KeyboardInterrupt:
            note("")
        return client.report(seconds + START_SECONDS)


def _check(pid: int) -> None:
    """A wrong pid is one clear line, before anything is started."""
    if pid <= 0:
        raise UsageError(f"{pid} is no process", "give the number of one process")
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        raise UsageError(f"there is no process {pid}", "look it up: pgrep -fl NAME") from None
    except PermissionError:
        raise UsageError(
            f"process {pid} belongs to another user",
            f"watch it as that user, or as root: sudo tickbird attach {pid}",
        ) from None
    if is_kernel_thread(pid):
        raise UsageError(
            f"process {pid} is a thread of the kernel: it has no memory and no event loop",
            "give the number of a program",
        )


def _wait(client: Client, seconds: float, quiet: bool) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(SHOW_SECONDS, left))
        if quiet:
            continue
        entries = list(render.flat(client.report(SHOW_SECONDS * 2)))
        for entry in entries:
            note(line(entry))
        if entries and all(entry["ended_at"] for entry in entries):
            note("every watched process has ended")
            return


@contextmanager
def _agent(pids: Sequence[int], method: str) -> Iterator[Client]:
    """A short-lived agent that keeps what it sees to itself; gone, with its files, afterwards."""
    instance = f"attach-{pids[0]}-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="tickbird-attach-") as folder:
        config = Path(folder, "tickbird.yaml")
        config.write_text(_configuration(instance, folder, pids, method), encoding="utf-8")
        said = Path(folder, "agent.log")
        with said.open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "tickbird",
                    "run",
                    "-c",
                    str(config),
                    "--supervisor",
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield _ready(process, instance, said)
        finally:
            _stop(process)


def _configuration(instance: str, folder: str, pids: Sequence[int], method: str) -> str:
    """JSON is YAML too; ports: whichever is free."""
    return json.dumps(
        {
            "instance": instance,
            "state_dir": folder,
            "api": {"listen": "127.0.0.1:0"},
            "intake": {"otlp_http": "127.0.0.1:0"},
            "targets": [{"match": {"pid": pid}, "loop": {"method": method}} for pid in pids],
        }
    )


def _ready(process: subprocess.Popen[bytes], instance: str, said: Path) -> Client:
    try:
        return wait_for(instance, START_SECONDS, lambda: process.poll() is None)
    except Unreachable as error:
        lines = said.read_text(errors="replace").strip().splitlines()
        why = lines[-1] if lines else "it said nothing"
        raise Unreachable(f"the agent for this did not start: {why}") from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


COMMANDS = {"attach": attach}
