from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tickbird.journal import Journal
from tickbird.ledger import Ledger
from tickbird.sources.logtail import Mark
from tickbird.state import State


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state")
    yield opened
    opened.close()


def no_marks() -> dict[str, list[Mark]]:
    return {}


def test_a_checkpoint_that_is_saved_hides_no_journal_that_cannot_be_begun(state: State) -> None:
    (state.folder / "journal.previous").mkdir()
    journal = Journal(state, Ledger(), durable=True)
    journal.dirty = True
    for _ in range(2):
        journal.save(no_marks)
        assert journal.problem
        assert journal.dirty
        journal.forget("shop", "shop", [], [])
        assert journal.problem
    (state.folder / "checkpoint.new").mkdir()
    journal.save(no_marks)
    (state.folder / "checkpoint.new").rmdir()
    (state.folder / "journal.previous").rmdir()
    for _ in range(2):  # no journal is begun after a checkpoint that failed
        assert journal.dirty
        journal.save(no_marks)
    assert journal.problem is None
    assert not journal.dirty


def test_an_entry_that_is_appended_hides_no_checkpoint_that_cannot_be_saved(state: State) -> None:
    (state.folder / "checkpoint.new").mkdir()
    journal = Journal(state, Ledger(), durable=True)
    journal.dirty = True
    journal.save(no_marks)
    journal.forget("shop", "shop", [], [])
    assert journal.problem
    (state.folder / "checkpoint.new").rmdir()
    journal.save(no_marks)
    assert journal.problem is None


class Raced(Journal):
    """Something is appended just as it is looked up whether the checkpoint was saved."""

    then: Callable[[], None] | None = None

    def __getattribute__(self, name: str) -> object:
        then = super().__getattribute__("then") if name == "_saved" else None
        if then is not None:
            self.then = None
            then()
        return super().__getattribute__(name)


def test_what_is_appended_while_a_checkpoint_is_saved_is_saved_with_the_next(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Raced(state, Ledger(), durable=True)
    journal.dirty = True

    def save(document: Struct) -> None:
        journal.then = lambda: journal.forget("shop", "shop", [], [])

    monkeypatch.setattr(state, "save", save)
    journal.save(no_marks)
    assert journal.then is None
    assert journal.dirty
