"""What held the loop, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..model import Stall
from . import words

_NOT_OF_THE_CODE = ("starved", "paging", "stopped")
"""Causes for which the function that happened to run then is not to blame."""

_CAUSES = {
    "cpu": "computing",
    "gc": "collecting garbage",
    "blocking call": "waiting in a system call",
    "lock": "waiting for a lock",
    "starved": "while the host gave it no processor",
    "paging": "while its memory was read in from disk",
    "stopped": "while it was stopped from outside",
}
_ADVICE = {
    "gc": "Keep less alive, or make less garbage; give the heap more room if it is near its limit.",
    "starved": "Look at the machine: its load, the CPU limit of the container, its neighbours. The "
    "service's code is not the reason.",
    "paging": "The machine is short of memory: give it more, or run less on it.",
    "stopped": "See who stops it: a debugger, SIGSTOP, a paused container.",
}
_NAMELESS = {
    "blocking call": "Find what makes this call, and use its asynchronous form or a worker thread.",
    "lock": "Find the thread that holds the lock, and do not wait for it in the loop.",
}
"""Where no function is known."""


def why(stall: Stall) -> str:
    """As the end of a sentence: a function where one is known and to blame, else the cause."""
    if stall.culprit and stall.cause not in _NOT_OF_THE_CODE:
        return f" in {_place(stall.culprit)}"
    if stall.cause is None:
        return ""
    return f"{', probably' if stall.certainty == 'likely' else ','} {_doing(stall)}"


def _place(culprit: Mapping[str, Any]) -> str:
    file, line = culprit.get("file"), culprit.get("line")
    where = f" ({PurePath(file).name}:{line})" if file else ""
    return words.printable(f"{culprit.get('function') or 'an unnamed function'}{where}")


def _doing(stall: Stall) -> str:
    evidence = stall.evidence or {}
    call, path = evidence.get("call"), evidence.get("path")
    if stall.cause != "blocking call" or not call:
        return _CAUSES.get(str(stall.cause), str(stall.cause))
    return words.printable(f"waiting in {call} of {path}" if path else f"waiting in {call}")


def advice(stall: Stall) -> str:
    cause = str(stall.cause)
    if cause in _ADVICE:
        return _ADVICE[cause]
    if stall.culprit:
        return "Split this work up, move it to a worker thread, or use its asynchronous form."
    return _NAMELESS.get(cause) or (
        "Look for synchronous work in what ran then: file or crypto calls with a synchronous form, "
        "large JSON, a heavy loop or regular expression, a blocking client in a coroutine."
    )
