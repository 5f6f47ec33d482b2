"""``tickbird page``: the agent's local page."""

from __future__ import annotations

import os
import webbrowser
from typing import Annotated

import typer

from .client import find
from .output import say


def page(
    instance: Annotated[str | None, typer.Option(help="Which of several agents.")] = None,
) -> None:
    """Print the address of the local page, with its token, and open it where there is a display.

    The address lets whoever has it read what the agent sees: keep it to yourself.
    """
    url = str(find(instance, None).get("/api/v1/login")["url"])
    say(url)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


COMMANDS = {"page": page}
