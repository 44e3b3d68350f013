"""v1: money that a person or a statement says has come."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import offline, payments
from paydesk.flows.offline import StatementLine
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, in_thread, router, who_of
from paydesk.http.v1.models import PaymentOut, Strict, page_of
from paydesk.http.v1.payments import payment_shape
from paydesk.rules.money import Money

statements_v1 = router("statements")


class StatementIn(Strict):
    """`content` is the file's text: CSV, ISO 20022 camt.053 or SWIFT MT940."""

    provider: str = Field(default="manual", max_length=64)
    content: str = Field(min_length=1, max_length=5_000_000)
    name: str | None = Field(default=None, max_length=255)
    currency: str | None = Field(default=None, min_length=3, max_length=3)


class MatchIn(Strict):
    provider: str = Field(default="manual", max_length=64)
    line: str = Field(min_length=1, max_length=255)
    payment: str = Field(min_length=1, max_length=255)


class IgnoreIn(Strict):
    provider: str = Field(default="manual", max_length=64)
    line: str = Field(min_length=1, max_length=255)
    reason: str = Field(min_length=1, max_length=500)


class ReceivedIn(Strict):
    """`reference` is the receipt's number: the same one is the same money."""

    amount: int | None = Field(default=None, gt=0, le=2**63 - 1, strict=True)
    reference: str | None = Field(default=None, min_length=1, max_length=255)
    method: Literal["cash", "bank_transfer", "natcash", "moncash", "other"] | None = None
    note: str | None = Field(default=None, max_length=500)


class ReferenceIn(Strict):
    reference: str = Field(min_length=1, max_length=100)


class ImportedOut(BaseModel):
    object: Literal["statement_import"]
    lines: int
    known: int
    matched: int
    unmatched: int
    waiting: int


class LineOut(BaseModel):
    id: str
    object: Literal["statement_line"]
    livemode: bool
    provider: str
    booked_at: str
    amount: int
    amount_decimal: str
    currency: str
    reference: str | None
    payer: str | None
    state: Literal["unmatched", "matched", "ignored"]
    payment: str | None
    problem: str | None
    decided_by: str | None
    import_name: str | None
    imported_by: str | None
    created_at: str


def line_shape(one: StatementLine, livemode: bool) -> dict[str, Any]:
    return {
        "id": one.line_ref, "object": "statement_line", "livemode": livemode,
        "provider": one.provider, "booked_at": fields.instant(one.booked_at),
        **fields.money(one.amount), "currency": one.currency, "reference": one.reference,
        "payer": one.payer, "state": one.state,
        "payment": ids.show("payment", one.payment_id) if one.payment_id else None,
        "problem": one.problem, "decided_by": one.decided_by, "import_name": one.import_name,
        "imported_by": one.imported_by, "created_at": fields.instant(one.created_at),
    }  # fmt: skip


@statements_v1.post(
    "/v1/statements", status_code=201, response_model=None, summary="Import a statement",
    responses={201: {"model": ImportedOut}}, **cell("admin", "finance"),
)  # fmt: skip
async def import_statement(request: Request, body: StatementIn) -> Response:
    """Lines that bear a payment's reference are matched. Importing it again changes nothing."""
    return await in_thread(request, _import, request, body)


def _import(request: Request, body: StatementIn) -> Response:
    try:
        content = body.content.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A statement is UTF-8.", param="content") from None
    done = offline.import_statement(
        env_of(request), body.provider, content, by=who_of(request).caller, name=body.name,
        currency=body.currency,
    )  # fmt: skip
    return reply({
        "object": "statement_import", "lines": done.lines, "known": done.known,
        "matched": done.matched, "unmatched": done.unmatched, "waiting": done.waiting,
    }, 201)  # fmt: skip


@statements_v1.get(
    "/v1/statements/lines", response_model=None, summary="List statement lines",
    responses={200: {"model": page_of(LineOut)}}, **cell("admin", "finance", "support"),
)  # fmt: skip
def list_lines(
    request: Request,
    state: Literal["unmatched", "matched", "ignored"] | None = None,
    provider: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Newest first. `state=unmatched`: those that wait for a person."""
    env = env_of(request)
    found = offline.lines(env, state=state, provider=provider, limit=limit + 1,
                          after=starting_after)  # fmt: skip
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: line_shape(one, live)))


@statements_v1.post(
    "/v1/statements/match", response_model=None, summary="Match a line to a payment",
    responses={200: {"model": LineOut}}, **cell("admin", "finance"),
)  # fmt: skip
async def match_line(request: Request, body: MatchIn) -> Response:
    def work() -> Response:
        env = env_of(request)
        found = offline.match(env, body.provider, body.line, body.payment,
                              by=who_of(request).caller)  # fmt: skip
        return reply(line_shape(found, env.settings.live))

    return await in_thread(request, work)


@statements_v1.post(
    "/v1/statements/ignore", response_model=None, summary="Set a line aside",
    responses={200: {"model": LineOut}}, **cell("admin", "finance"),
)  # fmt: skip
async def ignore_line(request: Request, body: IgnoreIn) -> Response:
    """For money that is for nothing here."""

    def work() -> Response:
        env = env_of(request)
        found = offline.ignore(env, body.provider, body.line, body.reason,
                               by=who_of(request).caller)  # fmt: skip
        return reply(line_shape(found, env.settings.live))

    return await in_thread(request, work)


@statements_v1.post(
    "/v1/payments/{payment}/received", response_model=None, summary="Record money by hand",
    responses={200: {"model": PaymentOut}}, **cell("admin", "finance"),
)  # fmt: skip
async def record_received(request: Request, payment: str, body: ReceivedIn) -> Response:
    """Cash, a transfer or an agent's money has come: all that was asked, or `amount`."""

    def work() -> Response:
        env = env_of(request)
        one = payments.get(env, None, payment)
        money = None if body.amount is None else Money(body.amount, one.currency, minor=True)
        done = offline.confirm(
            env, one.customer_id, one.id, by=who_of(request).caller, amount=money,
            reference=body.reference, method=body.method, note=body.note,
        )  # fmt: skip
        return reply(payment_shape(done))

    return await in_thread(request, work)


@statements_v1.post(
    "/v1/payments/{payment}/reference", response_model=None, summary="Tell an agent's reference",
    responses={200: {"model": PaymentOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def tell_reference(request: Request, payment: str, body: ReferenceIn) -> Response:
    """The payer's word under which number the money was sent; it is confirmed apart from this."""

    def work() -> Response:
        env, who = env_of(request), who_of(request)
        one = payments.get(env, owners.only_own(env, who), payment)
        done = offline.submit_reference(env, one.customer_id, one.id, body.reference)
        return reply(payment_shape(done))

    return await in_thread(request, work)
