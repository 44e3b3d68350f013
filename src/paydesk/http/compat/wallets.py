"""Wallets: payments that fill a wallet, under /payments; upper-case words, gourdes by default."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import customers, direct, payment_edits, payments
from paydesk.flows.direct import NewPayment
from paydesk.flows.payments import PaymentView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.compat.shapes import CamelIn, DecimalNumber, amount_of, bare, owner
from paydesk.http.fields import Metadata, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, in_thread, router, who_of
from paydesk.http.v1.checkouts import started_by
from paydesk.http.v1.payment_edits import check_paid, may_confirm
from paydesk.rules.money import Money
from paydesk.tracker.models import STATE_OF

wallets = router("wallets")

PAYERS = ("customer", "admin", "service")
#: The document's word for each of our states; a part refunded shows in `refunded_amount`.
STATUS = {
    "pending": "PENDING", "requires_action": "PENDING", "processing": "PROCESSING",
    "authorized": "PROCESSING", "succeeded": "COMPLETED", "partially_refunded": "COMPLETED",
    "failed": "FAILED", "canceled": "CANCELLED", "expired": "CANCELLED", "refunded": "REFUNDED",
}  # fmt: skip
#: The word for what each provider collects; where it is None, the payment's own method.
METHOD = {"stripe": "STRIPE", "moncash": "MONCASH", "natcash": "NATCASH", "paypal": "PAYPAL",
          "btcpay": "CRYPTO", "wallet": "WALLET"}  # fmt: skip
#: DECIMAL(15,2).
MOST, PLACES = Decimal("9999999999999.99"), Decimal("0.01")
DEFAULT_PAGE, MAX_PAGE = 20, 10**6


class CreatePayment(CamelIn):
    """`amount` in major units, read from its own digits."""

    amount: DecimalNumber
    method: str = Field(min_length=1, max_length=40)
    currency: str | None = Field(default=None, min_length=3, max_length=3)
    description: str | None = Field(default=None, max_length=500)
    reference: Ref | None = None
    metadata: Metadata = Field(default_factory=dict)
    user_id: Ref | None = None
    return_url: Url | None = None


class ProcessStripePayment(CamelIn):
    """`paymentMethodId`: a saved method, or what the provider's form made of a card."""

    amount: DecimalNumber
    payment_method_id: Ref
    currency: str | None = Field(default=None, min_length=3, max_length=3)
    description: str | None = Field(default=None, max_length=500)
    user_id: Ref | None = None
    return_url: Url | None = None


class UpdatePayment(CamelIn):
    status: str | None = Field(default=None, max_length=40)
    description: str | None = Field(default=None, max_length=500)
    metadata: Metadata | None = None


class PaymentRow(BaseModel):
    """The document's model `Payment`, and what a wallet's payment may need besides."""

    model_config = ConfigDict(extra="forbid")

    id: str
    user_id: str
    amount: float
    currency: str
    method: str
    status: str
    description: str | None
    reference: str | None
    stripe_payment_intent_id: str | None
    metadata: dict[str, Any]
    completed_at: str | None
    created_at: str
    updated_at: str
    refunded_amount: float
    payment_url: str | None
    action_url: str | None
    failure_reason: str | None


class PaymentRows(BaseModel):
    """A numbered page, newest first; `total` counts no further than ten thousand."""

    model_config = ConfigDict(extra="forbid")

    data: list[PaymentRow]
    total: int
    page: int
    limit: int
    totalPages: int


def method_word(one: PaymentView) -> str:
    return METHOD.get(one.provider) or (one.method or "other").upper()


def row(one: PaymentView, user_id: str) -> dict[str, Any]:
    """A payment as the document's model has it."""
    is_stripe = one.provider == "stripe"
    return {
        "id": bare(one.id),
        "user_id": user_id,
        "amount": fields.plain_number(one.amount),
        "currency": one.currency.upper(),
        "method": method_word(one),
        "status": STATUS[one.state],
        "description": one.description,
        "reference": one.reference,
        "stripe_payment_intent_id": one.payment_ref if is_stripe else None,
        "metadata": one.metadata,
        "completed_at": fields.instant(one.completed_at),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
        "refunded_amount": fields.plain_number(one.refunded),
        "payment_url": one.payment_url,
        "action_url": one.action_url,
        "failure_reason": one.failure_reason,
    }


def _row(env: Any, one: PaymentView) -> dict[str, Any]:
    return row(one, customers.get(env, one.customer_id).external_id)


