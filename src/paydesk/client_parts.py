"""The groups of methods of the library's front: `pay.packs`, `pay.credits` and so on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from paydesk import ids
from paydesk.db.postgres import Tx, marked
from paydesk.env import Env
from paydesk.errors import InsufficientCredits, InvalidRequest
from paydesk.flows import (
    catalog,
    clocks,
    credits,
    customers,
    direct,
    events,
    heads,
    payment_edits,
    payments,
    plans,
    pricing,
    promos,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.clocks import ClockView
from paydesk.flows.customers import Customer
from paydesk.flows.plans import Plan
from paydesk.results import (
    Balance,
    Batch,
    CreditLine,
    Discount,
    Event,
    Granted,
    Listing,
    Pack,
    Payment,
    Promo,
    Refunded,
    Reservation,
    Session,
    Spent,
    Transferred,
)
from paydesk.rules import fields
from paydesk.rules.money import Money

#: A customer: the application's own id, ours (`cus_…`), or the object.
CustomerRef = str | UUID | Customer
#: A pack: its key, its id, or the object.
PackRef = str | UUID | Pack


class _Part:
    """A group of methods of one Paydesk."""

    def __init__(self, opened: Callable[[], Env]) -> None:
        self._opened = opened

    @property
    def _env(self) -> Env:
        return self._opened()


class Packs(_Part):
    """The credit packs that can be bought."""

    def upsert(
        self,
        key: str,
        *,
        name: str,
        credits: int,
        price: Money,
        expires_days: int | None = None,
        active: bool = True,
        position: int = 0,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pack:
        """Make the pack of this key, or make it so; a set-up script can run twice."""
        return catalog.upsert_pack(
            self._env, key, name=name, credits=credits, price=price, expires_days=expires_days,
            active=active, position=position, description=description, metadata=metadata,
        )  # fmt: skip

    def get(self, pack: PackRef) -> Pack:
        """The pack. Raises NotFound."""
        return catalog.get_pack(self._env, pack)

    def list(self, *, include_inactive: bool = False) -> Listing[Pack]:
        """All packs, in the order in which they are shown."""

        def page(last: Pack | None, n: int) -> Any:
            return [] if last else catalog.list_packs(self._env, include_inactive)

        return Listing(page, _as_is)


class Promos(_Part):
    """Promo codes."""

    def upsert(
        self,
        code: str,
        *,
        percent_off: int | None = None,
        amount_off: Money | None = None,
        bonus_credits: int | None = None,
        free_trial_days: int | None = None,
        duration: str = "once",
        duration_periods: int | None = None,
        cap: int | None = None,
        per_customer: int | None = None,
        min_purchase: Money | None = None,
        packs: Iterable[str | Pack] | None = None,
        plans: Iterable[str | Plan] | None = None,
        first_purchase: bool = False,
        customers: Iterable[str | Customer] | None = None,
        match_metadata: Mapping[str, Any] | None = None,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        active: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> Promo:
        """Make the code, or make it so; uses so far still count. Of a subscription a discount
        takes off the first period, `repeating` for `duration_periods`, or `forever`."""
        return promos.upsert_promo(
            self._env, code, percent_off=percent_off, amount_off=amount_off,
            bonus_credits=bonus_credits, free_trial_days=free_trial_days, duration=duration,
            duration_periods=duration_periods, cap=cap, per_customer=per_customer,
            min_purchase=min_purchase, packs=packs, plans=plans, first_purchase=first_purchase,
            customers=customers, match_metadata=match_metadata, starts_at=starts_at,
            expires_at=expires_at, active=active, metadata=metadata,
        )  # fmt: skip

    def get(self, code: str | UUID | Promo) -> Promo:
        """The code's definition, by the code or its id. Raises NotFound."""
        return promos.get_promo(self._env, code)

    def list(self, *, include_inactive: bool = False, limit: int | None = None) -> Listing[Promo]:
        """Codes, newest first."""

        def page(last: Promo | None, n: int) -> Any:
            return promos.list_promos(
                self._env, include_inactive=include_inactive, limit=n,
                starting_after=last.id if last else None,
            )  # fmt: skip

        return Listing(page, _as_is, limit)

    def validate(
        self,
        code: str,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        item: Any = None,
        quantity: int = 1,
        service: Any = None,
        plan: str | UUID | Plan | None = None,
        price: Money | None = None,
    ) -> Discount:
        """What the code would take off the price that a checkout of this would ask; reserves
        nothing. `price` is a plain amount, or that of all seats of a `plan`. Raises
        InvalidPromoCode."""
        who = customers.ensure(self._env, customer)
        if plan is not None:
            sold = plans.get(self._env, plan, active_only=True)
            if price is None:
                seats = None if quantity == 1 else quantity
                price = plans.price_of(self._env, sold, quantity=seats)
            return promos.quote(self._env, code, who, plan=sold, price=price)
        return promos.quote(
            self._env, code, who,
            **_product(self._env, who, pack, credits, item, quantity, service, price),
        )  # fmt: skip

    def apply(
        self,
        code: str,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        item: Any = None,
        quantity: int = 1,
        service: Any = None,
        plan: str | UUID | Plan | None = None,
        price: Money | None = None,
    ) -> Reservation:
        """Keep a use for the customer's next checkout of this product, or for the next
        subscription to this `plan`. Raises InvalidPromoCode."""
        who = customers.ensure(self._env, customer)
        if plan is not None:
            return promos.apply(self._env, code, who, plan=plan, price=price)
        return promos.apply(
            self._env, code, who,
            **_product(self._env, who, pack, credits, item, quantity, service, price),
        )  # fmt: skip


