from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from tickbird.cli.app import build
from tickbird.errors import UsageError

PEM = "\n".join(
    ["-----BEGIN PRIVATE KEY-----", "MIIEpAIB" * 8, "Zm9v", "-----END PRIVATE KEY-----"]
)
LINES = [
    '{"level":30,"msg":"login","password":"hunter2","user":"bob"}',
    "a plain line",
    "token=hunter3&x=1 and AKIAIOSFODNN7EXAMPLE \x1b[2J",
    *PEM.split("\n"),
    r'{"msg":"p\u0061ssword=hunter4"}',
]
SECRETS = ["hunter2", "hunter3", "hunter4", "AKIAIOSFODNN7EXAMPLE", "MIIEpAIB"]


@pytest.fixture
def tickbird(capsys: pytest.CaptureFixture[str]):
    command = typer.main.get_command(build())

    def run(*words: str) -> tuple[int, str]:
        code = command(["redact", *words], standalone_mode=False)
        return code or 0, capsys.readouterr().out

    return run


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "a.log").write_text("\n".join(LINES) + "\n")
    return str(tmp_path / "a.log")


def test_it_shows_what_goes_by_which_rule_and_never_the_secret(tickbird, log: str) -> None:
    code, out = tickbird("--test", log)
    assert code == 1
    assert not [secret for secret in SECRETS if secret in out]
    assert '1:39  key                {"level":30,"msg":"login","password":"[redacted]"' in out
    assert "3:7  key" in out
    assert "\x1b" not in out
    assert out.splitlines()[-1] == "8 lines, 7 changed: aws 1, key 3, private-key 4"


def test_the_secrets_are_shown_only_when_asked_for(tickbird, log: str) -> None:
    _, out = tickbird("--test", log, "--show")
    assert all(secret in out for secret in SECRETS)
    _, out = tickbird("--test", log, "--show", "--json")
    assert [one["secret"] for one in json.loads(out)["findings"]][:2] == ["hunter2", "hunter3"]


def test_the_json_has_lines_columns_and_counts(tickbird, log: str) -> None:
    code, out = tickbird("--test", log, "--json", "--limit", "2")
    document = json.loads(out)
    assert code == 1
    assert not [secret for secret in SECRETS if secret in out]
    assert (document["lines"], document["changed"]) == (8, 7)
    assert document["rules"] == {"aws": 1, "key": 3, "private-key": 4}
    assert [(one["line"], one["column"], one["rule"]) for one in document["findings"]] == [
        (1, 39, "key"),
        (3, 7, "key"),
    ]


def test_a_clean_stdin_is_exit_code_0(tickbird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"nothing\nhere")))
    assert tickbird("--test", "-") == (0, "2 lines, 0 changed\n")


def test_the_settings_of_a_configuration_hold(tickbird, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text('redact: {patterns: ["CUST-[0-9]+"], keys: [pet]}')
    (tmp_path / "a.log").write_text("CUST-12 password=x\n")
    code, out = tickbird("--test", str(tmp_path / "a.log"), "-c", str(tmp_path / "t.yaml"))
    assert (code, out.splitlines()[-1]) == (1, "1 line, 1 changed: pattern 1")


@pytest.mark.parametrize("name", ["missing.log", "."])
def test_a_file_that_cannot_be_read_is_told(tickbird, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        tickbird("--test", str(tmp_path / name))
