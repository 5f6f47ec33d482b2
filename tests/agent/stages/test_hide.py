from __future__ import annotations

import json

import pytest

from fixtures.logs.path import record_of, staged
from tickbird.sources.logtail import Line
from tickbird.stages.redact import REDACTED

SECRET = "q7Zk-4411-xx"
DOTTED = "redact: {keys: [account.number]}"
ACCOUNT = {"number": SECRET, "kind": "gold"}


def nested(value: object, levels: int) -> object:
    for _ in range(levels):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    "fields",
    [
        {"account": ACCOUNT},
        {"account.number": SECRET},
        {"account": [ACCOUNT]},
        {"account": {"number": [SECRET, {"a": SECRET}]}},
        {"list": [{"account": ACCOUNT}]},
        {"list": [[{"account": [ACCOUNT]}]]},
        {"list": {"account": ACCOUNT}},
        {"deep": nested({"account": ACCOUNT}, 8)},
        {"deep": nested([{"account": ACCOUNT}], 5)},
        {"msg": [{"account": ACCOUNT}]},
    ],
    ids=json.dumps,
)
def test_a_dotted_key_is_hidden_wherever_it_stands(fields: dict[str, object]) -> None:
    record = record_of(json.dumps({"level": "info", "number": 5, **fields}), DOTTED)
    shown = f"{record.body} {record.attributes}"
    assert SECRET not in shown
    assert REDACTED in shown
    assert record.attributes["number"] == 5
    assert ("gold" in shown) == ("gold" in json.dumps(fields))


@pytest.mark.parametrize("keys", ["keys: [пароль]", "{patterns: [], keys: [pin]}"])
def test_a_key_that_the_text_is_not_searched_for_is_hidden_in_lists(keys: str) -> None:
    name = "пароль" if "пароль" in keys else "pin"
    text = f"redact: {keys}" if keys.startswith("{") else f"redact: {{{keys}}}"
    record = record_of(json.dumps({"msg": "x", "a": [{name: SECRET}]}), text)
    assert record.attributes["a"] == [{name: REDACTED}]


def test_fields_that_nest_too_deeply_to_be_looked_at_are_withheld() -> None:
    deep = f'{{"msg":"y","a":{"[" * 900}{json.dumps({"account": ACCOUNT})}{"]" * 900}}}'
    kept, withheld = staged(DOTTED, '{"msg":"x"}', deep)
    assert not isinstance(kept, str)
    assert withheld == "redaction_failed"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("connecting with ghp_aB3aB3aB3", "connecting with "),
        ("postgres://shop:hunter", REDACTED),
        ("411111111111", REDACTED),
        ("exited with code 1", "exited with code 1"),
        ("Accepting connections.", "Accepting connections."),
        ('{"msg":"see https://example.org/a1b2c3"}', "see https://example.org/a1b2c3"),
    ],
)
def test_the_first_half_of_a_secret_does_not_leave_with_an_unended_line(
    text: str, body: str
) -> None:
    assert record_of(Line(text.encode(), 0, len(text), partial=True)).body == body
