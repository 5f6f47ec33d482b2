"""The tailer against a model: whatever happens to a log between two looks, every line is read once
and in order (T19 of the reliability goals)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tailing import Reader, append, few_descriptors, rename_rotation, shift


class Log(RuleBasedStateMachine):
    """One service's log, a quiet neighbour so that descriptors are short, and their reader."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.folder / "app.log"
        self.written: list[str] = []
        self.read: list[str] = []
        self.mid_line = ""

    @initialize(
        pattern=st.sampled_from(["app.log", "app.log*", "*.log*", "**/*.log"]),
        same=st.booleans(),
        descriptors=st.sampled_from([1, 100]),
    )
    def begin(self, pattern: str, same: bool, descriptors: int) -> None:
        self.banner = "the same first lines " * 60 if same else ""
        self.neighbour = self.folder / "other.log"
        append(self.neighbour, "quiet\n")
        self.reader = Reader(
            self.folder / pattern, self.neighbour, descriptors=few_descriptors(descriptors)
        )
        self.write(1)
        self.look()

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.stop()
        shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        if self.banner and not (self.log.exists() and self.log.stat().st_size):
            append(self.log, f"{self.banner}\n")
            self.written.append(self.banner)
        for _ in range(count):
            line = f"line {len(self.written)}"
            append(self.log, line.removeprefix(self.mid_line) + "\n")
            self.mid_line = ""
            self.written.append(line)

    @precondition(lambda self: self.log.exists() and self.log.stat().st_size)
    @rule()
    def begin_a_line(self) -> None:
        if not self.mid_line:
            append(self.log, "line ")
            self.mid_line = "line "

    @precondition(lambda self: self.log.exists() and not self.mid_line)
    @rule()
    def rotate_by_rename(self) -> None:
        rename_rotation(self.log)

    @precondition(lambda self: self.log.exists() and not self.mid_line)
    @rule()
    def rotate_by_rename_and_create(self) -> None:
        rename_rotation(self.log)
        self.log.touch()

    @precondition(lambda self: self.log.exists() and not self.mid_line)
    @rule(keep_time=st.booleans(), look_between=st.booleans())
    def rotate_by_copy(self, keep_time: bool, look_between: bool) -> None:
        shift(self.log)
        copy = shutil.copy2 if keep_time else shutil.copy
        copy(self.log, self.log.with_name("app.log.1"))
        if look_between:
            self.look()
        os.truncate(self.log, 0)

    @rule()
    def look(self) -> None:
        self.read += self.reader()

    @rule()
    def look_later(self) -> None:
        """What is not finished by then would be given out in two halves."""
        if not self.mid_line:
            self.read += self.reader.linger()

    @rule()
    def restart(self) -> None:
        self.reader = self.reader.restarted()

    @invariant()
    def nothing_but_what_was_written_is_read(self) -> None:
        lines = [line for line in self.read if line != "quiet"]
        assert lines == self.written[: len(lines)]
        assert not hasattr(self, "reader") or not self.reader.tailer.problems

    @precondition(lambda self: hasattr(self, "reader"))
    @rule()
    def all_of_it_is_read_at_last(self) -> None:
        self.look()
        assert [line for line in self.read if line != "quiet"] == self.written


Log.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
test_every_line_is_read_once_and_in_order = Log.TestCase
