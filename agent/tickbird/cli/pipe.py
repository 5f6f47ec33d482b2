"""``tickbird pipe``: stdin as the logs of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .pipe_lean import pipe_lean


def pipe(
    name: Annotated[
        str | None,
        typer.Option(help="service.name; without it that of the one target of -c."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="Configuration of the agent; without it none is read."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Send nothing, whatever -c names."),
    ] = False,
) -> int:
    """Take stdin for the logs of a service, with an agent beside it: SERVICE | tickbird pipe.

    What comes in is kept on disk until it is delivered, and passed on to stdout as it is. The end
    of stdin ends the command, once what is left is sent (what cannot be sent within ten seconds
    stays on disk for the next time). Use `tickbird exec` where you can: it sees stderr and the
    service itself too.
    """
    words = ["-c", str(config)] if config else []
    words += ["--name", name] if name else []
    words += ["--offline"] if offline else []
    return pipe_lean(words)


COMMANDS = {"pipe": pipe}
