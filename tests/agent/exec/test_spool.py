"""The spool: every line once, in segments, within its bound, and a word about what did not fit."""

import json
import os
import stat
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tickbird.exec import spool as module
from tickbird.exec.spool import Spool, Stream


def kept(folder: Path, stream: str = "stdout") -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob(f"{stream}-*.log")))


def test_output_is_kept_byte_for_byte_over_segments_cut_at_line_ends(tmp_path: Path) -> None:
    stream = Stream(Spool(tmp_path / "s", 1_000_000), "stdout")
    data = b"".join(b"line %06d with some text\n" % n for n in range(30_000))
    for start in range(0, len(data), 65_537):
        stream.write(data[start : start + 65_537])
    stream.close()
    segments = sorted((tmp_path / "s").iterdir())
    assert len(segments) >= 3
    assert kept(tmp_path / "s") == data
    assert all(path.read_bytes().endswith(b"\n") for path in segments)
    assert {stat.S_IMODE(path.stat().st_mode) for path in segments} == {0o600}


def test_segments_are_8_mib_where_the_bound_allows(tmp_path: Path) -> None:
    assert Spool(tmp_path / "a", 1024**3).segment == 8 * 1024 * 1024
    assert Spool(tmp_path / "b", 64 * 1024).segment == 16 * 1024


def test_a_next_run_goes_on_after_the_segments_of_the_last(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        stream = Stream(Spool(tmp_path / "s", 1_000_000), "stdout")
        stream.write(text)
        stream.close()
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == ["stdout-000001.log", "stdout-000002.log"]


def test_the_bound_holds_for_both_streams_together_and_what_is_left_out_is_counted(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "s", 100_000)
    streams = [Stream(spool, "stdout"), Stream(spool, "stderr")]
    for _ in range(50):
        for stream in streams:
            stream.write(b"0123456789abcde\n" * 256)
    size = sum(path.stat().st_size for path in (tmp_path / "s").iterdir())
    assert size <= 100_000
    lost = sum(stream.not_spooled for stream in streams)
    assert size // 16 + lost == 50 * 256 * 2
    assert size > 90_000


def test_when_there_is_room_again_a_marker_says_how_many_lines_are_missing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", 100_000)
    stream = Stream(spool, "stdout")
    while not stream.not_spooled:
        stream.write(b"x" * 99 + b"\n")
    stream.write(b"y\n" * 10)
    lost = stream.not_spooled
    for path in (tmp_path / "s").iterdir():
        path.unlink()
    spool._looked -= 1  # the folder is looked at twice a second at most
    stream.write(b"end of a line that began unseen\nseen\n")
    stream.close()
    marker, seen = kept(tmp_path / "s").splitlines()
    assert json.loads(marker)["tickbird.not_spooled"] == lost + 1
    assert json.loads(marker)["level"] == "warn"
    assert seen == b"seen"


def test_a_disk_that_refuses_costs_lines_and_raises_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", 1_000_000)
    stream = Stream(spool, "stdout")
    (tmp_path / "s").rmdir()
    stream.write(b"a\nb\n")
    stream.write(b"c\n")
    assert stream.not_spooled == 3
    (tmp_path / "s").mkdir()
    spool._looked -= 1  # the folder is looked at twice a second at most
    stream.write(b"d\ne\n")
    stream.close()
    assert kept(tmp_path / "s").splitlines()[-1] == b"e"
    assert stream.not_spooled == 4


def test_a_line_longer_than_a_segment_is_kept_whole_in_sum(tmp_path: Path) -> None:
    stream = Stream(Spool(tmp_path / "s", 400_000), "stdout")
    data = os.urandom(150_000).replace(b"\n", b"x") + b"\nshort\n"
    for start in range(0, len(data), 65_536):
        stream.write(data[start : start + 65_536])
    stream.close()
    assert kept(tmp_path / "s") == data


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=60), st.integers(40, 400))
def test_whatever_is_written_is_kept_or_counted(
    tmp_path_factory, chunks: list[bytes], segment: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    stream = Stream(Spool(folder / "s", segment * 4), "stdout")
    for chunk in chunks:
        stream.write(chunk)
    stream.close()
    everything = b"".join(chunks)
    found = kept(folder / "s")
    assert len(found) <= segment * 4
    if not stream.not_spooled and len(everything) <= segment * 4:
        assert found == everything
    else:
        assert found[: found.find(b'{"level"')] in everything or found in everything


def test_the_names_of_segments_are_what_the_agent_looks_for(tmp_path: Path) -> None:
    assert module._SEGMENT_NAME.fullmatch("stderr-000001.log")
    assert not module._SEGMENT_NAME.fullmatch("stdout-1.log.new")
