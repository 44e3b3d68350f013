"""The dashboard for developers: events, webhooks that came in, API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk.flows import api_keys, events, inbox, reports
from paydesk.pages import desk, look, session, story
from paydesk.pages.routing import new_router

router = new_router()


@router.get("/dashboard/events")
def events_page(request: Request, before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    found = events.list_events(env, limit=51, before=before or None)
    rows = []
    for event in found[:50]:
        step = story.of_event(
            {"type": event.type, "data": event.data, "created_at": event.created_at}
        )
        shown, href = story.subject_link(event.type, event.subject_id, event.customer_id)
        rows.append({
            "title": step.title, "text": step.text, "type": event.type, "seq": event.seq,
            "at": event.created_at, "subject": shown, "href": href,
        })  # fmt: skip
    cursor = found[49].id if len(found) > 50 else ""
    return desk.show(
        request, "events.html", who=who, rows=rows, is_first=not before,
        next_url=desk.older("/dashboard/events", cursor),
    )  # fmt: skip


@router.get("/dashboard/webhooks")
def webhooks(request: Request, state: str = "", before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    state = state if state in ("done", "waiting", "parked", "new") else ""
    rows = reports.inbox_page(env, state=state, before=before, limit=50)
    cursor = rows[-1]["received_at"].isoformat() if len(rows) == 50 else ""
    return desk.show(
        request, "inbox.html", who=who, rows=rows, state=state, is_first=not before,
        next_url=desk.older("/dashboard/webhooks", cursor, state=state),
    )  # fmt: skip


@router.post("/dashboard/webhooks/replay")
def replay(
    request: Request,
    provider: Annotated[str, Form()],
    event_id: Annotated[str, Form()],
    account: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    who = session.operator(request)
    session.check_form(request, who, csrf)
    env = request.app.state.env
    state = inbox.replay(env, provider, account, event_id)
    return look.go(f"/dashboard/webhooks?done={'replayed' if state == 'done' else 'still'}")


@router.get("/dashboard/keys")
def keys(request: Request) -> Response:
    who = session.operator(request)
    return desk.show(request, "keys.html", who=who, rows=api_keys.list_(request.app.state.env))
