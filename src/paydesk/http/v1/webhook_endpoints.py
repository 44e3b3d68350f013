"""v1: the application's endpoints for our webhooks, what was sent to them, and sending it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import webhook_deliveries, webhook_endpoints
from paydesk.flows.webhook_deliveries import Attempt, Delivery
from paydesk.flows.webhook_endpoints import Endpoint
from paydesk.http import fields
from paydesk.http.fields import DEFAULT_LIMIT, Code, Instant, Limit, Metadata, Strict, reply
from paydesk.http.routes import at_provider, cell, env_of, router
from paydesk.http.v1.models import Object, Out, page_of

webhook_endpoints_v1 = router("webhook_endpoints")

Filters = Annotated[list[Code], Field(min_length=1, max_length=100)]
Address = Annotated[str, Field(min_length=1, max_length=2048)]


class EndpointIn(Strict):
    """`events`: types, families such as `payment.*`, or `*`."""

    url: Address
    events: Filters = Field(default_factory=lambda: ["*"])
    description: str | None = Field(default=None, max_length=255)
    metadata: Metadata = Field(default_factory=dict)


class EndpointChange(Strict):
    """Only what is named changes."""

    url: Address | None = None
    events: Filters | None = None
    description: str | None = Field(default=None, max_length=255)
    metadata: Metadata | None = None


class RotateIn(Strict):
    """For so many seconds the former secret signs beside the new one."""

    overlap_s: int = Field(default=86_400, ge=0, le=604_800)


class TestEventIn(Strict):
    """The type of event to send an example of."""

    type: Code = "payment.succeeded"


class RedeliverIn(Strict):
    """Events of these times. `only_failed` leaves out what the endpoint has taken."""

    since: Instant
    until: Instant | None = None
    only_failed: bool = False


class EndpointOut(Object):
    object: Literal["webhook_endpoint"]
    url: str
    description: str | None
    events: list[str]
    status: Literal["enabled", "paused", "disabled", "deleted"]
    disabled_reason: str | None
    disabled_at: str | None
    failing_since: str | None
    previous_secret_until: str | None
    metadata: dict[str, str]
    updated_at: str
    secret: str | None = None


class WebhookAttemptOut(Out):
    sent_at: str
    duration_ms: int
    status: int | None
    error: str | None
    response: str | None


class DeliveryOut(Object):
    object: Literal["webhook_delivery"]
    endpoint: str
    customer: str
    type: str
    sequence: int
    status: Literal["held", "waiting", "done", "parked"]
    tries: int
    next_try_at: str | None
    http_status: int | None
    error: str | None
    done_at: str | None
    request: dict[str, Any] | None = None
    attempts: list[WebhookAttemptOut] | None = None


class RedeliveredOut(Out):
    count: int


def endpoint_shape(one: Endpoint, livemode: bool, secret: str | None = None) -> dict[str, Any]:
    shape = {
        "id": ids.show("endpoint", one.id),
        "object": "webhook_endpoint",
        "livemode": livemode,
        "url": one.url,
        "description": one.description,
        "events": one.events,
        "status": one.state,
        "disabled_reason": one.disabled_reason,
        "disabled_at": fields.instant(one.disabled_at),
        "failing_since": fields.instant(one.failing_since),
        "previous_secret_until": fields.instant(one.previous_until),
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }
    return shape if secret is None else {**shape, "secret": secret}


def delivery_shape(one: Delivery, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("delivery", one.id),
        "object": "webhook_delivery",
        "livemode": livemode,
        "endpoint": ids.show("endpoint", one.endpoint_id),
        "customer": ids.show("customer", one.customer_id),
        "type": one.event_type,
        "sequence": one.seq,
        "status": one.state,
        "tries": one.tries,
        "next_try_at": fields.instant(one.try_at) if one.state == "waiting" else None,
        "http_status": one.status,
        "error": one.error,
        "done_at": fields.instant(one.done_at),
        "created_at": fields.instant(one.created_at),
    }


def attempt_shape(one: Attempt) -> dict[str, Any]:
    return {
        "sent_at": fields.instant(one.sent_at),
        "duration_ms": one.duration_ms,
        "status": one.status,
        "error": one.error,
        "response": one.response,
    }


def _answer(request: Request, one: Endpoint, status: int = 200, secret: str | None = None):
    return reply(endpoint_shape(one, env_of(request).settings.live, secret), status)


@webhook_endpoints_v1.post(
    "/v1/webhook_endpoints", status_code=201, response_model=None, summary="Make an endpoint",
    responses={201: {"model": EndpointOut}}, **cell("admin"),
)  # fmt: skip
def create_endpoint(request: Request, body: EndpointIn) -> Response:
    """`secret` is shown this once. No answer of this address is kept for repeats."""
    one, secret = webhook_endpoints.create(
        env_of(request), body.url, events=body.events, description=body.description,
        metadata=body.metadata,
    )  # fmt: skip
    return _answer(request, one, 201, secret)


@webhook_endpoints_v1.get(
    "/v1/webhook_endpoints", response_model=None, summary="List endpoints",
    responses={200: {"model": page_of(EndpointOut)}}, **cell("admin", "support"),
)  # fmt: skip
def list_endpoints(
    request: Request, limit: Limit = DEFAULT_LIMIT, starting_after: str | None = None
) -> Response:
    """Newest first, never with their secrets."""
    env = env_of(request)
    after = None if starting_after is None else ids.parse("endpoint", starting_after)
    found = webhook_endpoints.list_(env, limit + 1, after)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: endpoint_shape(one, live)))


@webhook_endpoints_v1.get(
    "/v1/webhook_endpoints/{endpoint}", response_model=None, summary="Get an endpoint",
    responses={200: {"model": EndpointOut}}, **cell("admin", "support"),
)  # fmt: skip
def get_endpoint(request: Request, endpoint: str) -> Response:
    return _answer(
        request, webhook_endpoints.get(env_of(request), ids.parse("endpoint", endpoint))
    )


@webhook_endpoints_v1.patch(
    "/v1/webhook_endpoints/{endpoint}", response_model=None, summary="Change an endpoint",
    responses={200: {"model": EndpointOut}}, **cell("admin"),
)  # fmt: skip
def update_endpoint(request: Request, endpoint: str, body: EndpointChange) -> Response:
    """What waits goes to the new address; a new filter counts for events from now on."""
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    for name in ("url", "events", "metadata"):
        if name in changes and changes[name] is None:
            raise InvalidRequest(f"{name} may not be null.", param=name)
    one = webhook_endpoints.update(env_of(request), ids.parse("endpoint", endpoint), **changes)
    return _answer(request, one)


@webhook_endpoints_v1.delete(
    "/v1/webhook_endpoints/{endpoint}", response_model=None, summary="Delete an endpoint",
    responses={200: {"model": EndpointOut}}, **cell("admin"),
)  # fmt: skip
def delete_endpoint(request: Request, endpoint: str) -> Response:
    """Nothing more is sent to it, what waits included."""
    return _answer(
        request, webhook_endpoints.delete(env_of(request), ids.parse("endpoint", endpoint))
    )


@webhook_endpoints_v1.post(
    "/v1/webhook_endpoints/{endpoint}/pause", response_model=None, summary="Pause an endpoint",
    responses={200: {"model": EndpointOut}}, **cell("admin"),
)  # fmt: skip
def pause_endpoint(request: Request, endpoint: str) -> Response:
    """Events wait for it until it is resumed, as long as the history is kept."""
    return _answer(
        request, webhook_endpoints.pause(env_of(request), ids.parse("endpoint", endpoint))
    )


@webhook_endpoints_v1.post(
    "/v1/webhook_endpoints/{endpoint}/resume", response_model=None, summary="Resume an endpoint",
    responses={200: {"model": EndpointOut}}, **cell("admin"),
)  # fmt: skip
def resume_endpoint(request: Request, endpoint: str) -> Response:
    """A paused or disabled one gets events again."""
    return _answer(
        request, webhook_endpoints.resume(env_of(request), ids.parse("endpoint", endpoint))
    )


@webhook_endpoints_v1.post(
    "/v1/webhook_endpoints/{endpoint}/rotate", response_model=None, summary="Replace the secret",
    responses={200: {"model": EndpointOut}}, **cell("admin"),
)  # fmt: skip
def rotate_secret(request: Request, endpoint: str, body: RotateIn) -> Response:
    """The new `secret` is shown this once."""
    one, secret = webhook_endpoints.rotate(
        env_of(request), ids.parse("endpoint", endpoint), overlap=timedelta(seconds=body.overlap_s)
    )
    return _answer(request, one, secret=secret)


@webhook_endpoints_v1.post(
    "/v1/webhook_endpoints/{endpoint}/test", response_model=None, summary="Send a test event",
    responses={200: {"model": WebhookAttemptOut}}, **cell("admin"),
)  # fmt: skip
async def test_endpoint(request: Request, endpoint: str, body: TestEventIn) -> Response:
    """Sends an example now, once, and answers what came back."""
    found = await at_provider(
        request, webhook_deliveries.test, env_of(request), ids.parse("endpoint", endpoint),
        body.type,
    )  # fmt: skip
    return reply(attempt_shape(found))


@webhook_endpoints_v1.get(
    "/v1/webhook_endpoints/{endpoint}/deliveries", response_model=None, summary="List deliveries",
    responses={200: {"model": page_of(DeliveryOut)}}, **cell("admin", "support"),
)  # fmt: skip
def list_deliveries(
    request: Request,
    endpoint: str,
    status: Annotated[Literal["waiting", "done", "parked"] | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `waiting` includes those held behind an earlier one."""
    env = env_of(request)
    one = webhook_endpoints.get(env, ids.parse("endpoint", endpoint))
    after = None if starting_after is None else ids.parse("delivery", starting_after)
    found = webhook_deliveries.list_(env, one.id, limit=limit + 1, after=after, state=status)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda each: delivery_shape(each, live)))


