"""What providers keep beside charges, in one form: refunds, disputes, saved methods, setups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from paydesk.rules.money import Money


@dataclass(frozen=True, kw_only=True)
class RemoteRefund:
    """Money on its way back. `status` is pending, requires_action, succeeded, failed or canceled.

    `refund_id` is our own id where the provider carries it; `payment_id` likewise. `failed` after
    `succeeded` happens: the money came back to us.
    """

    id: str
    status: str
    amount: Money
    payment_ref: str | None = None
    error_code: str | None = None
    reason: str | None = None
    refund_id: str | None = None
    payment_id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteDispute:
    """A dispute as it stands at its provider.

    `status` is needs_response, under_review, won, lost, warning (an inquiry: no money moved) or
    closed (an inquiry that ended). `amount` is what is disputed. `withdrawn` and `reinstated` are
    the sums taken from us and given back so far, fees apart; `fee` is what the provider charges.
    """

    id: str
    status: str
    amount: Money
    reason: str = ""
    payment_ref: str | None = None
    payment_id: str | None = None
    customer_id: str | None = None
    withdrawn: Money | None = None
    reinstated: Money | None = None
    fee: Money | None = None
    due_at: datetime | None = None
    created_at: datetime | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)
    livemode: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteMethod:
    """A saved way to pay, as it may be kept: a token and what people recognize it by.

    `kind` is card, bank_account, wallet or the provider's own word; `wallet` is apple_pay or
    google_pay where the card came through one.
    """

    id: str
    kind: str
    brand: str | None = None
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None
    country: str | None = None
    wallet: str | None = None
    fingerprint: str | None = None
    provider_customer: str | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteSetup:
    """A method being saved. `status` is pending, requires_action, succeeded, failed or canceled.

    `client_secret` is for the provider's own script in a browser, `url` a page of the provider.
    """

    id: str
    status: str
    client_secret: str | None = None
    url: str | None = None
    method: RemoteMethod | None = None
    provider_customer: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One object of a provider's books, for reconciliation. `kind` is charge, refund, dispute
    or fee; `value` the Charge, RemoteRefund or RemoteDispute, or the fee's Money; `ref` is what
    it is found by at the provider, `payment_ref` the payment it belongs to."""

    kind: str
    ref: str
    value: Any
    created_at: datetime
    payment_ref: str | None = None
