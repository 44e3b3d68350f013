"""v1: credit notes: what is given back of an invoice."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import credit_notes, invoice_papers, invoices
from paydesk.flows.credit_notes import NewNote, NoteView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.invoice_models import CreditNoteIn, CreditNoteOut
from paydesk.http.v1.invoices import DECIDERS, PDF
from paydesk.http.v1.models import page_of
from paydesk.rules.money import Money

credit_notes_v1 = router("invoices")


def note_shape(one: NoteView, *, live: bool, is_staff: bool) -> dict[str, Any]:
    """A credit note; who gave it is told to staff only."""
    shape = {
        "id": ids.show("credit_note", one.id),
        "object": "credit_note",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "invoice": ids.show("invoice", one.invoice_id),
        "number": one.number,
        "status": one.status,
        "currency": one.amount.currency,
        **fields.money(one.amount),
        **fields.money(one.tax, "tax"),
        **fields.money(one.refunded, "refunded"),
        **fields.money(one.balance, "balance"),
        **fields.money(one.written_off, "written_off"),
        "items": [
            {**item, "item": fields.shown("invoice_item", ids.parse("invoice_item", item["item"]))}
            for item in one.items
        ],
        "reason": one.reason,
        "memo": one.memo,
        "refund": fields.shown("refund", one.refund_id),
        "refund_status": one.refund_status,
        "created_at": fields.instant(one.created_at),
    }
    return shape | ({"created_by": one.created_by} if is_staff else {})


@credit_notes_v1.post(
    "/v1/credit-notes", status_code=201, response_model=None, summary="Give back of an invoice",
    responses={201: {"model": CreditNoteOut}}, **cell(*DECIDERS),
)  # fmt: skip
async def create_credit_note(request: Request, body: CreditNoteIn) -> Response:
    """To the payer, to the customer's balance, or, of an open invoice, by asking for less."""
    return await at_provider(request, _create, request, body)


def _create(request: Request, body: CreditNoteIn) -> Response:
    env, who = env_of(request), who_of(request)
    invoice = invoices.get(env, None, body.invoice)
    attempt = attempt_of(request, who)

    def part(value: int | None) -> Money | None:
        return None if value is None else Money(value, invoice.currency, minor=True)

    what = NewNote(
        customer_id=invoice.customer_id, invoice_id=invoice.id, reason=body.reason,
        amount=fields.money_of(body.amount, body.amount_decimal, None, invoice.currency),
        refund=part(body.refund), balance=part(body.balance), memo=body.memo,
        items=[(ids.parse("invoice_item", one.item), one.amount) for one in body.items],
        by=who.caller, persons=who.persons, actor_role=who.role,
        request_key=attempt.key if attempt else uuid4(),
    )  # fmt: skip

    def work() -> Response:
        one = credit_notes.create(env, what)
        shown = note_shape(one, live=env.settings.live, is_staff=True)
        return reply(shown, 201, {"Location": f"/v1/credit-notes/{shown['id']}"})

    return once(env, attempt, invoice.customer_id, work)


@credit_notes_v1.get(
    "/v1/credit-notes", response_model=None, summary="List credit notes",
    responses={200: {"model": page_of(CreditNoteOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_credit_notes(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    invoice: Annotated[str | None, Query(max_length=255)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first."""
    env, who = env_of(request), who_of(request)
    owner = owners.scope_of(env, who, customer)
    found = credit_notes.list_(
        env, owner, limit=limit + 1,
        invoice_id=None if invoice is None else invoices.get(env, owner, invoice).id,
        after=None if starting_after is None else ids.parse("credit_note", starting_after),
    )
    live, is_staff = env.settings.live, not who.is_customer
    return reply(
        fields.page(found, limit, lambda one: note_shape(one, live=live, is_staff=is_staff))
    )


@credit_notes_v1.get(
    "/v1/credit-notes/{credit_note}", response_model=None, summary="Get a credit note",
    responses={200: {"model": CreditNoteOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_credit_note(request: Request, credit_note: str) -> Response:
    """As it stands, with its refund."""
    env, who = env_of(request), who_of(request)
    return reply(note_shape(_read(request, credit_note), live=env.settings.live,
                            is_staff=not who.is_customer))  # fmt: skip


@credit_notes_v1.get(
    "/v1/credit-notes/{credit_note}/pdf", response_model=None, summary="Get a credit note as PDF",
    responses=PDF, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def credit_note_pdf(
    request: Request,
    credit_note: str,
    locale: Annotated[Literal["en", "fr", "ht"] | None, Query()] = None,
) -> Response:
    """Without `locale` in the customer's language."""
    env = env_of(request)
    name, pdf = invoice_papers.note_pdf(env, _read(request, credit_note), locale)
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return Response(pdf, media_type="application/pdf", headers=headers)


@credit_notes_v1.post(
    "/v1/credit-notes/{credit_note}/void", response_model=None, summary="Take a credit note back",
    responses={200: {"model": CreditNoteOut}}, **cell(*DECIDERS),
)  # fmt: skip
def void_credit_note(request: Request, credit_note: str) -> Response:
    """Only where its refund came to nothing."""
    env, who = env_of(request), who_of(request)
    one = _read(request, credit_note)

    def work() -> Response:
        done = credit_notes.void(env, one.customer_id, one.id, by=who.caller)
        return reply(note_shape(done, live=env.settings.live, is_staff=True))

    return once(env, attempt_of(request, who), one.customer_id, work)


def _read(request: Request, ref: str) -> NoteView:
    env, who = env_of(request), who_of(request)
    return credit_notes.get(env, owners.only_own(env, who), ids.parse("credit_note", ref))
