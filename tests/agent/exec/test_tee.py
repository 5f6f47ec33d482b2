"""The tee: a reader that does not read costs output, never time."""

import os
import time

from tickbird.exec.tee import Tee


def test_what_is_offered_is_written_in_order() -> None:
    reader, writer = os.pipe()
    tee = Tee(writer)
    tee.start()
    for n in range(100):
        assert tee.offer(b"%d\n" % n)
    assert tee.finish(5)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"".join(b"%d\n" % n for n in range(100))


def test_a_pipe_that_nobody_reads_never_makes_the_writer_wait() -> None:
    reader, writer = os.pipe()
    tee = Tee(writer, limit=1_000_000)
    tee.start()
    began = time.monotonic()
    taken = sum(tee.offer(b"x" * 10_000) for _ in range(1000))
    assert time.monotonic() - began < 2
    assert taken <= 107  # the queue, what the pipe holds, and the one being written
    assert tee.not_shown == (1000 - taken) * 10_000
    assert not tee.finish(0.1)
    os.close(reader)  # ends the thread: the pipe is broken
    assert tee.finish(5)
    os.close(writer)


def test_a_reader_that_went_away_ends_the_tee_and_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    tee = Tee(writer)
    tee.start()
    tee.offer(b"x")
    assert tee.finish(5)
    assert tee.closed
    assert not tee.offer(b"y")
    assert tee.not_shown == 0
    os.close(writer)