def _product(
    env: Env, who: Customer, pack: PackRef | None, credits: int | None, item: Any, quantity: int,
    service: Any, price: Money | None,
) -> dict[str, Any]:  # fmt: skip
    """An order as a checkout would price it. Of so many credits at a price of their own, that."""
    if credits is not None and price is not None:
        return {"credits": credits, "price": price}
    return pricing.product(env, StartCheckout(
        customer_id=who.uuid, pack=pack, credits=credits, item=item, quantity=quantity,
        service=service, amount=price,
    ))  # fmt: skip


class Credits(_Part):
    """Credits of customers. `pay.spend(...)` takes them."""

    def balance(self, customer: CustomerRef) -> Balance:
        """Credits that can be spent now: a number, with `by_kind` and `by_expiry`."""
        customer_id = customers.resolve(self._env, customer)
        with self._env.db.read() as tx:
            found = credits.balance(tx, customer_id, self._env.now())
        return Balance(found.total, found.by_kind, tuple(found.by_expiry), found.next_expiry)

    def history(
        self, customer: CustomerRef, *, kind: str | None = None, limit: int | None = None
    ) -> Listing[CreditLine]:
        """What changed the balance, newest first. `kind`: one type, such as CREDIT_USAGE."""

        def page(last: Any, n: int) -> Any:
            customer_id = customers.resolve(self._env, customer)
            before = last.seq if last else None
            with self._env.db.read() as tx:
                return credits.history(tx, customer_id, limit=n, before_seq=before, kind=kind)

        return Listing(page, CreditLine.of, limit)

    def batches(self, customer: CustomerRef, *, include_empty: bool = False) -> list[Batch]:
        """Batches in the order in which they will be taken from."""
        customer_id = customers.resolve(self._env, customer)
        with self._env.db.read() as tx:
            found = credits.batches(tx, customer_id, self._env.now(), include_empty=include_empty)
        return [Batch.of(one) for one in found]

    def grant(
        self,
        customer: CustomerRef,
        amount: int,
        *,
        kind: str = "promotional",
        expires_days: int | None = None,
        forever: bool = False,
        note: str | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> Granted:
        """Give credits, for `expires_days` (the setting's number of days unless told) or
        `forever`. Raises CreditLimitExceeded."""
        whose = customers.resolve(self._env, customer)
        found = credits.grant_now(
            self._env, whose, amount, kind=kind,
            expires_at=_expiry(self._env, whose, expires_days, forever), note=note, actor=by,
            request_key=request_key(key),
            request_hash=_request_hash(amount, kind, expires_days, forever) if key else None,
        )  # fmt: skip
        return _granted(found)

    def refund(self, spend: str | Spent, amount: int | None = None, *, key: str | None = None
               ) -> Refunded:  # fmt: skip
        """Give a spend back to its own batches, wholly or in part."""
        spend_id = ids.parse("transfer", id_of(spend))
        found = credits.refund_spend_now(
            self._env, ids.customer_of(spend_id), spend_id, amount, request_key=request_key(key),
            request_hash=_request_hash(str(spend_id), amount) if key else None,
        )  # fmt: skip
        return Refunded(
            id=ids.show("transfer", found.transfer_id), spend=ids.show("transfer", found.spend_id),
            amount=found.amount, put_back=found.put_back + found.regranted, lapsed=found.lapsed,
            repaid=found.repaid, refundable=found.refundable, balance=found.balance,
            same=found.same,
        )  # fmt: skip

    def transfer(
        self, source: CustomerRef, target: CustomerRef, amount: int, *, key: str | None = None
    ) -> Transferred:
        """Move credits between customers, where the policy allows it. Raises TransferNotAllowed."""
        to_id = customers.ensure(self._env, target, create=False).uuid
        found = credits.transfer_now(
            self._env, customers.resolve(self._env, source), to_id, amount,
            request_key=request_key(key),
            request_hash=_request_hash(str(to_id), amount) if key else None,
        )  # fmt: skip
        return Transferred(
            id=ids.show("transfer", found.transfer_id), amount=found.amount,
            balance=found.balance, to_balance=found.to_balance,
            batches=tuple(ids.show("batch", one) for one in found.batch_ids), same=found.same,
        )  # fmt: skip


class Payments(_Part):
    """Payments, as they stand."""

    def get(self, payment: str | UUID | Payment | Session) -> Payment:
        """A payment by any id: ours, the checkout's, the provider's. Raises NotFound."""
        return Payment.of(payments.get(self._env, None, id_of(payment)))

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[Payment]:
        """Payments, newest first; everybody's without a customer."""

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            after = last.id if last else None
            return payments.list_(self._env, who, limit=n, after=after, status=status)

        return Listing(page, Payment.of, limit)

    def create(
        self,
        customer: CustomerRef,
        method: str,
        *,
        amount: Money | None = None,
        wallet: Money | None = None,
        pack: PackRef | None = None,
        credits: int | None = None,
        description: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        return_url: str | None = None,
        key: str | None = None,
    ) -> Payment:
        """Record a pending payment of any method: stripe, cash, bank_transfer, moncash …

        Where its provider has a page, `payment_url` leads there; where a person confirms it, the
        record waits. Raises InvalidRequest for what nobody here collects.
        """
        who = customers.ensure(self._env, customer)
        return Payment.of(direct.create(self._env, direct.NewPayment(
            customer_id=who.uuid, method=method, amount=amount, wallet=wallet, pack=pack,
            credits=credits, description=description, reference=reference,
            metadata=metadata or {}, return_url=return_url, email=who.email,
            request_key=request_key(key),
        )))  # fmt: skip

    def confirm(
        self, payment: str | UUID | Payment | Session, *, by: str | None = None
    ) -> Payment:
        """Ask the provider how it stands and record it; nobody's word counts but its own. For
        cash and the like a person says so: `by`."""
        told = {"by": by} if by else {}
        return Payment.of(direct.confirm(self._env, None, id_of(payment), **told))

    def update(
        self,
        payment: str | UUID | Payment | Session,
        *,
        status: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Payment:
        """Change its words, or end it while it is pending (canceled, failed): at the provider
        first. What is not named stays. Raises UseConfirm, UseRefund, Conflict."""
        told = {"description": description, "metadata": metadata}
        named = {name: value for name, value in told.items() if value is not None}
        return Payment.of(
            payment_edits.update(self._env, None, id_of(payment), status=status, **named)
        )

    def remove(self, payment: str | UUID | Payment | Session) -> Payment:
        """Hide a payment that no money came for; its record stays. Raises Conflict."""
        return Payment.of(payment_edits.remove(self._env, None, id_of(payment)))

    def restore(self, payment: str | UUID | Payment | Session) -> Payment:
        """Show a hidden payment again."""
        return Payment.of(payment_edits.restore(self._env, None, id_of(payment)))

    def capture(
        self, payment: str | UUID | Payment | Session, amount: Money | None = None
    ) -> Payment:
        """Take held money, all of it or a part; the rest is let go. Safe to repeat."""
        return Payment.of(direct.capture(self._env, None, id_of(payment), amount))

    def void(self, payment: str | UUID | Payment | Session) -> Payment:
        """Let held money go. Safe to repeat."""
        return Payment.of(direct.void(self._env, None, id_of(payment)))


class Customers(_Part):
    """Customers. They are made on first use; this is for what is known about them."""

    def upsert(
        self,
        external_id: CustomerRef,
        *,
        email: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        owner: CustomerRef | None = None,
        organization: CustomerRef | None = None,
        clock: str | UUID | ClockView | None = None,
    ) -> Customer:
        """Make the customer of the application's own id, or change what is given. `clock`: one
        that is moved by hand, which a new customer stands on for good."""
        found = customers.ensure(
            self._env, external_id, email=email, name=name, metadata=metadata,
            clock=None if clock is None else clocks.id_of(clock),
        )  # fmt: skip
        told: dict[str, Any] = {
            "email": email, "name": name, "owner": owner, "organization": organization,
            "metadata": None if metadata is None else fields.metadata(metadata),
        }  # fmt: skip
        same = {"email": found.email, "name": found.name, "metadata": found.metadata}
        changes = {k: v for k, v in told.items() if v is not None and same.get(k) != v}
        return customers.update(self._env, found, **changes) if changes else found

    def get(self, customer: CustomerRef) -> Customer:
        """A customer by either id. Raises NotFound."""
        return customers.ensure(self._env, customer, create=False)

    def list(self, *, q: str | None = None, limit: int | None = None) -> Listing[Customer]:
        """Customers, newest first. `q`: how the external id or the e-mail begins."""

        def page(last: Customer | None, n: int) -> Any:
            after = last.id if last else None
            return customers.list_(self._env, limit=n, starting_after=after, q=q)

        return Listing(page, _as_is, limit)


class Events(_Part):
    """What happened. `pay.on(...)` is told of it as it happens."""

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        type: str | None = None,
        limit: int | None = None,
    ) -> Listing[Event]:
        """Events, newest first; everybody's without a customer."""

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            return events.list_events(
                self._env, who, limit=n, before=last.id if last else None,
                types=[type] if type else None,
            )  # fmt: skip

        return Listing(page, Event.of, limit)

    def get(self, event: str | Event) -> Event:
        """One event by its id. Raises NotFound."""
        return Event.of(events.get_event(self._env, id_of(event)))


class Joined(_Part):
    """Credits inside the caller's own transaction; nothing is true before the caller commits."""

    def __init__(self, opened: Callable[[], Env], conn: psycopg.Connection[Any]) -> None:
        super().__init__(opened)
        self._conn = conn

    def spend(
        self,
        customer: CustomerRef,
        amount: int,
        *,
        reason: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Spent:
        """As `pay.spend`. The customer stays locked until the caller's transaction ends."""
        env = self._env
        item = credits.new_spend(
            customers.resolve(env, customer), amount, reason, reference=reference,
            metadata=metadata, request_key=request_key(key),
        )  # fmt: skip
        limits = credits.Limits(
            env.settings.max_transaction_amount, env.settings.max_daily_transactions
        )
        with marked(Tx.joined(self._conn)) as tx:
            tx.lock(item.customer_id)
            return spent(env, item, credits.spend(tx, [item], env.now(), limits=limits)[0])

    def grant(
        self,
        customer: CustomerRef,
        amount: int,
        *,
        kind: str = "promotional",
        expires_days: int | None = None,
        forever: bool = False,
        key: str | None = None,
    ) -> Granted:
        """As `pay.credits.grant`."""
        env = self._env
        whose = customers.resolve(env, customer)
        wanted = credits.Grant(
            customer_id=whose,
            amount=fields.whole(amount, "amount"), kind=kind,
            expires_at=_expiry(env, whose, expires_days, forever), request_key=request_key(key),
        )  # fmt: skip
        with marked(Tx.joined(self._conn)) as tx:
            tx.lock(wanted.customer_id)
            return _granted(credits.grant(tx, [wanted], env.now(), settings=env.settings)[0])

    def balance(self, customer: CustomerRef) -> int:
        """Credits as the caller's transaction sees them."""
        env = self._env
        return credits.balance_total(
            Tx.joined(self._conn), customers.resolve(env, customer), env.now()
        )


def id_of(one: Any) -> Any:
    """The id of an object, or what was given as one."""
    return one if isinstance(one, str | UUID) else one.id


def _as_is(one: Any) -> Any:
    return one


def request_key(key: str | None) -> UUID | None:
    if key is None:
        return None
    return ids.request_key("library", fields.text(key, "key", most=255))


def _request_hash(*told: Any) -> int:
    """What a key is bound to: a request that says something else is another one."""
    digest = hashlib.sha256(json.dumps(told).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _expiry(env: Env, whose: UUID, expires_days: int | None, forever: bool) -> datetime | None:
    if forever:
        if expires_days is not None:
            raise InvalidRequest("Give expires_days or forever, not both.", param="expires_days")
        return None
    days = env.settings.credit_expiry_days if expires_days is None else expires_days
    return heads.now(env, whose) + timedelta(
        days=fields.whole(days, "expires_days", most=36_500)
    )


def _granted(found: Any) -> Granted:
    return Granted(
        id=ids.show("transfer", found.transfer_id), batch=ids.show("batch", found.batch_id),
        amount=found.amount, repaid=found.repaid, balance=found.balance, same=found.same,
    )  # fmt: skip


def spent(env: Env, item: credits.Spend, verdict: credits.SpendVerdict) -> Spent:
    """What a spend did. Raises what its verdict says, with where to buy more."""
    try:
        found = credits.raise_for(verdict)
    except InsufficientCredits as refused:
        refused.extra["top_up_url"] = f"{env.settings.base_url}/portal"
        raise
    return Spent(
        id=ids.show("transfer", found.transfer_id),
        amount=item.amount,
        balance=found.balance,
        batches=tuple((ids.show("batch", one), taken) for one, taken in found.draws),
        same=found.status == "same",
    )
