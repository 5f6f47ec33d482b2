from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tickbird.errors import CannotCreate
from tickbird.state import State


class Document(Struct):
    n: int


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state")
    yield opened
    opened.close()


def again(state: State) -> State:
    state.close()
    return State(state.folder)


def test_row_39_a_second_agent_is_refused_with_the_pid_of_the_first(state: State) -> None:
    with pytest.raises(CannotCreate, match=f"pid {os.getpid()}") as caught:
        State(state.folder)
    assert caught.value.exit_code == 73
    assert caught.value.remedy


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time; from tickbird.state import State;"
        "State(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    folder = tmp_path / "state"
    holder = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CannotCreate, match=f"pid {holder.pid}"):
            State(folder)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    State(folder).close()


def test_row_29_a_place_that_is_no_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreate) as caught:
        State(tmp_path / "file" / "state")
    assert "state_dir" in str(caught.value.remedy)


def test_nobody_else_can_read_what_is_kept(state: State) -> None:
    state.save(Document(1))
    state.save_unsent("traces", [(1, b"x")], 1000)
    assert state.folder.stat().st_mode & 0o077 == 0
    for path in state.folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_checkpoint_outlives_the_process(state: State) -> None:
    assert state.load(Document) is None
    state.save(Document(1))
    reopened = again(state)
    assert reopened.load(Document) == Document(1)
    assert reopened.problems == []
    reopened.close()


def test_row_36_every_damage_of_the_newest_checkpoint_leads_to_the_one_before(state: State) -> None:
    state.save(Document(1))
    state.save(Document(2))
    path = state.folder / "checkpoint"
    previous = (state.folder / "checkpoint.previous").read_bytes()
    whole = path.read_bytes()
    cut = [whole[:length] for length in range(len(whole) - 1)]
    flipped = [
        whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
        for at in range(len(whole) - 1)
        for bit in (1, 128)
    ]
    for damaged in [b"", b"\0" * 100, *cut, *flipped]:
        path.write_bytes(damaged)
        (state.folder / "checkpoint.previous").write_bytes(previous)
        state.problems.clear()
        assert state.load(Document) == Document(1)
        assert len(state.problems) == 1
        for bad in state.folder.glob("*.bad-*"):
            bad.unlink()


def test_with_both_generations_damaged_it_starts_over_and_says_so(state: State) -> None:
    state.save(Document(1))
    state.save(Document(2))
    (state.folder / "checkpoint").write_bytes(b"")
    (state.folder / "checkpoint.previous").write_bytes(b"")
    assert state.load(Document) is None
    assert len(state.problems) == 2
    assert (state.folder / "checkpoint.bad-1").exists()


def test_a_save_that_was_broken_off_leaves_the_one_before(state: State) -> None:
    state.save(Document(1))
    (state.folder / "checkpoint.new").write_bytes(b"half")
    assert state.load(Document) == Document(1)
    state.save(Document(2))
    assert state.load(Document) == Document(2)


def test_the_journal_outlives_the_process_and_reaches_back_to_the_checkpoint_before(
    state: State,
) -> None:
    for number in range(6):
        state.append(b'{"n": %d}' % number)
        if number % 2:
            state.begin_journal()
    reopened = again(state)
    reopened.append(b"{}")
    assert list(reopened.entries()) == [b'{"n": 4}', b'{"n": 5}', b"{}"]
    reopened.close()


def test_every_damage_of_the_journal_costs_only_the_entries_that_it_hits(state: State) -> None:
    entries = [b'{"n": %d}' % number for number in range(4)]
    for entry in entries:
        state.append(entry)
    path = state.folder / "journal"
    whole = path.read_bytes()
    size = len(whole) // 4
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = list(state.entries())
        assert found == entries[: len(found)]
        assert len(found) >= length // size - 1
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert len(found := list(state.entries())) >= 2
        assert set(found) <= set(entries)


def test_an_entry_after_a_torn_one_is_whole(state: State) -> None:
    state.append(b"one")
    with (state.folder / "journal").open("ab") as file:
        file.write(b"0000")
    reopened = again(state)
    reopened.append(b"two")
    assert list(reopened.entries()) == [b"one", b"two"]
    reopened.close()


def test_a_journal_that_cannot_be_begun_goes_on(state: State) -> None:
    state.append(b"one")
    (state.folder / "journal.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        state.begin_journal()
    state.append(b"two")
    assert list(state.entries()) == [b"one", b"two"]


def test_a_journal_that_cannot_be_begun_leaves_no_descriptor_open(state: State) -> None:
    (state.folder / "journal.previous").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            state.begin_journal()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_journal_that_somebody_removed_is_begun_anew(state: State) -> None:
    (state.folder / "journal").unlink()
    state.begin_journal()
    state.append(b"one")
    assert list(state.entries()) == [b"one"]


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_hard_links_keeps_two_checkpoints(
    state: State, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", link)
    for number in range(3):
        state.save(Document(number))
    assert state.load(Document) == Document(2)
    (state.folder / "checkpoint").unlink()
    assert state.load(Document) == Document(1)


def test_a_checkpoint_of_another_kind_is_set_aside(state: State) -> None:
    state.save(Document(1))
    state.save(Document("no number"))  # type: ignore[arg-type]
    assert state.load(Document) == Document(1)
    assert (state.folder / "checkpoint.bad-1").exists()


def test_unsent_bodies_come_back_once_in_order(state: State) -> None:
    bodies = [(n, f"body {n}".encode()) for n in range(1, 12)]
    assert state.save_unsent("traces", bodies, 10_000) == (66, 0)
    state.save_unsent("metrics", [(1, b"m")], 10_000)
    assert list(state.take_unsent("traces")) == bodies
    assert list(state.take_unsent("traces")) == []
    assert list(state.take_unsent("metrics")) == [(1, b"m")]


def test_a_body_that_nobody_took_stays(state: State) -> None:
    state.save_unsent("traces", [(1, b"one"), (1, b"two")], 10_000)
    taking = state.take_unsent("traces")
    assert next(taking) == (1, b"one")
    taking.close()
    assert list(state.take_unsent("traces")) == [(1, b"one"), (1, b"two")]


def test_unsent_bodies_are_bounded_and_what_is_lost_is_counted(state: State) -> None:
    kept, lost = state.save_unsent("traces", [(5, b"x" * 400)] * 10, 1000)
    assert (kept, lost) == (10, 40)
    assert state.save_unsent("traces", [(5, b"x" * 400)], 1000) == (0, 5)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_row_37_a_damaged_body_is_set_aside_and_the_others_go_on(
    state: State, damage: bytes | None
) -> None:
    state.save_unsent("traces", [(1, b"one"), (2, b"two"), (3, b"three")], 10_000)
    path = sorted((state.folder / "unsent").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert list(state.take_unsent("traces")) == [(1, b"one"), (3, b"three")]
    assert len(state.problems) == 1
