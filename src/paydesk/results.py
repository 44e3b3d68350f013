"""What the library answers with: frozen objects with a repr of one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from paydesk import ids
from paydesk.flows.catalog import Pack
from paydesk.flows.customers import Customer
from paydesk.flows.events import Event as StoredEvent
from paydesk.flows.promos import Discount, Promo, Reservation
from paydesk.rules.money import Money

if TYPE_CHECKING:
    from paydesk.flows.checkout import CheckoutView
    from paydesk.flows.credit_views import BatchView, Line
    from paydesk.flows.payments import PaymentView

__all__ = [
    "Balance",
    "Batch",
    "CreditLine",
    "Customer",
    "Discount",
    "Event",
    "Granted",
    "Listing",
    "Pack",
    "Payment",
    "Promo",
    "Refunded",
    "Reservation",
    "Session",
    "Spent",
    "Transferred",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. `status` is one of pending, processing, requires_action, authorized, succeeded,
    failed, expired, canceled, refunded, partially_refunded."""

    id: str
    customer: str
    status: str
    amount: Money
    captured: Money
    refunded: Money
    refundable: Money
    price: Money
    discount: Money
    credits: int
    credits_added: bool
    credits_added_at: datetime | None
    path: str | None
    fulfillment: str | None
    provider: str
    provider_session: str | None
    provider_payment: str | None
    method: str | None
    pack: str | None
    description: str | None
    reference: str | None
    review: str | None
    error_code: str | None
    error_message: str | None
    metadata: Mapping[str, str] = field(hash=False)
    livemode: bool
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    refunded_at: datetime | None = None
    refund_reason: str | None = None
    #: What the payer has to open: a page to pay on, a bank's page of a charge.
    payment_url: str | None = None
    action_url: str | None = None
    payment_method: str | None = None
    method_detail: Mapping[str, Any] | None = field(default=None, hash=False)
    country: str | None = None
    failure_reason: str | None = None
    deleted_at: datetime | None = None
    #: subscription, renewal, ... of a service; what else it is for.
    payment_type: str | None = None
    item: str | None = None
    purchase: str | None = None
    service: str | None = None
    #: What it was worth when it was made, and what the provider kept; None: not known.
    usd: Money | None = None
    fee: Money | None = None
    disputed: bool = False

    @classmethod
    def of(cls, view: PaymentView) -> Payment:
        goods = view.fulfillment
        return cls(
            id=ids.show("payment", view.id),
            customer=ids.show("customer", view.customer_id),
            status=view.state, amount=view.amount, captured=view.captured, refunded=view.refunded,
            refundable=view.refundable, refunded_at=view.refunded_at,
            refund_reason=view.refund_reason, payment_url=view.payment_url,
            action_url=view.action_url, method_detail=view.method_detail, country=view.country,
            payment_method=ids.show("method", view.method_id) if view.method_id else None,
            failure_reason=view.failure_reason, deleted_at=view.deleted_at,
            payment_type=view.payment_type, item=view.item,
            purchase=ids.show("purchase", view.purchase_id) if view.purchase_id else None,
            service=ids.show("service", view.service_id) if view.service_id else None,
            usd=view.usd, fee=view.fee, disputed=view.disputed,
            price=view.price, discount=view.discount, credits=view.credits,
            credits_added=view.credits_added, credits_added_at=view.credits_added_at,
            path=goods.path if goods else None, fulfillment=goods.state if goods else None,
            provider=view.provider, provider_session=view.session_ref,
            provider_payment=view.payment_ref, method=view.method, pack=view.package_id,
            description=view.description, reference=view.reference, review=view.review,
            error_code=view.error_code, error_message=view.error_message,
            metadata=view.metadata, livemode=view.livemode, created_at=view.created_at,
            completed_at=view.completed_at, expires_at=view.expires_at,
        )  # fmt: skip

    @property
    def currency(self) -> str:
        return self.amount.currency

    @property
    def paid(self) -> bool:
        """Whether money was captured and not all of it given back."""
        return self.status in ("succeeded", "partially_refunded")

    def __repr__(self) -> str:
        return f"<Payment {self.id} {self.status} {self.amount}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A checkout. `url` is where to send the customer: our own page where the service has a
    public address, else the provider's, which always works."""

    id: str
    customer: str
    url: str | None
    page_url: str
    provider_url: str | None
    status: str
    total: Money
    lines: tuple[Mapping[str, Any], ...] = field(hash=False)
    payment: Payment
    email: str | None
    success_url: str | None
    cancel_url: str | None
    expires_at: datetime | None
    path: str | None

    @classmethod
    def of(cls, view: CheckoutView, *, is_served: bool) -> Session:
        return cls(
            id=ids.show("checkout", view.id),
            customer=ids.show("customer", view.customer_id),
            url=view.page_url if is_served else view.url or view.page_url,
            page_url=view.page_url, provider_url=view.url, status=view.status, total=view.total,
            lines=tuple(view.lines), payment=Payment.of(view.payment), email=view.email,
            success_url=view.success_url, cancel_url=view.cancel_url, expires_at=view.expires_at,
            path=view.path,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.status} {self.total}>"


