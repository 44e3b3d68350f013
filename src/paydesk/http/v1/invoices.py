"""v1: invoices: written by hand, read, paid, voided, as PDF."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import invoice_papers, invoices, payments
from paydesk.flows.invoice_views import InvoiceView, ItemView
from paydesk.flows.invoices import Discount, NewInvoice, NewItem
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import checkout_shape
from paydesk.http.v1.invoice_models import (
    InvoiceCheckoutIn,
    InvoiceCheckoutOut,
    InvoiceIn,
    InvoiceOut,
    InvoicePaidOut,
    InvoicePayIn,
    LineIn,
)
from paydesk.http.v1.models import page_of
from paydesk.http.v1.payments import payment_shape

invoices_v1 = router("invoices")

#: Who writes invoices, and who voids them.
WRITERS, DECIDERS = ("admin", "finance", "service"), ("admin", "finance")
PAYERS = ("customer", "admin", "finance", "service", "support")
PDF: dict[Any, Any] = {
    200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
}


def item_shape(one: ItemView) -> dict[str, Any]:
    unit = fields.money(one.unit, "unit_amount") if one.unit is not None else {
        "unit_amount": None, "unit_amount_decimal": None}  # fmt: skip
    return {
        "id": ids.show("invoice_item", one.id),
        "object": "invoice_item",
        "kind": one.kind,
        "description": one.description,
        **fields.money(one.amount),
        "quantity": one.quantity,
        **unit,
        "period_start": fields.instant(one.period_start),
        "period_end": fields.instant(one.period_end),
        "plan": fields.shown("plan", one.plan_id),
        "plan_version": one.plan_version,
        "of_item": fields.shown("invoice_item", one.of_item),
        "tax_rate": fields.shown("tax_rate", one.tax_rate_id),
        "tax": one.tax.minor if one.tax is not None else None,
        "product": one.product,
        "why": one.why,
    }


def invoice_shape(one: InvoiceView, *, live: bool) -> dict[str, Any]:
    return {
        "id": ids.show("invoice", one.id),
        "object": "invoice",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "subscription": fields.shown("subscription", one.subscription_id),
        "number": one.number,
        "status": one.status,
        "billing_reason": one.reason,
        "runner": one.runner,
        "currency": one.currency,
        **fields.money(one.subtotal, "subtotal"),
        **fields.money(one.discount, "discount"),
        **fields.money(one.tax, "tax"),
        **fields.money(one.total, "total"),
        **fields.money(one.balance, "balance_applied"),
        **fields.money(one.due, "amount_due"),
        **fields.money(one.paid, "amount_paid"),
        **fields.money(one.remaining, "amount_remaining"),
        **fields.money(one.credited, "amount_credited"),
        "period_start": fields.instant(one.period_start),
        "period_end": fields.instant(one.period_end),
        "items": [item_shape(item) for item in one.items],
        "payment": fields.shown("payment", one.payment_id),
        "payments": [ids.show("payment", each) for each in one.payments],
        "attempts": one.attempts,
        "next_attempt_at": fields.instant(one.next_attempt_at),
        "error_code": one.error_code,
        "due_at": fields.instant(one.due_at),
        "finalized_at": fields.instant(one.finalized_at),
        "paid_at": fields.instant(one.paid_at),
        "voided_at": fields.instant(one.voided_at),
        "uncollectible_at": fields.instant(one.uncollectible_at),
        "seller": one.seller,
        "buyer": one.buyer,
        "memo": one.memo,
        "hosted_url": one.page_url,
        "pdf_url": one.pdf_url,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


@invoices_v1.post(
    "/v1/invoices", status_code=201, response_model=None, summary="Write an invoice",
    responses={201: {"model": InvoiceOut}}, **cell(*WRITERS),
)  # fmt: skip
def create_invoice(request: Request, body: InvoiceIn) -> Response:
    """By hand; subscriptions write theirs by themselves. Taxes are those of the buyer's country."""
    env, who = env_of(request), who_of(request)
    owner, attempt = owners.owner(env, who, body.customer, create=True), attempt_of(request, who)
    what = NewInvoice(
        customer_id=owner, currency=body.currency.lower(), items=[_line(i) for i in body.items],
        discount=_discount(body), memo=body.memo, days=body.days, finalize=body.finalize,
        buyer=body.buyer.model_dump(exclude_none=True) if body.buyer else None,
        metadata=body.metadata, request_key=attempt.key if attempt else uuid4(),
    )  # fmt: skip

    def work() -> Response:
        shown = invoice_shape(invoices.create(env, what), live=env.settings.live)
        return reply(shown, 201, {"Location": f"/v1/invoices/{shown['id']}"})

    return once(env, attempt, owner, work)


def _line(one: LineIn) -> NewItem:
    if (one.amount is None) == (one.unit_amount is None):
        raise InvalidRequest("A line has an amount or a unit_amount.", param="items")
    amount = one.amount if one.amount is not None else (one.unit_amount or 0) * one.quantity
    return NewItem(
        kind="one_off" if amount >= 0 else "adjustment", description=one.description,
        amount_minor=amount, quantity=one.quantity, unit_minor=one.unit_amount,
        product=one.product,
    )  # fmt: skip


def _discount(body: InvoiceIn) -> Discount | None:
    if body.percent_off is not None and body.amount_off is not None:
        raise InvalidRequest("Send percent_off or amount_off.", param="amount_off")
    if body.percent_off is not None:
        return Discount(description=f"{body.percent_off}% off",
                        percent_micros=body.percent_off * 10_000)  # fmt: skip
    return Discount(description="Discount", minor=body.amount_off) if body.amount_off else None


