"""``tickbird config``: check a file, print its schema, print a commented example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import config as configuration
from ..config import Config, TargetConfig, describe
from .output import coloured, say, say_json

GROUP = typer.Typer(help="Check a configuration, or print its schema or an example.")


@GROUP.command()
def check(
    file: Annotated[Path, typer.Argument(help="The file to check.", metavar="[FILE]")] = Path(
        "tickbird.yaml"
    ),
) -> None:
    """Say what a configuration would watch, or everything that is wrong with it (exit 78)."""
    config = configuration.load(file)
    say(f"{coloured('ok', 'ok')} {file}")
    for line in _watched(config):
        say(f"  {line}")
    for warning in (*config.warnings, *_missing(config)):
        say(f"  {coloured('warning:', 'warn')} {warning}")


@GROUP.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    say_json(describe.schema())


@GROUP.command()
def example() -> None:
    """Print a commented file with every key; it runs as it is."""
    say(describe.EXAMPLE.rstrip())


def _watched(config: Config) -> list[str]:
    sink = config.collector.endpoint if config.collector else "none: kept by the agent itself"
    lines = [f"instance {config.instance}, state in {config.folder}", f"collector {sink}"]
    if not config.targets:
        lines.append("targets: every Node and Python service of this user that listens on a port")
    return lines + [
        f"target {_described(number, one)}" for number, one in enumerate(config.targets)
    ]


def _missing(config: Config) -> list[str]:
    """Named files that are not here. No fault: they may come with the container or the volume."""
    named: dict[str, Path] = {}
    if config.collector and (tls := config.collector.tls):
        files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
        named = {f"collector.tls.{key}": path for key, path in files.items() if path}
    if isinstance(config.api.token_file, Path):
        named["api.token_file (its folder)"] = config.api.token_file.parent
    return [
        f"{key}: {path} does not exist here" for key, path in named.items() if not path.exists()
    ]


def _described(number: int, target: TargetConfig) -> str:
    parts = []
    if target.match:
        fields = ((key, getattr(target.match, key)) for key in target.match.__struct_fields__)
        parts += [f"{key} {value}" for key, value in fields if value is not None]
    parts += [f"logs {pattern}" for pattern in target.logs]
    parts += [f"http {_shown(target.http.url)}"] if target.http else []
    parts += [f"scrape {_shown(target.scrape.url)}"] if target.scrape else []
    return f"{target.name or f'number {number + 1}'}: {', '.join(parts)}"


def _shown(url: str) -> str:
    """Without its query, where a key from the environment may stand."""
    return url.partition("?")[0]
