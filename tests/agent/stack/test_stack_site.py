from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tickbird.errors import UsageError
from tickbird.stack import site as place
from tickbird.stack.site import Backends, Ports


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKBIRD_STACK_HOME", str(tmp_path / "stacks"))


def test_moved_ports_are_consecutive_and_distinct() -> None:
    ports = Ports.starting_at(20000)
    values = [getattr(ports, name) for name in Ports.__slots__]
    assert values == list(range(20000, 20000 + len(values)))


def test_default_ports_are_those_people_know_and_collide_with_nothing() -> None:
    ports = Ports()
    values = [getattr(ports, name) for name in Ports.__slots__]
    assert len(set(values)) == len(values)
    assert (ports.otlp_http, ports.prometheus, ports.loki, ports.jaeger) == (
        4318,
        9090,
        3100,
        16686,
    )


@pytest.mark.parametrize("first", [0, 80, 65530, -5])
def test_ports_that_do_not_fit_are_refused(first: int) -> None:
    with pytest.raises(UsageError, match="ports in a row"):
        Ports.starting_at(first)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b"])
def test_a_name_that_would_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        place.site(name, Ports())


def test_the_stack_started_last_is_the_one_that_is_asked() -> None:
    assert place.current() is None
    place.remember("one", place.site("one", Ports.starting_at(20000)).backends())
    place.remember("two", place.site("two", Ports.starting_at(21000)).backends())
    found = place.current()
    assert found is not None
    assert (place.current_name(), found.collector) == ("two", "http://127.0.0.1:21001")


def test_taking_down_one_stack_does_not_forget_another() -> None:
    place.remember("two", Backends())
    place.forget("one")
    assert place.current() == Backends()
    place.forget("two")
    assert place.current() is None


def test_what_is_remembered_is_for_its_owner_only() -> None:
    place.remember("one", Backends())
    file = place.home() / "current.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["current.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"backends": 3}', "null"])
def test_a_damaged_record_is_like_none(text: str) -> None:
    place.remember("one", Backends())
    (place.home() / "current.json").write_text(text)
    assert place.current() is None


def test_keys_of_a_newer_version_are_passed_over() -> None:
    place.remember("one", Backends())
    file = place.home() / "current.json"
    file.write_text(file.read_text().replace('"grafana"', '"tempo": "x", "grafana"'))
    assert place.current() == Backends()


def test_every_address_of_a_stack_is_on_loopback() -> None:
    environment = place.site("one", Ports()).environment()
    addresses = [value for value in environment.values() if ":" in value]
    assert len(addresses) >= 8
    assert all("127.0.0.1:" in value for value in addresses)
