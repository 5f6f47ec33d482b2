from __future__ import annotations

import os
from pathlib import Path

import pytest

from tickbird.sources.rotation import base_name, places


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("app.log.1", "app.log"),
        ("app.log.12.gz", "app.log"),
        ("app.log-20260131", "app.log"),
        ("app.log.2026-01-31", "app.log"),
        ("app.log.2026-01-31_10-00", "app.log"),
        ("0.log.20260131-101500", "0.log"),
        ("app-2026-01-31.log", "app.log"),
        ("app.2026-01-31_10-00-00_123456.log", "app.log"),
        ("app.log.old", "app.log"),
        ("app.log", None),
        ("worker-1", None),
        ("worker-1.log", None),
        ("app.1.log", None),
        ("stdout-000001.log", None),
        ("app.log.swp", None),
    ],
)
def test_a_rotated_name_tells_the_name_it_was_written_under(name: str, base: str | None) -> None:
    assert base_name(name) == base


def test_places_are_the_newest_first_and_by_number_where_times_are_equal(tmp_path: Path) -> None:
    for name in ("app.log", "app.log.1", "app.log.2", "app.log.10", "other.log.1", "app.log.x"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    found = [Path(one.path).name for one in places(str(tmp_path / "app.log"))]
    assert found == ["app.log", "app.log.1", "app.log.2", "app.log.10"]
    os.utime(tmp_path / "app.log.10", (2, 2))
    assert Path(places(str(tmp_path / "app.log"))[0].path).name == "app.log.10"
