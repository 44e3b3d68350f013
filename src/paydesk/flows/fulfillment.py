"""Fulfillment: what was paid for is handed over once, in a savepoint beside the recorded money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.db.together import each
from paydesk.env import Env
from paydesk.errors import (
    AlreadyPurchased,
    Conflict,
    InvalidRequest,
    NotFound,
    NotSupported,
    PaydeskError,
)
from paydesk.flows import (
    attempts,
    credits,
    heads,
    invoice_books,
    ledger,
    payments,
    promos,
    purchases,
    services,
    wallets,
)
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.sweeps import WAIT_S, fell_apart, is_passing, one_row
from paydesk.logger import get_logger
from paydesk.rules.money import Money
from paydesk.rules.payments import backoff_s
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

log = get_logger(__name__)

#: What a payment's record learns from its goods, by the ledger transaction that posted them.
Changes = dict[UUID, dict[str, Any]]
#: After so many failed tries a due handing over waits for a person.
MAX_TRIES = 8


@dataclass(slots=True)
class Terms:
    """What one payment buys, as it was priced: kept with the payment, or with its checkout."""

    payment: ServicePayment
    txn_id: UUID
    bonus_credits: int = 0
    expires_days: int | None = None
    #: What moves from deposits to revenue: the price asked, or less where a person waived the rest.
    revenue_minor: int = 0
    #: What is handed over, where it is not credits.
    goods: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Handed:
    """What became of one payment's goods; `changes` go onto the payment."""

    payment: ServicePayment
    state: str
    txn_id: UUID | None = None
    error_code: str | None = None
    error: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def fulfil(
    tx: Tx, now: datetime, paid: Sequence[ServicePayment], path: str, *, settings: Settings,
    waive: bool = False,
) -> list[Handed]:  # fmt: skip
    """Hand over what these payments bought, each at most once, and write it on the payments.

    The heads are locked. A failure leaves the money recorded and the goods due or blocked.
    """
    handed = hand_over(tx, now, paid, path, settings=settings, waive=waive)
    items = [(h.payment, h.payment.state, h.changes) for h in handed if h.changes]
    attempts.advance(tx, now, items)
    return handed


def hand_over(
    tx: Tx, now: datetime, paid: Sequence[ServicePayment], path: str, *, settings: Settings,
    waive: bool = False,
) -> list[Handed]:  # fmt: skip
    """`fulfil` that leaves writing the payments' changes to its caller."""
    before = _standing(tx, paid)
    todo = [p for p in paid if before.get(p.key, ("", 0))[0] not in ("done", "reversed")]
    if not todo:
        return []
    _lock_codes(tx, todo)
    handed = _deliver_all(tx, now, _terms(tx, todo, waive), settings)
    _record(tx, now, handed, path, {key: tries for key, (_, tries) in before.items()})
    promos.confirm(tx, [h.payment.key[1] for h in handed if h.payment.promo_id])
    return handed


def _lock_codes(tx: Tx, paid: Sequence[ServicePayment]) -> None:
    """Lock the counters of promo codes that several customers' goods raise, in one order."""
    if len(tx.heads) < 2:
        return
    uses = [(p.promo_id, p.key[1]) for p in paid if p.promo_id]
    firsts = [(p.terms or {}).get("goods") or {} for p in paid if p.payment_type == "subscription"]
    begun = [UUID(goods["subscription"]) for goods in firsts if goods.get("subscription")]
    promos.lock_released(tx, uses, begun)


def block(
    tx: Tx, now: datetime, problems: Sequence[tuple[ServicePayment, str]], path: str
) -> list[Handed]:
    """The money is here and its goods may not be handed over, because of this problem."""
    before = _standing(tx, [p for p, _ in problems])
    handed = [
        Handed(p, "blocked", error_code=code, error=_PROBLEMS[code])
        for p, code in problems
        if before.get(p.key, ("", 0))[0] not in ("done", "reversed")
    ]
    _record(tx, now, handed, path, {})
    return handed


_PROBLEMS = {
    "amount_mismatch": "Less was captured than was asked.",
    "currency_mismatch": "The money came in another currency than was asked.",
    "refunded": "Money went back before the goods were handed over.",
}


