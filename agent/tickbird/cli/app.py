"""Puts the commands together and turns errors into one clear line and an exit code."""

from __future__ import annotations

import errno
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import typer

from .. import __version__
from ..errors import CannotCreate, TickbirdError
from . import __path__ as commands_path
from .output import complain, not_written

WRONG_USAGE = 64
INTERRUPTED = 130
_STDOUT_REFUSES = {errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF}
# Newer Typer carries a copy of click, so that click's own class is not the one that is raised.
_UsageError = next(
    kind
    for kind in typer.BadParameter.__mro__
    if issubclass(kind, Exception) and kind.__name__ == "UsageError"
)


def build() -> typer.Typer:
    """A module of this package is a command when it has ``COMMAND`` (a function, its docstring
    the help) or ``GROUP`` (a Typer app with subcommands). The name is the module's."""
    app = typer.Typer(
        name="tickbird",
        help="Event loops seen from outside, logs that are never lost, a stack that proves itself.",
        epilog="Start with: tickbird demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    first_names: dict[Callable[..., Any], str] = {}
    for found in sorted(pkgutil.iter_modules(commands_path), key=lambda module: module.name):
        module = importlib.import_module(f"{__package__}.{found.name}")
        if hasattr(module, "GROUP"):
            app.add_typer(module.GROUP, name=found.name)
        for name, command in getattr(module, "COMMANDS", {}).items():
            first = first_names.setdefault(command, name)
            app.command(name, help=None if first == name else f"Same as {first}.")(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tickbird {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> int:
    """Run the command line; return the exit code."""
    if sys.stdout is None:
        return _told(CannotCreate("cannot write the answer: stdout is closed", "leave it open"))
    try:
        code = build()(standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        return _told(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> int:
    """Say what went wrong; return the exit code. Raises what is a fault of ours."""
    if isinstance(error, OSError) and not error.filename and error.errno in _STDOUT_REFUSES:
        error = not_written(error)  # by typer: the help, the version
    match error:
        case _UsageError():
            # What checks the values says so by a library's own prefix.
            error.message = error.message.replace("Value error, ", "")  # type: ignore[attr-defined]
            error.show()  # type: ignore[attr-defined]
            return WRONG_USAGE
        case TickbirdError():
            complain(error)
            return error.exit_code
        case typer.Abort():
            return INTERRUPTED
        case BrokenPipeError():
            sys.stderr.close()
            return 141
    raise error
