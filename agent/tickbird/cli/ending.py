"""How a command that started processes ends when it is told to: with them, not before them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TOLD = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unwinding() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise ``SystemExit`` (128 + the signal), so that what was
    started is ended by the blocks it was started in. A second one does not disturb that."""
    before = {number: signal.signal(number, _leave) for number in _TOLD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    for one in _TOLD:
        signal.signal(one, signal.SIG_IGN)
    raise SystemExit(128 + number)