def _money(env: Any, body: CreatePayment | ProcessStripePayment) -> Money:
    """The amount asked, in the currency asked or this family's own; DECIMAL(15,2)."""
    found = amount_of(body.amount, (body.currency or env.settings.wallets_currency).lower())
    assert found is not None
    if found.decimal > MOST or found.decimal % PLACES:
        raise InvalidRequest(
            "amount has at most 13 digits before the point and two after it.", param="amount"
        )
    return found


@wallets.post(
    "/payments", status_code=201, response_model=None, summary="Create a payment",
    responses={201: {"model": PaymentRow}}, **cell(*PAYERS, owner="own"),
)  # fmt: skip
async def create(request: Request, body: CreatePayment) -> Response:
    """A pending payment into the wallet: with a page to pay on (`payment_url`) where the method's
    provider has one, else until an administrator confirms it."""
    return await at_provider(request, _create, request, body)


def _create(request: Request, body: CreatePayment) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id, attempt = owner(env, who, body.user_id, create=True), attempt_of(request, who)
    wanted = NewPayment(
        customer_id=customer_id, wallet=_money(env, body), method=body.method,
        description=body.description, reference=body.reference, metadata=body.metadata,
        return_url=body.return_url or env.settings.stripe_return_url or None, email=who.email,
        **started_by(attempt),
    )  # fmt: skip
    return once(
        env, attempt, customer_id, lambda: reply(_row(env, direct.create(env, wanted)), 201)
    )


@wallets.post(
    "/payments/stripe/process", status_code=201, response_model=None,
    summary="Pay with a card", responses={201: {"model": PaymentRow}},
    **cell(*PAYERS, owner="own"),
)  # fmt: skip
async def process(request: Request, body: ProcessStripePayment) -> Response:
    """Charges at once and fills the wallet. PENDING with an `action_url` where the bank asks the
    card's owner; a declined card is a 402 `payment_failed`."""
    return await at_provider(request, _process, request, body)


