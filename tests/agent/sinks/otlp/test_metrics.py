from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tickbird.model import Distribution, Identity, Instrument, Kind, Target
from tickbird.sinks.otlp.metrics import NO_RECORDED_VALUE, MetricsEncoder, encode_ended
from tickbird.store import Series

CPU = Instrument("process.cpu.time", Kind.COUNTER, "s", "CPU.", ("cpu.mode",))
RSS = Instrument("process.memory.usage", Kind.UPDOWN, "By", "Memory.")
LAG = Instrument("nodejs.eventloop.delay.max", Kind.GAUGE, "s", "Delay.")
HTTP = Instrument(
    "http.server.request.duration", Kind.HISTOGRAM, "s", "Requests.",
    ("http.route", "http.response.status_code"), (0.1, 1.0),
)  # fmt: skip


def target(name="shop", ticks=1):
    return Target(
        name, name, Identity(7, ticks, 50.0), "node", None,
        {"service.name": name, "process.pid": 7},
    )  # fmt: skip


def series(instrument, value, labels=(), of=None, time=100.0):
    return Series(of or target(), instrument, labels, value, 50.0, time)


def decode(encoded):
    return ExportMetricsServiceRequest.FromString(b"".join(body for body, _ in encoded))


def metrics(request, resource=0):
    scope = request.resource_metrics[resource].scope_metrics[0]
    return {metric.name: metric for metric in scope.metrics}


def test_every_kind_is_encoded_as_the_protocol_has_it():
    request = decode(
        MetricsEncoder().encode(
            [
                series(CPU, 1.5, ("user",)),
                series(RSS, 10),
                series(LAG, 0.2),
                series(HTTP, Distribution((1, 2, 3), 4.0, 6), ("/a", "200")),
            ]
        )
    )
    found = metrics(request)
    assert found["process.cpu.time"].sum.is_monotonic
    assert not found["process.memory.usage"].sum.is_monotonic
    assert found["nodejs.eventloop.delay.max"].gauge.data_points[0].as_double == 0.2
    point = found["http.server.request.duration"].histogram.data_points[0]
    assert (list(point.bucket_counts), point.sum, point.count) == ([1, 2, 3], 4.0, 6)
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert {a.key: a.value.int_value or a.value.string_value for a in point.attributes} == {
        "http.route": "/a",
        "http.response.status_code": 200,
    }


def test_a_label_without_a_value_is_left_out():
    request = decode(
        MetricsEncoder().encode([series(HTTP, Distribution((0, 0, 1), 4.0, 1), ("", ""))])
    )
    assert not metrics(request)[HTTP.name].histogram.data_points[0].attributes


def test_the_kept_tree_carries_the_new_value():
    encoder = MetricsEncoder()
    list(encoder.encode([series(RSS, 10)]))
    request = decode(encoder.encode([series(RSS, 11, time=101.0)]))
    point = metrics(request)[RSS.name].sum.data_points[0]
    assert (point.as_double, point.time_unix_nano) == (11, 101 * 10**9)


def test_a_series_that_left_is_not_sent_again():
    encoder = MetricsEncoder()
    list(encoder.encode([series(RSS, 10), series(LAG, 0.1)]))
    assert set(metrics(decode(encoder.encode([series(RSS, 11)])))) == {RSS.name}


def test_one_series_leaving_while_another_comes_is_seen():
    encoder = MetricsEncoder()
    list(encoder.encode([series(LAG, 0.1)]))
    assert set(metrics(decode(encoder.encode([series(RSS, 11)])))) == {RSS.name}


def test_joined_requests_are_one_request_with_all_targets():
    request = decode(MetricsEncoder().encode([series(RSS, 1), series(RSS, 2, of=target("cart"))]))
    names = {r.resource.attributes[0].value.string_value for r in request.resource_metrics}
    assert names == {"shop", "cart"}


def test_an_ended_series_says_that_it_has_no_value():
    request = decode(
        encode_ended(
            [series(RSS, 1), series(HTTP, Distribution((1, 0, 0), 1, 1), ("/", "200"))],
            300,
            sent=100,
        )
    )
    found = metrics(request)
    for point in (found[RSS.name].sum.data_points[0], found[HTTP.name].histogram.data_points[0]):
        assert point.flags == NO_RECORDED_VALUE
        assert point.time_unix_nano == 300 * 10**9


def test_what_was_not_sent_before_the_end_comes_before_it():
    both = [series(RSS, 5, time=100.0), series(CPU, 7, ("user",), time=109.0)]
    said, ended = (decode([one]) for one in encode_ended(both, 110, sent=105))
    (point,) = metrics(said)[CPU.name].sum.data_points
    assert (point.as_double, point.time_unix_nano, point.flags) == (7, 109 * 10**9, 0)
    assert set(metrics(said)) == {CPU.name}
    assert set(metrics(ended)) == {CPU.name, RSS.name}


def test_a_name_that_is_declared_anew_gets_another_point():
    encoder = MetricsEncoder()
    gauge = Instrument("jobs", Kind.GAUGE, "", "Jobs.")
    few = Instrument("jobs", Kind.HISTOGRAM, "", "Jobs.", (), (1.0,))
    more = Instrument("jobs", Kind.HISTOGRAM, "", "Jobs.", (), (1.0, 2.0))
    list(encoder.encode([series(gauge, 1)]))
    list(encoder.encode([series(few, Distribution((1, 0), 1.0, 1))]))
    request = decode(encoder.encode([series(more, Distribution((1, 0, 1), 1.0, 2))]))
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1.0, 2.0], [1, 0, 1])


def test_a_status_that_is_no_number_stays_what_it_is():
    one = series(HTTP, Distribution((1, 0, 0), 1.0, 1), ("/", "teapot"))
    (point,) = metrics(decode(MetricsEncoder().encode([one])))[HTTP.name].histogram.data_points
    assert point.attributes[1].value.string_value == "teapot"
