"""What v1 takes and gives of items, purchases, services and access, as models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paydesk.http.fields import (
    Currency,
    DecimalText,
    Instant,
    Metadata,
    Minor,
    Name,
    Ref,
    Strict,
)
from paydesk.http.v1.models import Object, Out, Text2000

Days = Field(default=None, ge=1, le=36_500)
Resource = Field(min_length=1, max_length=320, examples=["course:python"])


class GrantOfItem(Strict):
    """A resource, such as type course and id python; `*` is every one of the type."""

    type: str = Field(min_length=1, max_length=64)
    id: str = Field(default="*", min_length=1, max_length=255)
    days: int | None = Days


class RuleOfItem(Strict):
    """When it holds, and exactly one of unit_price, percent_off and amount_off, in minor units."""

    name: Name
    customer: Metadata | None = None
    quantity_from: int | None = Field(default=None, ge=1, le=2**31 - 1)
    quantity_to: int | None = Field(default=None, ge=1, le=2**31 - 1)
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    unit_price: Minor | None = None
    percent_off: int | None = Field(default=None, ge=1, le=100)
    amount_off: Minor | None = None


class ItemIn(Strict):
    """An item as it shall be; a service has `duration_months`."""

    name: Name
    kind: Literal["item", "service"] = "item"
    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None
    repeatable: bool = False
    most_quantity: int | None = Field(default=None, ge=1, le=10**6)
    duration_months: int | None = Field(default=None, ge=1, le=1_200)
    access_days: int | None = Days
    grants: list[GrantOfItem] | None = Field(default=None, max_length=100)
    rules: list[RuleOfItem] | None = Field(default=None, max_length=50)
    active: bool = True
    position: int = Field(default=0, ge=-(2**31), le=2**31 - 1)
    description: str | None = Text2000
    metadata: Metadata = Field(default_factory=dict)


class AccessIn(Strict):
    """Access given by hand, for `days`, until `expires_at`, or for ever."""

    customer: Ref
    resource: str = Resource
    days: int | None = Days
    starts_at: Instant | None = None
    expires_at: Instant | None = None
    reason: str | None = Field(default=None, max_length=255)


class RevokeIn(Strict):
    reason: str | None = Field(default=None, max_length=255)


class ItemOut(Object):
    object: Literal["item"]
    key: str
    kind: Literal["item", "service"]
    name: str
    description: str | None
    amount: int
    amount_decimal: str
    currency: str
    repeatable: bool
    most_quantity: int
    duration_months: int | None
    access_days: int | None
    grants: list[dict[str, Any]]
    rules: list[dict[str, Any]] | None = None
    active: bool
    position: int
    metadata: dict[str, Any]
    updated_at: str


class PriceOut(Out):
    """`pricing` says what each rule took off the full price."""

    object: Literal["item_price"]
    livemode: bool
    item: str
    quantity: int
    full: int
    full_decimal: str
    amount: int
    amount_decimal: str
    currency: str
    pricing: list[dict[str, Any]]


class PurchaseOut(Object):
    object: Literal["purchase"]
    customer: str
    item: str
    name: str
    quantity: int
    status: Literal["pending", "completed", "failed", "canceled", "refunded"]
    payment: str
    price: int
    price_decimal: str
    paid: int
    paid_decimal: str
    refunded: int
    refunded_decimal: str
    currency: str
    pricing: list[dict[str, Any]]
    completed_at: str | None
    refunded_at: str | None
    updated_at: str


class ServiceOut(Object):
    object: Literal["service"]
    customer: str
    service_type: str
    status: Literal["pending", "active", "ended", "canceled"]
    active: bool
    duration_months: int
    fee: int
    fee_decimal: str
    currency: str
    payment: str | None
    starts_at: str | None
    expires_at: str
    activated_at: str | None
    ended_at: str | None
    end_reason: str | None
    updated_at: str


class AccessOut(Object):
    """A grant. `source` is the id of what gave it: a purchase, a service, or itself."""

    object: Literal["access"]
    customer: str
    resource: str
    source: str
    payment: str | None
    status: Literal["active", "coming", "expired", "revoked"]
    starts_at: str
    expires_at: str | None
    reason: str | None
    granted_by: str | None
    revoked_at: str | None
    revoked_by: str | None
    revoked_reason: str | None


class CheckOut(Out):
    """Whether the customer may. `offer_url` leads to what gives access, where something does."""

    object: Literal["access_check"]
    livemode: bool
    customer: str
    resource: str
    allowed: bool
    reason: Literal[
        "granted", "not_purchased", "expired", "revoked", "not_yet", "past_due", "unpaid"
    ]
    source: str | None
    expires_at: str | None
    offer_url: str | None
    at: str
