"""``tickbird page``: the agent's local page."""

from __future__ import annotations

import os
import webbrowser
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from ..paths import runtime_home
from .client import find
from .output import say


def page(
    instance: Annotated[str | None, typer.Option(help="Which of several agents.")] = None,
) -> None:
    """Print the address of the local page, and open it.

    It is opened where there is a display. The address holds the page's token, and lets whoever
    has it read what the agent sees: keep it to yourself.
    """
    url = str(find(instance, None).get("/api/v1/login")["url"])
    say(url)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(_door(url).as_uri())


def _door(url: str) -> Path:
    """A file for this user alone that leads to ``url``: everyone on the machine can read the
    arguments of the browser, and the token must not stand there."""
    door = runtime_home() / "page.html"
    door.unlink(missing_ok=True)
    descriptor = os.open(door, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}">\n')
    return door


COMMANDS = {"page": page}
