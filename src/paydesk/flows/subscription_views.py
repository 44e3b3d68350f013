"""Subscriptions as they are shown: one, a customer's, everybody's; and why a line is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.cache import subscription_key
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import payments
from paydesk.flows.checkout import CheckoutView
from paydesk.flows.payments import PaymentView
from paydesk.flows.setups import SetupView
from paydesk.rules import subscriptions as rules
from paydesk.rules.money import Money
from paydesk.rules.payments import OPEN_STATES

STATES = tuple(rules.TRANSITIONS)
#: How old what a process keeps of a customer's subscriptions may be, in seconds.
KEEP_S = 5.0
MOST_KEPT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionView:
    """A subscription. `price` is of one seat for one period; `next` a change that waits for the
    period's end (or for its payment): {plan, quantity, at}; `due_at` when something is done next.
    `checkout` or `setup`: the page that a new one waits for; `payment` is the payment under way
    that a new one or a change waits for, with the `action_url` where a bank asks its holder;
    `latest_invoice_id` is what was billed last."""

    id: UUID
    customer_id: UUID
    version: int
    state: str
    runner: str
    plan_id: UUID
    plan_key: str
    plan_name: str
    plan_version: int
    family: str
    kind: str
    quantity: int
    price: Money
    interval_unit: str
    interval_count: int
    period: int
    period_start: datetime
    period_end: datetime
    zone: str
    trial_start: datetime | None
    trial_end: datetime | None
    cancel_at: datetime | None
    canceled_at: datetime | None
    cancel_reason: str | None
    ended_at: datetime | None
    end_reason: str | None
    paused_at: datetime | None
    resume_at: datetime | None
    next: dict[str, Any] | None
    discount: dict[str, Any] | None
    method_id: UUID | None
    provider: str
    provider_ref: str | None
    latest_invoice_id: UUID | None
    due_at: datetime | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    #: Of the provider's own page, where it runs the subscription: where it is, and its name there.
    page_url: str | None = None
    page_ref: str | None = None
    #: What one costs from the next period on, where the provider said so of what waits.
    next_price: Money | None = None
    checkout: CheckoutView | None = None
    setup: SetupView | None = field(default=None)
    payment: PaymentView | None = None

    @property
    def awaits(self) -> UUID | None:
        """The invoice whose payment a change or the subscription itself waits for."""
        if self.next is not None and "invoice" in self.next:
            return UUID(self.next["invoice"])
        return self.latest_invoice_id if self.state == "incomplete" else None

    @property
    def action_url(self) -> str | None:
        """The bank's page that the payment waits for."""
        return self.payment.action_url if self.payment is not None else None

    @property
    def live(self) -> bool:
        """Whether it is one of the family that counts."""
        return self.state in rules.LIVE

    @property
    def url(self) -> str | None:
        """The page that its customer has to open."""
        if self.checkout is not None:
            return self.checkout.url or self.checkout.page_url
        return self.setup.url if self.setup is not None else self.action_url or self.page_url

    @property
    def amount(self) -> Money:
        """What a period costs before discounts."""
        return Money(self.price.minor * self.quantity, self.price.currency, minor=True)

    def __repr__(self) -> str:
        shown = ids.show("subscription", self.id)
        return f"<Subscription {shown} {self.plan_key} {self.state}>"


