import threading
import time

import pytest

from tickbird.inject import journal
from tickbird.inject.journal import Busy, Entry, turn

ENTRY = Entry(7, 1, 7, 9229, (3, 4), 1000.0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "inspectors"


def test_what_was_begun_stands_there_until_it_is_undone():
    assert not journal.left_over()
    with turn(1) as first:
        first.write(ENTRY)
    assert journal.left_over()
    with turn(1) as second:
        assert second.entries() == [ENTRY]
        second.done(ENTRY)
        assert second.entries() == []
    assert not journal.left_over()


def test_a_torn_entry_is_dropped(folder):
    with turn(1) as one:
        (folder / "8-1.json").write_text('{"pid": 8')
        (folder / "9-1.json").write_text('{"pid": 9, "before": []}')
        assert one.entries() == []
    assert not journal.left_over()


def test_only_one_has_its_turn():
    with turn(1), pytest.raises(Busy), turn(0.05):
        pass


def test_the_next_one_waits_for_its_turn():
    def hold():
        with turn(1):
            held.set()
            time.sleep(0.2)
            done.append("first")

    done = []
    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    with turn(10):
        done.append("second")
    thread.join()
    assert done == ["first", "second"]
