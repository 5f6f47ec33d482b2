"""The way into the agent that imports nothing heavy: no typer, no rich, no SDK."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from pathlib import Path

from .. import config as configuration
from ..agent import Agent
from ..config import Config
from ..errors import TickbirdError, UsageError
from ..net import Inherited
from .output import complain, note

DEFAULT_FILES = ("tickbird.yaml", "/etc/tickbird/tickbird.yaml")


def run_lean(arguments: list[str]) -> int:
    """Be the agent until a signal ends it; return the exit code."""
    try:
        options = _parse(arguments)
        path = _path(options.config)

        def load() -> Config:
            return configuration.load(path) if path else configuration.default()

        config = load()
        for warning in config.warnings:
            _say(warning)
        agent = Agent(config, _inherited(options), _say, load, chatty=sys.stderr.isatty())
        agent.handle_signals()
        agent.run()
    except TickbirdError as error:
        complain(error)
        return error.exit_code
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(message, "see `tickbird run --help`")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="tickbird run", add_help=False)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--probe-fd", type=int)
    parser.add_argument("--intake-fd", type=int)
    parser.add_argument("--supervisor", type=int)
    return parser.parse_args(arguments)


def _path(given: Path | None) -> Path | None:
    """The file asked for, else the first default one that exists."""
    if given is not None:
        return given
    return next((path for name in DEFAULT_FILES if (path := Path(name)).is_file()), None)


def _inherited(options: argparse.Namespace) -> Inherited:
    return Inherited(
        probe=socket.socket(fileno=options.probe_fd) if options.probe_fd is not None else None,
        probe_token=os.environ.pop("TICKBIRD_PROBE_TOKEN", None),
        intake=socket.socket(fileno=options.intake_fd) if options.intake_fd is not None else None,
        supervisor=options.supervisor,
    )


def _say(line: str) -> None:
    note(f"{time.strftime('%H:%M:%S')} tickbird: {line}")
