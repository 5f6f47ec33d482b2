"""``tickbird catalogue``: what can be measured, and what it is called where."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from ..catalogue import instruments
from ..model import Instrument
from ..names import prometheus_label, prometheus_name
from .output import coloured, say, say_json


def catalogue(
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """List every metric, with its name in Prometheus."""
    found = instruments()
    if as_json:
        say_json({"schema": 1, "instruments": [_document(one) for one in found]})
        return
    for one in found:
        unit = f" in {one.unit}" if one.unit else ""
        say(f"{coloured(one.name, 'bold')}  {one.kind}{unit}")
        labels = ", ".join(prometheus_label(label) for label in one.labels)
        say(f"  {prometheus_name(one)}{{{labels}}}" if labels else f"  {prometheus_name(one)}")
        say(f"  {coloured(one.help, 'dim')}")


def _document(one: Instrument) -> dict[str, Any]:
    return {**asdict(one), "prometheus_name": prometheus_name(one)}


COMMANDS = {"catalogue": catalogue}
