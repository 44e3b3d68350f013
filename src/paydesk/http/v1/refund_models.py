"""What v1 takes and gives of refunds, as models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paydesk.http.fields import Currency, DecimalText, Metadata, Minor, Ref, Strict
from paydesk.http.v1.models import Object, Out

Note = Field(default=None, max_length=500)


class RefundAsk(Strict):
    """Without an amount all that is left goes back. `force` refunds after the window has ended;
    only administrators may."""

    amount: Minor | None = None
    amount_decimal: DecimalText | None = None
    currency: Currency | None = None
    reason: str | None = Field(default=None, min_length=1, max_length=255)
    note: str | None = Note
    force: bool = False
    metadata: Metadata = Field(default_factory=dict)


class RefundIn(RefundAsk):
    payment: Ref


class DecisionIn(Strict):
    note: str | None = Note


class PaidIn(Strict):
    """`reference`: what whoever paid it back calls it."""

    reference: Ref


class RefundOut(Object):
    object: Literal["refund"]
    payment: str
    customer: str
    status: Literal["requested", "rejected", "pending", "succeeded", "failed", "canceled"]
    amount: int
    amount_decimal: str
    currency: str
    reason: str | None
    origin: Literal["desk", "provider"]
    credits_taken_back: int
    credits_owed: int
    credits_forgiven: int
    payment_status: str
    payment_refunded: int
    payment_refunded_decimal: str
    payment_refundable: int
    payment_refundable_decimal: str
    error_code: str | None
    metadata: dict[str, Any]
    updated_at: str
    succeeded_at: str | None
    failed_at: str | None
    provider: str | None = None
    provider_refund_id: str | None = None
    note: str | None = None
    forced: bool | None = None
    loss: int | None = None
    loss_decimal: str | None = None
    requested_by: str | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    decision_note: str | None = None
    error_message: str | None = None


class RefundPreviewOut(Out):
    """What a refund would do now. Credits are whole credits; `obstacle` is the code of the error
    that it would meet, `summary` says all of it in sentences."""

    object: Literal["refund_preview"]
    payment: str
    currency: str
    amount: int
    amount_decimal: str
    refundable: int
    refundable_decimal: str
    credits_taken_back: int
    credits_missing: int
    credits_expired: int
    wallet_taken_back: int
    wallet_taken_back_decimal: str
    wallet_missing: int
    wallet_missing_decimal: str
    access_revoked: list[str]
    policy: Literal["debt", "clamp", "block"]
    fee_lost: int
    fee_lost_decimal: str
    needs_approval: bool
    window_ends_at: str | None
    is_window_open: bool
    obstacle: str | None
    summary: list[str]
