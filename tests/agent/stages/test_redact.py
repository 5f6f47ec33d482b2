from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.config import RedactConfig
from tickbird.model import LogRecord
from tickbird.stages.redact import REDACTED, redactor, scrubber

redact = redactor(RedactConfig(keys=("card_number",)))
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----"


def redacted(body: str = "", **attributes: object) -> LogRecord:
    record = redact(LogRecord(body, attributes=dict(attributes)))
    assert isinstance(record, LogRecord)
    return record


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "db.password",
        "apiKey",
        "api_key",
        "x-api-key",
        "Authorization",
        "access_token",
        "set-cookie",
        "req.headers.cookie",
        "clientSecret",
        "card_number",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", 5, None, ["hunter2"], {"a": "hunter2"}])
def test_the_value_of_a_secret_key_never_passes(key: str, value: object) -> None:
    assert redacted(**{key: value}).attributes == {key: REDACTED}


@pytest.mark.parametrize(
    "key", ["token_count", "tokens", "passwords_checked", "secretary", "author"]
)
def test_keys_that_only_look_alike_pass(key: str) -> None:
    assert redacted(**{key: 5}).attributes == {key: 5}


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        PEM,
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a" * 36,
        "Bearer abcdefgh12345678",
        "xoxb-1234567890-abcdef",
    ],
)
def test_a_secret_inside_text_is_replaced_and_the_rest_stays(secret: str) -> None:
    record = redacted(f"before {secret} after", note=f"x {secret}", many=[{"deep": secret}])
    assert secret not in repr(record)
    assert record.body.startswith("before ")
    assert record.body.endswith(" after")
    assert REDACTED in record.attributes["note"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2 user=bob", f"password={REDACTED} user=bob"),
        ('{"password": "hun ter2", "a": 1}', f'{{"password": {REDACTED}, "a": 1}}'),
        ("DB_PASSWORD: 'x y' ok", f"DB_PASSWORD: {REDACTED} ok"),
        ("postgres://bob:hunter2@db/shop", f"postgres://bob:{REDACTED}@db/shop"),
        ("redis://:hunter2@cache:6379", f"redis://:{REDACTED}@cache:6379"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("the token was refreshed", "the token was refreshed"),
    ],
)
def test_only_the_secret_part_goes(text: str, expected: str) -> None:
    assert redacted(text).body == expected


def test_patterns_of_the_configuration_are_added_or_taken_alone() -> None:
    both = scrubber(("default", r"card-\d+"))
    assert both(f"card-123 {JWT}") == f"{REDACTED} {REDACTED}"
    assert scrubber((r"card-\d+",))(f"card-123 {JWT}") == f"{REDACTED} {JWT}"
    assert scrubber(())(JWT) == JWT


def test_a_field_that_cannot_be_looked_at_is_dropped() -> None:
    record = redacted("\ud800 password=hunter2", good="x", bad="\ud800 password=hunter2")
    assert "hunter2" not in repr(record)
    assert record.attributes["good"] == "x"


def test_a_pattern_that_would_blow_up_elsewhere_takes_linear_time() -> None:
    scrub = scrubber((r"(a+)+$", r"(x|xx)*y", "default"))
    start = time.perf_counter()
    scrub("a" * 200_000 + "!" + "x" * 50_000)
    assert time.perf_counter() - start < 5


@given(st.text(), st.text(), st.sampled_from(["AKIAIOSFODNN7EXAMPLE", JWT]))
def test_a_secret_is_found_wherever_it_stands(before: str, after: str, secret: str) -> None:
    record = redacted(f"{before} {secret} {after}", field=f"{before}\n{secret}\t{after}")
    assert secret not in repr(record)
