"""v1: payments that look odd, the decisions about them, and the lists that decide."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import risk
from paydesk.flows.risk import Assessment, Listed
from paydesk.http import fields, owners
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import Instant, Strict, page_of

risk_v1 = router("risk")

Kind = Literal["email", "email_domain", "address", "country", "card", "customer"]
Decision = Literal["allow", "block", "review"]


class DecisionIn(Strict):
    verdict: Literal["accepted", "refused"]
    note: str | None = Field(default=None, max_length=1000)


class ListedIn(Strict):
    """`value`: an address, a domain, two letters, a card's fingerprint or a customer's own id."""

    kind: Kind
    value: str = Field(min_length=1, max_length=320)
    action: Decision
    reason: str | None = Field(default=None, max_length=500)
    expires_at: Instant | None = None


class AssessmentOut(BaseModel):
    id: str
    object: Literal["risk_assessment"]
    livemode: bool
    customer: str
    payment: str | None
    score: int
    decision: Decision
    reasons: list[dict[str, Any]]
    features: dict[str, Any]
    verdict: str | None
    reviewed_by: str | None
    reviewed_at: str | None
    review_note: str | None
    created_at: str


class ListedOut(BaseModel):
    object: Literal["risk_list_entry"]
    livemode: bool
    kind: Kind
    value: str
    action: Decision
    reason: str | None
    added_by: str | None
    expires_at: str | None
    created_at: str


class ListedPage(BaseModel):
    object: Literal["list"]
    data: list[ListedOut]
    has_more: bool


def assessment_shape(one: Assessment, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("assessment", one.id), "object": "risk_assessment", "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        "payment": ids.show("payment", one.payment_id) if one.payment_id else None,
        "score": one.score, "decision": one.decision, "reasons": one.reasons,
        "features": one.features, "verdict": one.verdict, "reviewed_by": one.reviewed_by,
        "reviewed_at": fields.instant(one.reviewed_at), "review_note": one.review_note,
        "created_at": fields.instant(one.created_at),
    }  # fmt: skip


def listed_shape(one: Listed, livemode: bool) -> dict[str, Any]:
    return {
        "object": "risk_list_entry", "livemode": livemode, "kind": one.kind, "value": one.value,
        "action": one.action, "reason": one.reason, "added_by": one.added_by,
        "expires_at": fields.instant(one.expires_at), "created_at": fields.instant(one.created_at),
    }  # fmt: skip


@risk_v1.get(
    "/v1/risk/assessments", response_model=None, summary="List risk assessments",
    responses={200: {"model": page_of(AssessmentOut)}}, **cell("admin", "finance", "support"),
)  # fmt: skip
def list_assessments(
    request: Request,
    queue: bool = False,
    decision: Decision | None = None,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `queue=true`: those that wait for a person."""
    env = env_of(request)
    after = None if starting_after is None else ids.parse("assessment", starting_after)
    customer_id = owners.scope_of(env, who_of(request), customer)
    found = risk.list_(env, queue=queue, decision=decision, customer_id=customer_id,
                       limit=limit + 1, after=after)  # fmt: skip
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: assessment_shape(one, live)))


@risk_v1.get(
    "/v1/risk/assessments/{assessment}", response_model=None, summary="Get a risk assessment",
    responses={200: {"model": AssessmentOut}}, **cell("admin", "finance", "support"),
)  # fmt: skip
def get_assessment(request: Request, assessment: str) -> Response:
    env = env_of(request)
    found = risk.get(env, ids.parse("assessment", assessment))
    return reply(assessment_shape(found, env.settings.live))


@risk_v1.post(
    "/v1/risk/assessments/{assessment}/decide", response_model=None, summary="Decide",
    responses={200: {"model": AssessmentOut}}, **cell("admin", "finance"),
)  # fmt: skip
def decide(request: Request, assessment: str, body: DecisionIn) -> Response:
    """Once. A refused payment that was paid is refunded apart from this."""
    env = env_of(request)
    found = risk.decide(env, ids.parse("assessment", assessment), body.verdict,
                        by=who_of(request).caller, note=body.note)  # fmt: skip
    return reply(assessment_shape(found, env.settings.live))


@risk_v1.get(
    "/v1/risk/lists", response_model=None, summary="List what decides by itself",
    responses={200: {"model": ListedPage}}, **cell("admin", "finance", "support"),
)  # fmt: skip
def list_listed(request: Request, kind: Kind | None = None) -> Response:
    """Everything on the allow, block and review lists, at most 500."""
    env = env_of(request)
    found = risk.listed(env, kind)
    shown = [listed_shape(one, env.settings.live) for one in found]
    return reply({"object": "list", "data": shown, "has_more": False})


@risk_v1.put(
    "/v1/risk/lists", response_model=None, summary="Put a value on a list",
    responses={200: {"model": ListedOut}}, **cell("admin", "finance"),
)  # fmt: skip
def put_on_list(request: Request, body: ListedIn) -> Response:
    """A value is on one list at a time: a second time replaces the first."""
    env = env_of(request)
    until: datetime | None = body.expires_at
    found = risk.put_on_list(env, body.kind, body.value, body.action, reason=body.reason,
                             by=who_of(request).caller, expires_at=until)  # fmt: skip
    return reply(listed_shape(found, env.settings.live))


@risk_v1.delete(
    "/v1/risk/lists", status_code=204, response_model=None, summary="Take a value off its list",
    **cell("admin", "finance"),
)  # fmt: skip
def take_off_list(
    request: Request, kind: Kind, value: Annotated[str, Query(min_length=1, max_length=320)]
) -> Response:
    risk.take_off_list(env_of(request), kind, value)
    return Response(status_code=204)
