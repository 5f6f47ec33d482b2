"""What command lines tell: real ones, as /proc shows them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird import commands


@pytest.mark.parametrize(
    ("executable", "command", "runtime"),
    [
        ("/usr/bin/node", "node server.js", "node"),
        ("/opt/node-20/bin/node", "anything at all", "node"),
        ("/usr/bin/python3.11", "gunicorn: master [app]", "python"),
        ("", "python3 -m http.server", "python"),
        ("", "/usr/local/bin/pypy3.10 app.py", "python"),
        ("/usr/bin/bash", "node server.js", "other"),
        ("/usr/bin/nodemon-helper", "x", "other"),
        ("", "nginx: worker process", "other"),
    ],
)
def test_the_runtime_is_told_by_the_program(executable: str, command: str, runtime: str) -> None:
    assert commands.runtime_of(executable, tuple(command.split(" "))) == runtime


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("node /srv/checkout/index.js", "checkout"),
        ("node --max-old-space-size=64 -r ./trace.js billing.mjs", "billing"),
        ("node dist/main.js", "main"),
        ("python -m uvicorn shop.api:app --port 80", "shop.api"),
        ("/venv/bin/python /venv/bin/gunicorn -w 4 wsgi:application", "wsgi"),
        ("python -m gunicorn --bind 127.0.0.1:8000 shop.web:app", "shop.web"),
        ("python -m http.server 8000", "http.server"),
        ("python -X dev -u worker.py", "worker"),
        ("python -c pass", "python"),
        ("node", "node"),
        ("nginx: master process /usr/sbin/nginx", "nginx"),
    ],
)
def test_a_service_without_a_manifest_is_named_by_its_command(command: str, name: str) -> None:
    assert commands.service_name(tuple(command.split()), None) == name


def test_a_manifest_in_the_folder_names_the_service(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text(json.dumps({"name": "@shop/checkout"}))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "checkout-py"\n')
    node, python = ("node", "a.js"), ("python", "a.py")
    assert commands.service_name(node, tmp_path, "node") == "checkout"
    assert commands.service_name(python, tmp_path, "python") == "checkout-py"
    (tmp_path / "package.json").write_text("[" * 100_000)
    assert commands.service_name(node, tmp_path, "node") == "a"
    (tmp_path / "package.json").write_text('["name"]')
    assert commands.service_name(node, tmp_path, "node") == "a"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("npm start", "package manager"),
        ("node /usr/lib/node_modules/npm/bin/npm-cli.js run dev", "package manager"),
        ("/usr/bin/python3 /usr/bin/pip install x", "package manager"),
        ("python -m ipykernel_launcher -f x.json", "notebook"),
        ("/venv/bin/python /venv/bin/jupyter-lab", "notebook"),
        ("/home/u/.vscode-server/bin/x/node out/server-main.js", "editor"),
        ("node /x/typescript/lib/tsserver.js", "editor"),
        ("/venv/bin/python -m tickbird run", "tickbird"),
        ("/venv/bin/python /venv/bin/tickbird exec -- node a.js", "tickbird"),
    ],
)
def test_what_is_no_service_is_left_with_its_reason(command: str, why: str) -> None:
    assert why in (commands.why_left(tuple(command.split())) or "")


@pytest.mark.parametrize(
    "command", ["node server.js", "python pipeline/notes.py", "node /srv/npm-mirror/app.js"]
)
def test_a_service_is_not_left_for_a_likeness(command: str) -> None:
    assert commands.why_left(tuple(command.split())) is None


def test_workers_are_known_by_their_masters_script() -> None:
    lead = ("node", "--inspect=0", "cluster.js")
    assert commands.is_worker_of(lead, ("node", "cluster.js", "child"))
    assert not commands.is_worker_of(lead, ("node", "other.js"))
    spawned = ("python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(...)")
    assert commands.is_worker_of(("python", "-m", "uvicorn"), spawned)
    tracker = ("python", "-c", "from multiprocessing.resource_tracker import main;main(5)")
    assert not commands.is_worker_of(("python", "-m", "uvicorn"), tracker)
    assert not commands.is_worker_of(("python", "-c", "a"), ("python", "-c", "b"))


@given(st.lists(st.text(max_size=30), max_size=6).map(tuple))
def test_any_command_line_gives_a_name_fit_for_a_file(command: tuple[str, ...]) -> None:
    assert commands.is_name(commands.service_name(command, None))
    commands.why_left(command)
    commands.runtime_of("", command)
