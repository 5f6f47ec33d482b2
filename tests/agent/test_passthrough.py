import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tickbird.histogram import index_of
from tickbird.meters import HTTP_DURATION
from tickbird.model import Distribution, Identity, Instrument, Kind, Sample, Target
from tickbird.otlp_requests import adopt, attribute_values, owner_of
from tickbird.passthrough import MAX_SERIES, Passthrough, SeenSeries
from tickbird.store import Store


def target(name="shop", pid=7):
    return Target(
        name, name, Identity(pid, 1, 50.0), "node", None,
        {"service.name": name, "service.instance.id": f"{name}-1", "host.name": "h",
         "process.pid": pid},
    )  # fmt: skip


def request(name="shop", metric=HTTP_DURATION.name, **attributes):
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    said(resource, "service.name", name)
    for key, value in attributes.items():
        said(resource, key.replace("_", "."), value)
    added = resource.scope_metrics.add().metrics.add(name=metric, unit="s")
    added.histogram.aggregation_temporality = 2
    point = added.histogram.data_points.add(count=4, sum=0.4)
    point.explicit_bounds[:] = [0.05, 0.2]
    point.bucket_counts[:] = [0, 4, 0]
    point.max = 0.15
    route = point.attributes.add(key="http.route")
    route.value.string_value = "/a"
    return message


def said(resource, key, value):
    attribute = resource.resource.attributes.add(key=key)
    if isinstance(value, int):
        attribute.value.int_value = value
    else:
        attribute.value.string_value = value


def passthrough(targets, recorded=None, store=None, tell=lambda *_: None):
    def record(target, snapshot):
        recorded.append((target.key, snapshot))

    return Passthrough({}, store or Store(), lambda: targets, record, tell)


def loop_of_sdk(name="shop", at=100.0, **told):
    """What an SDK exports of its loop's delay; milliseconds by statistic."""
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    said(resource, "service.name", name)
    metrics = resource.scope_metrics.add().metrics
    for statistic, milliseconds in told.items():
        metric = metrics.add(name=f"nodejs.eventloop.delay.{statistic}", unit="s")
        metric.gauge.data_points.add(as_double=milliseconds / 1e3, time_unix_nano=int(at * 1e9))
    return message


def test_loop_delay_of_an_sdk_comes_on_the_scale_of_all_and_not_twice():
    told = []
    store = Store()

    def tell(key, kind, items):
        told.append((key, items))
        delay = Instrument("nodejs.eventloop.delay.max", Kind.GAUGE, "s", "", ("m",))
        store.update(target(), kind.name, [Sample(delay, items[0].max, ("otlp",))], 1.0)

    taking = passthrough([target()], store=store, tell=tell)
    message = loop_of_sdk(min=10.1, mean=10.6, max=95.1, p50=10.2, p90=10.9, p99=40.1, stddev=5)
    assert taking.receive("metrics", message)
    ((key, (window,)),) = told
    assert (key, window.method) == ("shop", "otlp")
    assert window.max == pytest.approx(0.085, abs=0.001)
    assert window.quantiles["p99"] == pytest.approx(0.030, abs=0.001)
    left = [m.name for m in message.resource_metrics[0].scope_metrics[0].metrics]
    assert "nodejs.eventloop.delay.max" not in left
    assert "nodejs.eventloop.delay.stddev" in left  # a constant does not move it


def test_loop_delay_of_several_workers_in_one_resource_is_left_as_it_is():
    told = []
    taking = passthrough([target()], tell=lambda *words: told.append(words))
    message = loop_of_sdk(min=10.1, mean=10.6, max=95.1)
    metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.gauge.data_points.add(as_double=0.01)
    assert taking.receive("metrics", message)
    assert told == []


def test_a_resource_belongs_to_the_target_with_its_pid():
    message = request("whatever", process_pid=9)
    assert owner_of(message.resource_metrics[0], [target(), target("cart", 9)]).name == "cart"


def test_without_a_pid_the_service_name_decides():
    assert (
        owner_of(request("cart").resource_metrics[0], [target(), target("cart", 9)]).name == "cart"
    )


def test_the_only_target_owns_what_names_nobody():
    assert owner_of(request("other").resource_metrics[0], [target()]).name == "shop"
    assert owner_of(request("other").resource_metrics[0], [target(), target("cart")]) is None


def test_identity_comes_from_the_target_and_the_rest_stays():
    resource = request("unknown_service", service_instance_id="random", host_name="container")
    adopt(resource.resource_metrics[0], target())
    found = attribute_values(resource.resource_metrics[0].resource.attributes)
    assert found == {
        "service.name": "shop",
        "service.instance.id": "shop-1",
        "host.name": "container",
        "process.pid": 7,
    }


