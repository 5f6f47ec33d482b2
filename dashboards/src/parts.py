"""What every board is made of: variables that follow the rules of dashboard-linter, and panels that
cannot be built without a title, a description and a unit."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, dashboard, loki, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import logs as logs_panel
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableHide,
    VariableRefresh,
    VariableSort,
)

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${prometheus}")
LOKI = DataSourceRef(type_val="loki", uid="${loki}")

MATCH = 'job=~"$job",instance=~"$instance"'
"""Every query selects by both variables, so that a board never shows more than was chosen."""

Query = tuple[str, str]
"""An expression and its legend."""


def datasource(kind: str) -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable(kind).label(kind.capitalize()).type(kind)


def choice(name: str, label: str, query: str, *, hidden: bool = False) -> dashboard.QueryVariable:
    """A multi-value variable that is refreshed with the time range and matches all by ``.+``."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .hide(VariableHide.HIDE_VARIABLE if hidden else VariableHide.DONT_HIDE)
    )


def graph(
    title: str, description: str, unit: str, *queries: Query, width: int = 8
) -> timeseries.Panel:
    """A time series; exemplars are asked for, so that a point leads to a trace."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(PROMETHEUS)
        .min(0)
        .line_width(1)
        .fill_opacity(10)
        .span(width)
        .height(8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
    )
    for number, (expression, legend) in enumerate(queries):
        panel.with_target(
            prometheus.Dataquery()
            .ref_id(chr(ord("A") + number))
            .datasource(PROMETHEUS)
            .expr(expression)
            .legend_format(legend)
            .exemplar("_bucket" in expression)
            .range()
        )
    return panel


def number(title: str, description: str, unit: str, expression: str) -> stat.Panel:
    """One figure of now."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(PROMETHEUS)
        .span(6)
        .height(4)
        .with_target(
            prometheus.Dataquery()
            .ref_id("A")
            .datasource(PROMETHEUS)
            .expr(expression)
            .legend_format(title)
            .instant()
        )
    )


def log_lines(title: str, description: str, expression: str) -> logs_panel.Panel:
    """Log lines, newest first; their trace ids are links, by the datasource's derived field."""
    return (
        logs_panel.Panel()
        .title(title)
        .description(description)
        .datasource(LOKI)
        .span(24)
        .height(10)
        .show_time(True)
        .enable_log_details(True)
        .with_target(loki.Dataquery().ref_id("A").datasource(LOKI).expr(expression).max_lines(200))
    )
