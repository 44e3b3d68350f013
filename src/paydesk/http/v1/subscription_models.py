"""What v1 takes and gives of subscriptions, as models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paydesk.http.fields import Code, Currency, DecimalText, Instant, Metadata, Ref, Strict, Url
from paydesk.http.v1.method_models import SetupOut
from paydesk.http.v1.models import CheckoutOut, Object, Out, PaymentOut

When = Literal["now", "period_end"]
Seats = Field(default=None, ge=1, le=1_000_000)


class SubscriptionPreviewIn(Strict):
    """A plan, and how it would be paid for: by the saved `payment_method` (the default one), or,
    without any or with `hosted`, on a page. `trial_days` is not for customers to say."""

    customer: Ref | None = None
    plan: Ref
    quantity: int = Field(default=1, ge=1, le=1_000_000)
    currency: Currency | None = None
    promo: Code | None = None
    trial_days: int | None = Field(default=None, ge=0, le=730)
    payment_method: Ref | None = None
    hosted: bool = False
    provider: str | None = Field(default=None, min_length=1, max_length=64)
    runner: Literal["paydesk", "provider"] = "paydesk"
    zone: str | None = Field(default=None, min_length=1, max_length=64)


class SubscriptionIn(SubscriptionPreviewIn):
    """A plan, and how it is paid for: by the saved `payment_method` (the default one), or, without
    any or with `hosted`, on a page. `trial_days` is not for customers to say. `expect`: the token
    of a preview, with which it is refused where it would cost another sum by now."""

    success_url: Url | None = None
    cancel_url: Url | None = None
    metadata: Metadata = Field(default_factory=dict)
    expect: str | None = Field(default=None, min_length=1, max_length=80)


class ChangePreviewIn(Strict):
    """The plan or the seats that it would have; `at` now, at the period's end, or as the plan
    has it."""

    plan: Ref | None = None
    quantity: int | None = Seats
    at: When | None = None


class ChangeIn(ChangePreviewIn):
    """`expect`: the token of a preview, with which a change is refused that would cost another
    sum by now. `return_url`: where a bank's page leads back to."""

    expect: str | None = Field(default=None, min_length=1, max_length=80)
    return_url: Url | None = None


class CancelIn(Strict):
    """`refund` with `at` now gives back what was paid for the rest; not for customers to say."""

    at: When = "period_end"
    reason: str | None = Field(default=None, min_length=1, max_length=255)
    refund: Literal["unused"] | None = None


class PauseIn(Strict):
    """`resume_at`: when its time runs on by itself."""

    resume_at: Instant | None = None


class SubscriptionMethodIn(Strict):
    """The method to charge from now on; without one whichever is the default."""

    payment_method: Ref | None = None


class NextChange(Out):
    """What waits for the period's end, or for its payment."""

    plan: str
    quantity: int


class SubscriptionOut(Object):
    """`amount` is what a period costs for all seats, before discounts and taxes. A new one that is
    incomplete waits for `url`. `payment` is the one under way that a new one or a change waits for:
    where it is `requires_action` its `action_url`, which is `url` too, is the bank's page."""

    object: Literal["subscription"]
    customer: str
    status: str
    plan: str
    plan_key: str
    plan_name: str
    plan_version: int
    family: str
    kind: str
    runner: str
    quantity: int
    currency: str
    unit_amount: int
    unit_amount_decimal: DecimalText
    amount: int
    amount_decimal: DecimalText
    interval: str
    interval_count: int
    period: int
    current_period_start: str
    current_period_end: str
    zone: str
    trial_start: str | None
    trial_end: str | None
    cancel_at: str | None
    canceled_at: str | None
    cancel_reason: str | None
    ended_at: str | None
    end_reason: str | None
    paused_at: str | None
    resume_at: str | None
    next: NextChange | None
    promo: str | None
    payment_method: str | None
    provider: str
    latest_invoice: str | None
    url: str | None
    checkout: CheckoutOut | None
    setup: SetupOut | None
    payment: PaymentOut | None
    metadata: dict[str, str]
    updated_at: str


class ChangeLineOut(Out):
    """A line that the invoice would have; below zero what is credited or taken off."""

    kind: str
    description: str
    amount: int
    amount_decimal: str
    period_start: str | None
    period_end: str | None
    why: dict[str, Any]


class ChangePreviewOut(Out):
    """`due_now` is charged at once, `credit` goes to the customer's balance. `token` stands for
    these figures for an hour."""

    object: Literal["subscription_change_preview"]
    livemode: bool
    subscription: str
    plan: str
    quantity: int
    at: When
    currency: str
    lines: list[ChangeLineOut]
    total: int
    total_decimal: str
    credit: int
    credit_decimal: DecimalText
    due_now: int
    due_now_decimal: DecimalText
    next_at: str
    next_amount: int
    next_amount_decimal: DecimalText
    credits_back: int
    credits_given: int
    token: str


class SubscriptionPreviewOut(Out):
    """`lines` are of the first invoice, on `first_at`: now, or when the trial ends. `from_balance`
    pays a part of `total`, `due` is charged then, and `due_now` at once. The period after it is
    billed on `next_at`, for `next_amount` before taxes and discounts and `next_total` with them.
    `way`: a saved method pays (`charge`), a page is opened to pay on (`checkout`) or to save a
    method before the trial (`setup`), or it begins at once (`trial`; `free`: nothing is due).
    `token` stands for these figures for an hour."""

    object: Literal["subscription_preview"]
    livemode: bool
    customer: str
    plan: str
    quantity: int
    way: Literal["charge", "checkout", "free", "trial", "setup"]
    currency: str
    lines: list[ChangeLineOut]
    total: int
    total_decimal: DecimalText
    from_balance: int
    from_balance_decimal: DecimalText
    due: int
    due_decimal: DecimalText
    due_now: int
    due_now_decimal: DecimalText
    first_at: str
    period_start: str
    period_end: str
    trial_days: int
    trial_end: str | None
    promo: str | None
    next_at: str
    next_amount: int
    next_amount_decimal: DecimalText
    next_total: int
    next_total_decimal: DecimalText
    token: str


class LedgerEntryOut(Out):
    """An entry in the books; `amount` in minor units."""

    id: str
    debit: str
    credit: str
    amount: int
    currency: str
    reason: str
    at: str


class WhyOut(Out):
    """Why a line is as it is: its rule and inputs, and its invoice's entries in the books."""

    object: Literal["invoice_item_why"]
    livemode: bool
    invoice_item: str
    invoice: str
    kind: str
    description: str
    amount: int
    amount_decimal: str
    currency: str
    inputs: dict[str, Any]
    of_item: str | None
    entries: list[LedgerEntryOut]
    text: str
