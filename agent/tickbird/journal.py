"""How far logs are delivered, on disk: the checkpoint of marks and totals, and the write-ahead of
what was attempted, by which a repeat after a kill is told from a first delivery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .ledger import Ledger
from .sources.logtail import Mark, Tail
from .state import State


class Journal:
    """``problem`` is a line for people while writing fails, else None. With ``durable`` False (no
    Collector) nothing is read or written."""

    def __init__(self, state: State, ledger: Ledger, durable: bool) -> None:
        self._state = state
        self._ledger = ledger
        self._durable = durable
        self._attempted: dict[str, int] = {}
        self.dirty = False
        self.problem: str | None = None

    def restore(self) -> dict[str, list[Mark]]:
        """Marks by target; the totals go into the ledger. Nothing when there is no checkpoint or
        it is not one of ours: files are then read from their beginning."""
        if not self._durable:
            return {}
        document = self._state.load()
        try:
            files = msgspec.convert(document.get("files", {}), dict[str, list[Mark]])
            self._ledger.restore(document.get("totals", []))
        except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            self._state.problems.append(
                f"the checkpoint in {self._state.folder} cannot be used ({error}); files are read "
                "from their beginning, so lines may arrive twice"
            )
            return {}
        current = {mark.generation for marks in files.values() for mark in marks}
        attempts = self._state.attempts()
        self._attempted = {g: offset for g, offset in attempts.items() if g in current}
        self._state.keep_attempts(self._attempted)
        return files

    def adopt(self, tail: Tail) -> None:
        """Tell a tail that goes on where the process before stopped how far that one had sent."""
        tail.repeat_until = self._attempted.pop(tail.generation, tail.repeat_until)

    def note_attempt(self, tail: Tail, end: int) -> None:
        """To be called before lines up to ``end`` are first sent, with ``tail`` in a checkpoint."""
        if self._durable:
            offset = max(end, tail.repeat_until)
            self._try(lambda: self._state.note_attempt(tail.generation, offset))

    def save(self, files: Mapping[str, list[Mark]]) -> bool:
        """Save the checkpoint if anything changed; False when that failed, and the one before
        still stands."""
        if not (self._durable and self.dirty):
            return True
        document: dict[str, Any] = {
            "version": 1,
            "files": {key: marks for key, marks in files.items() if marks},
            "totals": self._ledger.final(),
        }
        self.dirty = not self._try(lambda: self._state.save(document))
        return not self.dirty

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self.problem = (
                f"cannot save to {self._state.folder} how far logs are delivered: {error.strerror};"
                " lines may arrive twice after a restart; what to do: make room there"
            )
            return False
        self.problem = None
        return True
