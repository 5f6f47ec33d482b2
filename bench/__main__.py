"""Runs all benches or the named ones, and writes RESULTS.md: ``python -m bench [NAME...]``."""

from __future__ import annotations

import argparse
import time
from types import ModuleType

from . import idle, inject, logs, loop, redact, reliability, results, sampling, start

BENCHES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (idle, inject, logs, loop, redact, reliability, sampling, start)
}


def main() -> None:
    about = "".join(f"\n  {name:10} {module.TAKES}" for name, module in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Measures, prints, and writes {results.PATH.name}:{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="all when none is given")
    parser.add_argument(
        "--short", action="store_true", help="fewer rounds (inject, loop, reliability)"
    )
    parser.add_argument(
        "--for",
        type=float,
        dest="seconds",
        help="stop after so many seconds and go on the next time (the same)",
        default=float("inf"),
    )
    chosen = parser.parse_args()
    names = chosen.names or list(BENCHES)
    if unknown := set(names) - BENCHES.keys():
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    for name in names:
        bench = BENCHES[name]
        print(f"{name}: {bench.TAKES} ...", flush=True)
        began = time.monotonic()
        resumable = getattr(bench, "RESUMABLE", False)
        lines = bench.run(chosen.short, chosen.seconds) if resumable else bench.run()
        print("\n".join(lines), f"\n({name} took {time.monotonic() - began:.0f} s)\n", flush=True)
        results.write(name, lines)


if __name__ == "__main__":
    main()
