"""The hot routes: spend, bulk spend, balance. Plain Starlette over the group-commit lanes.

They read bodies with the same strict reader as all others, check them with msgspec, await the
lane's future, and stand in the OpenAPI document from `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paydesk import causes, ids
from paydesk.errors import InvalidRequest, PaydeskError
from paydesk.flows import credits
from paydesk.flows.credits import Spend, SpendVerdict
from paydesk.http import bodies, fields, owners
from paydesk.http.auth import STAFF, Principal
from paydesk.http.fields import MAX_CREDITS, reply
from paydesk.http.idempotency import attempt_of, digest_of, parse_key
from paydesk.http.routes import cell, check_parameters, enter, env_of, in_thread
from paydesk.http.v1 import models
from paydesk.rules import fields as texts

if TYPE_CHECKING:
    from paydesk.env import Env

MAX_BULK = 500
SPENDERS = ("customer", "admin", "service")
READERS = ("customer", *STAFF)

Text = Annotated[str, Meta(min_length=1, max_length=255)]


class SpendBody(Struct, forbid_unknown_fields=True):
    """Take credits, oldest batches first. `reference` names what they paid for."""

    credits: Annotated[int, Meta(ge=1, le=MAX_CREDITS)]
    customer: Text | None = None
    reason: Text | None = None
    reference: Text | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class BulkItem(SpendBody, forbid_unknown_fields=True):
    """One of many; `key` makes this one repeatable by itself."""

    key: Text | None = None


class BulkBody(Struct, forbid_unknown_fields=True):
    """Many spends in one request, each with its own outcome."""

    items: Annotated[list[BulkItem], Meta(min_length=1, max_length=MAX_BULK)]


async def spend(request: Request) -> Response:
    enter(request.scope, frozenset(SPENDERS), "/v1/credits/spend")
    check_parameters(request, set())
    env, who = env_of(request), request.scope["paydesk.who"]
    body = await _read(request, SpendBody)
    customer_id = await _owner(request, who, body.customer)
    attempt = attempt_of(request, who)
    item = _item(
        customer_id, body,
        None if attempt is None else attempt.key, None if attempt is None else attempt.hash,
    )  # fmt: skip
    verdict = await request.app.state.bridge.wait(credits.spend_soon(env, item))
    credits.raise_for(verdict)
    headers = {"Idempotent-Replayed": "true"} if verdict.status == "same" else None
    return reply(_spend_shape(env, body, customer_id, verdict), 200, headers)


async def spend_bulk(request: Request) -> Response:
    enter(request.scope, frozenset(SPENDERS), "/v1/credits/spend/bulk")
    check_parameters(request, set())
    env, who = env_of(request), request.scope["paydesk.who"]
    body = await _read(request, BulkBody)
    attempt = attempt_of(request, who, moves_money=not all(one.key for one in body.items))
    items = []
    for place, one in enumerate(body.items):
        customer_id = await _owner(request, who, one.customer)
        key, digest = None, None
        if one.key is not None:
            key = ids.request_key(who.caller, parse_key(one.key))
            digest = _hash_of_item(one)
        elif attempt is not None:
            key, digest = ids.request_key(str(attempt.key), str(place)), attempt.hash
        items.append(_item(customer_id, one, key, digest))
    whole = env.lanes.submit_many("spend", [(item.customer_id, item) for item in items])
    found = await request.app.state.bridge.wait(whole)
    data = [
        _outcome(env, one, item.customer_id, verdict)
        for one, item, verdict in zip(body.items, items, found, strict=True)
    ]
    return reply({"object": "list", "data": data})


async def balance(request: Request) -> Response:
    enter(request.scope, frozenset(READERS), "/v1/credits/balance")
    check_parameters(request, {"customer", "expand"})
    env, who = env_of(request), request.scope["paydesk.who"]
    customer_id = await _owner(request, who, request.query_params.get("customer"), is_read=True)
    shape: dict[str, Any] = {
        "object": "balance", "livemode": env.settings.live,
        "customer": ids.show("customer", customer_id),
    }  # fmt: skip
    expand = request.query_params.getlist("expand")
    if expand not in ([], ["batches"]):
        raise InvalidRequest("Only batches can be expanded here.", param="expand")
    if not expand:
        shape["balance"] = await request.app.state.balances.ask(customer_id)
        return reply(shape)
    found = await in_thread(request, _whole_balance, env, customer_id)
    shape["balance"] = found.total
    shape["by_kind"] = found.by_kind
    shape["by_expiry"] = [
        {"expires_at": fields.instant(at), "credits": amount} for at, amount in found.by_expiry
    ]
    shape["next_expiry_at"] = fields.instant(found.next_expiry)
    return reply(shape)


def read_balances(env: Env, wanted: Sequence[UUID]) -> list[int]:
    """Balances of many customers; a batch that is past its end counts for nothing."""
    now = env.now()
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, a.balance, a.next_expiry > greatest(%(now)s, h.last_at)"
            " as is_current from accounts a join heads h using (customer_id)"
            " where customer_id = any(%(wanted)s) and a.code = 1 and a.asset = 'CREDIT'",
            {"wanted": list(set(wanted)), "now": now},
        )
        known = {
            row["customer_id"]: row["balance"]
            if row["is_current"] and not ids.may_have_clock(row["customer_id"])
            else credits.balance_total(tx, row["customer_id"], now)
            for row in rows
        }
    return [known.get(one, 0) for one in wanted]


def _whole_balance(env: Env, customer_id: UUID) -> Any:
    with env.db.read() as tx:
        return credits.balance(tx, customer_id, env.now())


async def _read(request: Request, kind: type[Any]) -> Any:
    raw = await request.body()
    value = bodies.read(raw, request.headers.get("content-type"))
    request._json = value  # Where idempotency finds what was sent.
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as exc:
        raise _refusal(str(exc)) from None


def _refusal(text: str) -> InvalidRequest:
    """msgspec says "… - at `$.items[0].credits`"; we point at `/items/0/credits`."""
    detail, _, place = text.partition(" - at `")
    path = place.rstrip("`").removeprefix("$").replace("[", ".").replace("]", "").strip(".")
    parts = [p for p in path.split(".") if p]
    if "unknown field" in detail or "missing required field" in detail:
        parts.append(detail.split("`")[-2])
        detail = (
            "This member is not known here." if "unknown" in detail else "This member is required."
        )
    detail = detail if detail.endswith(".") else detail + "."
    return InvalidRequest(
        detail, param=parts[-1][:64] if parts else None,
        errors=[{"pointer": bodies.pointer(tuple(parts)), "detail": detail}],
    )  # fmt: skip


async def _owner(
    request: Request, who: Principal, asked: str | None, *, is_read: bool = False
) -> UUID:
    """From memory where the customer is known, else in a thread."""
    env: Env = request.app.state.env
    ref = asked if asked is not None else who.subject
    known = env.cache.peek(f"customer:{ref}") if ref else None
    if known is not None and (not who.is_customer or ref == who.subject):
        return known
    return await in_thread(
        request, owners.owner, env, who, asked, create=not is_read and not who.is_customer
    )


def _item(customer_id: UUID, body: SpendBody, key: UUID | None, digest: int | None) -> Spend:
    return Spend(
        customer_id=customer_id, amount=body.credits, reason=body.reason,
        transfer_id=ids.new_owned(customer_id), request_key=key, request_hash=digest,
        reference=body.reference, metadata=texts.metadata(body.metadata) if body.metadata else None,
        cause=causes.current(),
    )  # fmt: skip


def _hash_of_item(one: BulkItem) -> int:
    digest = digest_of("POST", "/v1/credits/spend/bulk#item", msgspec.to_builtins(one))
    return int.from_bytes(digest[:8], "big") >> 1


def _spend_shape(
    env: Env, body: SpendBody, customer_id: UUID, verdict: SpendVerdict
) -> dict[str, Any]:
    """The same for the first answer and for every repeat: the instant is the id's own."""
    at = datetime.fromtimestamp((verdict.transfer_id.int >> 80) / 1000, UTC)
    return {
        "id": ids.show("transfer", verdict.transfer_id),
        "object": "spend",
        "livemode": env.settings.live,
        "customer": ids.show("customer", customer_id),
        "credits": body.credits,
        "balance": verdict.balance,
        "reason": body.reason,
        "reference": body.reference,
        "created_at": fields.instant(at),
    }


