"""What is due of refills: who fell below is found, looked at under the lock, and charged once.

The publisher of events wakes the refills of customers to whom something happened, so that nothing
is asked of those who spend; each is looked at now and then besides. A refill's payment is written
in the transaction that counts it, and its key is made of that count: whoever dies after any line,
or does the same at the same time, charges nothing twice.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    NotFound,
    PaydeskError,
    PaymentInFlight,
    PaymentMethodNotUsable,
    ProviderUnavailable,
    TransactionLimit,
    Unavailable,
)
from paydesk.flows import (
    clock_sources,
    credits,
    customers,
    direct,
    heads,
    methods,
    payments,
    refills,
    wallets,
)
from paydesk.flows.clock_sources import Due
from paydesk.flows.payments import PaymentView
from paydesk.flows.pricing import Priced
from paydesk.flows.refills import RefillView
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.rules import refills as rules
from paydesk.rules.ledger import CREDIT
from paydesk.rules.money import Money
from paydesk.rules.payments import DEAD_STATES
from paydesk.rules.refills import Decision, Facts, Used
from paydesk.tracker.models import PAID_STATES

#: Each is looked at so often, whatever happened.
LOOK_AGAIN = timedelta(hours=6)
#: When the provider or another refill is waited for.
SOON = timedelta(minutes=5)
#: Refills of one customer in one round of the sweep.
MOST_AT_ONCE = 20
#: A missing or unusable method, as a decline would be told.
NO_METHOD = "payment_method_not_usable"


class _NotNow(PaydeskError):
    """Seen under the lock: another was quicker, or nothing is to be bought, at this price or any
    more; `until` says when to look again."""


# The sweep ---------------------------------------------------------------------------------------


def run_due(env: Env, limit: int = 100) -> int:
    """Sweep: look at refills that were woken or are due; answers how many were bought."""
    with env.db.read() as tx:
        rows = tx.all(
            "(select customer_id, id from refills where woken and state = 'active'"
            " and clock_id is null limit %(limit)s) union"
            " (select customer_id, id from refills where state = 'active' and clock_id is null"
            " and due_at <= %(now)s order by due_at limit %(limit)s)",
            {"now": env.now(), "limit": limit},
        )
    done = 0
    for row in rows:
        with one_row("refills", row["id"]):
            done += run_one(env, row["customer_id"], row["id"])
    return done


def run_one(env: Env, customer_id: UUID, refill_id: UUID) -> int:
    """Buy refills of this until there is enough, a limit is reached or one is under way."""
    for done in range(MOST_AT_ONCE):
        if not step(env, customer_id, refill_id):
            return done
    return MOST_AT_ONCE


def step(env: Env, customer_id: UUID, refill_id: UUID) -> bool:
    """Look once, and buy one refill where one is wanted; whether its payment was made here."""
    one, decision = _look(env, customer_id, refill_id)
    if decision.what != "charge":
        return False
    try:
        made = _charge(env, one)
    except _NotNow as exc:
        if exc.until is not None:
            _postpone(env, one, exc.until)
        return False
    except (Unavailable, ProviderUnavailable, PaymentInFlight):
        _postpone(env, one, heads.now(env, customer_id) + SOON)
        return False
    except TransactionLimit:
        _postpone(env, one, rules.next_day(heads.now(env, customer_id)))
        return False
    except PaydeskError as exc:
        is_method = isinstance(exc, PaymentMethodNotUsable) or (
            isinstance(exc, NotFound) and exc.param == "method"
        )
        return _refused(env, one, NO_METHOD if is_method else exc.code)
    _look(env, customer_id, refill_id)
    return made is not None


def _look(env: Env, customer_id: UUID, refill_id: UUID) -> tuple[RefillView, Decision]:
    """Settle what has ended, decide under the head's lock, and write when to look again."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = _settled(tx, now, refills.read(tx, customer_id, refill_id))
        decision = _decide(tx, now, one, None)
        due_at = decision.until or now + LOOK_AGAIN
        tx.run(
            "update refills set woken = false, seen_seq = %(seq)s, due_at = %(due_at)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": customer_id, "id": refill_id, "seq": tx.heads[customer_id].seq,
             "due_at": now if decision.what == "charge" else min(due_at, now + LOOK_AGAIN)},
        )  # fmt: skip
    crash.at("refill_after_look")
    return one, decision


def _decide(tx: Tx, now: datetime, one: RefillView, price: Money | None) -> Decision:
    facts = Facts(
        is_active=one.state == "active", is_under_way=one.payment_id is not None,
        balance=_balance(tx, now, one), threshold=one.threshold, retry_at=one.retry_at,
        price_minor=price.minor if price else None,
    )  # fmt: skip
    decision = rules.decide(facts, one.limits, Used(), now)
    if decision.what != "charge":
        return decision  # What was used before changes nothing.
    return rules.decide(facts, one.limits, _used(tx, now, one), now)


def _balance(tx: Tx, now: datetime, one: RefillView) -> int:
    if one.asset == CREDIT:
        return credits.balance_total(tx, one.customer_id, now)
    return wallets.balance(tx, one.customer_id, one.asset).minor


