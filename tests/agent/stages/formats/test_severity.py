from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.stages.formats.severity import python_severity, severity


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (10, 1, "trace"), (20, 5, "debug"), (30, 9, "info"), (40, 13, "warn"), (50, 17, "error"),
        (60, 21, "fatal"), (35, 10, "info"), ("30", 9, "info"),
        (0, 24, "emerg"), (3, 17, "err"), (4, 13, "warning"), (7, 5, "debug"), ("6", 9, "info"),
        ("INFO", 9, "INFO"), ("Warning", 13, "Warning"), ("CRITICAL", 21, "CRITICAL"),
        ("silly", 1, "silly"), ("http", 9, "http"), ("notice", 10, "notice"),
        ("\x1b[32minfo\x1b[39m", 9, "info"),
    ],
)  # fmt: skip
def test_levels_of_every_logger_are_known(value: object, number: int, text: str) -> None:
    assert severity(value) == (number, text)


@pytest.mark.parametrize(
    "value", ["loud", "", None, True, 8, 9, 70, -10, 1e3, [], {}, "٣", "100", "\x1b[", "²"]
)
def test_what_is_no_level_is_none(value: object) -> None:
    assert severity(value) is None


@pytest.mark.parametrize(
    ("value", "number"), [(10, 5), (20, 9), (25, 10), (30, 13), (40, 17), (50, 21), (5, 2)]
)
def test_numbers_of_python_logging_are_other_ones(value: int, number: int) -> None:
    found = python_severity(value)
    assert found
    assert found.number == number


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans())
def test_t11_no_value_makes_it_raise(value: object) -> None:
    for found in (severity(value), python_severity(value)):
        assert found is None or 1 <= found.number <= 24
