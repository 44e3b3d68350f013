"""What v1 takes and gives, as models: bodies are read with them, answers are documented by them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from paydesk.http.fields import (
    Code,
    Credits,
    Currency,
    DecimalText,
    Email,
    Instant,
    Metadata,
    Minor,
    Name,
    Ref,
    Strict,
    Url,
)

Text2000 = Field(default=None, max_length=2000)


# Bodies ----------------------------------------------------------------------------------------


class CustomerIn(Strict):
    """`external_id` is the application's own id; a second POST with it gives the same customer."""

    external_id: Ref
    email: Email | None = None
    name: Name | None = None
    metadata: Metadata = Field(default_factory=dict)
    clock: Ref | None = Field(None, description="One that is moved by hand, in the sandbox.")


class CustomerChange(Strict):
    """Only what is named changes. `owner` and `organization` are customers or external ids."""

    email: Email | None = None
    name: Name | None = None
    owner: Ref | None = None
    organization: Ref | None = None
    metadata: Metadata | None = None


class PackIn(Strict):
    """A pack as it shall be. The price in minor units or as a decimal text."""

    name: Name
    credits: Credits
    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None
    expires_days: int | None = Field(default=None, ge=1, le=36_500)
    active: bool = True
    position: int = Field(default=0, ge=-(2**31), le=2**31 - 1)
    description: str | None = Text2000
    metadata: Metadata = Field(default_factory=dict)


class PromoIn(Strict):
    """A code as it shall be: exactly one of percent_off, amount_off, bonus_credits and
    free_trial_days, which is for plans."""

    percent_off: int | None = Field(default=None, ge=1, le=100)
    amount_off: Minor | None = None
    amount_off_decimal: DecimalText | None = None
    currency: Currency | None = None
    bonus_credits: Credits | None = None
    free_trial_days: int | None = Field(default=None, ge=1, le=730)
    duration: Literal["once", "repeating", "forever"] = "once"
    duration_periods: int | None = Field(default=None, ge=1, le=1_200)
    cap: int | None = Field(default=None, ge=1, le=2**31 - 1)
    per_customer: int | None = Field(default=None, ge=1, le=2**31 - 1)
    min_amount: Minor | None = None
    packs: list[Ref] | None = Field(default=None, max_length=100)
    plans: list[Ref] | None = Field(default=None, max_length=100)
    first_purchase: bool = False
    customers: list[Ref] | None = Field(default=None, max_length=1000)
    match_metadata: Metadata | None = None
    starts_at: Instant | None = None
    expires_at: Instant | None = None
    active: bool = True
    metadata: Metadata = Field(default_factory=dict)


class PromoAsk(Strict):
    """A code and what it is to be used for: a pack, so many credits, an item, a service, a plan,
    or an amount. The price is the one that a checkout would ask of this customer now."""

    code: Code
    customer: Ref | None = None
    pack: Ref | None = None
    credits: Credits | None = None
    item: Ref | None = None
    quantity: int = Field(default=1, ge=1, le=10**6)
    service: Ref | None = None
    plan: Ref | None = None
    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None


class CheckoutIn(Strict):
    """What is bought: `pack`, so many `credits` at the set price, an `item`, a `service`, money
    for the `wallet`, or an `amount` of money.

    Prices, credits and currencies come from the catalogue, never from here. With `wallet` the
    amount is put into the customer's wallet.
    """

    customer: Ref | None = None
    pack: Ref | None = None
    credits: Credits | None = None
    item: Ref | None = None
    quantity: int = Field(default=1, ge=1, le=10**6)
    service: Ref | None = None
    wallet: bool = False
    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None
    promo: Code | None = None
    email: Email | None = None
    provider: str | None = Field(default=None, min_length=1, max_length=64)
    success_url: Url | None = None
    cancel_url: Url | None = None
    description: str | None = Field(default=None, max_length=500)
    reference: Ref | None = None
    metadata: Metadata = Field(default_factory=dict)


class ResolveIn(Strict):
    """`retry` tries to hand over again; `waive` hands over for what has come."""

    action: Literal["retry", "waive"]


