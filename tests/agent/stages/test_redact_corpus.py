"""The short form of ``python -m bench redact``: the same corpus, the same marks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tickbird.config import RedactConfig
from tickbird.stages.redact import Redactor

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)
    yield importlib.import_module("bench.redact")
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


def test_every_planted_secret_goes_and_clean_lines_stay(bench) -> None:
    found = bench.score(Redactor(RedactConfig()), seeds=(11,), rounds=3, clean=10_000)
    assert found.planted > 700
    assert not found.missed
    assert found.false_hits <= 0.001, found.wrong


def test_the_score_tells_when_nothing_is_redacted(bench) -> None:
    found = bench.score(Redactor(RedactConfig(patterns=())), seeds=(11,), rounds=1, clean=10)
    assert found.recall < 0.01
    assert found.false_hits == 0
