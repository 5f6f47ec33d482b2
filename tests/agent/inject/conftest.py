"""A real Node, and a place where tries of it disturb nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from injecting import Stand, Target


@pytest.fixture(scope="session")
def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs Node.js on PATH")
    return program


@pytest.fixture
def stand(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(tmp_path / "run"))
    one = Stand(node, tmp_path)
    yield one
    one.close()


@pytest.fixture
def target(stand: Stand) -> Iterator[Target]:
    with stand.target() as one:
        yield one