class GrantIn(Strict):
    customer: Ref
    credits: Credits
    kind: Literal["purchased", "membership", "promotional", "refunded"] = "promotional"
    expires_at: Instant | None = Field(default=None, description="Absent: the set number of days.")
    reason: str | None = Field(default=None, max_length=255)


class CreditRefundIn(Strict):
    """Give credits of a spend back to its own batches: all that is left of it, or a part."""

    customer: Ref
    spend: Ref
    credits: Credits | None = None


class TransferIn(Strict):
    customer: Ref | None = Field(default=None, description="Whose credits move.")
    to: Ref
    credits: Credits


class KeyIn(Strict):
    name: Name
    role: Literal["service", "admin", "finance", "support"]
    expires_at: Instant | None = None
    owner: str | None = Field(default=None, max_length=320)


class TokenRevocation(Strict):
    """The `jti` of a customer's token, and `expires_at`, when it would end by itself; or the
    `subject` whose refresh tokens of our issue all end."""

    jti: Ref | None = None
    subject: Ref | None = None
    expires_at: Instant | None = None


# Answers ---------------------------------------------------------------------------------------


class Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Object(Out):
    id: str
    object: str
    livemode: bool
    created_at: str


class CustomerOut(Object):
    object: Literal["customer"]
    external_id: str
    email: str | None
    name: str | None
    owner: str
    organization: str | None
    metadata: dict[str, str]
    clock: str | None
    updated_at: str


class PackOut(Object):
    object: Literal["pack"]
    key: str
    name: str
    description: str | None
    credits: int
    amount: int
    amount_decimal: str
    currency: str
    expires_days: int | None
    active: bool
    position: int
    metadata: dict[str, str]
    updated_at: str


class PromoOut(Object):
    object: Literal["promo"]
    code: str
    kind: Literal["percent", "fixed", "bonus_credits", "free_trial"]
    percent_off: int | None
    amount_off: int | None
    amount_off_decimal: str | None
    currency: str | None
    bonus_credits: int | None
    free_trial_days: int | None
    duration: Literal["once", "repeating", "forever"]
    duration_periods: int | None
    cap: int | None
    used: int
    per_customer: int | None
    min_amount: int | None
    packs: list[str] | None
    plans: list[str] | None
    first_purchase: bool
    customers: list[str] | None
    match_metadata: dict[str, str] | None
    starts_at: str | None
    expires_at: str | None
    active: bool
    metadata: dict[str, str]
    updated_at: str


class QuoteOut(Out):
    """What a code would do, or does: `amount` is the price after it."""

    object: Literal["promo_quote"]
    livemode: bool
    code: str
    promo: str
    amount: int
    amount_decimal: str
    discount: int
    discount_decimal: str
    currency: str
    bonus_credits: int
    free_trial_days: int
    duration: Literal["once", "repeating", "forever"]
    duration_periods: int | None
    reserved_until: str | None


class FulfillmentOut(Out):
    purpose: str
    state: Literal["due", "done", "blocked", "reversed"]
    path: str
    transaction: str | None
    error_code: str | None
    error: str | None
    done_at: str | None


class StepOut(Out):
    """One change of a payment. `via` is how it came about: http, webhook, sweep, cli, library.
    Who did it, in which request, and what else is known are for staff."""

    id: str
    at: str
    type: str
    data: dict[str, Any]
    via: str | None
    actor: str | None
    request_id: str | None
    cause: dict[str, Any] | None


class AttemptOut(Out):
    id: str
    object: Literal["attempt"]
    status: str
    provider: str
    provider_session_id: str | None
    provider_payment_id: str | None
    method: str | None
    payment_method: str | None
    payment_url: str | None
    action_url: str | None
    error_code: str | None
    error_message: str | None
    provider_response: dict[str, Any] | None
    created_at: str
    updated_at: str
    expires_at: str | None
    ended_at: str | None


