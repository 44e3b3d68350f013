"""v1: reports, as JSON or CSV, and what every figure in them counts."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import NotFound
from paydesk.flows import attention, figure_reports
from paydesk.flows.figure_reports import Report
from paydesk.http import fields
from paydesk.http.fields import reply
from paydesk.http.routes import cell, env_of, in_thread, router
from paydesk.http.v1.models import Out
from paydesk.rules.figure_names import FIGURES, REPORTS
from paydesk.rules.figures import MOST_FORECAST

reports_v1 = router("reports")

READERS = ("admin", "finance", "support")
Text = Annotated[str | None, Query(max_length=64)]
FromDay = Annotated[
    str | None,
    Query(alias="from", max_length=40, description="First day, such as 2026-01-01, or an instant."),
]
ToDay = Annotated[
    str | None,
    Query(alias="to", max_length=40, description="Last day, counted whole; or an instant, at which"
                                                 " the range ends."),
]  # fmt: skip
Last = Annotated[
    str | None, Query(max_length=8, description="24h, 30d, 12w, 6mo or 2y up to now.")
]
By = Annotated[
    str | None,
    Query(max_length=200, description="One of hour, day, week, month, year, and further names that"
                                      " the report knows, with commas."),
]  # fmt: skip
Zone = Annotated[str | None, Query(max_length=64, description="IANA name; the business's.")]
Most = Annotated[int, Query(ge=1, le=1000, description="Most customers of a list by customer.")]

Ahead = Annotated[
    int | None, Query(ge=1, le=MOST_FORECAST, description="Periods to forecast; 3 by default.")
]


Together = Annotated[
    bool, Query(description="mrr and cohorts: all currencies together, in US dollars.")
]
Explain = Annotated[bool, Query(description="Tell the SQL that was run, too.")]


class ColumnOut(Out):
    """A figure: `unit` is count, money, usd, credits, ratio, decimal or instant."""

    name: str = Field(examples=["net"])
    unit: str
    definition: str
    source: str


class ReportOut(BaseModel):
    """Amounts are minor units of the row's currency, `…_usd` US cents; rates have four decimals.

    `totals`: a row for each currency. `total`: what adds up across them. `behind`: customers whose
    last changes of earlier days are not counted yet, nearly always 0. `statements`: with `explain`
    the SQL that was run for this very answer, with its values.
    """

    object: str = "report"
    livemode: bool
    report: str
    start: str
    end: str
    time_zone: str
    as_of: str
    behind: int
    by: list[str]
    columns: list[ColumnOut]
    data: list[dict[str, Any]]
    totals: list[dict[str, Any]]
    total: dict[str, Any]
    statements: list[str] | None = None


class DefinitionsOut(Out):
    object: str = "list"
    livemode: bool
    data: list[ColumnOut]
    reports: dict[str, dict[str, Any]]


def _column(name: str) -> dict[str, str]:
    one = FIGURES[name]
    return {"name": name, "unit": one.unit, "definition": one.definition, "source": one.source}


@reports_v1.get(
    "/v1/reports/definitions", response_model=None, summary="What each figure counts",
    responses={200: {"model": DefinitionsOut}}, **cell(*READERS),
)  # fmt: skip
def definitions(request: Request) -> Response:
    """Every figure with its definition and source, and every report with its figures."""
    return reply({
        "object": "list",
        "livemode": env_of(request).settings.live,
        "data": [_column(name) for name in FIGURES],
        "reports": {
            name: {"about": one.about, "by": one.dimensions, "figures": one.figures}
            for name, one in REPORTS.items()
        },
    })  # fmt: skip


def shape(found: Report, livemode: bool) -> dict[str, Any]:
    return {
        "object": "report", "livemode": livemode, "report": found.kind,
        "start": fields.instant(found.over.start), "end": fields.instant(found.over.end),
        "time_zone": found.over.time_zone, "as_of": fields.instant(found.as_of),
        "behind": found.behind, "by": list(found.by),
        "columns": [_column(name) for name in found.columns],
        "data": [_plain(row) for row in found.rows],
        "totals": [_plain(row) for row in found.totals], "total": _plain(found.total),
    }  # fmt: skip


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _text(value) if isinstance(value, date) else value
            for name, value in row.items()}  # fmt: skip


def _text(value: date) -> str | None:
    return fields.instant(value) if isinstance(value, datetime) else value.isoformat()


class AttentionOut(Out):
    """A kind of trouble that waits for a person. `count` goes up to 99; `url` is the dashboard's
    screen that shows them, `due_at` the first deadline where there is one."""

    kind: str = Field(examples=["disputes"])
    tone: Literal["bad", "warn", "info"]
    count: int
    title: str
    text: str
    url: str
    due_at: datetime | None


class AttentionListOut(Out):
    object: str = "list"
    livemode: bool
    data: list[AttentionOut]


@reports_v1.get(
    "/v1/attention", response_model=None, summary="What needs attention",
    responses={200: {"model": AttentionListOut}}, **cell(*READERS),
)  # fmt: skip
def needs_attention(request: Request) -> Response:
    """What waits for a person, the worst first; nothing wrong answers no rows. Disputes to answer,
    refunds to approve, risk reviews, subscriptions whose payment is late, invoices overdue or given
    up in the last 30 days, goods that were paid for and not handed over, webhooks that could not be
    applied, calls whose outcome is not known, payments that differ from what was asked."""
    env = env_of(request)
    rows = [
        {"kind": one["kind"], "tone": one["tone"], "count": one["count"], "title": one["title"],
         "text": one["text"], "url": f"{env.settings.base_url}{one['href']}",
         "due_at": fields.instant(one["due_at"])}
        for one in attention.look(env)
    ]  # fmt: skip
    return reply({"object": "list", "livemode": env.settings.live, "data": rows})


@reports_v1.get(
    "/v1/reports/{report}", response_model=None, summary="A report",
    responses={200: {"model": ReportOut, "content": {
        "text/csv": {"schema": {"type": "string"}}}}}, **cell(*READERS),
)  # fmt: skip
async def get_report(
    request: Request,
    report: str,
    from_: FromDay = None,
    to: ToDay = None,
    last: Last = None,
    by: By = None,
    tz: Zone = None,
    currency: Text = None,
    method: Text = None,
    provider: Text = None,
    country: Text = None,
    purpose: Text = None,
    plan: Text = None,
    limit: Most = 100,
    periods: Ahead = None,
    together: Together = False,
    explain: Explain = False,
    format: Literal["json", "csv"] = "json",
) -> Response:
    """payments, revenue, credits, packs, promos, customers, methods, risk, refunds or forecast; of
    subscriptions mrr, churn, cohorts, trials and subscriptions.

    Without a range the last 30 days; mrr, churn, cohorts and trials look back 12 months, a forecast
    48 months, 156 weeks or 182 days, by what it is by. Filters and groupings that a report does not
    know are refused. As CSV the rows alone, with exact decimals and a header line.
    """
    if report not in REPORTS:
        raise NotFound(f"There is no report {report[:40]!r}.")
    env = env_of(request)
    where = {"currency": currency.lower() if currency else None, "method": method,
             "provider": provider, "country": country, "purpose": purpose,
             "plan": plan}  # fmt: skip
    found = await in_thread(
        request, figure_reports.report, env, report, start=from_, end=to, last=last,
        time_zone=tz, by=by, where=where, limit=limit, periods=periods, together=together,
    )  # fmt: skip
    if format == "csv":
        name = f"{report}-{found.over.first_day}-{found.over.last_day}.csv"
        return Response(
            found.csv(), media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )  # fmt: skip
    body = shape(found, env.settings.live)
    if explain:
        body["statements"] = [one.text for one in found.statements]
    return reply(body)
