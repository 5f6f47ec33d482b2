"""``tickbird run``: the sidecar agent, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    config: Annotated[
        Path | None,
        typer.Option(
            "-c",
            "--config",
            help="Configuration; else ./tickbird.yaml or /etc/tickbird/tickbird.yaml.",
        ),
    ] = None,
) -> int:
    """Watch services: the sidecar agent, in the foreground.

    Without a configuration it watches the Node and Python services of this user that listen on a
    port, and keeps what it sees to itself: ask with `tickbird health`, or open `tickbird page`.

    SIGTERM sends what is queued (or keeps it on disk) and ends; SIGHUP reads the configuration
    again. A commented configuration: `tickbird config example`.
    """
    from .lean import run_lean  # noqa: PLC0415 - every command would pay for the agent's imports

    return run_lean(["--config", str(config)] if config else [])


COMMANDS = {"run": run}