_SELECT = """
    select s.id, s.customer_id, s.version, s.state, s.runner, s.plan_id, p.key as plan_key,
        p.name as plan_name, s.plan_version, s.family, p.kind, s.quantity, s.price_minor,
        s.currency, v.interval_unit, v.interval_count, s.period, s.period_start, s.period_end,
        s.zone, s.trial_start, s.trial_end, s.cancel_at, s.canceled_at, s.cancel_reason,
        s.ended_at, s.end_reason, s.paused_at, s.resume_at, s.next, s.discount, s.method_id,
        s.provider, s.provider_ref, s.latest_invoice_id, nullif(s.due_at, 'infinity') as due_at,
        s.metadata, s.created_at, s.updated_at, s.told->'page'->>'url' as page_url,
        s.told->'page'->>'session' as page_ref, (s.told->>'next_minor')::bigint as next_minor
    from subscriptions s join plans p on p.id = s.plan_id
    join plan_versions v on v.plan_id = s.plan_id and v.version = s.plan_version
"""
_ONES = _SELECT + " where s.customer_id = %(customer_id)s"
_EVERYBODYS = _SELECT + " where true"
_PAGE = """
    and (%(state)s::text is null or s.state = %(state)s)
    and (%(plan)s::text is null or p.key = %(plan)s or p.id::text = %(plan)s)
    and (%(at)s::timestamptz is null or (s.created_at, s.id) < (%(at)s, %(id)s))
    order by s.created_at desc, s.id desc limit %(limit)s
"""


def view(tx: Tx, customer_id: UUID, sub_id: UUID) -> SubscriptionView:
    """As it stands. Raises NotFound."""
    row = tx.one(_ONES + " and s.id = %(id)s", {"customer_id": customer_id, "id": sub_id})
    if row is None:
        raise NotFound(f"No such subscription: {ids.show('subscription', sub_id)}.")
    return _waiting(tx, [_of(row)])[0]


def _waiting(tx: Tx, found: list[SubscriptionView]) -> list[SubscriptionView]:
    """With the payments under way that they wait for."""
    asking = [one for one in found if one.awaits is not None]
    if not asking:
        return found
    rows = tx.all(
        "select p.customer_id, p.id, p.payable from unnest(%(customers)s::uuid[],"
        " %(payables)s::text[]) as k(c, payable) cross join lateral (select customer_id, id,"
        "  payable from payments where customer_id = k.c and payable = k.payable"
        "  and state = any(%(states)s) order by created_at desc limit 1) p",
        {"customers": [one.customer_id for one in asking],
         "payables": [f"invoice:{one.awaits}" for one in asking],
         "states": sorted(OPEN_STATES | {"authorized"})},
    )  # fmt: skip
    shown = payments.views(tx, [(row["customer_id"], row["id"]) for row in rows])
    held = {row["payable"]: one for row, one in zip(rows, shown, strict=True)}
    return [replace(one, payment=held.get(f"invoice:{one.awaits}")) for one in found]


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> SubscriptionView:
    """By its id. `customer_id`: whose it must be. Raises NotFound, also for another's."""
    sub_id = ids.parse("subscription", ref) if isinstance(ref, str) else ref
    whose = ids.customer_of(sub_id)
    if customer_id not in (None, whose):
        raise NotFound(f"No such subscription: {str(ref)[:64]!r}.")
    with env.db.read() as tx:
        return view(tx, whose, sub_id)


def list_(
    env: Env, customer_id: UUID | None = None, *, state: str | None = None,
    plan: str | None = None, limit: int = 20, after: UUID | None = None,
) -> list[SubscriptionView]:  # fmt: skip
    """Subscriptions, newest first: one customer's, or everybody's. `plan`: its key or id."""
    if state is not None and state not in STATES:
        raise InvalidRequest(f"state is one of {', '.join(STATES)}.", param="status")
    mark = get(env, customer_id, after) if after is not None else None
    if plan is not None and plan.startswith("plan_"):
        plan = str(ids.parse("plan", plan))
    values = {
        "customer_id": customer_id, "state": state, "plan": plan, "limit": limit,
        "at": mark and mark.created_at, "id": mark and mark.id,
    }  # fmt: skip
    with env.db.read() as tx:
        rows = tx.all((_EVERYBODYS if customer_id is None else _ONES) + _PAGE, values)
        return _waiting(tx, [_of(row) for row in rows])


def current(env: Env, customer_id: UUID, family: str | None = None) -> SubscriptionView | None:
    """The customer's running subscription (of a family, where there are several), the newest
    first; None without one. Kept for some seconds in a process that hears of changes."""
    found = held(env, customer_id)
    one = next((one for one in found if one.live and family in (None, one.family)), None)
    if one is None or one.awaits is None:
        return one
    with env.db.read() as tx:  # How its payment stands is kept nowhere.
        return _waiting(tx, [one])[0]