@invoices_v1.get(
    "/v1/invoices", response_model=None, summary="List invoices",
    responses={200: {"model": page_of(InvoiceOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_invoices(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    subscription: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first."""
    env, who = env_of(request), who_of(request)
    found = invoices.list_(
        env, owners.scope_of(env, who, customer), status=status, limit=limit + 1,
        subscription_id=None if subscription is None else ids.parse("subscription", subscription),
        after=None if starting_after is None else ids.parse("invoice", starting_after),
    )
    return reply(fields.page(found, limit, lambda one: invoice_shape(one, live=env.settings.live)))


@invoices_v1.get(
    "/v1/invoices/{invoice}", response_model=None, summary="Get an invoice",
    responses={200: {"model": InvoiceOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_invoice(request: Request, invoice: str) -> Response:
    """With its lines, each of which says why it is what it is."""
    env = env_of(request)
    return reply(invoice_shape(_read(request, invoice), live=env.settings.live))


@invoices_v1.get(
    "/v1/invoices/{invoice}/pdf", response_model=None, summary="Get an invoice as PDF",
    responses=PDF, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def invoice_pdf(
    request: Request,
    invoice: str,
    locale: Annotated[Literal["en", "fr", "ht"] | None, Query()] = None,
) -> Response:
    """404 for a draft. Without `locale` in the customer's language."""
    env = env_of(request)
    name, pdf = invoice_papers.invoice_pdf(env, _read(request, invoice), locale)
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return Response(pdf, media_type="application/pdf", headers=headers)


@invoices_v1.post(
    "/v1/invoices/{invoice}/finalize", response_model=None, summary="Finalize a draft",
    responses={200: {"model": InvoiceOut}}, **cell(*WRITERS),
)  # fmt: skip
def finalize_invoice(request: Request, invoice: str) -> Response:
    """Its lines and taxes are fixed, and it is open. Safe to repeat."""
    return _step(request, invoice, invoices.finalize_now)


@invoices_v1.post(
    "/v1/invoices/{invoice}/pay", response_model=None, summary="Pay an invoice",
    responses={200: {"model": InvoicePaidOut}}, **cell(*PAYERS, owner="own"),
)  # fmt: skip
async def pay_invoice(request: Request, invoice: str, body: InvoicePayIn) -> Response:
    """Charges a saved method. `payment` says how that went, also where it failed."""
    return await at_provider(request, _pay, request, invoice, body)


def _pay(request: Request, invoice: str, body: InvoicePayIn) -> Response:
    env, who = env_of(request), who_of(request)
    one, attempt = _read(request, invoice), attempt_of(request, who)

    def work() -> Response:
        paid = invoices.pay(
            env, one.customer_id, one.id, method=body.payment_method, return_url=body.return_url,
            request_key=attempt.key if attempt else None,
        )
        made = payments.get(env, one.customer_id, paid.payment_id) if paid.payment_id else None
        return reply({
            "object": "invoice_payment",
            "invoice": invoice_shape(paid, live=env.settings.live),
            "payment": payment_shape(made) if made else None,
        })  # fmt: skip

    return once(env, attempt, one.customer_id, work)


@invoices_v1.post(
    "/v1/invoices/{invoice}/checkout", status_code=201, response_model=None,
    summary="Open a page to pay an invoice", responses={201: {"model": InvoiceCheckoutOut}},
    **cell(*PAYERS, owner="own"),
)  # fmt: skip
async def open_invoice_checkout(
    request: Request, invoice: str, body: InvoiceCheckoutIn
) -> Response:
    """The page that is open for it already, where there is one."""
    return await at_provider(request, _checkout, request, invoice, body)


def _checkout(request: Request, invoice: str, body: InvoiceCheckoutIn) -> Response:
    env, who = env_of(request), who_of(request)
    one, attempt = _read(request, invoice), attempt_of(request, who)

    def work() -> Response:
        made = invoices.checkout_for(
            env, one.customer_id, one.id, success_url=body.success_url, provider=body.provider,
            cancel_url=body.cancel_url, request_key=attempt.key if attempt else None,
        )  # fmt: skip
        return reply(checkout_shape(made), 201)

    return once(env, attempt, one.customer_id, work)


@invoices_v1.post(
    "/v1/invoices/{invoice}/void", response_model=None, summary="Void an invoice",
    responses={200: {"model": InvoiceOut}}, **cell(*DECIDERS),
)  # fmt: skip
async def void_invoice(request: Request, invoice: str) -> Response:
    """It asks for nothing any more; what the customer's balance paid is given back."""
    return await at_provider(request, _step, request, invoice, invoices.void)


@invoices_v1.post(
    "/v1/invoices/{invoice}/uncollectible", response_model=None, summary="Give an invoice up",
    responses={200: {"model": InvoiceOut}}, **cell(*DECIDERS),
)  # fmt: skip
def mark_invoice_uncollectible(request: Request, invoice: str) -> Response:
    """No more tries are made. It may still be paid."""
    return _step(request, invoice, invoices.mark_uncollectible)


def _step(request: Request, invoice: str, step: Any) -> Response:
    env, who = env_of(request), who_of(request)
    one = _read(request, invoice)

    def work() -> Response:
        return reply(invoice_shape(step(env, one.customer_id, one.id), live=env.settings.live))

    return once(env, attempt_of(request, who), one.customer_id, work)


def _read(request: Request, invoice: str) -> InvoiceView:
    env, who = env_of(request), who_of(request)
    own: UUID | None = owners.only_own(env, who)
    return invoices.get(env, own, ids.parse("invoice", invoice))
