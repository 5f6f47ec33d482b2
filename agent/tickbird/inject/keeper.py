"""Keeps a connection to an inspector open though its owner be killed, until the answer is there.

Node ends with SIGSEGV when a client goes away in the moment in which its answer is written
(https://github.com/nodejs/node/issues/34833): a kill of the one process must not close the
connection, so a second one has it too.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator

LONGEST = 60.0
"""Seconds that an answer is waited for."""


@contextlib.contextmanager
def kept_open(connection: socket.socket) -> Iterator[None]:
    """Within it ``connection`` outlives this process. Only for a process of one thread."""
    heard, held = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        try:
            os.close(held)
            _keep(connection, heard)
        finally:
            os._exit(0)
    os.close(heard)
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            os.write(held, b".")
        os.close(held)
        os.waitpid(keeper, 0)


def _keep(connection: socket.socket, owner: int) -> None:
    """Wait for the owner's word; when it has died instead, for the answer."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    if os.read(owner, 1) == b"":
        answer = select.poll()
        answer.register(connection, select.POLLIN | select.POLLRDHUP)
        answer.poll(LONGEST * 1000)
