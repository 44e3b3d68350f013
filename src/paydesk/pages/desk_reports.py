"""The dashboard's reports on subscriptions: recurring revenue, who left, and cohorts as a heat map,
each with what it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from paydesk.errors import NotFound
from paydesk.flows import figure_reports
from paydesk.flows.figure_reports import Report
from paydesk.pages import desk, look, session
from paydesk.pages.routing import new_router
from paydesk.rules.figure_names import FIGURES

router = new_router()

HOME = "/dashboard/reports"
SPANS = [("6mo", "6 months"), ("12mo", "12 months"), ("24mo", "24 months")]
SHOWN = [("customers", "Customers"), ("revenue", "Revenue")]
#: All currencies, in US dollars.
TOGETHER = "all"
#: How dark a cell can be.
_DARKEST = 8
_MRR = ("mrr_opening", "mrr_new", "mrr_expansion", "mrr_reactivation", "mrr_contraction",
        "mrr_churned", "mrr_closing")  # fmt: skip
_CHURN = ("customers_opening", "customers_new", "customers_back", "customers_churned",
          "customers_closing", "customer_churn", "revenue_churn", "net_revenue_churn")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """What is left of a cohort: a share in percent, how dark that is, and it in words."""

    text: str
    shade: int
    title: str


@dataclass(frozen=True, slots=True)
class Cohort:
    month: str
    size: str
    cells: list[Cell]


@router.get(HOME)
def reports(
    request: Request, last: str = "12mo", currency: str = "", show: str = "customers"
) -> Response:
    env, who = request.app.state.env, session.operator(request)
    last = last if last in dict(SPANS) else "12mo"
    show = show if show in dict(SHOWN) else "customers"
    found = figure_reports.report(env, "mrr", last=last)
    codes = [row["currency"] for row in found.totals]
    code = currency if currency in (*codes, TOGETHER) else _first(codes, env)
    is_all = code == TOGETHER
    where = {} if is_all else {"currency": code}
    mrr = figure_reports.report(env, "mrr", last=last, together=is_all, where=where)
    churn = figure_reports.report(env, "churn", last=last, where=where)
    cohorts = figure_reports.report(env, "cohorts", last=last, together=is_all, where=where)
    shape = "usd" if is_all else code
    names = [f"{name}_usd" for name in _MRR] if is_all else list(_MRR)
    return desk.show(
        request, "reports.html", who=who, last=last, spans=SPANS, code=code, codes=codes,
        show=show, shown=SHOWN, together=TOGETHER,
        address=lambda **more: desk.address(HOME, **{"last": last, "currency": code, "show": show,
                                                     **more}),
        unrated=any(row["mrr_unrated"] for row in mrr.rows),
        mrr_head=[_title(name) for name in _MRR], mrr_rows=_rows(mrr, names, shape),
        churn_head=[_title(name) for name in _CHURN],
        churn_rows=[] if is_all else _rows(churn, _CHURN, shape),
        ages=range(max([row["age"] for row in cohorts.rows], default=-1) + 1),
        cohorts=_heat(cohorts, show, shape, together=is_all),
        definitions=[(name, FIGURES[name]) for name in (*names, *(() if is_all else _CHURN),
                                                        *cohorts.columns)],
    )  # fmt: skip


@router.get(HOME + "/{name}.csv")
def download(request: Request, name: str, last: str = "12mo") -> Response:
    """The rows with exact decimals, every currency, for a spreadsheet."""
    session.operator(request)
    if name not in ("mrr", "churn", "cohorts") or last not in dict(SPANS):
        raise NotFound("There is no such report.")
    found = figure_reports.report(request.app.state.env, name, last=last)
    return Response(
        found.csv(), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}-{last}.csv"'},
    )  # fmt: skip


def _first(codes: Sequence[str], env: Any) -> str:
    """The business's own currency where it has revenue, else the first that has."""
    own = env.settings.default_currency
    return own if own in codes or not codes else codes[0]


def _title(name: str) -> str:
    return name.removeprefix("mrr_").removeprefix("customers_").replace("_", " ").capitalize()


def _rows(found: Report, names: Sequence[str], currency: str) -> list[tuple[str, list[str]]]:
    return [(_month(row["month"]), [_text(name, row[name], currency) for name in names])
            for row in reversed(found.rows)]  # fmt: skip


def _text(name: str, value: Any, currency: str) -> str:
    if value is None:
        return "—"
    unit = FIGURES[name].unit
    if unit == "ratio":
        return _percent(value)
    return look.count(value) if unit == "count" else look.amount(value, currency)


def _percent(share: Decimal) -> str:
    """With one decimal, rounded half up."""
    permille = int(abs(share) * 1000 + Decimal("0.5"))
    return f"{'−' if share < 0 and permille else ''}{permille // 10}.{permille % 10}%"


def _month(day: date) -> str:
    return f"{day:%b %Y}"


def _heat(found: Report, show: str, currency: str, *, together: bool) -> list[Cohort]:
    tail = "_usd" if together else ""
    share, kept, of = (
        ("customer_retention", "customers_kept", "cohort_customers") if show == "customers"
        else (f"net_revenue_retention{tail}", f"mrr_kept{tail}", f"cohort_mrr{tail}")
    )  # fmt: skip
    made: dict[date, Cohort] = {}
    for row in found.rows:
        cohort = made.setdefault(
            row["month"], Cohort(_month(row["month"]), _text(of, row[of], currency), [])
        )
        value = row[share]
        left, whole = _text(kept, row[kept], currency), cohort.size
        words = f"{_month(row['month'])}, month {row['age']}: {left} of {whole}"
        if value is None:
            cohort.cells.append(Cell("—", 0, words))
        else:
            shade = max(0, min(_DARKEST, int(value * _DARKEST + Decimal("0.5"))))
            cohort.cells.append(Cell(_percent(value), shade, words))
    return list(made.values())