def _standing(tx: Tx, paid: Sequence[ServicePayment]) -> dict[tuple[UUID, UUID], tuple[str, int]]:
    rows = tx.all(
        "select f.customer_id, f.payment_id, f.state, f.tries"
        " from unnest(%(customers)s::uuid[], %(payments)s::uuid[], %(purposes)s::text[])"
        "  as k(c, p, purpose)"
        " cross join lateral (select customer_id, payment_id, state, tries from fulfillments"
        "  where customer_id = k.c and payment_id = k.p and purpose = k.purpose limit 1) f",
        {
            "customers": [p.customer_id for p in paid],
            "payments": [p.key[1] for p in paid],
            "purposes": [p.purpose for p in paid],
        },
    )
    return {(r["customer_id"], r["payment_id"]): (r["state"], r["tries"]) for r in rows}


def _terms(tx: Tx, paid: Sequence[ServicePayment], waive: bool) -> list[Terms]:
    bare = [p for p in paid if p.terms is None]
    rows = bare and tx.all(
        "select c.customer_id, c.payment_id, c.lines"
        " from unnest(%(customers)s::uuid[], %(payments)s::uuid[]) as k(c, p)"
        " cross join lateral (select customer_id, payment_id, lines from checkouts"
        "  where customer_id = k.c and payment_id = k.p order by id limit 1) c",
        {"customers": [p.customer_id for p in bare], "payments": [p.key[1] for p in bare]},
    )
    first = {(r["customer_id"], r["payment_id"]): r["lines"][0] for r in rows if r["lines"]}
    found = []
    for one in paid:
        terms = one.terms or {}
        line = next(iter(terms.get("lines") or ()), first.get(one.key, {}))
        asked = one.amount_cents
        found.append(
            Terms(
                one,
                ids.new_owned(one.customer_id),
                bonus_credits=line.get("bonus_credits", 0),
                expires_days=line.get("expires_days"),
                revenue_minor=min(asked, _kept(one)) if waive else asked,
                goods=terms.get("goods") or {},
            )
        )
    return found


def _deliver_all(
    tx: Tx, now: datetime, terms: list[Terms], settings: Settings
) -> list[Handed]:
    """All in one savepoint; where that fails, each alone, so that one fault stays one's own. What
    another transaction or the server did to ours is nobody's fault: it is raised."""
    crash.at("fulfil_before_goods")
    try:
        with tx.savepoint():
            handed = _deliver(tx, now, terms, settings)
    except Exception as exc:  # Whatever goes wrong with goods, the money stays recorded.
        if is_passing(exc):
            raise
        if len(terms) == 1:
            return [_failed(terms[0].payment, exc)]
        handed = []
        for one in terms:
            handed += _deliver_all(tx, now, [one], settings)
        if all(one.state == "done" for one in handed):  # Only together they failed.
            fell_apart("goods", exc, len(terms))
        return handed
    crash.at("fulfil_after_goods")
    return handed


