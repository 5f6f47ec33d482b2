"""``tickbird health``: what the agent found, with evidence and what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..config.units import duration
from ..errors import UsageError
from ..health import render
from ..health.report import exit_code
from ..model import Status
from .attach import observe
from .client import Client, find
from .output import coloured, say

WATCH_SECONDS = 2.0
CLEAR = "\x1b[2J\x1b[H"


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    MD = "md"
    HTML = "html"


class FailOn(StrEnum):
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


RENDERERS: Mapping[Format, Callable[[Mapping[str, Any]], str]] = {
    Format.TEXT: lambda document: render.as_text(document, coloured),
    Format.JSON: render.as_json,
    Format.MD: render.as_markdown,
    Format.HTML: render.as_html,
}


def health(  # noqa: PLR0917 - the options of the command
    pid: Annotated[
        int | None, typer.Argument(help="Ask about this process; it is watched for 15 s first.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far to look back: 90s, 15m, 1h.")] = "15m",
    target: Annotated[str | None, typer.Option(help="Only this target: its name or pid.")] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TEXT,  # noqa: A002
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C.")] = False,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Exit 0 for everything milder than this.")
    ] = None,
    instance: Annotated[str | None, typer.Option(help="Which of several agents.")] = None,
    api: Annotated[str | None, typer.Option(help="Address of an agent elsewhere.")] = None,
) -> int:
    """Say what is wrong, by which evidence, and what to do.

    Exit code: 0 ok, 1 warn, 2 fail, 3 unknown (nothing to judge by); 69 no agent answers.
    """
    seconds = _duration(since)
    if pid is not None and not (instance or api):
        document = observe([pid], 15.0, quiet=format is not Format.TEXT)
        say(RENDERERS[format](document).rstrip("\n"))
        return exit_code(document, _status(fail_on))
    client = find(instance, api)
    wanted = target or (str(pid) if pid is not None else None)
    if watch:
        return _watch(client, seconds, wanted, format)
    document = ask(client, seconds, wanted)
    say(RENDERERS[format](document).rstrip("\n"))
    return exit_code(document, _status(fail_on))


def ask(client: Client, since: float, target: str | None) -> dict[str, Any]:
    """The document; raises ``UsageError`` with the names there are when none is ``target``."""
    document = client.report(since, target)
    if target is not None and not document["targets"]:
        known = [entry["key"] for entry in render.flat(client.report(since))]
        raise UsageError(
            f"nothing called {target} is watched",
            f"choose one of: {', '.join(known)}" if known else "no target is watched now",
        )
    return document


def _watch(client: Client, since: float, target: str | None, how: Format) -> int:
    try:
        while True:
            document = ask(client, since, target)
            if how is Format.JSON:
                say(json.dumps(document, allow_nan=False))  # a stream: one document a line
            else:
                clear = CLEAR if sys.stdout.isatty() else ""
                say(clear + RENDERERS[how](document).rstrip("\n"))
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return 0


def _status(fail_on: FailOn | None) -> Status | None:
    return None if fail_on is None else Status(fail_on.value)


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise UsageError(f"--since {text}: {error}") from error


COMMANDS = {"health": health, "report": health}
