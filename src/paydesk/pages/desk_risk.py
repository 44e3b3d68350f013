"""The dashboard's risk: payments that wait for a person, what was blocked, and the lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import desk_lists, risk
from paydesk.pages import desk, session
from paydesk.pages.routing import new_router

router = new_router()

HOME = "/dashboard/risk"
TABS = [("queue", "To decide"), ("review", "Reviewed"), ("block", "Blocked"), ("all", "All")]
LIMIT = 25
Csrf = Annotated[str, Form(max_length=100)]


@router.get(HOME)
def queue(request: Request, tab: str = "queue", before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab = tab if tab in dict(TABS) else "queue"
    found = risk.list_(
        env, queue=tab == "queue", decision=tab if tab in ("review", "block") else None,
        limit=LIMIT + 1, after=ids.parse("assessment", before) if before else None,
    )  # fmt: skip
    rows = found[:LIMIT]
    with env.db.read() as tx:
        people = desk_lists.people(tx, [one.customer_id for one in rows])
    cursor = ids.show("assessment", rows[-1].id) if len(found) > LIMIT else ""
    return desk.show(
        request, "risk.html", who=who, rows=rows, people=people, tab=tab, tabs=TABS,
        shown=ids.show, next_url=desk.older(HOME, cursor, tab=tab), is_first=not before,
        first_url=desk.address(HOME, tab=tab),
    )  # fmt: skip


@router.post(HOME + "/decide")
def decide(
    request: Request, assessment: Annotated[str, Form(max_length=64)],
    verdict: Annotated[str, Form(max_length=20)],
    note: Annotated[str, Form(max_length=1000)] = "", csrf: Csrf = "",
) -> Response:  # fmt: skip
    who = desk.actor(request, csrf, "risk")
    risk.decide(
        request.app.state.env, ids.parse("assessment", assessment), verdict, by=who.caller,
        note=note.strip() or None,
    )  # fmt: skip
    return desk.done(HOME, "decided")


@router.get(HOME + "/lists")
def lists(request: Request, kind: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    kind = kind if kind in risk.KINDS else ""
    return desk.show(
        request, "risk_lists.html", who=who, rows=risk.listed(env, kind or None), kind=kind,
        kinds=risk.KINDS, actions=risk.ACTIONS,
    )  # fmt: skip


@router.post(HOME + "/lists")
def put(
    request: Request, kind: Annotated[str, Form(max_length=20)],
    value: Annotated[str, Form(max_length=320)], action: Annotated[str, Form(max_length=20)],
    reason: Annotated[str, Form(max_length=500)] = "",
    until: Annotated[str, Form(max_length=10)] = "", csrf: Csrf = "",
) -> Response:  # fmt: skip
    """`until`: the day from which it decides no more."""
    who = desk.actor(request, csrf, "risk")
    try:
        ends = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC) if until else None
    except ValueError:
        raise InvalidRequest("A day is written like 2026-12-31.", param="until") from None
    risk.put_on_list(
        request.app.state.env, kind, value, action, reason=reason.strip() or None,
        by=who.caller, expires_at=ends,
    )  # fmt: skip
    return desk.done(f"{HOME}/lists", "listed")


@router.post(HOME + "/lists/remove")
def remove(
    request: Request, kind: Annotated[str, Form(max_length=20)],
    value: Annotated[str, Form(max_length=320)], csrf: Csrf = "",
) -> Response:  # fmt: skip
    desk.actor(request, csrf, "risk")
    risk.take_off_list(request.app.state.env, kind, value)
    return desk.done(f"{HOME}/lists", "unlisted")
