from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tickbird import config
from tickbird.logrecords import Records
from tickbird.otlp_requests import request_ids
from tickbird.sinks.otlp.logs import LogEncoder
from tickbird.sources.logtail import Line
from tickbird.stages import LogStages
from tickbird.stages.join import JOINED, KEPT, MOST, Pairs

TRACE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "1bf92f3577b34da6a3ce929d0e0e4730"
REQUEST = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
NOW = 1_767_225_600 * 10**9


class Agent:
    """The stages of one agent, with services that write lines."""

    def __init__(self, text: str = "") -> None:
        self.pairs = Pairs()
        self._stages = LogStages(config.parse(text), self.pairs)

    def read(self, *fields: str, service: str = "shop", at: float = 0) -> list[dict[str, object]]:
        """Lines read together; ids and mark of each."""
        lines = [Line(f"{{{one}}}".encode(), 0, 1) for one in fields]
        told: dict[int, dict[str, object]] = {}
        for part in self._stages.records(lines, None, NOW + int(at * 1e9), service):
            told.update((line, ids(part, index)) for index, line in enumerate(part.lines))
        return [told[line] for line in range(len(lines))]


def ids(records: Records, index: int) -> dict[str, object]:
    record = records.record(index)
    found = {
        "trace": record.trace_id,
        "request": record.correlation_id,
        "joined": record.attributes.get(JOINED),
    }
    return {name: value for name, value in found.items() if value}


def trace(value: str) -> str:
    return f'"trace_id":"{value}"'


def request(value: str) -> str:
    return f'"reqId":"{value}"'


BOTH = {"trace": TRACE, "request": REQUEST}
MARKED = {**BOTH, "joined": "joined"}


def test_a_line_with_one_id_gets_the_other_once_both_were_seen_together() -> None:
    agent = Agent()
    assert agent.read(f"{trace(TRACE)},{request(REQUEST)}") == [BOTH]
    assert agent.read(request(REQUEST), trace(TRACE), '"msg":"x"') == [MARKED, MARKED, {}]


def test_lines_read_together_learn_from_those_behind_them() -> None:
    lines = [request(REQUEST), trace(TRACE), f"{trace(TRACE)},{request(REQUEST)}"]
    assert Agent().read(*lines) == [MARKED, MARKED, BOTH]


def test_a_pair_holds_for_every_service_of_the_agent() -> None:
    agent = Agent()
    agent.read(f"{trace(TRACE)},{request(REQUEST)}", service="gateway")
    assert agent.read(request(REQUEST), service="checkout") == [MARKED]


def test_an_id_with_two_partners_joins_nothing_ever_after() -> None:
    agent = Agent()
    agent.read(f"{trace(TRACE)},{request(REQUEST)}", f"{trace(OTHER)},{request(REQUEST)}")
    assert agent.read(request(REQUEST)) == [{"request": REQUEST}]
    agent.read(f"{trace(TRACE)},{request(REQUEST)}")
    assert agent.read(request(REQUEST)) == [{"request": REQUEST}]
    assert agent.read(trace(OTHER)) == [{**MARKED, "trace": OTHER}]


def test_a_trace_of_several_requests_tells_each_of_them_its_trace_alone() -> None:
    agent = Agent()
    second = REQUEST.upper()
    agent.read(f"{trace(TRACE)},{request(REQUEST)}", f"{trace(TRACE)},{request(second)}")
    assert agent.read(trace(TRACE)) == [{"trace": TRACE}]
    assert agent.read(request(second)) == [{**MARKED, "request": second}]


def test_a_short_id_may_be_a_counter_and_holds_for_its_own_service_and_process_alone() -> None:
    agent = Agent()
    agent.read(f'{trace(TRACE)},{request("req-1")},"pid":7')
    assert agent.read(f'{request("req-1")},"pid":7')[0].get("joined") == "joined"
    assert agent.read(f'{request("req-1")},"pid":8') == [{"request": "req-1"}]
    assert agent.read(f'{request("req-1")},"pid":7', service="other") == [{"request": "req-1"}]


