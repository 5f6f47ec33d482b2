"""Writes ``dashboards/json``: run ``python dashboards/src/generate.py`` after a change in a board.

The JSON is committed, so nobody needs the SDK to use a board; a test regenerates and compares.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from service import board as service

BOARDS = {"service": service}


def render(name: str) -> str:
    """The JSON of one board, ending in a newline."""
    return JSONEncoder(sort_keys=True, indent=2).encode(BOARDS[name]().build()) + "\n"


def main() -> None:
    folder = Path(__file__).parents[1] / "json"
    for name in BOARDS:
        (folder / f"{name}.json").write_text(render(name), encoding="utf-8")
        print(f"{folder.name}/{name}.json")


if __name__ == "__main__":
    main()
