"""How far logs are delivered, on disk, exact over SIGKILL: a checkpoint now and then, and between
two of them a journal with an entry for each thing that changed.

An entry says what holds from then on, not what was added, so it may be read twice, and one that
could not be written is made good by the next of its kind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct, field

from .ledger import Final, Ledger, Totals
from .sources.logtail import Mark, Tail
from .state import State

Marks = dict[str, list[Mark]]
"""Of files, by who reads them."""


class Checkpoint(Struct, frozen=True):
    """``sent``: by generation, how far lines may have been sent."""

    version: Literal[1]
    files: Marks
    totals: list[Final]
    sent: dict[str, int]


class Books:
    """What a checkpoint says, brought up to date by the entries after it."""

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self.files: dict[str, dict[str, Mark]] = {}
        self.totals: dict[tuple[str, str], Final] = {}
        self.sent: dict[str, int] = {}
        if checkpoint is not None:
            self.sent |= checkpoint.sent
            for key, marks in checkpoint.files.items():
                self.files[key] = {mark.generation: mark for mark in marks}
            for totals in checkpoint.totals:
                self.count(totals)

    def count(self, totals: Final) -> None:
        known = self.totals.get((totals.target, totals.source))
        if known is None or known.lines < totals.lines:
            self.totals[totals.target, totals.source] = totals

    def marks(self) -> Marks:
        return {key: list(marks.values()) for key, marks in self.files.items() if marks}


class Began(Struct, frozen=True, tag="began"):
    """A generation is read from now on, or is known better than before."""

    key: str
    mark: Mark

    def apply(self, books: Books) -> None:
        marks = books.files.setdefault(self.key, {})
        known = marks.get(self.mark.generation, self.mark)
        if known.head_length <= self.mark.head_length and known.window_end <= self.mark.window_end:
            offset = max(known.offset, self.mark.offset)
            marks[self.mark.generation] = msgspec.structs.replace(self.mark, offset=offset)


class Sent(Struct, frozen=True, tag="sent"):
    """Lines that begin before ``offset`` may have been sent."""

    generation: str
    offset: int

    def apply(self, books: Books) -> None:
        books.sent[self.generation] = max(self.offset, books.sent.get(self.generation, 0))


class Settled(Struct, frozen=True, tag="settled"):
    """Lines before ``offset`` are settled, and that is in ``totals``."""

    key: str
    generation: str
    offset: int
    totals: Final

    def apply(self, books: Books) -> None:
        marks = books.files.get(self.key, {})
        if (mark := marks.get(self.generation)) is None:
            return  # and its lines are in the totals of what is gone
        if mark.offset < self.offset:
            marks[self.generation] = msgspec.structs.replace(mark, offset=self.offset)
        books.count(self.totals)


class Gone(Struct, frozen=True, tag="gone"):
    """Generations that are settled wholly and will not be read again; what was counted for
    ``sources`` is in ``totals`` now."""

    key: str
    generations: list[str]
    sources: list[str] = field(default_factory=list)
    totals: Final | None = None

    def apply(self, books: Books) -> None:
        marks = books.files.get(self.key, {})
        known = [one for one in self.generations if marks.pop(one, None)]
        if not known:
            return  # the checkpoint is newer
        if self.totals is not None:
            for source in self.sources:
                books.totals.pop((self.totals.target, source), None)
            books.count(self.totals)


_ENTRY = msgspec.json.Decoder(Began | Sent | Settled | Gone)


class Journal:
    """``problem`` is a line for people while writing fails, else None. With ``durable`` False (no
    Collector) nothing is read or written. For any thread, but ``save`` for one at a time."""

    def __init__(self, state: State, ledger: Ledger, durable: bool) -> None:
        self._state = state
        self._ledger = ledger
        self._durable = durable
        self._lock = threading.Lock()
        self._sent: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        self._saved = True
        """Whether the last checkpoint could be saved, so that older entries are not needed."""
        self.dirty = False
        self._problems: dict[str, str] = {}
        """By what failed: one that succeeds mends no other."""

    @property
    def problem(self) -> str | None:
        return next(iter(self._problems.copy().values()), None)

    def restore(self) -> Marks:
        """Where to go on; the totals go into the ledger. Empty when nothing is known: files are
        then read from their beginning."""
        if not self._durable:
            return {}
        books = Books(self._state.load(Checkpoint))
        for entry in self._state.entries():
            try:
                _ENTRY.decode(entry).apply(books)
            except msgspec.DecodeError:
                continue  # of another version
        files = books.marks()
        for marks in files.values():
            for mark in marks:
                if (sent := books.sent.get(mark.generation, 0)) > mark.offset:
                    self._sent[mark.generation] = self._repeats[mark.generation] = sent
        self._ledger.restore(books.totals.values())
        self.dirty = bool(files)
        return files

    def adopt(self, key: str, tail: Tail) -> None:
        """Take note of a tail; one that goes on where the process before stopped learns how far
        that one had sent."""
        tail.repeat_until = self._repeats.pop(tail.generation, tail.repeat_until)
        if not tail.saved:
            with self._lock:
                tail.saved = self._append(Began(key, tail.mark()))

    def sending(self, tail: Tail, reach: int) -> None:
        """To be called before lines that begin before ``reach`` are first sent: only so can a
        repeat after a kill be told."""
        with self._lock:
            self._sent[tail.generation] = max(reach, self._sent.get(tail.generation, 0))
            self._append(Sent(tail.generation, self._sent[tail.generation]))

    def settle(self, key: str, target: str, tail: Tail, end: int, final: Totals) -> None:
        """Lines up to ``end`` have come to their end, of which ``final`` tells."""
        with self._lock:
            totals = self._ledger.settle(target, tail.source, final)
            tail.acked = end
            self._append(Settled(key, tail.generation, end, totals))

    def forget(self, key: str, target: str, tails: Sequence[Tail], sources: Iterable[str]) -> None:
        """``tails`` are over, and so are the ``sources``."""
        with self._lock:
            totals = None
            for source in sources:
                totals = self._ledger.retire(target, source)
            for tail in tails:
                self._sent.pop(tail.generation, None)
            generations = [tail.generation for tail in tails]
            self._append(Gone(key, generations, list(sources), totals))

    def save(self, marks: Callable[[], Mapping[str, list[Mark]]]) -> None:
        """Save a checkpoint with the ``marks`` there are, if anything has changed."""
        if not (self._durable and self.dirty):
            return
        with self._lock:
            document = self._checkpoint(marks())
            self.dirty = False
            self._problems.pop("append", None)  # the document holds what is missing
            if self._saved:
                self._try("begin", self._state.begin_journal)
        self._saved = self._try("save", lambda: self._state.save(document))
        if not self._saved or "begin" in self._problems:
            self.dirty = True

    def close(self, marks: Callable[[], Mapping[str, list[Mark]]]) -> None:
        """Save a checkpoint, and write nothing any more."""
        self.dirty = True
        self.save(marks)
        self._durable = False

    def _checkpoint(self, files: Mapping[str, list[Mark]]) -> Checkpoint:
        known = {key: marks for key, marks in files.items() if marks}
        sent = {
            mark.generation: offset
            for marks in known.values()
            for mark in marks
            if (offset := self._sent.get(mark.generation, 0)) > mark.offset
        }
        return Checkpoint(1, known, self._ledger.final(), sent)

    def _append(self, entry: Began | Sent | Settled | Gone) -> bool:
        if not self._durable:
            return True
        self.dirty = True
        return self._try("append", lambda: self._state.append(msgspec.json.encode(entry)))

    def _try(self, what: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self._problems[what] = (
                f"cannot save to {self._state.folder} how far logs are delivered: {error.strerror};"
                " lines may arrive twice after a restart; what to do: make room there"
            )
            return False
        self._problems.pop(what, None)
        return True
