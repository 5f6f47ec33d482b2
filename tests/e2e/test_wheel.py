"""What `pip install tickbird` gives: every command works outside a checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from backends import free_ports, programs

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel in an environment of its own. Its dependencies are those of this environment, by
    path, so that nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=120)
    wheel = next(folder.glob("tickbird-*.whl"))
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    site = next((folder / "env").glob("lib/python3*/site-packages"))
    target = ["install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([*pip, *target], check=True, timeout=120)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def tickbird(installed, tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ = kept | {
        "TICKBIRD_STATE_DIR": str(tmp_path / "state"),
        "TICKBIRD_RUNTIME_DIR": str(tmp_path),
    }

    def run(*arguments, seconds=170, given=None):
        return subprocess.run(
            [installed, "-m", "tickbird", *arguments],
            cwd=tmp_path,
            env=environ,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    return run


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    code = "import tickbird; print(tickbird.__file__)"
    said = subprocess.run([installed, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert Path(said.stdout).is_relative_to(installed.parents[1])


def test_the_example_configuration_checks(tickbird, tmp_path):
    example = tickbird("config", "example")
    (tmp_path / "tickbird.yaml").write_text(example.stdout)
    checked = tickbird("config", "check", "tickbird.yaml")
    assert "tickbird.yaml" in checked.stdout + checked.stderr
    assert checked.returncode in (0, 78)
    assert "Traceback" not in checked.stderr


def test_the_demo_runs_and_holds(tickbird):
    done = tickbird("demo", "--for", "20s", "--seed", "4", "--json")
    assert [c for c in json.loads(done.stdout)["demo"]["claims"] if not c["holds"]] == []
    assert done.returncode == 0


@pytest.mark.backends
def test_the_stack_comes_up_is_verified_and_goes(tickbird):
    programs()
    first = str(free_ports().otlp_grpc)
    up = tickbird("stack", "up", "--native", "--ports-from", first)
    try:
        assert up.returncode == 0, up.stderr
        verified = tickbird("verify")
        assert verified.returncode == 0, verified.stdout
    finally:
        down = tickbird("stack", "down")
    assert down.returncode == 0