def _process(request: Request, body: ProcessStripePayment) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id, attempt = owner(env, who, body.user_id, create=True), attempt_of(request, who)
    wanted = NewPayment(
        customer_id=customer_id, wallet=_money(env, body), method=body.payment_method_id,
        provider="stripe", description=body.description, email=who.email,
        return_url=body.return_url or env.settings.stripe_return_url or None,
        **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        one = direct.process(env, wanted)
        check_paid(one)
        return reply(_row(env, one), 201)

    return once(env, attempt, customer_id, work)


# Lists come before single payments: their addresses would be taken for ids.

Status = Annotated[str | None, Query(max_length=40)]
Word = Annotated[str | None, Query(max_length=40)]
Day = Annotated[str | None, Query(max_length=40)]
PageNumber = Annotated[int, Query(ge=1, le=MAX_PAGE)]
PageSize = Annotated[int, Query(ge=1, le=100)]


@wallets.get(
    "/payments", response_model=None, summary="List payments",
    responses={200: {"model": PaymentRows}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def list_all(
    request: Request,
    status: Status = None,
    method: Word = None,
    currency: Annotated[str | None, Query(max_length=3)] = None,
    start: Annotated[str | None, Query(alias="startDate", max_length=40)] = None,
    end: Annotated[str | None, Query(alias="endDate", max_length=40)] = None,
    page: PageNumber = 1,
    limit: PageSize = DEFAULT_PAGE,
) -> Response:
    """A customer's own; everybody's for staff."""

    def work() -> Response:
        env, who = env_of(request), who_of(request)
        return _page(request, owners.scope_of(env, who, None), page, limit,
                     _filters(status, method, currency, start, end))  # fmt: skip

    return await in_thread(request, work)


@wallets.get(
    "/payments/user/{user}", response_model=None, summary="List a user's payments",
    responses={200: {"model": PaymentRows}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def list_of_user(
    request: Request,
    user: str,
    status: Status = None,
    method: Word = None,
    page: PageNumber = 1,
    limit: PageSize = DEFAULT_PAGE,
) -> Response:
    def work() -> Response:
        env, who = env_of(request), who_of(request)
        return _page(request, owners.owner(env, who, user), page, limit,
                     _filters(status, method, None, None, None))  # fmt: skip

    return await in_thread(request, work)


def _filters(
    status: str | None, method: str | None, currency: str | None, start: str | None,
    end: str | None,
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {"currency": currency and currency.lower()}
    if status is not None:
        found["states"] = _states(status)
    if method is not None:
        word = method.upper()
        names = [name for name, known in METHOD.items() if known == word]
        found |= {"provider": names[0]} if names else {"method": word.lower()}
    if start is not None:
        found["created_from"] = _day(start, "startDate")
    if end is not None:
        # A day is meant as a whole.
        found["created_to"] = _day(end, "endDate") + timedelta(days=len(end) == 10)
    return found


def _states(status: str) -> list[str]:
    """Our states for a status word of any document; this one's words stand for all they show."""
    word = status.upper()
    if word in STATUS.values():
        return [state for state, shown in STATUS.items() if shown == word]
    if status.lower() not in STATE_OF:
        raise InvalidRequest(f"{status[:40]!r} is no payment status.", param="status")
    return [STATE_OF[status.lower()]]


def _day(text: str, param: str) -> datetime:
    try:
        if len(text) == 10:
            found = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        else:
            found = datetime.fromisoformat(text)
        # At the calendar's ends an offset or one more day would leave it.
        if found.tzinfo is None or not 1000 <= found.year <= 9000:
            raise ValueError("no offset, or a year that nothing was paid in")
    except ValueError:
        raise InvalidRequest(f"{param} is a day such as 2024-01-31, or an instant.",
                             param=param) from None  # fmt: skip
    return found.astimezone(UTC)


def _page(
    request: Request, customer_id: UUID | None, page: int, limit: int, wanted: dict[str, Any]
) -> Response:
    env = env_of(request)
    total = payments.count(env, customer_id, **wanted)
    found = payments.list_(env, customer_id, limit=limit, offset=(page - 1) * limit, **wanted)
    names = {one: customers.get(env, one).external_id for one in {p.customer_id for p in found}}
    return reply({
        "data": [row(one, names[one.customer_id]) for one in found],
        "total": total,
        "page": page,
        "limit": limit,
        "totalPages": -(-total // limit),
    })


# One payment -----------------------------------------------------------------------------------


def _find(request: Request, payment: str) -> PaymentView:
    env, who = env_of(request), who_of(request)
    one = payments.get(env, owners.only_own(env, who), payment)
    if one.deleted_at is not None and who.role != "admin":
        raise NotFound(f"No such payment: {payment[:64]!r}.")
    return one


@wallets.get(
    "/payments/{payment}", response_model=None, summary="Get a payment",
    responses={200: {"model": PaymentRow}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def get(request: Request, payment: str) -> Response:
    """By its id, or the provider's."""
    return await in_thread(request, lambda: reply(_row(env_of(request), _find(request, payment))))


@wallets.post(
    "/payments/{payment}/confirm", response_model=None, summary="Confirm a payment",
    responses={200: {"model": PaymentRow}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def confirm(request: Request, payment: str) -> Response:
    """Asks the provider; where it says so, the payment is COMPLETED and the wallet filled. Cash
    and the like are confirmed by an administrator."""

    def work() -> Response:
        env, one = env_of(request), _find(request, payment)
        more = may_confirm(env, who_of(request), one)
        return reply(_row(env, direct.confirm(env, one.customer_id, one.id, **more)))

    return await at_provider(request, work)


@wallets.patch(
    "/payments/{payment}", response_model=None, summary="Change a payment",
    responses={200: {"model": PaymentRow}}, **cell("admin"),
)  # fmt: skip
async def update(request: Request, payment: str, body: UpdatePayment) -> Response:
    """CANCELLED and FAILED end a pending payment once its provider has stopped it; COMPLETED is
    409 `use_confirm`, REFUNDED 409 `use_refund`."""

    def work() -> Response:
        env, one = env_of(request), _find(request, payment)
        told = {name: getattr(body, name) for name in body.model_fields_set}
        if told.get("status") is not None and _shows(one, told["status"]):
            del told["status"]
        return reply(_row(env, payment_edits.update(env, one.customer_id, one.id, **told)))

    return await at_provider(request, work)


def _shows(one: PaymentView, word: str) -> bool:
    """Whether the payment shows this very word already."""
    return STATUS[one.state] == word.upper()


@wallets.delete(
    "/payments/{payment}", response_model=None, summary="Delete a payment",
    responses={200: {"model": PaymentRow}}, **cell("admin"),
)  # fmt: skip
async def delete(request: Request, payment: str) -> Response:
    """Hides what no money came for; the record stays for the audit."""

    def work() -> Response:
        env, one = env_of(request), _find(request, payment)
        return reply(_row(env, payment_edits.remove(env, one.customer_id, one.id)))

    return await at_provider(request, work)
