"""Secrets come from the environment or files, and nothing ever shows one."""

import pytest

from tickbird import config
from tickbird.config import Secret
from tickbird.errors import ConfigError

TOKEN = "hunter2-squirrel"


@pytest.mark.parametrize(
    "header", ["authorization: Bearer abc", "x-api-key: abc", "cookie: a=b", "x-other: Basic abc"]
)
def test_a_secret_written_into_the_file_is_refused(header: str) -> None:
    with pytest.raises(ConfigError, match="secrets by env or file only") as caught:
        config.parse(f"collector: {{endpoint: http://h, headers: {{{header}}}}}")
    assert "abc" not in str(caught.value)


def test_an_ordinary_header_may_stand_in_the_file() -> None:
    read = config.parse("collector: {endpoint: http://h, headers: {x-scope-orgid: tenant}}")
    assert read.collector is not None
    assert read.collector.headers["x-scope-orgid"].reveal() == "tenant"


def test_a_secret_comes_from_env_or_file_and_is_masked(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TICKBIRD_TEST_TOKEN", TOKEN)
    (tmp_path / "token").write_text(TOKEN + "\n")
    for reference in ("${env:TICKBIRD_TEST_TOKEN}", f"${{file:{tmp_path}/token}}"):
        read = config.parse(
            f'collector: {{endpoint: http://h, headers: {{authorization: "Bearer {reference}"}}}}'
        )
        assert read.collector is not None
        assert read.collector.headers["authorization"].reveal() == f"Bearer {TOKEN}"
        assert TOKEN not in repr(read)
        assert TOKEN not in str(read.collector.headers)


@pytest.mark.parametrize(
    "text",
    [
        "instance: '${env:TICKBIRD_TEST_TOKEN}!'",
        "collector: {endpoint: '${env:TICKBIRD_TEST_TOKEN}'}",
        "collector: {endpoint: 'http://user:${env:TICKBIRD_TEST_TOKEN}@h'}",
        "collector: {endpoint: http://h, timeout: '${env:TICKBIRD_TEST_TOKEN}'}",
        "api: {listen: '${env:TICKBIRD_TEST_TOKEN}'}",
        "logs: {format: '${env:TICKBIRD_TEST_TOKEN}'}",
        "logs: {correlate: '${env:TICKBIRD_TEST_TOKEN}'}",
        "targets: [{name: a, match: {command: '(${env:TICKBIRD_TEST_TOKEN}'}}]",
        f"collector: {{endpoint: http://u:{TOKEN}@h}}",
        f"spool: {{size: {TOKEN}}}",
        f"instance: *{TOKEN}",
        f"instance: !{TOKEN} x",
        f"collector: '{TOKEN}",
        f"logs: [{TOKEN}",
        f"instance: a\n {TOKEN}: b\n  c",
    ],
)
def test_no_error_repeats_a_value(monkeypatch, text: str) -> None:
    monkeypatch.setenv("TICKBIRD_TEST_TOKEN", TOKEN)
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    told = f"{caught.value} {caught.value.remedy} {caught.value!r} {caught.value.__cause__!r}"
    assert TOKEN not in told


def test_what_a_reference_gives_is_not_read_for_references_again(monkeypatch) -> None:
    monkeypatch.setenv("TICKBIRD_TEST_TOKEN", "${env:HOME}")
    read = config.parse(
        "collector: {endpoint: http://h, headers: {authorization: '${env:TICKBIRD_TEST_TOKEN}'}}"
    )
    assert read.collector is not None
    assert read.collector.headers["authorization"].reveal() == "${env:HOME}"


def test_secrets_compare_without_being_shown() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert f"{Secret('abc')} {Secret('abc')!r}" == "*** Secret(***)"


def test_a_rotated_secret_file_is_followed_and_a_missing_one_keeps_the_last_value(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("first")
    headers = f"{{authorization: '${{file:{secret}}}'}}"
    read = config.parse(f"collector: {{endpoint: 'http://127.0.0.1:4318', headers: {headers}}}")
    header = read.collector.headers["authorization"]
    assert header.reveal() == "first"
    secret.write_text("second")
    assert header.reveal() == "second"
    secret.unlink()
    assert header.reveal() == "second"
