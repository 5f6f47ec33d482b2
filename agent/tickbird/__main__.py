"""Entry point of the console script. ``run`` is the agent itself and must stay light, and a service
must not wait for ``exec``, so both are routed before typer (and all that it imports) is loaded."""

from __future__ import annotations

import gc
import os
import sys

INTERRUPTED = 130


def main() -> None:
    try:
        code = _command(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported; a command has its own way to end
        code = INTERRUPTED
    sys.exit(code)


def _command(arguments: list[str]) -> int:
    if arguments[:1] == ["run"] and not {"-h", "--help"} & set(arguments):
        _open_closed_streams()
        gc.disable()  # until all is imported: nothing of it is garbage, and looking takes a while
        from .cli.lean import run_lean  # noqa: PLC0415 - see above

        return run_lean(arguments[1:])
    if arguments[:1] == ["exec"] and arguments[1:2] not in (["-h"], ["--help"]):
        _open_closed_streams()
        from .cli.exec_lean import exec_lean  # noqa: PLC0415 - see above

        return exec_lean(arguments[1:])
    if arguments[:1] == ["pipe"] and not {"-h", "--help"} & set(arguments):
        _open_closed_streams()
        from .cli.pipe_lean import pipe_lean  # noqa: PLC0415 - see above

        return pipe_lean(arguments[1:])
    from .cli.app import main as command_line  # noqa: PLC0415 - see above

    return command_line()


def _open_closed_streams() -> None:
    """A service may be started with stdin, stdout or stderr closed; the next file or socket that
    is opened would take its place and get what was meant to be printed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