class Balance(int):
    """Whole credits that can be spent now: a number, with its parts beside it.

    `by_kind` sums per kind of credits; `by_expiry` is (instant or None, credits), soonest first.
    """

    by_kind: Mapping[str, int] = {}
    by_expiry: tuple[tuple[datetime | None, int], ...] = ()
    next_expiry: datetime | None = None

    def __new__(
        cls,
        total: int,
        by_kind: Mapping[str, int],
        by_expiry: tuple[tuple[datetime | None, int], ...],
        next_expiry: datetime | None,
    ) -> Balance:
        made = super().__new__(cls, total)
        made.__dict__.update(by_kind=by_kind, by_expiry=by_expiry, next_expiry=next_expiry)
        return made

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a balance cannot be changed")

    def __str__(self) -> str:
        return int.__repr__(self)

    def __repr__(self) -> str:
        return f"<Balance {int(self)} credits>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Credits that were taken. `batches` says from where: (batch, credits), oldest first;
    `same`: this key had spent them before."""

    id: str
    amount: int
    balance: int
    batches: tuple[tuple[str, int], ...]
    same: bool

    def __repr__(self) -> str:
        return f"<Spent {self.id} {self.amount} credits, {self.balance} left>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Credits that were given. `repaid` of them went to a debt."""

    id: str
    batch: str
    amount: int
    repaid: int
    balance: int
    same: bool

    def __repr__(self) -> str:
        return f"<Granted {self.id} {self.amount} credits, balance {self.balance}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """A spend that was given back, wholly or in part. `refundable`: what is left of it; `lapsed`
    credits belonged to a batch that has ended."""

    id: str
    spend: str
    amount: int
    put_back: int
    lapsed: int
    repaid: int
    refundable: int
    balance: int
    same: bool

    def __repr__(self) -> str:
        return f"<Refunded {self.id} {self.amount} credits, balance {self.balance}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """Credits that moved to another customer."""

    id: str
    amount: int
    balance: int
    to_balance: int
    batches: tuple[str, ...]
    same: bool

    def __repr__(self) -> str:
        return f"<Transferred {self.id} {self.amount} credits, {self.balance} left>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch of credits."""

    id: str
    kind: str
    granted: int
    remaining: int
    granted_at: datetime
    expires_at: datetime | None
    payment: str | None

    @classmethod
    def of(cls, view: BatchView) -> Batch:
        return cls(
            id=ids.show("batch", view.id), kind=view.kind, granted=view.granted,
            remaining=view.remaining, granted_at=view.granted_at, expires_at=view.expires_at,
            payment=ids.show("payment", view.payment_id) if view.payment_id else None,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Batch {self.id} {self.kind} {self.remaining} of {self.granted}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditLine:
    """A line of the history of credits; `amount` is signed."""

    id: str
    at: datetime
    type: str
    amount: int
    balance_after: int
    batch: str | None
    batches: tuple[str, ...]
    kind: str | None
    reason: str | None
    reference: str | None
    payment: str | None
    expires_at: datetime | None

    @classmethod
    def of(cls, line: Line) -> CreditLine:
        batches = tuple(ids.show("batch", one) for one in line.batch_ids)
        return cls(
            id=ids.show("transfer", line.id), at=line.at, type=line.type, amount=line.amount,
            balance_after=line.balance_after, batch=batches[0] if batches else None,
            batches=batches, kind=line.kind, reason=line.reason, reference=line.reference,
            payment=ids.show("payment", line.payment_id) if line.payment_id else None,
            expires_at=line.expires_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<CreditLine {self.type} {self.amount:+d} = {self.balance_after}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a customer. `id` never changes: use it to drop a repetition.

    `sequence` counts the customer's events. `payment` is the payment that the event is about, as
    it stands now, where it is about one.
    """

    id: str
    type: str
    customer: str
    sequence: int
    subject: str
    data: Mapping[str, Any] = field(hash=False)
    created_at: datetime
    payment: Payment | None = field(default=None, repr=False)

    @classmethod
    def of(cls, event: StoredEvent, payment: Payment | None = None) -> Event:
        return cls(
            id=event.id, type=event.type, customer=ids.show("customer", event.customer_id),
            sequence=event.seq, subject=event.subject, data=event.shown_data,
            created_at=event.created_at, payment=payment,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Event {self.id} {self.type} #{self.sequence}>"


T = TypeVar("T")

#: How many objects a page of a listing reads.
PAGE = 100


class Listing(Generic[T]):
    """A list that is read page by page, as the loop over it gets there. May be looped again."""

    def __init__(
        self,
        page: Callable[[Any, int], list[Any]],
        show: Callable[[Any], T],
        limit: int | None = None,
    ) -> None:
        """`page(last, n)` reads at most `n` after the last one; `limit` None: all of them."""
        self._page = page
        self._show = show
        self._limit = limit

    def __iter__(self) -> Iterator[T]:
        last, left = None, self._limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            found = self._page(last, size)
            yield from map(self._show, found)
            if len(found) < size:
                return
            last = found[-1]
            left = None if left is None else left - len(found)

    def first(self) -> T | None:
        """The first one, or None."""
        return next(iter(self), None)

    def __repr__(self) -> str:
        return "<Listing: loop over it>"