def _used(tx: Tx, now: datetime, one: RefillView) -> Used:
    """Refills of the day and of the month that were not in vain."""
    row = tx.one(
        "select count(*) filter (where created_at >= %(day)s) as day_count,"
        " count(*) as month_count, coalesce(sum(asked_minor)"
        "  filter (where created_at >= %(day)s), 0)::bigint as day_minor,"
        " coalesce(sum(asked_minor), 0)::bigint as month_minor from payments"
        " where customer_id = %(customer_id)s and payable = %(payable)s"
        " and created_at >= %(month)s and state <> all(%(dead)s)",
        {"customer_id": one.customer_id, "payable": one.payable, "dead": sorted(DEAD_STATES),
         "day": rules.day_start(now), "month": rules.month_start(now)},
    )  # fmt: skip
    assert row is not None
    return Used(**row)


# What has ended ----------------------------------------------------------------------------------


def _settled(tx: Tx, now: datetime, one: RefillView) -> RefillView:
    """The refill without its payment, where that has ended and its goods are there."""
    if one.payment_id is None:
        return one
    payment = payments.view(tx, one.customer_id, one.payment_id)
    told = {"payment_id": str(payment.id), "paid": payment.amount.minor,
            "paid_currency": payment.currency}  # fmt: skip
    if payment.state in DEAD_STATES:
        return refills.failed(tx, now, one, payment.error_code or payment.state, **told)
    if payment.state not in PAID_STATES or not _is_handed_over(payment):
        return one
    found = refills.change(
        tx, one, payment_id=None, failures=0, error_code=None, retry_at=None, last_at=now
    )
    refills.tell(tx, now, found, "succeeded", balance=_balance(tx, now, found), **told)
    return found


def _is_handed_over(payment: PaymentView) -> bool:
    """Goods that are still to come are waited for: they are what was bought."""
    return payment.fulfillment is not None and payment.fulfillment.state not in ("due", "blocked")


# Buying ------------------------------------------------------------------------------------------


def _charge(env: Env, one: RefillView) -> PaymentView | None:
    number, owner = one.number + 1, one.customer_id
    with env.db.read() as tx:
        saved = methods.for_charge(tx, owner, one.method_id, heads.now(env, owner, tx))
    key = ids.request_key("refill", str(one.id), str(number))

    def guard(tx: Tx, now: datetime, priced: Priced) -> None:
        """Decided once more where the payment is written, and counted with it."""
        found = refills.read(tx, owner, one.id)
        decision = _decide(tx, now, found, priced.total)
        if found.number != one.number or decision.what != "charge":
            raise _NotNow("Nothing is to be bought now.", until=decision.until)
        refills.change(tx, found, number=number, payment_id=priced.payment_id)
        crash.at("refill_before_commit")

    is_wallet = one.asset != CREDIT
    return direct.process(env, direct.NewPayment(
        customer_id=owner, pack=one.pack, credits=one.credits,
        wallet=Money(one.amount_minor or 0, one.asset, minor=True) if is_wallet else None,
        method=saved["id"], provider=saved["provider"], off_session=True, payable=one.payable,
        uses_applied=False,  # The customer keeps it for what he buys himself.
        email=customers.get(env, owner).email, request_key=key, request_hash=key.bytes,
        metadata={"refill_id": ids.show("refill", one.id)}, guard=guard,
    ))  # fmt: skip


def _refused(env: Env, one: RefillView, code: str) -> bool:
    """Nothing was charged: it is a failure all the same, unless another was quicker."""
    with env.db.transaction(one.customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), one.customer_id)
        found = refills.read(tx, *one.key)
        if (found.number, found.failures, found.payment_id) == (one.number, one.failures, None):
            refills.failed(tx, now, found, code)
    _look(env, *one.key)
    return False


def _postpone(env: Env, one: RefillView, until: datetime) -> None:
    """Look again then, or when something happens."""
    with env.db.transaction(one.customer_id, wait_s=WAIT_S) as tx:
        tx.run(
            "update refills set due_at = %(at)s where customer_id = %(customer_id)s"
            " and id = %(id)s",
            {"customer_id": one.customer_id, "id": one.id, "at": until},
        )


# Customers on clocks -----------------------------------------------------------------------------


def _clocked(env: Env, customer_id: UUID, refill_id: UUID) -> None:
    with contextlib.suppress(NotFound):
        run_one(env, customer_id, refill_id)


clock_sources.register(Due(
    name="refills", rank=60, step=_clocked,
    find="select greatest(c.now_at, case when r.woken or h.seq > r.seen_seq then c.now_at"
    " else r.due_at end) as due_at, r.customer_id, r.id from clock_customers k"
    " join clocks c on c.id = k.clock_id join refills r using (customer_id)"
    " join heads h using (customer_id) where k.clock_id = %(clock_id)s and r.state = 'active'"
    " and (r.woken or h.seq > r.seen_seq or r.due_at <= %(until)s)",
))  # fmt: skip