class PaymentOut(Object):
    """`usd` is what the payment was worth when it was made, by the stored rate `usd_rate` where it
    is in another currency. `fee`, `risk_score` and `provider_response` are for staff."""

    object: Literal["payment"]
    customer: str | CustomerOut
    checkout: str | None
    handle: str
    status: str
    amount: int
    amount_decimal: str
    currency: str
    captured: int
    captured_decimal: str
    refunded: int
    refunded_decimal: str
    refundable: int
    refundable_decimal: str
    price: int
    price_decimal: str
    discount: int
    discount_decimal: str
    credits: int
    credits_added: bool
    credits_added_at: str | None
    credit_transaction: str | None
    pack: str | None
    pack_name: str | None
    purpose: str
    payment_type: str | None
    item: str | None
    purchase: str | None
    service: str | None
    disputed: bool
    promo: str | None
    provider: str
    provider_session_id: str | None
    provider_payment_id: str | None
    method: str | None
    method_detail: dict[str, Any] | None
    payment_method: str | None
    wallet_used: str | None
    country: str | None
    payment_url: str | None
    payment_url_expires_at: str | None
    action_url: str | None
    failure_reason: str | None
    description: str | None
    reference: str | None
    review: str | None
    error_code: str | None
    error_message: str | None
    fulfillment: FulfillmentOut | None
    metadata: dict[str, Any]
    updated_at: str
    completed_at: str | None
    failed_at: str | None
    canceled_at: str | None
    deleted_at: str | None
    refunded_at: str | None
    refund_reason: str | None
    refunds: str
    expires_at: str | None
    usd: int | None
    usd_decimal: str | None
    usd_rate: str | None
    fee: int | None = None
    fee_decimal: str | None = None
    risk_score: int | None = None
    provider_response: dict[str, Any] | None = None
    timeline: list[StepOut] | None = None
    attempts: list[AttemptOut] | None = None


class LineOut(Out):
    description: str
    quantity: int
    amount: int
    amount_decimal: str


class CheckoutOut(Object):
    """`url` is the provider's page, `page_url` ours; `secret` opens our page without a login."""

    object: Literal["checkout"]
    customer: str
    payment: PaymentOut
    status: Literal["open", "complete", "failed", "expired", "canceled"]
    url: str | None
    page_url: str
    secret: str
    amount: int
    amount_decimal: str
    currency: str
    email: str | None
    success_url: str | None
    cancel_url: str | None
    lines: list[dict[str, Any]]
    expires_at: str | None


class ExpiryOut(Out):
    expires_at: str | None
    credits: int


class BalanceOut(Out):
    object: Literal["balance"]
    livemode: bool
    customer: str
    balance: int
    by_kind: dict[str, int] | None = None
    by_expiry: list[ExpiryOut] | None = None
    next_expiry_at: str | None = None


class LineOfHistory(Object):
    object: Literal["credit_line"]
    type: str
    credits: int
    balance_after: int
    reason: str | None
    reference: str | None
    kind: str | None
    batches: list[str]
    expires_at: str | None
    payment: str | None


class BatchOut(Object):
    object: Literal["credit_batch"]
    kind: str
    granted: int
    remaining: int
    expires_at: str | None
    payment: str | None


class SpendOut(Object):
    object: Literal["spend"]
    customer: str
    credits: int
    balance: int
    reason: str | None = None
    reference: str | None = None


class BulkOutcome(Out):
    """`done` with its spend, or `refused` with the problem."""

    status: Literal["done", "refused"]
    spend: SpendOut | None = None
    error: dict[str, Any] | None = None


class BulkOut(Out):
    object: Literal["list"]
    data: list[BulkOutcome]


class MoveOut(Object):
    """Credits that came or went: a grant, a refund of a spend, a transfer."""

    object: Literal["grant", "credit_refund", "credit_transfer"]
    customer: str
    credits: int
    balance: int
    transaction: str
    batch: str | None = None
    spend: str | None = None
    to: str | None = None
    over_limit: bool | None = None


class EventOut(Object):
    object: Literal["event"]
    type: str
    customer: str
    sequence: int
    subject: str
    data: dict[str, Any]


class KeyOut(Object):
    object: Literal["key"]
    name: str
    hint: str
    role: str
    owner: str | None
    seen_by: list[str]
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    secret: str | None = None


class Received(Out):
    received: bool


def page_of(model: type[BaseModel]) -> type[BaseModel]:
    """The model of a cursor page of these."""
    from pydantic import create_model

    return create_model(
        f"{model.__name__.removesuffix('Out')}Page",
        __base__=Out,
        object=(Literal["list"], ...),
        data=(list[model], ...),
        has_more=(bool, ...),
        next_cursor=(str | None, ...),
    )
