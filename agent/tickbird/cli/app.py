"""Puts the commands together and turns errors into one clear line and an exit code."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import typer

from .. import __version__
from ..errors import TickbirdError
from . import __path__ as commands_path
from .output import complain

WRONG_USAGE = 64
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
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for found in sorted(pkgutil.iter_modules(commands_path), key=lambda module: module.name):
        module = importlib.import_module(f"{__package__}.{found.name}")
        if hasattr(module, "GROUP"):
            app.add_typer(module.GROUP, name=found.name)
        for name, command in getattr(module, "COMMANDS", {}).items():
            app.command(name, **getattr(module, "SETTINGS", {}))(command)
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
    try:
        code = build()(standalone_mode=False)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        return WRONG_USAGE
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except TickbirdError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    return code if isinstance(code, int) else 0
