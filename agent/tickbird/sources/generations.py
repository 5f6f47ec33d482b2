"""The generations of a target's log files: which there are, in which order, and which is which
after names have moved."""

from __future__ import annotations

import errno
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from .descriptors import Descriptors
from .identity import NOWHERE, FileId, Mark, Opened, closed_on_error, same_bytes
from .logpaths import Found, LogPaths, reason
from .logtail import GRAIN, Tail
from .rotation import TRIES, Place, base_name, find, place, places

_SEGMENT = re.compile(r"(?P<stream>.+)-(?P<number>\d+)\.log")


class Generations:
    """``lost`` has a line for each generation that is known to be nowhere any more."""

    def __init__(
        self,
        paths: LogPaths,
        descriptors: Descriptors,
        marks: Iterable[Mark],
        spool: bool,
    ) -> None:
        self.marks = list(marks)
        """Of generations that were not found yet because they cannot be opened."""
        self.lost: list[str] = []
        self._paths = paths
        self._descriptors = descriptors
        self._spool = spool
        self._by_source: dict[str, list[Tail]] = {}
        """The oldest first."""
        self._known: dict[FileId, Tail] = {}
        self._remembered = {mark.source for mark in self.marks}
        self._since: dict[str, int] = {}
        """When a source was last modified whose generations are all forgotten or lost."""
        self._doubted: dict[Tail, int] = {}
        """When files were modified that were empty then and have been written to since."""
        self._copies: dict[FileId, int] = {}
        """When copies were modified of files that are read where they are."""
        self._refused: dict[FileId, tuple[int, OSError]] = {}
        """When compressed files were modified that cannot be unpacked, and why."""

    def all(self) -> list[Tail]:
        """Of one source, the older first."""
        return [tail for tails in self._by_source.values() for tail in tails]

    def older(self, tail: Tail) -> list[Tail]:
        tails = self._by_source[tail.source]
        return tails[: tails.index(tail)]

    def newer(self, tail: Tail) -> list[Tail]:
        tails = self._by_source[tail.source]
        return tails[tails.index(tail) + 1 :]

    def forget(self, tail: Tail) -> bool:
        """Whether its source has no generation any more."""
        tails = self._by_source[tail.source]
        tails.remove(tail)
        self._unknow(tail)
        if not tails:
            del self._by_source[tail.source]
            self._since[tail.source] = tail.modified
        return not tails

    def renounce(self, tail: Tail) -> None:
        """Its inode is another generation now, or nobody's."""
        self._unknow(tail)
        tail.file_id = NOWHERE

    def refind(self, tail: Tail) -> bool:
        """Let ``tail`` go on where its file was moved or copied to; False when it is nowhere.
        Raises ``OSError``."""
        others = {identity for identity, other in self._known.items() if other is not tail}
        found = find(tail.mark(), self._descriptors, others)
        if found is not None:
            self._unknow(tail)
            tail.continue_in(*found)
            self._known[tail.file_id] = tail
        return found is not None

    def resume(self, found: Mapping[FileId, Found]) -> list[Tail]:
        """Take up the generations of the checkpoint, wherever they are now."""
        marks, self.marks = self.marks, []
        resumed = []
        for mark in marks:
            if not (self._paths.match(mark.source) or self._paths.match(mark.path)):
                continue
            try:
                there = find(mark, self._descriptors, self._known)
                tail = _tail(there[0], mark.source, there[1], mark) if there else None
            except OSError as error:
                self._paths.problem(mark.path, reason(error))
                self.marks.append(mark)
                continue
            if tail is None:
                self._note_lost(mark, found)
                continue
            self._know(tail)
            tail.gone = tail.file_id not in found
            self._by_source.setdefault(mark.source, []).append(tail)
            resumed.append(tail)
            if tail.empty_since not in (None, tail.modified):
                self.doubt(tail, tail.stat())
        return resumed

    def begin(self, found: Mapping[FileId, Found], at_end: bool) -> list[Tail]:
        """Open what is new. ``at_end``: lines that are there already are not wanted, unless the
        checkpoint knows their source."""
        fresh: dict[str, list[Place]] = defaultdict(list)
        waiting = {(mark.device, mark.inode) for mark in self.marks}
        new = [
            one
            for identity, one in found.items()
            if identity not in self._known and identity not in waiting
        ]
        there = {one.path for one in found.values()} if new else set()
        for one in new:
            fresh[self._source(one.path, there)].append(place(*one))
        for source, tails in self._by_source.items():
            if tails[-1].gone or tails[-1] in self._doubted:
                fresh.setdefault(source, [])
        begun = []
        for source, found_there in fresh.items():
            begun += self._begin(source, found_there, at_end and source not in self._remembered)
        return begun

    def doubt(self, tail: Tail, status: os.stat_result) -> None:
        """Have it looked for what came and went at the path of ``tail`` since it was empty."""
        assert tail.empty_since is not None
        self._doubted[tail] = tail.empty_since
        tail.begun_at = status.st_mtime_ns
        tail.empty_since = None if status.st_size else status.st_mtime_ns

    def _begin(self, source: str, fresh: list[Place], at_end: bool) -> list[Tail]:
        """Open new files of one source in order, and also those that came and went at its path
        since the last look. They are looked for while the one that is there now is held: nothing
        can slip in between."""
        known = self._by_source.setdefault(source, [])
        since = max((tail.modified for tail in known), default=self._since.get(source))
        last = known[-1] if known else None
        doubted = self._doubted.pop(last, None) if last else None
        opened = self._open_all(source, [p for p in fresh if p.path == source], at_end)
        current = opened[0][1] if opened else last
        fresh = [p for p in fresh if p.path != source and not self._copied(p, current)]
        changed = opened or doubted is not None or (last is not None and last.gone)
        opened += self._open_all(source, fresh, at_end)
        if changed and since is not None and not self._spool:
            since = since if doubted is None else doubted
            for _ in range(TRIES):
                missed = self._open_all(source, self._missed(source, since, current), at_end=False)
                if not missed:
                    break
                opened += missed
        order = list(opened)
        if last is not None and (doubted is not None or last.at_home()):
            order.append((Place(last.begun_at, 1.0, last.path, last.file_id), last))
            known.pop()
        order.sort(key=lambda pair: (pair[1].at_home(), pair[0]))
        known += [tail for _, tail in order]
        if not known:
            del self._by_source[source]
        return [tail for _, tail in opened]

    def _missed(self, source: str, since: int, current: Tail | None) -> list[Place]:
        """What rotation has made of generations of ``source`` that nobody saw."""
        return [
            one
            for one in places(source, packed=self._descriptors.unpack is not None)
            if one.modified >= since
            and one.path != source
            and one.file_id not in self._known
            and not self._copied(one, current)
        ]

    def _open_all(self, source: str, wanted: list[Place], at_end: bool) -> list[tuple[Place, Tail]]:
        opened = []
        for one in wanted:
            try:
                tail = self._open(source, one, at_end)
            except FileNotFoundError:
                continue  # it moved on: the next look finds it
            except OSError as error:
                self._paths.problem(one.path, reason(error))
                continue
            if tail is not None:
                opened.append((one, tail))
        return opened

    def _open(self, source: str, one: Place, at_end: bool) -> Tail | None:
        """None when it is a generation that was compressed since. Raises ``OSError``."""
        opened = self._opened(one)
        for twin in self._by_source.get(source, ()) if opened.packed else ():
            with closed_on_error(opened):
                same = same_bytes(opened.file, twin.mark())
            if same:
                if twin.gone and not twin.closed:
                    self._unknow(twin)
                    twin.continue_in(one.path, opened)
                    self._known[twin.file_id] = twin
                else:
                    os.close(opened.file)  # its plain form is still there
                return None
        return self._know(_tail(one.path, source, opened, at_end=at_end))

    def _opened(self, one: Place) -> Opened:
        """Raises ``OSError``: for what cannot be unpacked, at no cost until it changes."""
        modified, known = self._refused.get(one.file_id, (0, None))
        if known and modified == one.modified:
            raise OSError(*known.args)
        try:
            return self._descriptors.open(one.path, one.file_id)
        except OSError as error:
            settled = time.time_ns() - one.modified > GRAIN
            if settled and error.errno in (errno.EFBIG, errno.EILSEQ, None):
                self._refused[one.file_id] = one.modified, error.with_traceback(None)
            raise

    def _copied(self, one: Place, tail: Tail | None) -> bool:
        """Whether it is a copy of ``tail``, which is being read at its path: the first half of a
        copy-and-truncate rotation, or somebody's backup."""
        if self._copies.get(one.file_id) == one.modified:
            return True
        if tail is None or not tail.at_home():
            return False
        if one.modified < tail.begun_at:
            return False
        try:
            self._descriptors.take(tail)
            opened = self._opened(one)
            try:
                copied = tail.holds(opened.file)
            finally:
                os.close(opened.file)
        except OSError:
            return False
        if copied:
            self._copies[one.file_id] = one.modified
        return copied

    def _source(self, path: str, there: set[str]) -> str:
        if self._spool:
            segment = _SEGMENT.fullmatch(path)
            return segment["stream"] if segment else path
        folder, name = os.path.split(path)
        base = base_name(name)
        before = str(Path(folder) / base) if base else path
        return before if before in self._by_source or before in there else path

    def _note_lost(self, mark: Mark, found: Mapping[FileId, Found]) -> None:
        self._since[mark.source] = max(mark.modified, self._since.get(mark.source, 0))
        there = any(one.path == mark.source for one in found.values())
        if there and not self._spool and max(mark.offset, mark.window_end):
            self.lost.append(
                f"{mark.source} was rotated while no agent ran, and its former content is not "
                "beside it; what to do: keep the newest rotated file uncompressed"
            )

    def _know(self, tail: Tail) -> Tail:
        self._known[tail.file_id] = tail
        self._descriptors.take(tail)
        return tail

    def _unknow(self, tail: Tail) -> None:
        if self._known.get(tail.file_id) is tail:
            del self._known[tail.file_id]


def _tail(
    path: str, source: str, opened: Opened, mark: Mark | None = None, at_end: bool = False
) -> Tail:
    """Raises ``OSError`` when what was opened cannot be read."""
    with closed_on_error(opened):
        return Tail(path, source, opened, mark, at_end=at_end)
