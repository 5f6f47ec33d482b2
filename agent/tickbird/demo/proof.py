"""Holds the report to the truth files that the services kept themselves.

Both sides measured the same faults by different means: the services timed themselves, the agent
looked on. A claim is one comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

STALL_TOLERANCE = 0.10
RATIO_TOLERANCE = 0.20
P99_TOLERANCE = 0.20
NAMED_SHARE = 0.95
NAMED_SECONDS = 0.2
"""Blocks shorter than this may be over before their function is known."""
EDGE = 2.0
"""Seconds at both ends of the time watched whose stalls are not compared: they may be cut."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """``expected`` is the service's own word, ``seen`` the agent's; None where it saw nothing."""

    target: str
    what: str
    expected: Any
    seen: Any
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def prove(report: Document, truths: Mapping[str, Document], since: float) -> list[Claim]:
    """Every claim about every service; ``since`` is when the agent began to watch (Unix s)."""
    seen = {entry["name"]: entry for entry in report["targets"]}
    claims = []
    for name, truth in truths.items():
        if (entry := seen.get(name)) is None:
            claims.append(Claim(name, "is watched", True, None, False))
            continue
        until = report["generated_at"] - EDGE
        claims += _stalls(name, entry, truth, since + EDGE, until)
        claims += _failing(name, entry, truth)
        claims += _slow(name, entry, truth)
        claims += _growing(name, entry, truth)
        claims += _logs(name, entry, truth)
    return claims


def _stalls(
    name: str, entry: Document, truth: Document, since: float, until: float
) -> Iterator[Claim]:
    """Every block of the loop, found by its time, with its length."""
    blocks = [b for b in truth["blocks"] if since < b["start"] and _end(b) < until]
    found = [_match(block, entry["loop"]["stalls"]) for block in blocks]
    errors = [
        _error(stall["duration_seconds"], block)
        for block, stall in zip(blocks, found, strict=True)
        if stall is not None
    ]
    yield Claim(
        name, "blocks of the loop", len(blocks), len(errors), len(errors) == len(blocks) > 0
    )
    if errors:
        worst = max(errors)
        yield Claim(
            name,
            f"worst error of a stall's length is at most {STALL_TOLERANCE:.0%}",
            STALL_TOLERANCE,
            round(worst, 4),
            worst <= STALL_TOLERANCE,
        )
    yield _named(name, entry, "loop_blocked", "the blocked loop is named", name)
    yield _blamed(name, truth["drawn"]["block"]["function"], blocks, found)


def _blamed(
    name: str, function: str, blocks: Sequence[Document], found: Sequence[Document | None]
) -> Claim:
    """Which function held the loop in each block that is long enough to ask."""
    named = [
        (stall["culprit"] or {}).get("function") if stall else None
        for block, stall in zip(blocks, found, strict=True)
        if block["duration"] >= NAMED_SECONDS
    ]
    share = named.count(function) / len(named) if named else None
    return Claim(
        name, f"the function that blocked is named, in {NAMED_SHARE:.0%} of the blocks",
        function, max(set(named), key=named.count, default=None),
        share is not None and share >= NAMED_SHARE,
    )  # fmt: skip


def _error(seen: float, block: Document) -> float:
    """Relative error of a stall's length. The loop is held from the block's start at least until
    its end and at most until the turn that it was a part of has ended, which the service timed
    too: other callbacks of that turn, and the collection of garbage, hold the loop as well."""
    shortest, longest = block["duration"], block["turn"]
    return float(max(shortest - seen, seen - longest, 0.0) / shortest)


def _end(block: Document) -> float:
    end: float = block["start"] + block["duration"]
    return end


def _match(block: Document, stalls: Sequence[Document]) -> Document | None:
    """The stall that overlaps the block longest."""

    def overlap(stall: Document) -> float:
        end = min(_end(block), stall["start"] + stall["duration_seconds"])
        return float(end - max(block["start"], stall["start"]))

    best = max(stalls, key=overlap, default=None)
    return best if best is not None and overlap(best) > block["duration"] / 2 else None


def _failing(name: str, entry: Document, truth: Document) -> Iterator[Claim]:
    route = truth["drawn"]["fail"]["route"]
    key, counts = _route(truth, route)
    yield _named(name, entry, "http_errors", "the failing endpoint is named", key)
    expected = counts["errors"] / counts["requests"]
    seen = _seen_route(entry, route)
    ratio = seen["errors"] / seen["requests"] if seen and seen["requests"] else None
    yield _close(name, f"error ratio of {key}", expected, ratio, RATIO_TOLERANCE)


def _slow(name: str, entry: Document, truth: Document) -> Iterator[Claim]:
    route = truth["drawn"]["slow"]["route"]
    key, counts = _route(truth, route)
    yield _named(name, entry, "http_slow", "the slow endpoint is named", key)
    durations = sorted(counts["durations"])
    expected = durations[min(len(durations) - 1, int(0.99 * len(durations)))]
    seen = _seen_route(entry, route)
    p99 = seen["p99_seconds"] if seen else None
    yield _close(name, f"p99 of {key}", expected, p99, P99_TOLERANCE)


def _growing(name: str, entry: Document, truth: Document) -> Iterator[Claim]:
    rate = truth["heap"]["rate_bytes_per_second"] * 60
    yield _named(
        name, entry, "memory_growth", "the growing heap is named", f"{rate / 1e6:.0f} MB/min"
    )


def _logs(name: str, entry: Document, truth: Document) -> Iterator[Claim]:
    logs = entry["logs"] or {}
    yield Claim(
        name, "log lines read", truth["log_lines"], logs.get("read"),
        logs.get("read") == truth["log_lines"],
    )  # fmt: skip
    if logs:
        parts = logs["delivered"] + logs["queued"]
        parts += sum(logs["refused"].values()) + sum(logs["dropped"].values())
        yield Claim(name, "the log ledger adds up", logs["read"], parts, logs["read"] == parts)


def _named(name: str, entry: Document, check: str, what: str, subject: str) -> Claim:
    """A finding of ``check`` that is not ok, and whose words name the subject's route."""
    route = subject.rsplit(" ", maxsplit=1)[-1] if " /" in subject else ""
    for finding in entry["findings"]:
        if finding["check"] == check and finding["status"] in ("warn", "fail"):
            text = f"{finding['title']} {finding['evidence']}"
            return Claim(name, what, subject, finding["title"], route in text)
    return Claim(name, what, subject, None, False)


def _close(name: str, what: str, expected: float, seen: float | None, tolerance: float) -> Claim:
    holds = seen is not None and abs(seen - expected) <= tolerance * expected
    shown = None if seen is None else round(seen, 4)
    return Claim(name, f"{what}, within {tolerance:.0%}", round(expected, 4), shown, holds)


def _route(truth: Document, route: str) -> tuple[str, Document]:
    return next((k, v) for k, v in truth["routes"].items() if k.split(" ", 1)[1] == route)


def _seen_route(entry: Document, route: str) -> Document | None:
    """The agent's row of the route; frameworks write parameters as {id} or :id."""
    routes = (entry["http"] or {}).get("routes", [])
    return next((one for one in routes if one["route"] == route), None)