def _deliver(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> list[Handed]:
    changes: Changes = {}
    for purpose in dict.fromkeys(t.payment.purpose for t in terms):
        hand = FULFILL.get(purpose)
        if hand is None:
            raise NotSupported(f"Nothing can hand over {purpose!r}.")
        changes |= hand(tx, now, [t for t in terms if t.payment.purpose == purpose], settings)
    ledger.post(
        tx,
        [
            ledger.Entry(
                customer_id=t.payment.customer_id,
                debit="deposits",
                credit="revenue",
                asset=t.payment.currency,
                amount=t.revenue_minor,
                reason="SALE",
                txn_id=t.txn_id,
                subject_id=t.payment.key[1],
                request_key=ids.request_key("sale", t.payment.id, t.payment.purpose),
                effective_at=now,
            )
            for t in terms
            if t.revenue_minor and t.payment.purpose not in _OWN_BOOKS
        ],
    )
    return [
        Handed(t.payment, "done", txn_id=t.txn_id, changes=changes.get(t.txn_id, {}))
        for t in terms
    ]


def _grant_credits(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> Changes:
    """Bought credits as one batch, a promo code's bonus as another; answers payments' changes."""
    grants, owners = [], []
    for t in terms:
        p = t.payment
        expires_at = now + timedelta(days=t.expires_days) if t.expires_days else None
        common: dict[str, Any] = {
            "customer_id": p.customer_id, "expires_at": expires_at, "payment_id": p.key[1],
            "txn_id": t.txn_id,
        }  # fmt: skip
        if bought := p.credits_to_add - t.bonus_credits:
            grants.append(
                credits.Grant(
                    amount=bought, kind="purchased", reason="CREDIT_PURCHASE",
                    cost_minor=p.amount_cents, currency=p.currency,
                    request_key=ids.request_key("goods", p.id, "credits"), **common,
                )
            )  # fmt: skip
            owners.append(t)
        if t.bonus_credits:
            grants.append(
                credits.Grant(
                    amount=t.bonus_credits, kind="promotional", reason="CREDIT_GRANT",
                    request_key=ids.request_key("goods", p.id, "bonus"), **common,
                )
            )  # fmt: skip
            owners.append(t)
    changes: Changes = {t.txn_id: {"credits_added": True, "credits_added_at": now} for t in terms}
    for granted, t in zip(credits.grant(tx, grants, now, settings=settings), owners, strict=True):
        # The line of the customer's history: that of what was bought, where there are two.
        changes[t.txn_id].setdefault("credit_transaction_id", str(granted.transfer_id))
        if granted.over_limit and t.payment.review is None:
            changes[t.txn_id]["review"] = "credit_limit"
    return changes


def _hand_nothing(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> Changes:
    """A plain payment buys nothing that we keep: the sale is all there is."""
    return {}


def _complete_purchases(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> Changes:
    """Items become the customer's, with their access."""
    for t in terms:
        purchases.complete(tx, now, t.payment, t.goods)
    return {}


def _activate_services(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> Changes:
    """Services run from now on."""
    for t in terms:
        services.activate(tx, now, t.payment, t.goods)
    return {}


def _fill_wallets(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> Changes:
    """Money put into wallets; it stays the customer's, so there is no sale."""
    wallets.deposit(
        tx, now,
        [
            (t.payment, Money(t.revenue_minor, t.payment.currency, minor=True), t.txn_id)
            for t in terms
        ],
    )  # fmt: skip
    return {}


def _settle_invoices(tx: Tx, now: datetime, terms: list[Terms], settings: Settings) -> Changes:
    """Invoices are paid, and what was billed goes on."""
    each(
        tx,
        [
            partial(invoice_books.paid, now=now, payment=t.payment, txn_id=t.txn_id,
                    came=t.revenue_minor, settings=settings)
            for t in terms
        ],
        [t.payment.customer_id for t in terms],
    )  # fmt: skip
    return {}


#: Who hands over what, by the payment's purpose.
FULFILL: dict[str, Callable[[Tx, datetime, list[Terms], Settings], Changes]] = {
    "credits": _grant_credits,
    "payment": _hand_nothing,
    "item": _complete_purchases,
    "service": _activate_services,
    "wallet": _fill_wallets,
    "invoice": _settle_invoices,
}


#: What posts its own sale, or is none.
_OWN_BOOKS = frozenset({"wallet", "invoice"})


def _kept(payment: ServicePayment) -> int:
    """What of the captured money did not go back."""
    return payment.captured_cents - payment.refunded_cents


def _failed(payment: ServicePayment, exc: Exception) -> Handed:
    if isinstance(exc, AlreadyPurchased):
        # Trying again does not help: a person gives the money back, or something else for it.
        changes = {} if payment.review else {"review": "already_purchased"}
        return Handed(payment, "blocked", error_code=exc.code, error=str(exc)[:500],
                      changes=changes)  # fmt: skip
    expected = isinstance(exc, PaydeskError)
    log.warning("goods could not be handed over", payment=payment.id, error=repr(exc)[:300])
    return Handed(
        payment,
        "due",
        error_code=exc.code if expected else "internal_error",
        error=str(exc)[:500] if expected else type(exc).__name__,
    )


def _record(
    tx: Tx, now: datetime, handed: list[Handed], path: str, tries: dict[tuple[UUID, UUID], int]
) -> None:
    """Write the rows of `fulfillments` and their events."""
    if not handed:
        return
    counts = [tries.get(h.payment.key, 0) + 1 for h in handed]
    for h, count in zip(handed, counts, strict=True):
        if h.state == "due" and count >= MAX_TRIES:
            h.state = "blocked"
    tx.run(
        "insert into fulfillments (customer_id, payment_id, purpose, state, path, txn_id,"
        " error_code, error, tries, try_at, done_at, created_at)"
        " select n.customer_id, n.payment_id, n.purpose, n.state, %(path)s, n.txn_id,"
        "  n.error_code, n.error, n.tries, n.try_at,"
        "  case when n.state = 'done' then %(now)s end, %(now)s"
        " from unnest(%(customers)s::uuid[], %(payments)s::uuid[], %(purposes)s::text[],"
        "  %(states)s::text[], %(txns)s::uuid[], %(codes)s::text[], %(errors)s::text[],"
        "  %(tries)s::smallint[], %(try_at)s::timestamptz[])"
        "  as n(customer_id, payment_id, purpose, state, txn_id, error_code, error, tries, try_at)"
        " on conflict (customer_id, payment_id, purpose) do update set state = excluded.state,"
        "  path = excluded.path, txn_id = excluded.txn_id, error_code = excluded.error_code,"
        "  error = excluded.error, tries = excluded.tries, try_at = excluded.try_at,"
        "  done_at = excluded.done_at"
        " where fulfillments.state in ('due', 'blocked')",
        {
            "now": now,
            "path": path,
            "customers": [h.payment.customer_id for h in handed],
            "payments": [h.payment.key[1] for h in handed],
            "purposes": [h.payment.purpose for h in handed],
            "states": [h.state for h in handed],
            "txns": [h.txn_id for h in handed],
            "codes": [h.error_code for h in handed],
            "errors": [h.error for h in handed],
            "tries": counts,
            "try_at": [
                now + timedelta(seconds=backoff_s(n)) if h.state == "due" else None
                for h, n in zip(handed, counts, strict=True)
            ],
        },
    )
    emit_many(tx, [_event(h, now, path) for h in handed if h.state != "due"])
    emit_many(
        tx,
        [
            attempts.state_event(h.payment, now, type="payment.review", state="succeeded",
                                 review=h.changes["review"])
            for h in handed
            if h.state == "blocked" and "review" in h.changes
        ],
    )  # fmt: skip


def _event(h: Handed, now: datetime, path: str) -> NewEvent:
    data: dict[str, Any] = {"purpose": h.payment.purpose, "path": path}
    if h.state == "done":
        data["credits"] = h.payment.credits_to_add
        if key := ((h.payment.terms or {}).get("goods") or {}).get("key"):
            data["item"] = key
    else:
        data["error_code"] = h.error_code
    return NewEvent(
        customer_id=h.payment.customer_id,
        type=f"fulfillment.{h.state}",
        subject_id=h.payment.key[1],
        data=data,
        at=now,
    )


def fulfil_due(env: Env, limit: int = 50) -> int:
    """Sweep: hand over what failed before and is due again. Answers how many were handed over."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, payment_id from fulfillments"
            " where state = 'due' and try_at <= %(now)s and not exists (select 1 from heads h"
            "  where h.customer_id = fulfillments.customer_id and h.clock_id is not null)"
            " order by try_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    done = 0
    for row in rows:
        with one_row("fulfillment", row["payment_id"]):
            done += fulfil_one(env, row["customer_id"], row["payment_id"])
    return done


def fulfil_one(env: Env, customer_id: UUID, payment_id: UUID) -> int:
    """Hand over what is due of one payment; answers how many hand-overs were done."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        due = tx.one(
            "select 1 from fulfillments where customer_id = %(customer_id)s"
            " and payment_id = %(payment_id)s and state = 'due' and try_at <= %(now)s limit 1",
            {"customer_id": customer_id, "payment_id": payment_id, "now": now},
        )
        payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        if not due or payment is None or payment.state not in PAID_STATES:
            return 0
        handed = fulfil(tx, now, [payment], "sweep", settings=env.settings)
        return sum(h.state == "done" for h in handed)


def resolve(
    env: Env, customer_id: UUID, payment_id: UUID, action: str, *, actor: str
) -> payments.PaymentView:
    """A person settles what is due or blocked.

    `retry` tries again, where the money asked for has come. `waive` hands the goods over for
    what has come in the payment's currency. Raises Conflict where nothing is open, nothing has
    come, or the retry cannot help.
    """
    if action not in ("retry", "waive"):
        raise InvalidRequest("action is 'retry' or 'waive'.", param="action")
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        if payment is None:
            raise NotFound(f"No such payment: {ids.show('payment', payment_id)}.")
        state, _ = _standing(tx, [payment]).get(payment.key, ("", 0))
        if state not in ("due", "blocked"):
            raise Conflict("Nothing of this payment waits to be handed over.")
        if action == "retry" and _kept(payment) < payment.amount_cents:
            raise Conflict("Less has come than was asked: refund it, or waive the rest.")
        if action == "waive" and _kept(payment) <= 0:
            raise Conflict("Nothing has come in the currency that was asked: refund it.")
        handed = hand_over(
            tx, now, [payment], "admin", settings=env.settings, waive=action == "waive"
        )[0]
        if handed.state == "done":
            changes = {"review": None, **handed.changes}
            attempts.advance(tx, now, [(payment, payment.state, changes)])
            emit_many(
                tx,
                [
                    NewEvent(
                        customer_id=customer_id,
                        type="fulfillment.resolved",
                        subject_id=payment_id,
                        data={"purpose": payment.purpose, "action": action},
                        cause={"actor": actor},
                        at=now,
                    )
                ],
            )
        return payments.view(tx, customer_id, payment_id)

