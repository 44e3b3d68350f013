"""Bodies and answers of v1: saved methods, setups, payments that are made and changed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paydesk.http.fields import (
    Code,
    Credits,
    Currency,
    DecimalText,
    Email,
    Metadata,
    Minor,
    Ref,
    Strict,
    Url,
)
from paydesk.http.v1.models import Object

Token = Ref
Provider = Field(default=None, min_length=1, max_length=64)


class MethodIn(Strict):
    """`token` is what the provider's own form made of a card; never a card's number."""

    customer: Ref | None = None
    token: Token
    provider: str | None = Provider
    default: bool = False
    metadata: Metadata = Field(default_factory=dict)


class MethodChange(Strict):
    """`default`: used from now on where nothing else is said."""

    customer: Ref | None = None
    default: Literal[True]


class SetupIn(Strict):
    """How a method is saved: `hosted` on a page of the provider (`url`), or else in the browser
    with `client_secret`; with a `token`, at once."""

    customer: Ref | None = None
    provider: str | None = Provider
    hosted: bool = False
    token: Token | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None
    default: bool = False
    metadata: Metadata = Field(default_factory=dict)


class PaymentIn(Strict):
    """What is paid (a pack, credits, an item, a service, or an amount, with `wallet` into the
    customer's wallet) and with what.

    `payment_method`: a saved method or a provider's token; the default one where `confirm` is
    true and none is named. Without `confirm`, `method` says how the money will come: a pending
    payment is recorded, with a page to pay on where its provider has one (`payment_url`).
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
    payment_method: Ref | None = None
    method: str | None = Field(default=None, min_length=1, max_length=40)
    confirm: bool = True
    off_session: bool = False
    capture: bool = True
    return_url: Url | None = None
    cancel_url: Url | None = None
    email: Email | None = None
    provider: str | None = Provider
    description: str | None = Field(default=None, max_length=500)
    reference: Ref | None = None
    payable: Ref | None = None
    metadata: Metadata = Field(default_factory=dict)


class PaymentChange(Strict):
    """`status` takes canceled or failed, for a payment that is pending."""

    status: str | None = Field(default=None, max_length=40)
    description: str | None = Field(default=None, max_length=500)
    metadata: Metadata | None = None


class CaptureIn(Strict):
    """How much of the held money to take; all of it where nothing is said."""

    amount: Minor | None = None


class MethodOut(Object):
    object: Literal["payment_method"]
    customer: str
    provider: str
    provider_method_id: str
    kind: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    country: str | None
    wallet: str | None
    default: bool
    expired: bool
    expires_soon: bool
    metadata: dict[str, Any]
    removed_at: str | None
    updated_at: str


class SetupOut(Object):
    object: Literal["setup"]
    customer: str
    provider: str
    provider_setup_id: str | None
    status: str
    client_secret: str | None
    url: str | None
    payment_method: str | None
    default: bool
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    expires_at: str | None
