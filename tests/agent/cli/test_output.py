"""What the command line does when nobody can read what it says, or when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running import TICKBIRD, environment, tickbird
from tickbird.cli.output import typed

pytestmark = pytest.mark.e2e

FULL = Path("/dev/full")


def shell(runtime: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-c", f'exec "$@" {command}', "sh", *TICKBIRD]
    return subprocess.run(
        words, env=environment(runtime), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a device that is always full")
@pytest.mark.parametrize("words", ["catalogue", "catalogue --json", "--help", "--version"])
def test_an_answer_that_cannot_be_written_is_one_clear_error(runtime: Path, words: str) -> None:
    done = shell(runtime, f"{words} > /dev/full")
    assert done.returncode == 73
    assert done.stderr.startswith("error: cannot write the answer to stdout: No space left")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_closed_stdout_is_one_clear_error(runtime: Path) -> None:
    done = shell(runtime, "catalogue >&-")
    assert (done.returncode, "stdout is closed" in done.stderr) == (73, True)
    assert "Traceback" not in done.stderr


def test_a_service_runs_with_every_stream_closed(runtime: Path, tmp_path: Path) -> None:
    done = shell(runtime, f"exec -- sh -c 'echo ran > {tmp_path / 'ran'}' <&- >&- 2>&-")
    assert (done.returncode, (tmp_path / "ran").read_text()) == (0, "ran\n")


@pytest.mark.parametrize("after", [0.05, 0.1, 0.2])
def test_an_interrupt_at_the_start_leaves_no_traceback(runtime: Path, after: float) -> None:
    process = subprocess.Popen(
        [*TICKBIRD, "catalogue"],
        env=environment(runtime),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(after)  # the moment itself is what varies: any of them must end the same way
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert process.returncode != 130 or said == ""


def test_the_help_names_no_types_and_says_what_is_the_same(runtime: Path) -> None:
    assert "Same as health." in tickbird(runtime, "--help").stdout
    said = tickbird(runtime, "exec", "--help").stdout
    assert "<bool>" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_wrong_values_are_told_in_our_words(runtime: Path) -> None:
    done = tickbird(runtime, "stack", "logs", "-n", "-3")
    assert (done.returncode, "Value error" in done.stderr) == (64, False)
    assert "Traceback" not in done.stderr


def test_a_stack_that_never_was_is_told(runtime: Path, tmp_path: Path) -> None:
    for words in (["logs"], ["status", "--native"]):
        done = subprocess.run(
            [sys.executable, "-m", "tickbird", "stack", *words, "--name", "nope"],
            env={**os.environ, "TICKBIRD_STACK_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "there is no stack 'nope'" in done.stderr) == (2, True)


def test_a_hint_names_the_command_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for called, path, expected in (
        (".venv/bin/tickbird", "/nowhere", ".venv/bin/tickbird"),
        ("/x/tickbird/__main__.py", "/nowhere", "/x/bin/python -m tickbird"),
    ):
        monkeypatch.setattr(sys, "argv", [called, "demo"])
        monkeypatch.setattr(sys, "executable", "/x/bin/python")
        monkeypatch.setenv("PATH", path)
        assert typed() == expected
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv/bin/python"))
    assert typed() == ".venv/bin/python -m tickbird"


def test_a_command_that_path_finds_is_named_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tickbird"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed() == "tickbird"
