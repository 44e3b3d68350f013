"""v1: the mails that went out or wait."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import notifications
from paydesk.flows.notifications import Notification
from paydesk.http import fields
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, router
from paydesk.http.v1.models import Object, Strict, page_of

notifications_v1 = router("notifications")

READERS = ("admin", "support")


class NotificationOut(Object):
    object: Literal["notification"]
    kind: str
    customer: str
    staff: bool
    recipient: str | None
    locale: str | None
    status: Literal["waiting", "sent", "kept", "skipped", "parked"]
    tries: int
    error: str | None
    sent_at: str | None


class BounceIn(Strict):
    reason: Annotated[str, Field(max_length=400, examples=["550 5.1.1 no such mailbox"])]


def notification_shape(one: Notification, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("notification", one.id),
        "object": "notification",
        "livemode": livemode,
        "kind": one.kind,
        "customer": ids.show("customer", one.customer_id),
        "staff": one.is_staff,
        "recipient": one.recipient,
        "locale": one.locale,
        "status": one.state,
        "tries": one.tries,
        "error": one.error,
        "sent_at": fields.instant(one.sent_at),
        "created_at": fields.instant(one.created_at),
    }


@notifications_v1.get(
    "/v1/notifications", response_model=None, summary="List mails",
    responses={200: {"model": page_of(NotificationOut)}}, **cell(*READERS),
)  # fmt: skip
def list_notifications(
    request: Request,
    status: Annotated[
        Literal["waiting", "sent", "kept", "skipped", "parked"] | None, Query()
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `kept`: there is no mail server; `skipped`: there was nobody to send it to."""
    env = env_of(request)
    found = notifications.list_(env, limit=limit + 1, state=status, after=starting_after)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: notification_shape(one, live)))


@notifications_v1.post(
    "/v1/notifications/{notification}/resend", response_model=None, summary="Send a mail again",
    responses={200: {"model": NotificationOut}}, **cell("admin", "support"),
)  # fmt: skip
def resend_notification(request: Request, notification: str) -> Response:
    """With the facts it had, under the same Message-ID."""
    env = env_of(request)
    one = notifications.resend(env, notification)
    return reply(notification_shape(one, env.settings.live))


@notifications_v1.post(
    "/v1/notifications/{notification}/bounced", response_model=None,
    summary="Note that a mail came back",
    responses={200: {"model": NotificationOut}}, **cell("admin", "support"),
)  # fmt: skip
def bounced_notification(request: Request, notification: str, body: BounceIn) -> Response:
    """What reads the bounces of the sender's mailbox tells of them here; the id stands in the
    returned mail's Message-ID. The mail is parked then, with the reason."""
    env = env_of(request)
    one = notifications.note_bounce(env, notification, body.reason)
    return reply(notification_shape(one, env.settings.live))