def test_requests_of_an_sdk_are_recorded_by_route():
    recorded = []
    assert passthrough([target()], recorded).receive("metrics", request())
    key, snapshot = recorded[0]
    assert (key, snapshot.source) == ("shop", "otlp")
    one = snapshot.series[0]
    assert (one.route, one.count, one.sum, one.max) == ("/a", 4, 0.4, 0.15)
    assert sum(one.histogram.values()) == 4


def test_a_metric_that_another_source_owns_does_not_arrive_twice():
    store, recorded, message = Store(), [], request()
    sample = Sample(HTTP_DURATION, Distribution((0,) * 15, 0.0, 0), ("GET", "/a", "200", ""))
    store.update(target(), "probe", [sample], 100)
    door = passthrough([target()], recorded, store)
    assert door.receive("metrics", message)
    assert recorded == []
    assert list(message.resource_metrics[0].scope_metrics[0].metrics) == []


def test_spans_of_an_unknown_service_pass_unchanged():
    message = ExportTraceServiceRequest()
    message.resource_spans.add().scope_spans.add().spans.add(name="x")
    before = message.SerializeToString()
    assert passthrough([target(), target("cart")]).receive("traces", message)
    assert message.SerializeToString() == before


def test_series_that_passed_through_end_with_their_target():
    seen = SeenSeries()
    message = request()
    seen.remember("shop", message.resource_metrics[0])
    seen.remember("shop", message.resource_metrics[0])
    ended = [ExportMetricsServiceRequest.FromString(body) for body, _ in seen.end("shop", 300.0)]
    assert len(ended) == 1
    metric = ended[0].resource_metrics[0].scope_metrics[0].metrics[0]
    point = metric.histogram.data_points[0]
    assert (metric.name, point.flags, point.time_unix_nano) == (HTTP_DURATION.name, 1, 300 * 10**9)
    assert list(point.explicit_bounds) == [0.05, 0.2]
    assert attribute_values(point.attributes) == {"http.route": "/a"}
    assert list(seen.end("shop", 301.0)) == []


def test_what_passed_through_ends_in_one_request_for_each_scope_and_is_bounded():
    seen = SeenSeries()
    for number in range(MAX_SERIES + 10):
        message = request()
        point = message.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0]
        point.attributes[0].value.string_value = f"/{number}"
        seen.remember("shop", message.resource_metrics[0])
    ((_, items),) = seen.end("shop", 300.0)
    assert items == MAX_SERIES
    seen.remember("shop", request().resource_metrics[0])
    assert [items for _, items in seen.end("shop", 301.0)] == [1]


def test_series_that_differ_in_more_than_route_and_status_are_added_up():
    message, recorded = request(), []
    data = message.resource_metrics[0].scope_metrics[0].metrics[0].histogram
    other = data.data_points.add()
    other.CopyFrom(data.data_points[0])
    scheme = other.attributes.add(key="url.scheme")
    scheme.value.string_value = "https"
    passthrough([target()], recorded).receive("metrics", message)
    (series,) = recorded[0][1].series
    assert (series.count, series.sum, sum(series.histogram.values())) == (8, 0.8, 8)


def test_differences_are_not_taken_for_running_totals():
    message, recorded = request(), []
    message.resource_metrics[0].scope_metrics[0].metrics[0].histogram.aggregation_temporality = 1
    assert passthrough([target()], recorded).receive("metrics", message)
    assert recorded == []


def test_once_closed_it_takes_nothing_so_that_the_sender_comes_again():
    recorded = []
    door = passthrough([target()], recorded)
    door.close()
    assert door.receive("metrics", request()) is False
    assert recorded == []


def histogram_of(message):
    return message.resource_metrics[0].scope_metrics[0].metrics[0].histogram


def recorded_series(message):
    recorded = []
    assert passthrough([target()], recorded).receive("metrics", message)
    return recorded[0][1].series[0]


def test_a_histogram_without_buckets_counts_at_its_mean():
    message = request()
    point = histogram_of(message).data_points[0]
    del point.explicit_bounds[:]
    point.bucket_counts[:] = [4]
    assert recorded_series(message).histogram == {index_of(0.1): 4}


def test_a_histogram_whose_buckets_do_not_fit_its_bounds_is_passed_on_all_the_same():
    message = request()
    histogram_of(message).data_points[0].bucket_counts[:] = [1, 1, 1, 1, 1]
    assert sum(recorded_series(message).histogram.values()) == 3


@pytest.mark.parametrize("status", ["teapot", "", -1, 1 << 40])
def test_a_status_that_is_none_is_not_known(status):
    message = request()
    said_of_point = (
        histogram_of(message).data_points[0].attributes.add(key="http.response.status_code")
    )
    if isinstance(status, int):
        said_of_point.value.int_value = status
    else:
        said_of_point.value.string_value = status
    assert recorded_series(message).status == 0
