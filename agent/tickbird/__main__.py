"""Entry point of the console script. ``run`` is the agent itself and must stay light, and a service
must not wait for ``exec``, so both are routed before typer (and all that it imports) is loaded."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and not {"-h", "--help"} & set(arguments):
        gc.disable()  # until all is imported: nothing of it is garbage, and looking takes a while
        from .cli.lean import run_lean  # noqa: PLC0415 - see above

        sys.exit(run_lean(arguments[1:]))
    if arguments[:1] == ["exec"] and arguments[1:2] not in (["-h"], ["--help"]):
        from .cli.exec_lean import exec_lean  # noqa: PLC0415 - see above

        sys.exit(exec_lean(arguments[1:]))
    from .cli.app import main as command_line  # noqa: PLC0415 - see above

    sys.exit(command_line())


if __name__ == "__main__":
    main()