def test_an_old_pair_is_forgotten() -> None:
    agent = Agent()
    agent.read(f"{trace(TRACE)},{request(REQUEST)}")
    for turn in range(1, 4):
        agent.read(f"{trace(OTHER)},{request('x' * 20)}", at=turn * (KEPT + 1))
    assert agent.read(request(REQUEST), at=4 * KEPT) == [{"request": REQUEST}]


def test_what_is_remembered_has_a_bound() -> None:
    pairs = Pairs()
    for number in range(10 * MOST):
        pairs.learn([(f"{number:032x}", f"{number:032x}")], [("shop", None)], 1.0)
    kept = sum(map(len, (*pairs._requests, *pairs._traces)))
    assert kept <= 4 * (MOST + 2)
    assert pairs.traces([f"{10 * MOST - 1:032x}"], [("shop", None)]) != [None]


def test_nothing_is_joined_where_correlation_is_off() -> None:
    agent = Agent("logs: {correlate: false}")
    agent.read(f"{trace(TRACE)},{request(REQUEST)}")
    assert agent.read(request(REQUEST)) == [{}]


def test_a_line_cannot_forge_the_mark() -> None:
    assert Agent().read(f'{trace(TRACE)},"{JOINED}":"joined"') == [{"trace": TRACE}]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("123"), st.booleans(), st.booleans())
    )
)
def test_only_what_was_seen_together_and_alone_is_ever_joined(
    seen: list[tuple[str, str, bool, bool]],
) -> None:
    agent = Agent()
    together: set[tuple[str, str]] = set()
    for one, two, with_request, with_trace in seen:
        asked, told = one * 20, two * 32
        parts = [request(asked)] * with_request + [trace(told)] * with_trace
        if with_request and with_trace:
            together.add((asked, told))
        (found,) = agent.read(",".join(parts))
        if found.get("joined"):
            pair = (found["request"], found["trace"])
            side = 0 if with_request else 1
            assert [p for p in together if p[side] == pair[side]] == [pair]


@pytest.mark.parametrize("service", ["", "shop"])
def test_learning_from_elsewhere_joins_lines(service: str) -> None:
    agent = Agent()
    agent.pairs.learn([(REQUEST, TRACE)], [("gateway", None)], NOW / 1e9)
    assert agent.read(request(REQUEST), service=service) == [MARKED]


@pytest.mark.parametrize("key", ["correlation_id", "http.request.header.x-request-id"])
def test_spans_and_log_records_of_a_service_s_own_sdk_teach_pairs(key: str) -> None:
    value = AnyValue(string_value=REQUEST)
    if "header" in key:
        value = AnyValue(array_value=ArrayValue(values=[value]))
    attributes = [KeyValue(key=key, value=value)]
    item = {"trace_id": bytes.fromhex(TRACE), "attributes": attributes}
    spans = ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(**item), Span()])])
    logs = ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(**item)])])
    assert list(request_ids("traces", spans)) == [(REQUEST, TRACE)]
    assert list(request_ids("logs", logs)) == [(REQUEST, TRACE)]


@pytest.mark.parametrize("bad", ['""', '"no id"', "[1, 2]"])
@pytest.mark.parametrize("known", [f'"reqId":"{REQUEST}"', f'"trace_id":"{TRACE}"'])
def test_a_record_bears_the_key_of_its_request_id_once(bad: str, known: str) -> None:
    stages = LogStages(config.default())
    texts = (
        f'{{"msg":"a","trace_id":"{TRACE}","reqId":"{REQUEST}"}}',
        f'{{"msg":"b","correlation_id":{bad},{known}}}',
    )
    lines = [Line(text.encode(), 0, 1) for text in texts]
    for part in stages.records(lines, None, NOW, "shop"):
        for sent in map(ScopeLogs.FromString, LogEncoder().encode(part, NOW)):
            keys = [pair.key for pair in sent.log_records[0].attributes]
            assert sorted(keys) == sorted(set(keys))
            assert "correlation_id" in keys
