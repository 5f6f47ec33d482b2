"""The board "Service": is it slow, is the loop late, what did that do to users."""

from __future__ import annotations

import json
from itertools import count
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard

from parts import MATCH, choice, datasource, graph, log_lines, number

REQUESTS = "http_server_request_duration_seconds"


def _rate(metric: str, by: str, extra: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{MATCH}{extra}}}[$__rate_interval]))"


def _loop(name: str) -> str:
    """One gauge of the loop, whichever runtime it is of."""
    return f"nodejs_eventloop_{name}{{{MATCH}}} or asyncio_eventloop_{name}{{{MATCH}}}"


def _error_ratio(by: str) -> str:
    """0 where there are requests and none failed; nothing where there are no requests."""
    every = _rate(f"{REQUESTS}_count", by)
    failed = _rate(f"{REQUESTS}_count", by, ',http_response_status_code=~"5.."')
    return f"({failed} or 0 * {every}) / {every}"


def _quantile(q: float, by: str, metric: str = REQUESTS) -> str:
    return f"histogram_quantile({q}, {_rate(f'{metric}_bucket', f'le, {by}')})"


def _traces_link() -> str:
    panes = {
        "traces": {
            "datasource": "JAEGER",
            "queries": [{"refId": "A", "queryType": "search", "service": "SERVICE"}],
            "range": {"from": "now-1h", "to": "now"},
        }
    }
    text = quote(json.dumps(panes, separators=(",", ":")))
    text = text.replace("JAEGER", "${jaeger}").replace("SERVICE", "${service}")
    return f"/explore?schemaVersion=1&panes={text}"


def board() -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard("Tickbird / Service")
        .uid("tickbird-service")
        .description("Requests, event loop and resources of the services that Tickbird watches.")
        .tags(["tickbird"])
        .readonly()
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .annotations([])
        .with_variable(datasource("prometheus"))
        .with_variable(datasource("loki"))
        .with_variable(datasource("jaeger"))
        .with_variable(choice("job", "Service", "label_values(process_uptime_seconds, job)"))
        .with_variable(
            choice(
                "instance",
                "Instance",
                'label_values(process_uptime_seconds{job=~"$job"}, instance)',
            )
        )
        .with_variable(
            choice(
                "service",
                "Name in logs",
                'label_values(process_uptime_seconds{job=~"$job"}, service_name)',
                hidden=True,
            )
        )
        .link(
            dashboard.DashboardLink("Traces of this service")
            .url(_traces_link())
            .tooltip("Search the traces in Jaeger")
            .target_blank(True)
        )
    )
    identity = count(1)  # stable, so that a link to one panel stays right
    for row, panels in (
        ("Now", _now()),
        ("Requests", _requests()),
        ("Event loop", _event_loop()),
        ("Resources", _resources()),
        ("Logs", _logs()),
    ):
        built.with_row(dashboard.Row(row).id(next(identity)))
        for panel in panels:
            built.with_panel(panel.id(next(identity)))
    return built


def _now() -> list:
    return [
        number(
            "Requests",
            "Requests answered per second, all instances.",
            "reqps",
            f"sum(rate({REQUESTS}_count{{{MATCH}}}[$__rate_interval]))",
        ),
        number(
            "Errors",
            "Share of requests answered with a 5xx status; the alert fires above 5 %.",
            "percentunit",
            f"max({_error_ratio('job')})",
        ),
        number(
            "Slowest hundredth",
            "99 of 100 requests were faster than this.",
            "s",
            f"max({_quantile(0.99, 'job')})",
        ),
        number(
            "Loop delay, worst",
            "The longest that any event loop was held up in its last window.",
            "s",
            f"max({_loop('delay_max_seconds')})",
        ),
    ]


def _requests() -> list:
    return [
        graph(
            "Requests by route",
            "Requests answered per second, by method and route.",
            "reqps",
            (
                _rate(f"{REQUESTS}_count", "http_request_method, http_route"),
                "{{http_request_method}} {{http_route}}",
            ),
        ),
        graph(
            "Error ratio by route",
            "Share of 5xx answers. Zero: requests, none failed. No line: no requests.",
            "percentunit",
            (
                _error_ratio("http_request_method, http_route"),
                "{{http_request_method}} {{http_route}}",
            ),
        ),
        graph(
            "Duration",
            "Median and 99th percentile of request duration; the dots lead to traces.",
            "s",
            (_quantile(0.5, "job"), "{{job}} p50"),
            (_quantile(0.99, "job"), "{{job}} p99"),
        ),
    ]


def _event_loop() -> list:
    return [
        graph(
            "Loop delay",
            "99th percentile and maximum of each instance's last window. Percentiles of instances "
            "cannot be added up: for a whole service see iteration duration.",
            "s",
            (_loop("delay_p99_seconds"), "{{instance}} p99"),
            (_loop("delay_max_seconds"), "{{instance}} max"),
        ),
        graph(
            "Iteration duration, 99th percentile",
            "From the histogram of single iterations: right for any number of workers.",
            "s",
            (_quantile(0.99, "job", "tickbird_eventloop_iteration_duration_seconds"), "{{job}}"),
        ),
        graph(
            "Loop utilization",
            "Share of time that the loop spends in callbacks; above 90 % waiting grows steeply.",
            "percentunit",
            (_loop("utilization_ratio"), "{{instance}}"),
        ),
        graph(
            "Time blocked",
            "Share of time taken by iterations beyond the stall threshold.",
            "percentunit",
            (_rate("tickbird_eventloop_blocked_time_seconds_total", "instance"), "{{instance}}"),
            width=12,
        ),
        graph(
            "Stalls by cause",
            "Iterations beyond the stall threshold, in the interval of a point.",
            "short",
            (
                "sum by (tickbird_eventloop_cause) "
                f"(increase(tickbird_eventloop_stalls_total{{{MATCH}}}[$__rate_interval]))",
                "{{tickbird_eventloop_cause}}",
            ),
            width=12,
        ),
    ]


def _resources() -> list:
    return [
        graph(
            "CPU",
            "Cores used by each process, and the share of time it was ready but had to wait.",
            "percentunit",
            (f"process_cpu_utilization_ratio{{{MATCH}}}", "{{instance}}"),
            (_rate("process_runqueue_time_seconds_total", "instance"), "{{instance}} waiting"),
        ),
        graph(
            "Memory",
            "Resident memory; for Node also the heap in use, and its limit.",
            "bytes",
            (f"process_memory_usage_bytes{{{MATCH}}}", "{{instance}} resident"),
            (f"sum by (instance) (v8js_memory_heap_used_bytes{{{MATCH}}})", "{{instance}} heap"),
            (f"tickbird_v8js_heap_limit_bytes{{{MATCH}}}", "{{instance}} heap limit"),
        ),
        graph(
            "File descriptors",
            "Open descriptors as a share of the limit of the process.",
            "percentunit",
            (
                f"process_unix_file_descriptor_count{{{MATCH}}}"
                f" / process_unix_file_descriptor_limit{{{MATCH}}}",
                "{{instance}}",
            ),
        ),
    ]


def _logs() -> list:
    return [
        log_lines(
            "Log lines",
            "What the services wrote; open a line and follow its trace id to the trace.",
            '{service_name=~"$service"}',
        )
    ]
