"""Which sample services can run here, and what they need first.

Packages are fetched once into the cache folder, never into the checkout or the wheel.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..paths import bundle, cache_home

INSTALL_SECONDS = 300
NODE_OLDEST = 18
PYTHON_PACKAGES = ("fastapi", "uvicorn")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Service:
    """One sample service: how it is started, without its options."""

    name: str
    runtime: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def available(say: Say) -> list[Service]:
    """The samples that can run; what cannot is said, with what to do about it."""
    found = (_node(say), _python(say))
    return [service for service in found if service is not None]


def _node(say: Say) -> Service | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "Node.js" if node is None else "npm"
        say(f"{missing} is not installed, so the Node sample is left out (apt-get install npm)")
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = version.stdout.strip().lstrip("v").split(".")[0]
    if not major.isdigit() or int(major) < NODE_OLDEST:
        say(f"Node.js {NODE_OLDEST} or newer is needed for the Node sample; it is left out")
        return None
    folder = _node_folder(npm, say)
    return Service("demo-node", "node", (node, str(folder / "server.cjs"))) if folder else None


def _node_folder(npm: str, say: Say) -> Path | None:
    """The sample with its packages, made once for each content of it."""
    source = bundle() / "examples" / "node"
    files = sorted(p for p in source.iterdir() if p.is_file())
    digest = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files))
    folder = cache_home() / "demo" / f"node-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    say("fetching the Node sample's packages, once (about 15 s)")
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    for path in files:
        shutil.copy(path, draft)
    command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error", "--omit=dev"]
    if not _install(command, draft, "the Node sample is left out", say):
        shutil.rmtree(draft)
        return None
    _settle(draft, folder)
    return folder


def _python(say: Say) -> Service | None:
    program = (sys.executable, str(bundle() / "examples" / "python" / "service.py"))
    if all(importlib.util.find_spec(name) for name in PYTHON_PACKAGES):
        return Service("demo-python", "asyncio", program)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_home() / "demo" / f"python-{version}"
    if not folder.is_dir():
        say(f"fetching {' and '.join(PYTHON_PACKAGES)} for the Python sample, once (about 15 s)")
        draft = folder.with_name(f"{folder.name}.{os.getpid()}")
        draft.mkdir(parents=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(draft)]
        if not _install([*command, *PYTHON_PACKAGES], draft, "the Python sample is left out", say):
            shutil.rmtree(draft)
            return None
        _settle(draft, folder)
    return Service("demo-python", "asyncio", program, {"PYTHONPATH": str(folder)})


def _settle(draft: Path, folder: Path) -> None:
    """Give the draft its name, unless another demo was faster."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(draft)


def _install(command: list[str], folder: Path, otherwise: str, say: Say) -> bool:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        say(f"{otherwise}: no answer from the package registry in {INSTALL_SECONDS} s")
        return False
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        say(f"{otherwise}: {words[-1][:200]} (it needs the network once)")
        return False
    return True
