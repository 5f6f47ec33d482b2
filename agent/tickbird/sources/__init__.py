"""Sources: one file each, one protocol. A source reads one thing of one target.

A module of this package that defines ``SOURCE`` is found by itself; adding a source is adding a
file. Reading and parsing are two functions, and the parsing one is pure.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..model import Instrument, Item, Target

if TYPE_CHECKING:
    from ..clock import Clock
    from ..config import Config, TargetConfig
    from .probe import ProbeReceiver
    from .tracereader import TraceReader


class Source(Protocol):
    """One opened source. ``read`` and ``close`` are called from one thread at a time."""

    interval: float
    """Seconds between two reads."""

    @property
    def problems(self) -> Sequence[str]:
        """What the last read could not do though it succeeded, a line each with its remedy."""

    def read(self) -> Iterable[Item]:
        """What there is now. May raise only ``SourceError`` (or ``NoData``, ``TargetGone``);
        must return within its own bound of time. Called once per ``interval``."""

    def close(self) -> None:
        """Let go of everything. Safe to call twice, and for a target that is gone."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a source may know beside its target."""

    config: Config
    spec: TargetConfig | None
    """The configuration entry that the target came from; None for an automatic one."""
    clock: Clock
    probes: ProbeReceiver | None = None
    """Where in-process probes report to; None when nobody launched one."""
    tracer: TraceReader | None = None
    """Looks at traced loops between two reads of them; None when only the reads do."""


@dataclass(frozen=True, slots=True)
class SourceType:
    """A kind of source: ``open`` returns None where the target has nothing of it (no URL
    configured, no process), and raises ``SourceError`` where it should work but cannot."""

    name: str
    instruments: tuple[Instrument, ...]
    open: Callable[[Target, Context], Source | None]
    blocking: bool = False
    """True: ``read`` may wait for the network, so it runs on a pool of its own."""
    whole: bool = False
    """True: a read yields all series there are, so one that is missing has ended."""
    patient: bool = False
    """True: it may be read less often while the agent costs more than it may."""


def source_types() -> dict[str, SourceType]:
    """Every source of this package, by name, in the order of their names. Folders are not looked
    into: the OTLP intake, which is no source of samples, brings an HTTP server with it."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            continue
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "SOURCE", None)
        if isinstance(kind, SourceType):
            found[kind.name] = kind
    return found
