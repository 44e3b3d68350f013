"""Subscriptions that a provider bills, in one form; and the calls of a provider that does so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from paydesk.errors import NotSupported
from paydesk.rules.money import Money


@dataclass(frozen=True, kw_only=True)
class RemoteItem:
    """What a subscription has: so many of a price. `unit` is None for tiers and meters; `period`
    is the item's own, as items may have different intervals."""

    id: str
    price: str
    product: str
    unit: Money | None
    interval: tuple[str, int]
    quantity: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    lookup_key: str | None = None
    period: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteNext:
    """What a subscription is to be of from an instant on; the items have no ids yet."""

    at: datetime
    items: tuple[RemoteItem, ...]


@dataclass(frozen=True, kw_only=True)
class RemoteSubscription:
    """A subscription as it stands at its provider; `state` is in our words.

    `is_held`: its money is not collected for now, until `resumes_at` where that is said.
    `cancels_at_end`: it ends with its period, whenever that ends; else `cancel_at` is a date.
    `is_sent`: its invoices are sent, and paid until a date.
    `needs_method`: a trial that ends without a method is not charged, but ends or is paused.
    `subscription_id` and `customer_id` are our own ids where the provider carries them.
    `next`: what it is to be of later, where `says_next`; `schedule` the provider's name of that.
    """

    id: str
    state: str
    provider_customer: str
    items: tuple[RemoteItem, ...]
    currency: str
    period_start: datetime
    period_end: datetime
    created_at: datetime
    trial_start: datetime | None = None
    trial_end: datetime | None = None
    cancel_at: datetime | None = None
    cancels_at_end: bool = False
    canceled_at: datetime | None = None
    cancel_reason: str | None = None
    end_reason: str | None = None
    ended_at: datetime | None = None
    is_held: bool = False
    resumes_at: datetime | None = None
    latest_invoice: str | None = None
    method: str | None = None
    needs_method: bool = False
    is_sent: bool = False
    schedule: str | None = None
    next: RemoteNext | None = None
    says_next: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    subscription_id: str | None = None
    customer_id: str | None = None
    livemode: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteLine:
    """A line of an invoice; `discount` and taxes stand beside it. `kind` is ours; `item` the item
    of the subscription that it charges."""

    kind: str
    description: str
    amount_minor: int
    quantity: int = 1
    unit_minor: int | None = None
    period: tuple[datetime, datetime] | None = None
    price: str | None = None
    ref: str | None = None
    item: str | None = None
    discount_minor: int = 0
    #: (amount, whether the price includes it, the provider's id of the rate) of each tax.
    taxes: tuple[tuple[int, bool, str | None], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RemotePayment:
    """What pays an invoice or is tried for it: `asked` and `paid` of it, minor units.

    `ref` names the provider's payment, or its charge where it has no payment (`is_charge`); None
    for what somebody recorded of another way: that is no money of the provider's.
    """

    ref: str | None
    asked: int
    paid: int = 0
    is_charge: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoteInvoice:
    """An invoice as it stands at its provider, amounts in minor units of `currency`.

    `state` is ours; `due` what was asked for, `paid` what came of it. `payments` were made or are
    tried for it, what was paid first; `is_listed`: there are no others. `is_outside`: it was paid
    in another way, wholly.
    """

    id: str
    state: str
    reason: str
    provider_customer: str
    currency: str
    lines: tuple[RemoteLine, ...]
    subtotal: int
    discount: int
    tax: int
    total: int
    due: int
    paid: int
    created_at: datetime
    number: str | None = None
    subscription_ref: str | None = None
    period: tuple[datetime, datetime] | None = None
    payments: tuple[RemotePayment, ...] = ()
    is_listed: bool = False
    taxes: tuple[tuple[int, bool, str | None], ...] = ()
    attempts: int = 0
    is_outside: bool = False
    due_at: datetime | None = None
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    uncollectible_at: datetime | None = None
    hosted_url: str | None = None
    pdf_url: str | None = None
    subscription_id: str | None = None
    customer_id: str | None = None
    livemode: bool | None = None
    has_more_lines: bool = False

    @property
    def parts(self) -> tuple[RemotePayment, ...]:
        """Its payments through the provider."""
        return tuple(one for one in self.payments if one.ref is not None)


@dataclass(frozen=True, kw_only=True)
class RemoteTry:
    """A charge that was declined, of a payment that may still succeed."""

    ref: str
    code: str | None
    message: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class RemotePage:
    """A page on which a subscription is begun. `status` is open, complete or expired."""

    id: str
    status: str
    url: str | None = None
    expires_at: datetime | None = None
    subscription_ref: str | None = None
    provider_customer: str | None = None
    subscription_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class PageOrder:
    """A page to be opened: what is subscribed to, by whom, and where it leads back to.

    `coupon`: {id, percent or minor, currency, duration, periods} of what is taken off.
    """

    id: str
    price: str
    quantity: int
    provider_customer: str
    success_url: str
    cancel_url: str
    expires_at: datetime
    trial_days: int = 0
    trial_needs_method: bool = True
    coupon: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RemoteClock:
    """A provider's clock that is moved by hand. `state` is ready, advancing or failed."""

    id: str
    state: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an event carries: the object as it was at that instant."""

    what: RemoteSubscription | RemoteInvoice | RemotePage
    at: datetime


#: The methods that the word `billing` of `Provider.can` promises.
METHODS = (
    "page_request", "open_page", "end_page", "fetch_page", "fetch_subscription",
    "list_subscriptions", "fetch_invoice", "list_invoices", "list_tries", "ensure_coupon",
    "steer_subscription", "preview_subscription",
)  # fmt: skip
#: The methods that the word `clocks` promises: in a sandbox, time there is moved by hand.
CLOCK_METHODS = ("make_clock", "fetch_clock", "move_clock")


class Billing:
    """The part of a provider that runs subscriptions itself; `can` has the word `billing`."""

    name: ClassVar[str]

    def page_request(self, order: PageOrder) -> dict[str, Any]:
        """The exact body that opens the page: JSON, built once and kept."""
        raise self._lacks("billing")

    def open_page(self, request: Mapping[str, Any], key: str) -> Any:
        """Open it; the same `key` opens no second one. Answers a RemotePage."""
        raise self._lacks("billing")

    def end_page(self, ref: str) -> Any:
        """End it so that nobody subscribes there; answers the RemotePage as it then stands."""
        raise self._lacks("billing")

    def fetch_page(self, ref: str) -> Any:
        """The RemotePage as it stands. Has no effect."""
        raise self._lacks("billing")

    def fetch_subscription(self, ref: str) -> Any:
        """The RemoteSubscription as it stands. Has no effect."""
        raise self._lacks("billing")

    def list_subscriptions(self, since: datetime, cursor: str | None) -> Any:
        """One page of those begun since then, over or not: (RemoteSubscriptions, next cursor)."""
        raise self._lacks("billing")

    def fetch_invoice(self, ref: str) -> Any:
        """The RemoteInvoice as it stands. Has no effect."""
        raise self._lacks("billing")

    def list_invoices(self, subscription: str, since: datetime | None) -> Any:
        """RemoteInvoices of a subscription that were made since then, oldest first."""
        raise self._lacks("billing")

    def list_tries(self, payment_ref: str) -> Any:
        """The RemoteTries of a payment, oldest first. Has no effect."""
        raise self._lacks("billing")

    def ensure_coupon(self, coupon: Mapping[str, Any], key: str) -> Any:
        """Make what takes something off, under the id that it names. Safe to repeat."""
        raise self._lacks("billing")

    def steer_subscription(
        self, ref: str, op: str, told: Mapping[str, Any], key: str
    ) -> Any:
        """Do `op` (cancel, cancel_at_end, reactivate, change, hold, release, method; `schedule`: a
        change of a later instant, `drop`: none after all); answers the RemoteSubscription as it
        is then. Raises ProviderRefused where nothing changed."""
        raise self._lacks("billing")

    def preview_subscription(self, ref: str, told: Mapping[str, Any]) -> Any:
        """The RemoteInvoice that such a change would make now. Has no effect."""
        raise self._lacks("billing")

    def make_clock(self, at: datetime, name: str, key: str) -> Any:
        """Make a clock that stands at an instant; answers the RemoteClock."""
        raise self._lacks("clocks")

    def fetch_clock(self, ref: str) -> Any:
        """The RemoteClock as it stands. Has no effect."""
        raise self._lacks("clocks")

    def move_clock(self, ref: str, to: datetime) -> Any:
        """Begin to move it; answers the RemoteClock, which may be on its way. Raises
        ProviderRefused where that is too far at once."""
        raise self._lacks("clocks")

    def billing_told(self, body: str) -> Told | None:
        """What a stored event carries, in any shape; None where it cannot be read."""
        return None

    def _lacks(self, what: str) -> NotSupported:
        return NotSupported(f"The provider {self.name!r} offers no {what}.")
