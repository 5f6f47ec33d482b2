"""What a command line tells: the runtime, a name, and whether it is a service at all."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

_NODE = re.compile(r"(node|nodejs)(-?\d+(\.\d+)*)?")
_PYTHON = re.compile(r"(python|pypy)(\d+(\.\d+)*)?[a-z]?")

_PACKAGE_MANAGERS = frozenset(
    {"npm", "npx", "npm-cli", "npx-cli", "pnpm", "pnpx", "yarn", "yarnpkg", "corepack"}
    | {"pip", "pip3", "pipx", "uv", "uvx", "poetry", "pdm", "hatch", "pipenv", "conda", "mamba"}
)
_NOTEBOOKS = re.compile(r"jupyter|ipykernel|ipython|notebook|marimo|colab")
_EDITORS = re.compile(
    r"vscode|code-server|cursor-server|windsurf|language[-_]?server|tsserver|typingsinstaller"
    r"|pylsp|pyright|jedi|ruff-lsp|eslint_d|eslintserver|prettierd|copilot|jetbrains|pycharm"
    r"|webstorm|debugpy|lsp[-_]server"
)
_APPLICATION = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*(\(\))?")
"""``module:name``, which ``127.0.0.1:8000`` is not."""
_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "daphne", "granian", "flask", "waitress"})
_OPTIONS_WITH_VALUE = frozenset(
    {"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"}
    | {"--env-file", "-W", "-X"}
)
_LARGEST_MANIFEST = 256 * 1024


def is_name(text: str) -> bool:
    """Whether ``text`` may name a service or an instance; such a name is fit for a file too."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text) is not None


def runtime_of(executable: str, command: tuple[str, ...]) -> str:
    """``node``, ``python`` or ``other``, by the program's file, else by the first argument."""
    for text in (executable, command[0] if command else ""):
        name = PurePosixPath(text.removeprefix("-").split(" ")[0]).name
        if _NODE.fullmatch(name):
            return "node"
        if _PYTHON.fullmatch(name):
            return "python"
        if executable:
            break
    return "other"


def script_of(command: tuple[str, ...]) -> str:
    """The script, module or ``-c``/``-e`` marker that the interpreter runs; may be empty."""
    words = iter(command[1:])
    for word in words:
        if word == "-m":
            return next(words, "")
        if word in ("-c", "-e", "-p", "--eval", "--print"):
            return word
        if word in _OPTIONS_WITH_VALUE:
            next(words, "")
        elif not word.startswith("-"):
            return word
    return ""


def is_wrapper(command: tuple[str, ...]) -> bool:
    """A package manager that runs the service as its child."""
    words = (script_of(command), command[0].split(" ")[0] if command else "")
    return any(_stem(word) in _PACKAGE_MANAGERS for word in words)


def is_tickbird(command: tuple[str, ...]) -> bool:
    """A process of this product: its console script or ``python -m tickbird``."""
    words = (script_of(command), command[0] if command else "")
    return any(_stem(word) == "tickbird" for word in words)


def why_left(command: tuple[str, ...]) -> str | None:
    """Why a Node or Python process is no service to watch by itself; None when it may be one."""
    script = script_of(command)
    words = f"{command[0] if command else ''} {script}".lower()
    if is_tickbird(command):
        return "part of tickbird"
    if is_wrapper(command):
        return "a package manager; the service is its child"
    if _NOTEBOOKS.search(words):
        return "a notebook"
    if _EDITORS.search(words):
        return "an editor's helper"
    return None


def is_worker_of(lead: tuple[str, ...], command: tuple[str, ...]) -> bool:
    """Whether a descendant's command is of its master's family: the same script (Node's cluster,
    gunicorn) or Python's way to start a worker (uvicorn and multiprocessing)."""
    if "multiprocessing.spawn" in " ".join(command):
        return True
    if not command or "multiprocessing.resource_tracker" in " ".join(command):
        return False
    if command[0].startswith(("gunicorn: worker", "uvicorn: worker")):
        return True
    script = script_of(command)
    return bool(script) and script == script_of(lead) and script not in ("-c", "-e")


def service_name(command: tuple[str, ...], folder: Path | None, runtime: str = "other") -> str:
    """The name in package.json or pyproject.toml of the process's folder, else one made from the
    command: the application given to a server, the script or module, or the program."""
    named = None
    if folder and runtime != "python":
        named = _package_name(folder)
    if folder and runtime != "node":
        named = named or _project_name(folder)
    return _clean(named or _command_name(command)) or "service"


def _package_name(folder: Path) -> str | None:
    try:
        name = json.loads(_text(folder / "package.json")).get("name")
        return name if isinstance(name, str) else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _project_name(folder: Path) -> str | None:
    import tomllib  # noqa: PLC0415 - for a service that is found by itself and has such a file

    try:
        name = tomllib.loads(_text(folder / "pyproject.toml"))["project"]["name"]
        return name if isinstance(name, str) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_LARGEST_MANIFEST)


def _command_name(command: tuple[str, ...]) -> str:
    if not command:
        return ""
    if runtime_of("", command) == "other" and _stem(command[0]) not in _SERVERS:
        return _stem(command[0])
    script = script_of(command)
    if _stem(script) in _SERVERS or _stem(command[0]) in _SERVERS:
        applications = (word for word in command[1:] if _APPLICATION.fullmatch(word))
        script = next(applications, script).partition(":")[0]
        return script if not script.startswith("/") else _stem(script)
    if script in ("", "-c", "-e", "-p", "--eval", "--print"):
        return _stem(command[0])
    stem = _stem(script)
    generic = stem in ("index", "main", "app", "server", "__main__")
    parent = PurePosixPath(script).parent.name
    return parent if generic and parent not in ("", ".", "src", "dist", "build") else stem


def _stem(word: str) -> str:
    name = PurePosixPath(word).name
    return re.sub(r"\.(js|cjs|mjs|ts|py|exe)$", "", name)


def _clean(name: str) -> str:
    name = name.rpartition("/")[2] if name.startswith("@") else name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:63]
