"""The words of ``tickbird pipe``, read by hand: typer would stay in memory as long as the service
runs."""

from __future__ import annotations

from pathlib import Path

from ..errors import TickbirdError, UsageError
from ..exec.piped import Options, run
from ..exec.supervisor import exit_as, stderr_line
from .exec_lean import checked, value_of

USAGE = "tickbird pipe --name NAME [-c FILE] [--offline]"


def pipe_lean(arguments: list[str]) -> int:
    """Read stdin to its end; does not return once it was read."""
    from .output import complain  # noqa: PLC0415 - only for an error

    try:
        code = run(parse(arguments), stderr_line)
    except TickbirdError as error:
        complain(error)
        code = error.exit_code
    exit_as(code)
    return code


def parse(arguments: list[str]) -> Options:
    """The words after ``pipe``. Raises ``UsageError``."""
    words = list(arguments)
    options = Options()
    while words:
        word, _, value = words.pop(0).partition("=")
        if word == "--offline" and not value:
            options = options._replace(offline=True)
        elif word in ("-c", "--config"):
            options = options._replace(config=Path(value or value_of(words, word, USAGE)))
        elif word == "--name":
            options = options._replace(name=checked(value or value_of(words, word, USAGE), USAGE))
        else:
            raise UsageError(f"pipe has no option {word}", USAGE)
    return options
