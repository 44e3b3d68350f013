"""The dashboard's refunds: the list, those that wait for another person, and their decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.flows import desk_lists, heads, refund_views, refunds
from paydesk.pages import desk, look, session, story
from paydesk.pages.routing import new_router
from paydesk.rules.persons import are_two, persons_of

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.refund_views import RefundView
    from paydesk.pages.session import Operator

router = new_router()

HOME = "/dashboard/refunds"
TABS = [
    ("", "All"), ("requested", "To decide"), ("pending", "On their way"),
    ("succeeded", "Succeeded"), ("failed", "Failed"), ("rejected", "Refused"),
]  # fmt: skip
ORIGINS = {"desk": "asked for here", "provider": "begun at the provider"}
LIMIT = 25
Csrf = Annotated[str, Form(max_length=100)]
Note = Annotated[str, Form(max_length=500)]


@router.get(HOME)
def refund_list(request: Request, tab: str = "", before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab = tab if tab in dict(TABS) else ""
    found = refund_views.list_(
        env, status=tab or None, limit=LIMIT + 1,
        after=ids.parse("refund", before) if before else None,
    )  # fmt: skip
    rows = found[:LIMIT]
    with env.db.read() as tx:
        people = desk_lists.people(tx, [one.customer_id for one in rows])
    cursor = ids.show("refund", rows[-1].id) if len(found) > LIMIT else ""
    return desk.show(
        request, "refunds.html", who=who, rows=rows, people=people, tab=tab, tabs=TABS,
        shown=ids.show, next_url=desk.older(HOME, cursor, tab=tab), is_first=not before,
        first_url=desk.address(HOME, tab=tab),
    )  # fmt: skip


@router.get(HOME + "/{ident}")
def refund(request: Request, ident: str) -> Response:
    env, who = request.app.state.env, session.operator(request)
    one = refund_views.get(env, None, ids.parse("refund", ident))
    with env.db.read() as tx:
        person = desk_lists.people(tx, [one.customer_id])[one.customer_id]
        rows = desk_lists.told(tx, one.customer_id, [one.id])
        asked = refund_views.row(tx, one.customer_id, one.id).requested_persons
        now = heads.now(env, one.customer_id, tx)
    return desk.show(
        request, "refund.html", who=who, r=one, ident=ids.show("refund", one.id), person=person,
        payment=ids.show("payment", one.payment_id), steps=[story.of_event(row) for row in rows],
        at=now, deeds=_deeds(env, who, one, asked), by=_by,
        is_waiting=one.state == "pending",
    )  # fmt: skip


def _deeds(
    env: Env, who: Operator, one: RefundView, asked: list[str] | None
) -> frozenset[str]:
    """What this person may do about it as it stands: nobody decides what they asked for."""
    by_two = are_two(
        persons_of(one.requested_by or "", asked), persons_of(who.caller, who.persons)
    )
    can = env.providers[one.provider].can if one.provider in env.providers else ()
    found = {
        "decide": one.state == "requested" and by_two and desk.may(who, "refunds.decide"),
        "cancel": one.state == "requested" and one.requested_by == who.caller,
        "settle": one.state == "pending" and "refund" not in can
        and desk.may(who, "refunds.settle"),
    }
    return frozenset(name for name, is_open in found.items() if is_open)


def _by(name: str | None) -> str:
    """A caller's name as people read it."""
    text = (name or "").removeprefix("staff:").removeprefix("user:")
    return "an API key" if text.startswith("key:") else text or "—"


@router.post(HOME + "/{ident}/{decision}")
def act(
    request: Request, ident: str, decision: str, note: Note = "", csrf: Csrf = ""
) -> Response:
    """approve, reject, cancel; paid or failed for what no provider carries out."""
    needed = {"approve": "refunds.decide", "reject": "refunds.decide", "cancel": "refunds.cancel",
              "paid": "refunds.settle", "failed": "refunds.settle"}  # fmt: skip
    if decision not in needed:
        return look.go(f"{HOME}/{ident}")
    who = desk.actor(request, csrf, needed[decision])
    env, refund_id = request.app.state.env, ids.parse("refund", ident)
    owner, told = ids.customer_of(refund_id), note.strip() or None
    refund_views.get(env, None, refund_id)
    if decision == "cancel":
        refunds.cancel(env, owner, refund_id, by=who.caller)
        return desk.done(f"{HOME}/{ident}", "taken_back")
    if decision in ("paid", "failed"):
        refunds.settle_offline(env, owner, refund_id, decision, by=who.caller, reference=told)
        return desk.done(f"{HOME}/{ident}", "settled")
    refunds.decide(
        env, owner, refund_id, decision, by=who.caller, note=told, persons=who.persons
    )
    return desk.done(f"{HOME}/{ident}", "approved" if decision == "approve" else "rejected")
