"""The words of ``tickbird pipe``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from running import TICKBIRD, environment
from tickbird.cli.pipe_lean import parse
from tickbird.errors import UsageError


def test_its_words_are_read() -> None:
    assert parse(["--name", "shop", "-c", "a.yaml"]) == (Path("a.yaml"), "shop", False)
    assert parse(["--name=shop", "--offline"]) == (None, "shop", True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--name"], "--name needs a value"),
        (["--name", "a/b"], "--name takes up to 63"),
        (["--tee"], "pipe has no option --tee"),
        (["app"], "pipe has no option app"),
    ],
)
def test_wrong_words_are_told_with_what_to_write(words: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        parse(words)
    assert "tickbird pipe --name NAME" in raised.value.remedy


def test_without_a_name_it_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TICKBIRD, "pipe"],
        env=environment(tmp_path) | {"TICKBIRD_STATE_DIR": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert "pipe needs the name of the service" in done.stderr
    assert not (tmp_path / "state").exists()