def held(env: Env, customer_id: UUID) -> list[SubscriptionView]:
    """The customer's running subscriptions and then the others, each the newest first; the first
    of them is how the customer stands. Kept as `current` is."""

    def load() -> list[SubscriptionView]:
        with env.db.read() as tx:
            rows = tx.all(
                _ONES + " order by (s.state = any(%(live)s)) desc, s.created_at desc, s.id desc"
                " limit %(limit)s",
                {"customer_id": customer_id, "live": sorted(rules.LIVE), "limit": MOST_KEPT},
            )
        return [_of(row) for row in rows]

    if env.cache.is_hearing:
        return env.cache.read(subscription_key(customer_id), load, ttl_s=KEEP_S, shared=False)
    return load()


def _of(row: Mapping[str, Any]) -> SubscriptionView:
    told = dict(row)
    currency = told.pop("currency")
    told["price"] = Money(told.pop("price_minor"), currency, minor=True)
    if (later := told.pop("next_minor")) is not None:
        told["next_price"] = Money(later, currency, minor=True)
    return SubscriptionView(**told)


# Why -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a line of an invoice is as it is: the rule and what it was reckoned from, the line that
    it takes back, discounts or taxes, and the entries in the books of its invoice."""

    item_id: UUID
    invoice_id: UUID
    kind: str
    description: str
    amount: Money
    inputs: dict[str, Any]
    of_item: UUID | None
    entries: tuple[dict[str, Any], ...]

    def explain(self) -> str:
        """In lines, for people."""
        lines = [f"{self.description}: {self.amount}"]
        lines += [f"  {name}: {value}" for name, value in sorted(self.inputs.items())]
        lines += [f"  {e['debit']} -> {e['credit']} {e['amount']} {e['reason']}"
                  for e in self.entries]  # fmt: skip
        return "\n".join(lines)


def why(env: Env, customer_id: UUID | None, ref: str | UUID) -> Why:
    """Why a line of an invoice (`ii_…`) is as it is. Raises NotFound."""
    item_id = ids.parse("invoice_item", ref) if isinstance(ref, str) else ref
    whose = ids.customer_of(item_id)
    with env.db.read() as tx:
        row = None if customer_id not in (None, whose) else tx.one(
            "select i.*, v.txn_id, v.payment_id from invoice_items i join invoices v"
            " on v.customer_id = i.customer_id and v.id = i.invoice_id"
            " where i.customer_id = %(customer_id)s and i.id = %(id)s",
            {"customer_id": whose, "id": item_id},
        )  # fmt: skip
        if row is None:
            raise NotFound(f"No such line: {str(ref)[:64]!r}.")
        entries = tx.all(
            "select t.id, t.debit, t.credit, t.asset, t.amount, t.reason, t.effective_at"
            " from transfers t where t.customer_id = %(customer_id)s"
            " and (t.txn_id = %(txn)s or t.subject_id = %(invoice)s) order by t.seq"
            " limit 100",
            {"customer_id": whose, "txn": row["txn_id"], "invoice": row["invoice_id"]},
        )
    return Why(
        item_id=item_id, invoice_id=row["invoice_id"], kind=row["kind"],
        description=row["description"],
        amount=Money(row["amount_minor"], row["currency"], minor=True), inputs=row["why"],
        of_item=row["of_item"], entries=tuple(_entry(one) for one in entries),
    )  # fmt: skip


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    from paydesk.rules.ledger import NAMES

    return {
        "id": ids.show("transfer", row["id"]), "debit": NAMES[row["debit"]],
        "credit": NAMES[row["credit"]], "amount": row["amount"], "currency": row["asset"],
        "reason": row["reason"], "at": row["effective_at"].isoformat(),
    }  # fmt: skip
