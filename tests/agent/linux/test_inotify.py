from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickbird.linux.inotify import Inotify, parse

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="not on this host: no inotify"
)


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    opened = Inotify()
    yield opened
    opened.close()


@pytest.mark.parametrize("mode", ["a", "w", "r+"])
def test_a_change_of_an_open_file_is_told_once_whatever_its_name(
    inotify: Inotify, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "a"
    path.write_text("a\n")
    with path.open("rb") as file:
        moved = path.rename(tmp_path / "b")
        watch = inotify.watch_file_once(file.fileno())
        assert inotify.told() == set()
        with moved.open(mode) as writer:
            writer.write("b\n")
        assert inotify.told() == {watch}
        moved.write_text("more\n")
        assert inotify.told() == set()


def test_names_that_come_move_and_go_in_a_folder_are_told_again_and_again(
    inotify: Inotify, tmp_path: Path
) -> None:
    watch = inotify.watch_folder(str(tmp_path))
    assert inotify.watch_folder(str(tmp_path)) == watch
    (tmp_path / "a").touch()
    assert inotify.told() == {watch}
    (tmp_path / "a").rename(tmp_path / "b")
    assert inotify.told() == {watch}
    (tmp_path / "b").unlink()
    assert inotify.told() == {watch}
    assert inotify.told() == set()


def test_what_cannot_be_watched_is_an_os_error_that_names_it(
    inotify: Inotify, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        inotify.watch_folder(str(tmp_path / "missing"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        inotify.watch_folder(str(tmp_path / "file"))


def test_events_are_parsed_with_their_names_and_one_that_is_cut_off_is_left() -> None:
    one = struct.pack("=iIII", 7, 0x100, 0, 16) + b"app.log".ljust(16, b"\0")
    two = struct.pack("=iIII", 8, 0x2, 0, 0)
    assert list(parse(one + two + two[:-1])) == [(7, 0x100), (8, 0x2)]