@webhook_endpoints_v1.post(
    "/v1/webhook_endpoints/{endpoint}/redeliver", response_model=None,
    summary="Send events of some time again",
    responses={200: {"model": RedeliveredOut}}, **cell("admin"),
)  # fmt: skip
def redeliver_range(request: Request, endpoint: str, body: RedeliverIn) -> Response:
    """At most 10,000 events, the oldest first, also those the endpoint never got. They keep their
    `webhook-id`, so that a receiver drops what it knows."""
    count = webhook_deliveries.redeliver_range(
        env_of(request), ids.parse("endpoint", endpoint), body.since, body.until,
        only_failed=body.only_failed,
    )  # fmt: skip
    return reply({"count": count})


@webhook_endpoints_v1.get(
    "/v1/webhook_deliveries/{delivery}", response_model=None, summary="Get a delivery",
    responses={200: {"model": DeliveryOut}}, **cell("admin", "support"),
)  # fmt: skip
def get_delivery(request: Request, delivery: str) -> Response:
    """With the body that is sent and every answer so far."""
    env = env_of(request)
    one = webhook_deliveries.get(env, ids.parse("delivery", delivery))
    shape = {
        **delivery_shape(one, env.settings.live),
        "request": webhook_deliveries.request_of(env, one),
        "attempts": [attempt_shape(each) for each in webhook_deliveries.attempts(env, one)],
    }
    return reply(shape)


@webhook_endpoints_v1.post(
    "/v1/webhook_deliveries/{delivery}/redeliver", response_model=None,
    summary="Send a delivery again",
    responses={200: {"model": DeliveryOut}}, **cell("admin"),
)  # fmt: skip
def redeliver(request: Request, delivery: str) -> Response:
    """Whatever became of it, with the same `webhook-id`."""
    env = env_of(request)
    one = webhook_deliveries.redeliver(env, ids.parse("delivery", delivery))
    return reply(delivery_shape(one, env.settings.live))
