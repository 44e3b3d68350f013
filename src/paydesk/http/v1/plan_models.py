"""What v1 takes and gives of plans and tax rates, as models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from paydesk.http.fields import (
    MAX_AMOUNT,
    MAX_CREDITS,
    Currency,
    DecimalText,
    Instant,
    Metadata,
    Name,
    Strict,
)
from paydesk.http.v1.models import Object, Out, Text2000

#: Minor units of a price, which may be nothing.
Price = Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="Minor units of the currency.")]
Policy = Literal["seconds", "days", "none", "full"]
When = Literal["now", "period_end"]
Unit = Literal["day", "week", "month", "year"]
Rollover = Literal["none", "all", "capped"]


class PriceOfPlan(Strict):
    """Of one seat for one period, in minor units or as a decimal text."""

    amount: Price | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None


class GrantOfPlan(Strict):
    """A resource, such as type course and id python; `*` is every one of the type."""

    type: str = Field(min_length=1, max_length=64)
    id: str = Field(default="*", min_length=1, max_length=255)


class Dunning(Strict):
    """Days after the first failure on which the money is asked for again, and what then."""

    days: list[int] = Field(default=[1, 3, 5, 7], max_length=12)
    final: Literal["cancel", "unpaid", "downgrade"] = "cancel"
    downgrade_to: str | None = Field(default=None, min_length=1, max_length=100)


class PlanIn(Strict):
    """A plan as it shall be: one price, or `prices` in several currencies. Changed terms become
    the next version."""

    name: Name
    kind: Literal["plan", "membership"] = "plan"
    family: str | None = Field(default=None, min_length=1, max_length=100)
    amount: Price | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None
    prices: list[PriceOfPlan] | None = Field(default=None, min_length=1, max_length=100)
    interval: Unit = "month"
    interval_count: int = Field(default=1, ge=1, le=1_000)
    billing: Literal["anniversary", "calendar"] = "anniversary"
    trial_days: int = Field(default=0, ge=0, le=730)
    trial_needs_method: bool = True
    grants: list[GrantOfPlan] | None = Field(default=None, max_length=100)
    credits: int = Field(default=0, ge=0, le=MAX_CREDITS)
    credits_rollover: Rollover = "none"
    credits_cap: int | None = Field(default=None, ge=1, le=MAX_CREDITS)
    least_quantity: int = Field(default=1, ge=1, le=10**6)
    most_quantity: int | None = Field(default=None, ge=1, le=10**6)
    upgrade: Policy = "seconds"
    downgrade: Policy = "seconds"
    upgrade_when: When = "now"
    downgrade_when: When = "period_end"
    dunning: Dunning | None = None
    grace_days: int = Field(default=7, ge=0, le=365)
    product: str = Field(default="", max_length=100)
    active: bool = True
    public: bool = True
    position: int = Field(default=0, ge=-(2**31), le=2**31 - 1)
    description: str | None = Text2000
    metadata: Metadata = Field(default_factory=dict)


class PriceOut(Strict):
    amount: int
    amount_decimal: str
    currency: str


class TermsOut(Out):
    """What was agreed on; a version never changes."""

    version: int
    prices: list[PriceOut]
    interval: Unit
    interval_count: int
    billing: Literal["anniversary", "calendar"]
    trial_days: int
    trial_needs_method: bool
    grants: list[dict[str, Any]]
    credits: int
    credits_rollover: Rollover
    credits_cap: int | None
    least_quantity: int
    most_quantity: int
    upgrade: Policy
    downgrade: Policy
    upgrade_when: When
    downgrade_when: When
    dunning: dict[str, Any]
    grace_days: int
    product: str


class PlanOut(Object, TermsOut):
    """A plan with the terms that are sold now."""

    object: Literal["plan"]
    key: str
    kind: Literal["plan", "membership"]
    family: str
    name: str
    description: str | None
    active: bool
    public: bool
    position: int
    metadata: dict[str, Any]
    updated_at: str


class VersionOut(TermsOut):
    object: Literal["plan_version"]
    livemode: bool
    plan: str


class VersionsOut(Out):
    object: Literal["list"]
    data: list[VersionOut]
    has_more: bool
    next_cursor: str | None


class TaxRateIn(Strict):
    """`percent` such as "8.875". Without `country` it is for everywhere else, without `product`
    for everything else; it holds from `valid_from`, by default from now on."""

    name: str = Field(min_length=1, max_length=100)
    percent: str = Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?$", examples=["8.875"])
    country: str = Field(default="", pattern=r"^([A-Za-z]{2})?$", examples=["DE"])
    product: str = Field(default="", max_length=100)
    inclusive: bool = False
    valid_from: Instant | None = None


class TaxRateOut(Object):
    object: Literal["tax_rate"]
    name: str
    percent: str
    country: str
    product: str
    inclusive: bool
    active: bool
    valid_from: str | None
    created_by: str | None
