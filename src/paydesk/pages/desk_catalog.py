"""The dashboard's catalogue: plans, credit packs, promo codes."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from paydesk.flows import catalog, desk_lists, plans, reports
from paydesk.pages import desk, look, session
from paydesk.pages.portal_words import ENGLISH
from paydesk.pages.routing import new_router

router = new_router()

#: `Course python`, `Every lab`, `Exports`: a resource as people read it.
resource_words = ENGLISH.resource
WHEN = {"now": "at once", "period_end": "at the period's end"}


@router.get("/dashboard/plans")
def plan_list(request: Request) -> Response:
    env, who = request.app.state.env, session.operator(request)
    return desk.show(
        request, "plans.html", who=who, rows=plans.list_(env, include_inactive=True),
        subscribers=desk_lists.subscribers(env),
    )  # fmt: skip


@router.get("/dashboard/plans/{ref:path}")
def plan(request: Request, ref: str) -> Response:
    """By its key or id: every version of its terms, and who is on it."""
    env, who = request.app.state.env, session.operator(request)
    one = plans.get(env, ref)
    on = desk_lists.subscribers_of(env, one.uuid)
    return desk.show(
        request, "plan.html", who=who, p=one, versions=plans.versions(env, one), subscribers=on,
        count_all=sum(on.values()), when=WHEN, words_of=resource_words,
    )  # fmt: skip


@router.get("/dashboard/packs")
def packs(request: Request) -> Response:
    who = session.operator(request)
    rows = catalog.list_packs(request.app.state.env, include_inactive=True)
    return desk.show(request, "packs.html", who=who, rows=rows)


@router.get("/dashboard/promos")
def promos(request: Request) -> Response:
    env, who = request.app.state.env, session.operator(request)
    rows = reports.promos_page(env)
    for row in rows:
        row["gives"] = promo_gives(row)
        row["limits"] = _promo_limits(row, env.settings.default_currency)
    return desk.show(request, "promos.html", who=who, rows=rows)


def promo_gives(row: reports.Row) -> str:
    lasts = {"once": "", "repeating": f", {row['duration_periods']} periods",
             "forever": ", for ever"}[row["duration"]]  # fmt: skip
    if row["kind"] == "percent":
        return f"{row['percent_off']}% off{lasts}"
    if row["kind"] == "fixed":
        return f"{look.amount(row['amount_off_minor'], row['currency'])} off{lasts}"
    if row["kind"] == "free_trial":
        return f"{look.count(row['trial_days'])} days of trial"
    return f"{look.count(row['bonus_credits'])} credits on top"


def _promo_limits(row: reports.Row, currency: str) -> str:
    named = [*(row["packs"] or ()), *(row["plans"] or ())]
    whole = "every plan" if row["kind"] == "free_trial" else "everything"
    parts = [", ".join(named) if named else whole]
    if row["first_purchase"]:
        parts.append("first purchase")
    if row["per_customer"]:
        parts.append(f"{row['per_customer']} each")
    if row["min_purchase_minor"]:
        least = look.amount(row["min_purchase_minor"], row["currency"] or currency)
        parts.append(f"from {least}")
    return " · ".join(parts)
