"""The exposition, read back by the reference parser."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tickbird.model import Distribution, Instrument, Kind, Sample, Target
from tickbird.sinks.prometheus import Exposition
from tickbird.store import Series, Store

CPU = Instrument("process.cpu.time", Kind.COUNTER, "s", "CPU time.", ("cpu.mode",))
RSS = Instrument("process.memory.usage", Kind.UPDOWN, "By", "Resident\nmemory \\ here.")
DURATION = Instrument(
    "http.server.request.duration", Kind.HISTOGRAM, "s", "Durations.", ("http.route",), (0.1, 1.0)
)


def target(name: str = "shop", **attributes: str | int) -> Target:
    return Target(name, name, None, "node", None, {"service.name": name, **attributes})


def series(
    value: float | Distribution,
    instrument: Instrument = RSS,
    labels: tuple[str, ...] = (),
    of: Target | None = None,
) -> Series:
    return Series(of or target(), instrument, labels, value, 0.0, 1.0)


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def test_every_family_bears_its_type_and_help_once() -> None:
    of = [target("a"), target("b")]
    text = Exposition().render(
        [s for t in of for s in (series(1, RSS, (), t), series(2.5, CPU, ("user",), t))]
    )
    assert text.count(b"# TYPE process_memory_usage_bytes gauge\n") == 1
    assert text.count(b"# TYPE process_cpu_time_seconds_total counter\n") == 1
    assert b"# HELP process_memory_usage_bytes Resident\\nmemory \\\\ here.\n" in text


def test_the_lines_of_a_family_stand_together() -> None:
    of = [target("a"), target("b")]
    lines = (
        Exposition()
        .render([series(1, i, ("x",) if i is CPU else (), t) for t in of for i in (RSS, CPU)])
        .decode()
        .splitlines()
    )
    names = [line.split("{")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(names, key=names.index)


def test_resource_attributes_that_are_no_labels_are_on_target_info() -> None:
    of = target("shop", **{"service.instance.id": "i-1", "host.name": "box", "process.pid": 7})
    found = parsed(Exposition().render([series(5, of=of)]))
    identity = (("service_instance_id", "i-1"), ("service_name", "shop"))
    assert found["process_memory_usage_bytes", identity] == 5
    info = (("host_name", "box"), ("process_pid", "7"), *identity)
    assert found["target_info", info] == 1


def test_a_histogram_is_cumulative_and_ends_with_infinity() -> None:
    value = Distribution((1, 2, 3), 4.5, 6)
    found = parsed(Exposition().render([series(value, DURATION, ("/a",))]))
    name = "http_server_request_duration_seconds"
    buckets = {dict(labels)["le"]: v for (n, labels), v in found.items() if n == f"{name}_bucket"}
    assert buckets == {"0.1": 1, "1.0": 3, "+Inf": 6}
    labels = (("http_route", "/a"), ("service_name", "shop"))
    assert (found[f"{name}_sum", labels], found[f"{name}_count", labels]) == (4.5, 6)


def test_changed_attributes_show_at_the_next_scrape() -> None:
    exposition = Exposition()
    exposition.render([series(1, of=target("shop", **{"service.namespace": "old"}))])
    text = exposition.render([series(1, of=target("shop", **{"service.namespace": "new"}))])
    assert b"old" not in text
    assert b'service_namespace="new"' in text


def test_nothing_to_show_is_an_empty_text() -> None:
    assert Exposition().render([]) == b""


def test_the_store_goes_in_as_it_is() -> None:
    store = Store()
    store.update(target(), "process", [Sample(RSS, 3), Sample(CPU, 1.5, ("user",))], 1.0)
    found = parsed(Exposition().render(store.series()))
    assert sorted(found.values()) == [1, 1.5, 3]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.one_of(st.floats(), st.integers(-(2**53), 2**53))


@given(st.lists(st.tuples(TEXT, TEXT.filter(bool), NUMBERS), max_size=20))
def test_what_goes_in_comes_out_of_the_reference_parser(
    rows: Sequence[tuple[str, str, float]],
) -> None:
    wanted = {(mode, name): value for mode, name, value in rows}
    exposition = Exposition()
    for _ in range(2):  # the second time from what was kept
        text = exposition.render(
            [series(v, CPU, (mode,), target(name)) for (mode, name), v in wanted.items()]
        )
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples if family.name != "target" else ():
            if sample.name != "target_info":
                labels = sample.labels
                found[labels.get("cpu_mode", ""), labels["service_name"]] = sample.value
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == value or (math.isnan(value) and math.isnan(found[key]))
