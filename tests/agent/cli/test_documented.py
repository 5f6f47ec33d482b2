"""What people are told to type exists."""

import re
from pathlib import Path

import pytest
import typer

from tickbird.cli.app import build

ROOT = Path(__file__).parents[3]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("alerts/*.md"),
    *ROOT.glob("examples/**/README.md"),
]


def known() -> set[str]:
    return set(typer.main.get_command(build()).commands) | {"run", "exec"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^(?:sudo )?)tickbird ([a-z]+)", page.read_text(), re.MULTILINE))
    assert named <= known()
