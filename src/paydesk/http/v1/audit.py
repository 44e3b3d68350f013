"""v1: the log of privileged changes, and whether the chains hold."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import customers, trail
from paydesk.flows.trail import Entry
from paydesk.http import fields
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, in_thread, router
from paydesk.http.v1.models import page_of

audit_v1 = router("audit")


class AuditEntryOut(BaseModel):
    """A row of the log; rows are numbered without gaps."""

    id: str = Field(examples=["17"])
    object: str = "audit_entry"
    livemode: bool
    at: str
    actor: str
    action: str = Field(examples=["key.created"])
    subject: str
    request_id: str | None
    data: dict[str, Any]


class VerdictOut(BaseModel):
    """`broken` names each place where a chain does not hold, and each payment that says other than
    its events."""

    object: str = "audit_verdict"
    ok: bool
    customers: int
    seals: int
    unsealed: int
    payments: int
    entries: int
    broken: list[dict[str, Any]]


def entry_shape(one: Entry, livemode: bool) -> dict[str, Any]:
    return {
        "id": str(one.seq), "object": "audit_entry", "livemode": livemode,
        "at": fields.instant(one.at), "actor": one.actor, "action": one.action,
        "subject": one.subject, "request_id": one.request_id, "data": one.data,
    }  # fmt: skip


@audit_v1.get(
    "/v1/audit", response_model=None, summary="List privileged changes",
    responses={200: {"model": page_of(AuditEntryOut)}}, **cell("admin", "finance"),
)  # fmt: skip
def list_entries(
    request: Request,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: Annotated[str | None, Query(max_length=20)] = None,
    actor: Annotated[str | None, Query(max_length=255)] = None,
    action: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Newest first. `action` is a word or its beginning with a dot, such as `key.`."""
    env = env_of(request)
    if starting_after is not None and not (starting_after.isascii() and starting_after.isdigit()):
        raise InvalidRequest("starting_after is the number of a row.", param="starting_after")
    before = int(starting_after) if starting_after else None
    if before is not None and before > 2**62:
        raise InvalidRequest("starting_after is the number of a row.", param="starting_after")
    found = trail.log(env, limit=limit + 1, before=before, actor=actor, action=action)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: entry_shape(one, live)))


@audit_v1.get(
    "/v1/audit/verify", response_model=None, summary="Verify the chains",
    responses={200: {"model": VerdictOut}}, **cell("admin", "finance"),
)  # fmt: skip
async def verify_chains(
    request: Request, customer: Annotated[str, Query(max_length=255)]
) -> Response:
    """One customer's chain, computed anew. `paydesk audit verify` computes all."""
    return await in_thread(request, _verify, request, customer)


def _verify(request: Request, customer: str) -> Response:
    env = env_of(request)
    found = trail.verify(env, customers.get(env, customer).uuid)
    return reply({
        "object": "audit_verdict", "ok": found.ok, "customers": found.customers,
        "seals": found.seals, "unsealed": found.unsealed, "payments": found.payments,
        "entries": found.entries,
        "broken": [{"customer": ids.show("customer", b.customer_id) if b.customer_id else None,
                    "up_to_event": b.seq, "up_to_transfer": b.entry_seq,
                    "payment": fields.shown("payment", b.payment_id)} for b in found.broken],
    })  # fmt: skip
