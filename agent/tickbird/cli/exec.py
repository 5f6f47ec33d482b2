"""``tickbird exec``: a service with its agent beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .exec_lean import exec_lean


def execute(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="The service, as a shell has it.")
    ],
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="Configuration of the agent; without it none is read."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="service.name; else from package.json, pyproject.toml or the command."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Send nothing, whatever -c names."),
    ] = False,
) -> int:
    """Start a service, unchanged, with the agent beside it.

    Its output becomes logs and still reaches the terminal (through a pipe, so the service sees no
    terminal); signals and the exit code pass through. Should the agent be killed or stopped, the
    service goes on and its output is kept on disk for the next agent.
    """
    words = ["-c", str(config)] if config else []
    words += ["--name", name] if name else []
    words += ["--offline"] if offline else []
    return exec_lean([*words, "--", *command])


COMMANDS = {"exec": execute}
