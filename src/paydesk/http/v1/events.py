"""v1: what happened to customers, as lists. The live feeds stand in http/live.py."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import events
from paydesk.flows.events import Event
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Instant, Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import EventOut, page_of

events_v1 = router("events")


def event_shape(one: Event, livemode: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "event",
        "livemode": livemode,
        "type": one.type,
        "customer": ids.show("customer", one.customer_id),
        "sequence": one.seq,
        "subject": one.subject,
        "data": one.shown_data,
        "created_at": fields.instant(one.created_at),
    }


@events_v1.get(
    "/v1/events", response_model=None, summary="List events",
    responses={200: {"model": page_of(EventOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_events(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    type: Annotated[list[str] | None, Query(max_length=20)] = None,
    subject: Annotated[str | None, Query(max_length=64)] = None,
    created_from: Annotated[Instant | None, Query(alias="created_at[gte]")] = None,
    created_until: Annotated[Instant | None, Query(alias="created_at[lt]")] = None,
    after_sequence: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first: one customer's, or everybody's for staff. `type` may be repeated; `subject` is
    the id of what events are about.

    With `after_sequence` it is the ordered feed of one customer: his events after that number,
    oldest first. Without other filters their numbers have no gaps, so nothing can be missed.
    """
    env = env_of(request)
    who = owners.scope_of(env, who_of(request), customer)
    about = None if subject is None else ids.parse_any(subject)
    live = env.settings.live
    if after_sequence is None:
        found = events.list_events(
            env, who, limit=limit + 1, before=starting_after, types=type, subject_id=about,
            since=created_from, until=created_until,
        )  # fmt: skip
        return reply(fields.page(found, limit, lambda one: event_shape(one, live)))
    if who is None:
        raise InvalidRequest("Say whose: the feed is one customer's.", param="customer")
    if starting_after or created_from or created_until:
        raise InvalidRequest(
            "after_sequence goes with type and subject only.", param="after_sequence"
        )
    found = events.after(
        env, who, after_sequence, limit=limit + 1, types=type, subject_id=about
    )
    return reply(fields.page(found, limit, lambda one: event_shape(one, live)))


@events_v1.get(
    "/v1/events/{event}", response_model=None, summary="Get an event",
    responses={200: {"model": EventOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_event(request: Request, event: str) -> Response:
    env = env_of(request)
    found = events.get_event(env, event, customer_id=owners.only_own(env, who_of(request)))
    return reply(event_shape(found, env.settings.live))
