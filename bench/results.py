"""RESULTS.md: a section for each bench, replaced when that bench runs again."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

PATH = Path(__file__).with_name("RESULTS.md")
_HEAD = (
    "# Results\n\nWritten by `make bench`, a section a bench; medians with their spread. "
    "Virtual machines are noisy: ratios measured side by side say more than any figure alone.\n"
)


def write(name: str, lines: Sequence[str], path: Path = PATH) -> None:
    """Put ``lines`` (Markdown) in the place of what ``path`` says under ``name``."""
    text = path.read_text() if path.exists() else ""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    sections[name] = f"\n{machine()}\n\n" + "\n".join(lines) + "\n"
    written = (f"\n## {title}\n\n{body.strip()}\n" for title, body in sorted(sections.items()))
    path.write_text(_HEAD + "".join(written))


def machine() -> str:
    """What was measured on and when; nothing that names the host."""
    kernel = platform.release().split("-")[0]
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {_cpu()}, {os.cpu_count()} CPUs, Linux "
        f"{kernel}, Python {platform.python_version()}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
