"""Parsing of /proc: names with any byte in them, and files that end half way."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tickbird.targets.proc import Proc, parse_listeners, parse_stat

STAT = b"4242 (a) b) (c) S 17 4242 4242 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 7 0 987654 1 2 3"
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5551 1
   1: 0100007F:1F91 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 5552 1
"""


def test_a_name_may_hold_parentheses_and_spaces() -> None:
    stat = parse_stat(STAT)
    assert stat is not None
    assert (stat.pid, stat.name, stat.state) == (4242, "a) b) (c", "S")
    assert (stat.parent, stat.start_ticks) == (17, 987654)


@given(st.integers(0, len(STAT)))
def test_a_cut_off_stat_is_nothing_or_right(length: int) -> None:
    stat = parse_stat(STAT[:length])
    assert stat is None or stat.pid == 4242


def test_only_listening_sockets_count() -> None:
    assert dict(parse_listeners(TCP)) == {5551: 8080}


def test_this_process_is_read_as_it_is() -> None:
    proc = Proc()
    me = os.getpid()
    stat = proc.stat(me)
    assert stat is not None
    assert stat.parent == os.getppid()
    assert abs(proc.started_at(stat) - Path(f"/proc/{me}").stat().st_mtime) < 3600
    assert proc.owner(me) == os.geteuid()
    assert proc.folder(me) == Path.cwd()
    assert "python" in proc.executable(me)
    assert proc.sockets(me) is not None
    assert me in proc.pids()


def test_a_process_that_is_gone_is_nothing_everywhere() -> None:
    proc = Proc()
    gone = 2**22 + 1
    assert proc.stat(gone) is None
    assert proc.command(gone) == ()
    assert proc.executable(gone) == ""
    assert proc.owner(gone) is None
    assert proc.folder(gone) is None
    assert proc.groups(gone) == ""
    assert proc.maps(gone) == b""
    assert proc.sockets(gone) == frozenset()
