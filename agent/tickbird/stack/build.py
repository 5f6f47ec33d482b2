"""Gets the backends' programs: from PATH, else from the cache, else built from source."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import CannotCreate, Unreachable, UsageError
from ..paths import cache_home
from . import Progress
from .recipes import BUILDER, FLAGS, RECIPES, Recipe

Agree = Callable[[str], bool]
"""Asks a question that names time and size; whether the answer is yes."""

STEP = 15.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Found:
    """A backend's program on this machine. ``origin`` is "PATH" or "built"."""

    program: Path
    version: str
    origin: str


def folder_of(recipe: Recipe) -> Path:
    """Where this recipe's programs are kept once built."""
    return cache_home() / "backends" / f"{recipe.name}-{recipe.digest()}" / "bin"


def find(recipe: Recipe) -> Found | None:
    """The program of ``recipe``: a fit one on PATH first, else the one built before."""
    for name in recipe.names:
        program = shutil.which(name)
        version = _version_on_path(recipe, program) if program else None
        if program and version is not None:
            return Found(Path(program), version, "PATH")
    built = folder_of(recipe) / recipe.programs[0]
    return Found(built, recipe.version, "built") if built.is_file() else None


def find_tool(name: str) -> Path | None:
    """A program that is built beside a backend (promtool); the cache first, since a
    distribution's may be older than the rules and configurations it is to check."""
    for recipe in RECIPES.values():
        built = folder_of(recipe) / name
        if name in recipe.programs and built.is_file():
            return built
    program = shutil.which(name)
    return Path(program) if program else None


def _version_on_path(recipe: Recipe, program: str) -> str | None:
    """Version of a program that is the right one and new enough, else None. Debian, for one,
    has a ``loki`` that is something else and a Prometheus that knows no OTLP."""
    try:
        answer = subprocess.run(
            [program, *recipe.version_command],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = answer.stdout + answer.stderr
    found = re.search(recipe.version_pattern, text, re.MULTILINE)
    if found is None or not all(part in text for part in recipe.must_offer):
        return None
    numbers = re.match(r"(\d+)\.(\d+)", found[1])
    if numbers and (int(numbers[1]), int(numbers[2])) < recipe.floor:
        return None
    return found[1] or "of unknown version"


def obtain(progress: Progress, agree: Agree) -> dict[str, Found]:
    """Every backend's program, building what is missing after ``agree`` (given a question that
    names time and size) has said yes. UsageError when it says no."""
    found = {name: find(recipe) for name, recipe in RECIPES.items()}
    missing = [RECIPES[name] for name, program in found.items() if program is None]
    if missing:
        question = _question(missing)
        if not agree(question):
            raise UsageError(
                question,
                "say --build (or CI=true) to build, put the programs on PATH, "
                "or start a container engine and leave out --native",
            )
        found.update(build(missing, progress))
    return {name: program for name, program in found.items() if program}


def _question(missing: list[Recipe]) -> str:
    names = ", ".join(f"{recipe.title} {recipe.version}" for recipe in missing)
    minutes = sum(recipe.minutes for recipe in missing)
    megabytes = sum(recipe.megabytes for recipe in missing)
    return (
        f"not on this machine: {names}; building from source takes about {minutes:.0f} min on two "
        f"cores the first time, {megabytes} MB in {cache_home() / 'backends'}"
    )


def build(recipes: list[Recipe], progress: Progress) -> dict[str, Found]:
    """Build each recipe into the cache, one at a time; what stands there already is kept."""
    go = shutil.which("go")
    if go is None:
        raise Unreachable(
            "the backends are built with Go, which is not on PATH",
            "install Go 1.26 or newer, or put the programs on PATH, or use a container engine",
        )
    return {recipe.name: _build_one(recipe, go, progress) for recipe in recipes}


def _build_one(recipe: Recipe, go: str, progress: Progress) -> Found:
    target = folder_of(recipe)
    with _only_one(target.parent):
        if not all((target / program).is_file() for program in recipe.programs):
            started = time.monotonic()
            with tempfile.TemporaryDirectory(dir=target.parent, prefix="draft-") as name:
                draft = Path(name)
                _Build(recipe, go, draft, progress).run()
                target.mkdir(exist_ok=True)
                for program in recipe.programs:
                    (draft / "bin" / program).replace(target / program)
            progress(f"{recipe.title}: built in {time.monotonic() - started:.0f} s")
    return Found(target / recipe.programs[0], recipe.version, "built")


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two commands that want the same program: the second waits, and finds it built."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotCreate(
            f"cannot create {folder}: {error.strerror}", "set XDG_CACHE_HOME to a folder of yours"
        ) from error
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(slots=True)
class _Build:
    recipe: Recipe
    go: str
    draft: Path
    progress: Progress

    def run(self) -> None:
        (self.draft / "bin").mkdir()
        sources = self.draft / "src"
        if not self.recipe.packages:
            self._generate(sources)
        _copy_module(self.recipe.folder, sources)
        output = f"{self.draft / 'bin'}{os.sep}"
        packages = list(self.recipe.packages.values())
        if not packages:
            output, packages = output + self.recipe.name, ["."]
        self._go(["build", *FLAGS, "-o", output, *packages], sources)

    def _generate(self, sources: Path) -> None:
        """The Collector's main package. Modules are left to our own go.mod and go.sum: resolving
        them anew would fail on one that only Windows needs, and give another result each month."""
        builder = self.draft / "builder"
        _copy_module(self.recipe.builder, builder)
        self._go(["build", *FLAGS, "-o", str(builder / "builder"), BUILDER], builder)
        recipe = self.recipe.sources()[-1].read_text(encoding="utf-8")
        (self.draft / "builder.yaml").write_text(
            re.sub(r"(?m)^(\s*output_path:).*$", rf"\1 {sources}", recipe), encoding="utf-8"
        )
        arguments = ["--config", "builder.yaml", "--skip-compilation", "--skip-get-modules"]
        self._run([str(builder / "builder"), *arguments], self.draft)

    def _go(self, arguments: list[str], where: Path) -> None:
        self._run([self.go, *arguments], where)

    def _run(self, command: list[str], where: Path) -> None:
        recipe, started = self.recipe, time.monotonic()
        log = self.draft.parent / "build.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(
                command,
                cwd=where,
                env={**os.environ, "CGO_ENABLED": "0"},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
            try:
                while (code := _wait(process, STEP)) is None:
                    self.progress(
                        f"{recipe.title} {recipe.version}: building, "
                        f"{time.monotonic() - started:.0f} s (about {recipe.minutes:g} min cold)"
                    )
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if code != 0:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise Unreachable(
                f"{recipe.title} could not be built: {' | '.join(last) or f'exit code {code}'}",
                f"read {log}; the Go module proxy must be reachable the first time",
            )


def _copy_module(source: Path, target: Path) -> None:
    """Go writes into a module's folder, and the bundle may be read-only."""
    target.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(source / name, target / name)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
