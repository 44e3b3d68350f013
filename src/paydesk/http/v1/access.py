"""v1: who may see what: asked, listed, given and taken by hand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import access, customers, heads
from paydesk.flows.access import GrantView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Instant, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.goods_models import AccessIn, AccessOut, CheckOut, RevokeIn
from paydesk.http.v1.models import page_of

access_v1 = router("access")


def access_shape(one: GrantView, livemode: bool, *, for_staff: bool = True) -> dict[str, Any]:
    """A grant; a customer is not told who of the staff gave or took it."""
    return {
        "id": ids.show("access", one.id),
        "object": "access",
        "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        "resource": one.name,
        "source": one.source_ref,
        "payment": fields.shown("payment", one.payment_id),
        "status": one.status,
        "starts_at": fields.instant(one.starts_at),
        "expires_at": fields.instant(one.expires_at),
        "reason": one.reason if for_staff else None,
        "granted_by": one.granted_by if for_staff else None,
        "revoked_at": fields.instant(one.revoked_at),
        "revoked_by": one.revoked_by if for_staff else None,
        "revoked_reason": one.revoked_reason if for_staff else None,
        "created_at": fields.instant(one.created_at),
    }


@access_v1.get(
    "/v1/access/check", response_model=None, summary="Ask whether a customer may",
    responses={200: {"model": CheckOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def check_access(
    request: Request,
    resource: Annotated[str, Query(min_length=1, max_length=320, examples=["course:python"])],
    customer: Annotated[str | None, Query(max_length=255)] = None,
    at: Instant | None = None,
) -> Response:
    """Now, or at an instant: a pure function of what was given and taken."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    when = at or heads.now(env, customer_id)
    found = access.can(env, customer_id, resource, when)
    return reply(
        {
            "object": "access_check",
            "livemode": env.settings.live,
            "customer": ids.show("customer", customer_id),
            "resource": found.resource,
            "allowed": found.allowed,
            "reason": found.reason,
            "source": found.source,
            "expires_at": fields.instant(found.expires_at),
            "offer_url": found.offer_url,
            "at": fields.instant(when),
        }
    )


@access_v1.get(
    "/v1/access", response_model=None, summary="List what a customer was given access to",
    responses={200: {"model": page_of(AccessOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_access(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    type: Annotated[str | None, Query(max_length=64)] = None,
    active: bool | None = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `active`: only what holds now, or only what does not."""
    env, who = env_of(request), who_of(request)
    found = access.list_(
        env, owners.owner(env, who, customer), type=type, active=active, limit=limit + 1,
        after=None if starting_after is None else ids.parse("access", starting_after),
    )  # fmt: skip
    live = env.settings.live
    return reply(
        fields.page(
            found, limit, lambda one: access_shape(one, live, for_staff=not who.is_customer)
        )
    )


@access_v1.post(
    "/v1/access", status_code=201, response_model=None, summary="Give access by hand",
    responses={201: {"model": AccessOut}}, **cell("admin", "service"),
)  # fmt: skip
def give_access(request: Request, body: AccessIn) -> Response:
    """For `days`, until `expires_at`, or for ever; recorded with who did it."""
    env, who = env_of(request), who_of(request)
    customer_id = customers.resolve(env, body.customer, create=True)
    attempt = attempt_of(request, who, moves_money=False)

    def work() -> Response:
        one = access.grant(
            env, customer_id, body.resource, by=who.caller, reason=body.reason, days=body.days,
            starts_at=body.starts_at, expires_at=body.expires_at,
            request_key=attempt.key if attempt else None,
        )  # fmt: skip
        return reply(access_shape(one, env.settings.live), 201)

    return once(env, attempt, customer_id, work)


@access_v1.post(
    "/v1/access/{access}/revoke", response_model=None, summary="Take access away by hand",
    responses={200: {"model": AccessOut}}, **cell("admin", "service"),
)  # fmt: skip
def revoke_access(request: Request, access: str, body: RevokeIn | None = None) -> Response:
    """For good; what was paid for it is not given back by this."""
    return _revoke(request, access, body)


def _revoke(request: Request, ref: str, body: RevokeIn | None) -> Response:
    env, who = env_of(request), who_of(request)
    grant_id = ids.parse("access", ref)
    customer_id = access.get(env, ids.customer_of(grant_id), grant_id).customer_id

    def work() -> Response:
        one = access.revoke(
            env, customer_id, grant_id, by=who.caller, reason=body.reason if body else None
        )
        return reply(access_shape(one, env.settings.live))

    return once(env, attempt_of(request, who, moves_money=False), customer_id, work)
