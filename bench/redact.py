"""Redaction: what it finds and what it wrongly takes, on a seeded corpus; and what a line costs.

A secret counts as found when no six characters of it in a row are left. The peer in cost is the
standard library's ``re`` with the same patterns, over the same chunks.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tickbird.config import RedactConfig
from tickbird.stages.redact import Redactor

from . import corpus, secrets_corpus

TAKES = "1 min: what redaction finds, what it wrongly takes, what it costs"
SEEDS = (1, 2, 3)
ROUNDS = 20
CLEAN = 1_000_000
LINES = 50_000
CHUNK = 64 * 1024
REPEATS = 5
WINDOW = 6


class Score(NamedTuple):
    """``missed``: planted secrets of which something is left, by kind and place; ``wrong``: lines
    without a secret of which something was taken."""

    planted: int
    missed: Counter[tuple[str, str]]
    clean: int
    wrong: list[str]

    @property
    def recall(self) -> float:
        return 1 - self.missed.total() / self.planted

    @property
    def false_hits(self) -> float:
        """Share of the lines without a secret of which something was taken."""
        return len(self.wrong) / self.clean


def score(engine: Redactor, seeds: Iterable[int], rounds: int, clean: int) -> Score:
    """What ``engine`` makes of the corpus."""
    missed: Counter[tuple[str, str]] = Counter()
    planted, lines, wrong = 0, 0, []
    for seed in seeds:
        for one in secrets_corpus.planted(seed, rounds):
            planted += 1
            missed[one.kind, one.place] += left_of(one.secret, engine.clean(one.text.encode()))
        for line in secrets_corpus.clean(seed, clean):
            lines += 1
            raw = line.encode()
            if engine.clean(raw) != raw:
                wrong.append(line)
    return Score(planted, +missed, lines, wrong)


def left_of(secret: str, cleaned: bytes) -> bool:
    """Whether six characters of ``secret`` in a row are left in a line, as it is or as JSON says.
    The markers of a private key are none of it."""
    text = cleaned.decode()
    for line in cleaned.split(b"\n"):
        if line.startswith(b"{"):
            text += json.dumps(json.loads(line), ensure_ascii=False)
    secret = re.sub(r"-----[A-Z ]+-----", "", secret)
    parts = (secret[at : at + WINDOW] for at in range(max(1, len(secret) - WINDOW + 1)))
    return any(part.strip() and part in text for part in parts)


def run() -> list[str]:
    engine = Redactor(RedactConfig())
    found = score(engine, SEEDS, ROUNDS, CLEAN // len(SEEDS))
    lines = [
        f"- recall: {found.recall:.2%} of {found.planted:,} planted secrets "
        f"({len(SEEDS)} seeds); mark: 100 %",
        f"- false hits: {found.false_hits:.4%} of {found.clean:,} lines without one; mark: 0.1 %",
    ]
    lines += [f"  - missed {count} of {kind} in {place}" for (kind, place), count in
              found.missed.most_common(10)]  # fmt: skip
    return [*lines, "", *costs(engine)]


def costs(engine: Redactor) -> list[str]:
    """µs of CPU per line over the corpus of the log benches, rounds interleaved."""
    union = "|".join(rule.opening for rule in engine.rules)
    peer = re.compile(union.encode())
    ways: dict[str, Callable[[bytes], object]] = {
        "redaction, whole (RE2 union over chunks)": engine.clean,
        "the search alone": lambda chunk: list(engine.hits(chunk)),
        "the same patterns in the standard library's `re`, search alone": lambda chunk: sum(
            1 for _ in peer.finditer(chunk)
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    chunks = list(_chunks())
    for _ in range(REPEATS):
        for name, way in ways.items():
            began = time.process_time()
            for chunk in chunks:
                way(chunk)
            spent[name].append((time.process_time() - began) / LINES * 1e6)
    rows = ["| way | µs per line, median | spread |", "|---|--:|--:|"]
    for name, all_of in spent.items():
        rows.append(
            f"| {name} | {statistics.median(all_of):.2f} | {min(all_of):.2f} to {max(all_of):.2f} |"
        )
    return rows


def _chunks() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "app.log")
        corpus.write(path, LINES)
        data = path.read_bytes()
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + CHUNK) + 1
        yield data[start : end - 1]
        start = end
