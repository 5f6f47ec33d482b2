from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running import agent, service


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """An empty folder for sockets: no agent of the machine is in it."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runtime folder of one agent, called one, that watches one service, called shop."""
    runtime, state = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("state")
    with service() as process, agent(runtime, state, "one", process.pid):
        yield runtime
