"""What v1 takes and gives of refills, as models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paydesk.http.fields import Credits, Currency, DecimalText, Minor, Ref, Strict
from paydesk.http.v1.models import Object


class RefillIn(Strict):
    """What is filled and how: a `pack`, or so many `credits`, or the wallet of `currency` with
    `amount`. `threshold`: credits, or minor units of the wallet's currency. Limits of a day and of
    a month (UTC): refills, and money in minor units of what they cost. Without a `payment_method`
    the default one is charged."""

    customer: Ref | None = None
    threshold: Minor
    pack: Ref | None = None
    credits: Credits | None = None
    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None
    payment_method: Ref | None = None
    day_count: int = Field(default=3, ge=1, le=100)
    month_count: int = Field(default=20, ge=1, le=1000)
    day_amount: Minor | None = None
    month_amount: Minor | None = None
    pause_after: int = Field(default=3, ge=1, le=10)


class RefillOut(Object):
    object: Literal["refill"]
    customer: str
    status: Literal["active", "paused", "off"]
    fills: Literal["credits", "wallet"]
    currency: str | None
    threshold: int
    pack: str | None
    credits: int | None
    amount: int | None
    payment_method: str | None
    day_count: int
    month_count: int
    day_amount: int | None
    month_amount: int | None
    pause_after: int
    pause_reason: Literal["failures", "payment_method", "stopped"] | None
    failures: int
    error_code: str | None
    refills: int
    payment: str | None
    retry_at: str | None
    last_refill_at: str | None
    updated_at: str
