"""What v1 takes and gives of wallets, conversions, withdrawals, rates and holds, as models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paydesk.http.fields import (
    MAX_AMOUNT,
    Code,
    Credits,
    Currency,
    DecimalText,
    Instant,
    Metadata,
    Minor,
    Ref,
    Strict,
)
from paydesk.http.v1.models import Object, Out

Note = Field(default=None, max_length=500)


class WalletIn(Strict):
    """A wallet of one currency; the same again is the same wallet."""

    customer: Ref | None = None
    currency: Currency
    metadata: Metadata | None = None


class ReasonIn(Strict):
    reason: str | None = Note


class Sum(Strict):
    """An amount, in minor units or as a decimal text, of a currency."""

    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None


class WalletTransferIn(Sum):
    customer: Ref | None = Field(default=None, description="Whose money moves.")
    to: Ref
    reference: Ref | None = None
    note: str | None = Note


class WalletPayIn(Sum):
    """What is bought: `pack`, so many `credits`, an `item`, a `service`, or an `amount`."""

    customer: Ref | None = None
    pack: Ref | None = None
    credits: Credits | None = None
    item: Ref | None = None
    quantity: int = Field(default=1, ge=1, le=10**6)
    service: Ref | None = None
    promo: Code | None = None
    description: str | None = Field(default=None, max_length=500)
    reference: Ref | None = None
    metadata: Metadata = Field(default_factory=dict)


class QuoteIn(Sum):
    to: Currency


class ConversionIn(Sum):
    """`rate` and `margin_bps` are a quote's: refused where others serve the pair by now."""

    customer: Ref | None = None
    to: Currency
    rate: Ref | None = None
    margin_bps: int | None = Field(default=None, ge=0, le=5_000)


class WithdrawalIn(Sum):
    customer: Ref | None = None
    destination: str = Field(min_length=1, max_length=500)
    metadata: Metadata = Field(default_factory=dict)


class DecisionIn(Strict):
    decision: Literal["approve", "reject"]
    note: str | None = Note


class PaidIn(Strict):
    """`reference` is that of the transfer by which the money was sent."""

    reference: Ref


class RateIn(Strict):
    """One unit of `base` is worth `rate` units of `quote`, from `at` on."""

    base: Currency
    quote: Currency
    rate: str = Field(pattern=r"^[0-9]{1,18}(\.[0-9]{1,12})?$", examples=["130.95"])
    at: Instant | None = None
    source: str = Field(default="manual", min_length=1, max_length=64)


class RatesFileIn(Strict):
    """A file of euro reference rates, XML or CSV, as its text."""

    data: str = Field(min_length=1)


class HoldIn(Sum):
    """Either `credits`, or an amount of a wallet."""

    customer: Ref
    credits: Credits | None = None
    minutes: int | None = Field(default=None, ge=1, le=366 * 24 * 60)
    reason: str | None = Note
    reference: Ref | None = None
    metadata: Metadata = Field(default_factory=dict)


class CaptureIn(Strict):
    """Whole credits or minor units; absent: all of it. What is left goes back, or, with `final`
    false, stays set aside."""

    amount: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    final: bool = True


# Answers ----------------------------------------------------------------------------------------


class WalletOut(Object):
    """`held` is set aside, `owed` is repaid by what comes next."""

    object: Literal["wallet"]
    customer: str
    currency: str
    status: Literal["open", "frozen", "closed"]
    balance: int
    balance_decimal: str
    held: int
    held_decimal: str
    owed: int
    owed_decimal: str
    metadata: dict[str, str]
    updated_at: str


class WalletLineOut(Object):
    object: Literal["wallet_line"]
    type: str
    amount: int
    amount_decimal: str
    currency: str
    balance_after: int
    balance_after_decimal: str
    reason: str | None
    reference: str | None
    subject: str | None
    payment: str | None
    transaction: str


class TypeSumOut(Out):
    type: str
    count: int
    amount: int
    amount_decimal: str


class StatementOut(Out):
    """`opening_balance` + `money_in` - `money_out` = `closing_balance`; `to` is not in it."""

    object: Literal["wallet_statement"]
    livemode: bool
    wallet: str
    customer: str
    currency: str
    from_: str = Field(alias="from")
    to: str
    time_zone: str
    opening_balance: int
    opening_balance_decimal: str
    money_in: int
    money_in_decimal: str
    money_out: int
    money_out_decimal: str
    closing_balance: int
    closing_balance_decimal: str
    types: list[TypeSumOut]
    lines: list[WalletLineOut]


class WalletTransferOut(Object):
    """`withdrawal` is what waits, or waited, for another person; none where nobody was asked."""

    object: Literal["wallet_transfer"]
    customer: str
    to: str
    amount: int
    amount_decimal: str
    currency: str
    balance: int
    balance_decimal: str
    status: Literal["requested", "paid", "rejected", "canceled"]
    withdrawal: str | None


class RateOut(Object):
    object: Literal["rate"]
    base: str
    quote: str
    rate: str
    source: str
    at: str
    entered_by: str | None = None


class ImportOut(Out):
    object: Literal["rates_import"]
    livemode: bool
    rates: int
    new: int
    days: int
    first_day: str | None
    last_day: str | None


class QuoteOfConversion(Out):
    object: Literal["conversion_quote"]
    livemode: bool
    amount: int
    amount_decimal: str
    currency: str
    to_amount: int
    to_amount_decimal: str
    to_currency: str
    margin: int
    margin_decimal: str
    margin_bps: int
    rounding: int
    rounding_decimal: str
    rate: RateOut
    expires_at: str


class ConversionOut(Object):
    object: Literal["conversion"]
    customer: str
    amount: int
    amount_decimal: str
    currency: str
    to_amount: int
    to_amount_decimal: str
    to_currency: str
    margin: int
    margin_decimal: str
    margin_bps: int
    rounding: int
    rounding_decimal: str
    rate: RateOut
    transaction: str


class WithdrawalOut(Object):
    """Who of the staff acted is shown to staff only. `to`: the customer who gets the money, where
    this is a transfer that waits, or waited, for another person."""

    object: Literal["withdrawal"]
    customer: str
    amount: int
    amount_decimal: str
    currency: str
    status: Literal["requested", "approved", "paid", "rejected", "canceled"]
    destination: str
    to: str | None
    requested_by: str | None
    decided_by: str | None
    decided_at: str | None
    note: str | None
    reference: str | None
    paid_at: str | None
    metadata: dict[str, str]
    updated_at: str


class HoldOut(Object):
    """`asset` is credits or a currency; amounts are whole credits, or its minor units with their
    decimals. `left` is still set aside."""

    object: Literal["hold"]
    customer: str
    asset: str
    amount: int
    amount_decimal: str | None
    captured: int
    captured_decimal: str | None
    left: int
    left_decimal: str | None
    status: Literal["open", "captured", "released", "expired"]
    reason: str | None
    reference: str | None
    metadata: dict[str, Any]
    expires_at: str
    closed_at: str | None
