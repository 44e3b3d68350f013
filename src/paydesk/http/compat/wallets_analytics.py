"""Wallets: `GET /payments/analytics`, counts, rates and volume of a range of dates."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import InvalidRequest
from paydesk.flows import figure_reports
from paydesk.flows.figure_reports import Report
from paydesk.http import fields
from paydesk.http.fields import reply
from paydesk.http.routes import cell, env_of, in_thread, router
from paydesk.rules import figures as rules
from paydesk.rules.money import Money, currency_code

wallets_analytics = router("wallets")

Day = Annotated[str | None, Query(max_length=40)]
#: The ends of a report's range -> the document's names of them.
_ENDS = {"from": "startDate", "to": "endDate"}
#: What one row of the document's answer is made of.
_COUNTS = ("payments", "succeeded", "failed", "captured")


class AnalyticsOut(BaseModel):
    """`totalVolume` is what was captured, in major units of `currency`; rates are percent."""

    model_config = ConfigDict(extra="allow")

    totalPayments: int
    successfulPayments: int
    failedPayments: int
    pendingPayments: int
    successRate: float
    failureRate: float
    totalVolume: float
    currency: str
    volumeByCurrency: dict[str, float]
    groupBy: str
    data: list[dict[str, Any]]


@wallets_analytics.get(
    "/payments/analytics", response_model=None, summary="Payments in figures",
    responses={200: {"model": AnalyticsOut}}, **cell("admin", "finance", "support"),
)  # fmt: skip
async def payment_analytics(
    request: Request,
    startDate: Day = None,
    endDate: Day = None,
    groupBy: Literal["day", "week", "month"] = "day",
    currency: Annotated[str | None, Query(min_length=3, max_length=3)] = None,
) -> Response:
    """Payments made in the range; days are the business's. Rates are of those that are settled.

    Counts are of all currencies where none is named, `totalVolume` is in the family's own.
    """
    env = env_of(request)
    code = currency_code(currency or env.settings.wallets_currency)
    try:
        found = await in_thread(
            request, figure_reports.report, env, "payments", start=startDate, end=endDate,
            by=groupBy, where={"currency": code if currency else None},
        )  # fmt: skip
    except InvalidRequest as exc:
        raise _in_its_words(exc) from None
    return reply(_shape(found, groupBy, code))


def _in_its_words(exc: InvalidRequest) -> InvalidRequest:
    """The refusal of a range, by the names that this document gives its ends."""
    detail = exc.detail
    for ours, theirs in _ENDS.items():
        detail = detail.replace(f"`{ours}`", theirs)
    return InvalidRequest(detail, param=_ENDS.get(exc.param or "", exc.param))


def _shape(found: Report, period: str, code: str) -> dict[str, Any]:
    volumes = {row["currency"]: _plain(row["captured"], row["currency"]) for row in found.totals}
    periods: dict[Any, dict[str, Any]] = {}
    for row in found.rows:
        one = periods.setdefault(
            row[period], {**dict.fromkeys(_COUNTS[:3], 0), "volumes": {}, "captured": 0}
        )
        for name in _COUNTS[:3]:
            one[name] += row[name]
        one["volumes"][row["currency"]] = _plain(row["captured"], row["currency"])
    total = found.total
    return {
        "startDate": fields.instant(found.over.start),
        "endDate": fields.instant(found.over.end),
        **_counts(total),
        "pendingPayments": total.get("open") or 0,
        "cancelledPayments": total.get("abandoned") or 0,
        "totalVolume": volumes.get(code, fields.ZERO), "currency": code.upper(),
        "volumeByCurrency": {name.upper(): value for name, value in volumes.items()},
        "groupBy": period,
        "data": [
            {"period": day.isoformat(), **_counts(one),
             "volume": one["volumes"].get(code, fields.ZERO),
             "volumeByCurrency": {n.upper(): v for n, v in one["volumes"].items()}}
            for day, one in periods.items()
        ],
    }  # fmt: skip


def _counts(row: dict[str, Any]) -> dict[str, Any]:
    done, failed = row.get("succeeded") or 0, row.get("failed") or 0
    return {
        "totalPayments": row.get("payments") or 0,
        "successfulPayments": done,
        "failedPayments": failed,
        "successRate": _percent(done, done + failed),
        "failureRate": _percent(failed, done + failed),
    }


def _percent(part: int, whole: int) -> Decimal:
    return rules.ratio(100 * part, whole, 2) or fields.ZERO


def _plain(minor: int, currency: str) -> Decimal:
    return fields.plain_number(Money(minor, currency, minor=True))
