"""Lines as long as they may be, dense in what has to be looked at."""

from __future__ import annotations

import time

import pytest

from tickbird.config import RedactConfig
from tickbird.stages.redact import Redactor

SIZE = 240 * 1024
DENSE = {
    "keys in a text of JSON": (b'{"a":"', b'\\"accessToken\\":\\"abcdefgh0123456789\\", ', b'"}'),
    "prose in a text of JSON": (b'{"a":"', b"token: is ", b'"}'),
    "elements without end": (b"", b"token>", b""),
    "working directories": (b"", b"pwd=/", b""),
    "one word of no JSON": (b"{", b"=AKIAIOSFODNN7EXAMPLE", b""),
}
ENGINE = Redactor(RedactConfig())


def seconds(size: int, head: bytes, unit: bytes, tail: bytes) -> float:
    line = head + unit * (size // len(unit)) + tail
    begun = time.process_time()
    ENGINE.clean(line)
    return time.process_time() - begun


@pytest.mark.parametrize("parts", DENSE.values(), ids=DENSE)
def test_twice_the_line_takes_about_twice_the_time(parts: tuple[bytes, bytes, bytes]) -> None:
    half = min(seconds(SIZE // 2, *parts) for _ in range(2))
    whole = min(seconds(SIZE, *parts) for _ in range(2))
    assert whole < max(3.5 * half, 0.2)


@pytest.mark.parametrize("size", [1, 5000, 50_000])
def test_the_text_of_an_element_is_secret_however_long(size: int) -> None:
    secret = b"x" * size
    lines = b"<token>%b</token><b>y</b><token>%b</token>" % (secret, secret)
    expected = b"<token>[redacted]</token><b>y</b><token>[redacted]</token>"
    assert ENGINE.clean(lines) == expected


def test_each_string_of_a_line_has_its_own_end() -> None:
    line = b'{"a":"token=x1y2z3","b":"password=hunter2","c":"token=x1y2z3 end"}'
    expected = b'{"a":"token=[redacted]","b":"password=[redacted]","c":"token=[redacted] end"}'
    assert ENGINE.clean(line) == expected


def test_a_word_with_many_secrets_is_replaced_once() -> None:
    assert ENGINE.clean(b"{=AKIAIOSFODNN7EXAMPLE=AKIAIOSFODNN7EXAMPLE") == b'{"[redacted]"'
