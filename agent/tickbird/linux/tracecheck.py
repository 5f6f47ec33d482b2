"""Whether this user can trace a process of this host, by which way, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from . import refusal
from .loopthread import loop_thread
from .traceaccess import by_helper, by_itself


@dataclass(frozen=True, slots=True)
class Access:
    """``way`` is ``itself``, ``helper`` or None; ``problem`` and ``remedy`` say why it is not
    ``itself``. ``paranoid`` is None where the kernel does not say."""

    way: str | None
    problem: str | None
    remedy: str | None
    paranoid: int | None
    seccomp: bool
    perfmon: bool


def check(pid: int, runtime: str, folders: Iterable[Path], helper: Path) -> Access:
    """Found out by doing it: the trace is opened and closed."""
    thread = loop_thread(pid, runtime)
    way: str | None = None
    problem: SourceError | None = None
    try:
        by_itself(thread, folders).close()
        way = "itself"
    except SourceError as error:
        problem = error
        try:
            if (trace := by_helper(thread, helper)) is not None:
                trace.close()
                way = "helper"
        except SourceError as refused:
            problem = refused
    return Access(
        way,
        str(problem) if problem else None,
        problem.remedy if problem else None,
        refusal.paranoid(),
        refusal.under_seccomp(),
        refusal.capable(refusal.CAP_PERFMON, refusal.CAP_SYS_ADMIN),
    )
