from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tickbird.errors import Unreachable, UsageError
from tickbird.stack import build
from tickbird.stack.recipes import RECIPES, Recipe

LOKI = RECIPES["loki"]


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH but a shell's own tools, and nothing in the cache."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _program(folder: Path, name: str, says: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(says)}\n")
    path.chmod(0o755)
    return path


def test_nothing_is_found_on_an_empty_machine() -> None:
    assert all(build.find(recipe) is None for recipe in RECIPES.values())


@pytest.mark.parametrize(
    ("recipe", "name", "says", "version"),
    [
        ("loki", "loki", "loki, version 3.7.6 (branch: HEAD)", "3.7.6"),
        ("prometheus", "prometheus", "prometheus, version 3.14.0 (branch: HEAD)", "3.14.0"),
        ("alertmanager", "alertmanager", "alertmanager, version 0.34.0 (x)", "0.34.0"),
        ("jaeger", "jaeger", '{"gitCommit":"c","gitVersion":"v2.13.0"}', "2.13.0"),
        ("loki", "loki", "loki, version  (branch: , revision: unknown)", "of unknown version"),
    ],
)
def test_a_fit_program_on_path_is_taken(
    tmp_path: Path, recipe: str, name: str, says: str, version: str
) -> None:
    program = _program(tmp_path / "bin", name, says)
    assert build.find(RECIPES[recipe]) == build.Found(program, version, "PATH")


@pytest.mark.parametrize(
    ("recipe", "name", "says"),
    [
        ("loki", "loki", "loki: genetic linkage analysis, usage: loki parfile"),
        ("loki", "loki", "loki, version 2.9.1 (branch: HEAD)"),
        ("prometheus", "prometheus", "prometheus, version 2.42.0+ds (branch: debian/sid)"),
        (
            "otelcol",
            "otelcol",
            "buildinfo:\n    command: otelcol\n    version: 0.158.0",
        ),
    ],
)
def test_another_or_older_program_of_the_same_name_is_left(
    tmp_path: Path, recipe: str, name: str, says: str
) -> None:
    _program(tmp_path / "bin", name, says)
    assert build.find(RECIPES[recipe]) is None


def test_the_distribution_with_the_needed_components_is_taken(tmp_path: Path) -> None:
    says = "buildinfo:\n    command: otelcol-contrib\n    description: d\n    version: 0.159.0\n"
    says += "\n".join(f"  - name: {part}" for part in RECIPES["otelcol"].must_offer)
    program = _program(tmp_path / "bin", "otelcol-contrib", says)
    assert build.find(RECIPES["otelcol"]) == build.Found(program, "0.159.0", "PATH")


def test_a_program_that_does_not_start_is_left(tmp_path: Path) -> None:
    (tmp_path / "bin" / "loki").write_bytes(b"\x7fELF broken")
    (tmp_path / "bin" / "loki").chmod(0o755)
    assert build.find(LOKI) is None


def test_what_was_built_before_is_found_again() -> None:
    program = _program(build.folder_of(LOKI), "loki", "loki")
    assert build.find(LOKI) == build.Found(program, LOKI.version, "built")


def test_what_is_built_already_is_not_built_again(tmp_path: Path) -> None:
    program = _program(build.folder_of(LOKI), "loki", "loki")
    (tmp_path / "bin" / "go").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "go").chmod(0o755)
    said: list[str] = []
    assert build.build([LOKI], said.append)["loki"].program == program
    assert said == []


def test_without_go_it_says_what_to_install() -> None:
    with pytest.raises(Unreachable, match="not on PATH") as failed:
        build.build([LOKI], lambda _: None)
    assert "install Go" in (failed.value.remedy or "")


def test_another_recipe_means_another_folder() -> None:
    changed = replace(LOKI, packages={"loki": "example.org/loki/v4/cmd/loki"})
    assert changed.digest() != LOKI.digest()
    assert len({recipe.digest() for recipe in RECIPES.values()}) == len(RECIPES)


def test_nothing_is_built_without_a_yes_and_the_question_names_time_and_size() -> None:
    asked: list[str] = []
    with pytest.raises(UsageError) as refused:
        build.obtain(lambda _: None, lambda question: bool(asked.append(question)))
    assert "about 26 min" in asked[0]
    assert "642 MB" in asked[0]
    assert "--build" in (refused.value.remedy or "")


def test_a_failing_build_leaves_nothing_and_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "bin", "go", "")
    (tmp_path / "bin" / "go").write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    with pytest.raises(Unreachable, match="no such module") as failed:
        build.build([LOKI], lambda _: None)
    assert "build.log" in (failed.value.remedy or "")
    assert build.find(LOKI) is None
    assert sorted(p.name for p in build.folder_of(LOKI).parent.iterdir()) == ["build.log", "lock"]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_the_recipe_says_the_version_that_its_module_file_pins(recipe: Recipe) -> None:
    text = (recipe.folder / "go.mod").read_text()
    pins = {
        "otelcol": f"go.opentelemetry.io/collector/otelcol v{recipe.version}",
        "prometheus": "github.com/prometheus/prometheus v0.314.0",
        "alertmanager": f"github.com/prometheus/alertmanager v{recipe.version}",
        "loki": f"github.com/grafana/loki/v3 v{recipe.version}",
        "jaeger": "github.com/jaegertracing/jaeger v1.76.0",
    }
    assert pins[recipe.name] in text
    assert (recipe.folder / "go.sum").stat().st_size > 10_000