def _outcome(env: Env, body: SpendBody, customer_id: UUID, verdict: Any) -> dict[str, Any]:
    """`{status: "done", spend}` or `{status: "refused", error}` for one item of many."""
    try:
        if isinstance(verdict, BaseException):
            raise verdict
        credits.raise_for(verdict)
    except PaydeskError as exc:
        return {"status": "refused", "error": exc.to_problem()}
    return {"status": "done", "spend": _spend_shape(env, body, customer_id, verdict)}


def _operation(
    summary: str, tag: str, roles: Sequence[str], answer: Any, **more: Any
) -> dict[str, Any]:
    return {
        "summary": summary, "tags": [tag], **cell(*roles, owner="own")["openapi_extra"],
        "answer": answer, **more,
    }  # fmt: skip


#: (path, method) -> what the OpenAPI document says of it.
OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("/v1/credits/spend", "post"): _operation(
        "Spend credits", "credits", SPENDERS, models.SpendOut, body=SpendBody,
        description="Oldest batches first. The same Idempotency-Key is the same spend, for ever.",
    ),
    ("/v1/credits/spend/bulk", "post"): _operation(
        "Spend credits many times", "credits", SPENDERS, models.BulkOut, body=BulkBody,
        description="Every item has its own outcome; one that is refused stops no other.",
    ),
    ("/v1/credits/balance", "get"): _operation(
        "Get a balance", "credits", READERS, models.BalanceOut, query=["customer", "expand"],
        description="`expand=batches` adds the sums by kind and by expiry.",
    ),
}  # fmt: skip

ROUTES = [
    Route("/v1/credits/spend", spend, methods=["POST"]),
    Route("/v1/credits/spend/bulk", spend_bulk, methods=["POST"]),
    Route("/v1/credits/balance", balance, methods=["GET"]),
]
