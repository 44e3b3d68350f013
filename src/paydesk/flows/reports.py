"""What people look at: overview figures, lists with filters, one payment from every side.

Nothing here changes anything, and nothing decides by it: each function answers one page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.errors import NotFound
from paydesk.flows import attention, figure_parts, figures, subscription_payments
from paydesk.flows.desk_lists import in_minor, like
from paydesk.rules import ledger
from paydesk.rules.figures import Range, midnight, zone_of
from paydesk.tracker.models import PAID_STATES

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.env import Env

Row = dict[str, Any]

#: Tab of the payments list -> the states it shows.
TABS: dict[str, tuple[str, ...]] = {
    "all": (),
    "succeeded": ("succeeded",),
    "failed": ("failed",),
    "refunded": ("refunded", "partially_refunded"),
    "unconfirmed": ("pending", "processing", "requires_action", "authorized"),
    "ended": ("expired", "canceled"),
}


@dataclass(frozen=True, slots=True)
class Day:
    """A day's figures, in the business's time zone: minor units, payments that succeeded, declined
    tries, credits sold."""

    day: date
    volume: int
    before: int
    succeeded: int
    failed: int
    credits: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Figures of the last `days` days against those before. Amounts in `currency` only."""

    currency: str
    days: list[Day]
    volume: int
    volume_before: int
    succeeded: int
    failed: int
    credits_sold: int
    credits_sold_before: int
    credits_outstanding: int
    methods: list[Row]
    attention: list[Row]
    other_currencies: list[str]

    @property
    def success_permille(self) -> int | None:
        tried = self.succeeded + self.failed
        return self.succeeded * 1000 // tried if tried else None


def overview(env: Env, *, days: int = 30) -> Overview:
    """The figures of the first page, as reports count them. Today is the last day."""
    now, name = env.now(), env.settings.time_zone
    zone = zone_of(name)
    today = now.astimezone(zone).date()
    since, before = today - timedelta(days=days - 1), timedelta(days=days)
    end = midnight(zone, today + timedelta(days=1))
    over = Range(midnight(zone, since - before), end, name)
    currency = env.settings.default_currency
    with env.db.snapshot() as tx:
        by_day, others = _by_day(tx, over, since, currency)
        methods = _methods(tx, Range(midnight(zone, since), end, name), currency)
        outstanding = figures.credits_held(tx, end, name)
        needing = attention.needs(tx, now)
    series = []
    for number in range(days):
        at = since + timedelta(days=number)
        this = by_day[at]
        series.append(Day(at, this["volume"], by_day[at - before]["volume"], this["succeeded"],
                          this["failed"], this["credits"]))  # fmt: skip
    return Overview(
        currency=currency,
        days=series,
        volume=sum(d.volume for d in series),
        volume_before=sum(d.before for d in series),
        succeeded=sum(d.succeeded for d in series),
        failed=sum(d.failed for d in series),
        credits_sold=sum(d.credits for d in series),
        credits_sold_before=sum(by_day[d.day - before]["credits"] for d in series),
        credits_outstanding=outstanding,
        methods=methods,
        attention=needing,
        other_currencies=others,
    )


def _by_day(
    tx: Tx, over: Range, since: date, currency: str
) -> tuple[dict[date, Counter[str]], list[str]]:
    """By day what was paid and how many tries were declined; and the other currencies with money
    since a day."""
    parts = figure_parts.parts_of(tx, over, "day")
    found: dict[date, Counter[str]] = defaultdict(Counter)
    others = set()
    for row in figures.collect(tx, parts, over, "payments", period="day",
                               by=["state", "currency"]):  # fmt: skip
        day = found[row["day"]]
        day["credits"] += row["credits"]
        day["succeeded"] += row["payments"] if row["state"] in PAID_STATES else 0
        if row["currency"] == currency:
            day["volume"] += row["captured"]
        elif row["captured"] and row["day"] >= since:
            others.add(row["currency"])
    for row in figures.collect(tx, parts, over, "attempts", period="day", by=[],
                               where={"state": "failed"}):  # fmt: skip
        found[row["day"]]["failed"] += row["attempts"]
    return found, sorted(others)


def _methods(tx: Tx, over: Range, currency: str) -> list[Row]:
    """Methods by what they brought, the four largest and the rest; with `permille` of the sum."""
    brought: Counter[str] = Counter()
    for row in figures.collect(tx, figure_parts.parts_of(tx, over, None), over, "payments",
                               period=None, by=["method", "provider"],
                               where={"currency": currency}):  # fmt: skip
        brought[row["method"] or row["provider"]] += row["captured"]
    rows = [{"name": name, "minor": minor}
            for name, minor in sorted(brought.items(), key=lambda one: (-one[1], one[0]))
            if minor > 0]  # fmt: skip
    shown, rest = rows[:4], sum(row["minor"] for row in rows[4:])
    if rest:
        shown.append({"name": "Other", "minor": rest})
    total = sum(row["minor"] for row in rows)
    return [{**row, "permille": row["minor"] * 1000 // total} for row in shown]


# Lists --------------------------------------------------------------------------------------------


def payments_page(
    env: Env,
    *,
    tab: str = "all",
    q: str = "",
    customer_id: UUID | None = None,
    before: str = "",
    limit: int = 25,
) -> tuple[list[Row], str]:
    """Payments, newest first, and the cursor of the next page ("" when this is the last).

    `q` is part of an external id, e-mail, reference or product, or an amount like 49.05.
    """
    states = list(TABS.get(tab, ()))
    at, after_id = _cursor(env, before)
    with env.db.read() as tx:
        rows = tx.all(
            "select p.customer_id, p.id, p.state, p.currency, p.asked_minor, p.captured_minor,"
            " p.refunded_minor, p.credits_to_add, p.package_name, p.description, p.method,"
            " p.purpose, p.provider, p.review, p.created_at, c.external_id, c.email, c.name"
            " from payments p join customers c on c.customer_id = p.customer_id"
            " where (%(states)s::text[] = '{}' or p.state = any(%(states)s))"
            " and (%(customer)s::uuid is null or p.customer_id = %(customer)s)"
            " and (not %(is_review)s or p.review is not null or exists ("
            "   select 1 from fulfillments f where f.customer_id = p.customer_id"
            "   and f.payment_id = p.id and f.state in ('due', 'blocked')))"
            " and (%(like)s::text is null or c.external_id ilike %(like)s or c.email ilike %(like)s"
            "   or p.reference ilike %(like)s or p.package_name ilike %(like)s"
            "   or p.handle ilike %(like)s or p.asked_minor = %(minor)s)"
            " and (%(at)s::timestamptz is null or (p.created_at, p.id) < (%(at)s, %(after)s))"
            " order by p.created_at desc, p.id desc limit %(limit)s",
            {
                "states": states, "customer": customer_id, "is_review": tab == "review",
                "like": like(q), "minor": in_minor(q, env.settings.default_currency),
                "at": at, "after": after_id, "limit": limit + 1,
            },
        )  # fmt: skip
        rows, more = rows[:limit], len(rows) > limit
        _name_plans(tx, rows)
    return rows, ids.show("payment", rows[-1]["id"]) if more else ""


def _name_plans(tx: Tx, rows: Sequence[Row]) -> None:
    """`paid_for` of each payment: the plan and the time of a subscription's invoice, else None.
    Its description says them."""
    plans = subscription_payments.of_payments(
        tx, [(row["customer_id"], row["id"]) for row in rows if row["purpose"] == "invoice"]
    )
    for row in rows:
        plan = row["paid_for"] = plans.get((row["customer_id"], row["id"]))
        row["description"] = plan.text if plan else row["description"]


def _cursor(env: Env, before: str) -> tuple[datetime | None, UUID | None]:
    """Where the page before ended. A cursor of nothing starts at the top."""
    if not before:
        return None, None
    try:
        payment_id = ids.parse("payment", before)
    except NotFound:
        return None, None
    with env.db.read() as tx:
        at = tx.value(
            "select created_at from payments where customer_id = %(owner)s and id = %(id)s",
            {"owner": ids.customer_of(payment_id), "id": payment_id},
        )
    return at, payment_id


def customers_page(
    env: Env, *, q: str = "", before: str = "", limit: int = 25
) -> tuple[list[Row], str]:
    """Customers with their credit balance and what they paid, newest first, and the cursor."""
    after = None
    if before:
        try:
            after = ids.parse("customer", before)
        except NotFound:
            after = None
    with env.db.read() as tx:
        rows = tx.all(
            "select c.customer_id, c.external_id, c.email, c.name, c.created_at,"
            " coalesce(a.balance, 0) as balance, coalesce(p.payments, 0) as payments,"
            " coalesce(p.paid, 0)::bigint as paid from customers c"
            " left join accounts a on a.customer_id = c.customer_id and a.code = 1"
            "   and a.asset = 'CREDIT'"
            " left join lateral (select count(*) as payments, sum(captured_minor - refunded_minor)"
            "   filter (where currency = %(currency)s) as paid from payments p"
            "   where p.customer_id = c.customer_id and p.captured_minor > 0) p on true"
            " where (%(like)s::text is null or c.external_id ilike %(like)s"
            "   or c.email ilike %(like)s or c.name ilike %(like)s)"
            " and (%(after)s::uuid is null or (c.created_at, c.customer_id) < (select created_at,"
            "   customer_id from customers where customer_id = %(after)s))"
            " order by c.created_at desc, c.customer_id desc limit %(limit)s",
            {
                "like": like(q), "after": after, "limit": limit + 1,
                "currency": env.settings.default_currency,
            },
        )  # fmt: skip
    rows, more = rows[:limit], len(rows) > limit
    return rows, ids.show("customer", rows[-1]["customer_id"]) if more else ""


def promos_page(env: Env, limit: int = 200) -> list[Row]:
    """Promo codes with their uses and the money that came with them, newest first."""
    with env.db.read() as tx:
        return tx.all(
            "select r.id, r.code, r.kind, r.percent_off, r.amount_off_minor, r.currency,"
            " r.bonus_credits, r.trial_days, r.duration, r.duration_periods, r.cap,"
            " r.per_customer, r.min_purchase_minor, r.packs, r.plans, r.first_purchase,"
            " r.starts_at, r.expires_at, r.active,"
            " coalesce(n.used, 0) as used, coalesce(m.brought, 0)::bigint as brought,"
            " coalesce(m.given, 0)::bigint as given"
            " from promos r left join promo_counts n on n.promo_id = r.id"
            " left join lateral (select sum(o.brought) as brought, sum(o.given) as given"
            "   from promo_uses u cross join lateral ("
            "    select p.captured_minor as brought, p.discount_minor as given from payments p"
            "     where p.customer_id = u.customer_id and p.id = u.payment_id"
            "     and p.currency = %(currency)s"
            # A subscription's use has its id: what its invoices took off, changes of plan too.
            "    union all select v.paid_minor, v.discount_minor from invoices v"
            "     where v.customer_id = u.customer_id and v.subscription_id = u.payment_id"
            "     and v.state = 'paid' and v.discount_minor > 0 and v.currency = %(currency)s) o"
            "   where u.promo_id = r.id and u.state = 'used') m on true"
            " order by r.created_at desc, r.id desc limit %(limit)s",
            {"currency": env.settings.default_currency, "limit": limit},
        )


def inbox_page(env: Env, *, state: str = "", before: str = "", limit: int = 50) -> list[Row]:
    """Webhooks that came in, newest first. `before` is the received time of the last one shown."""
    at = _instant(before)
    with env.db.read() as tx:
        return tx.all(
            "select provider, account, event_id, type, state, tries, deliveries, error,"
            " customer_id, subject_id, received_at, applied_at, try_at, settled_by"
            " from provider_events"
            " where (%(state)s = '' or state = %(state)s)"
            " and (%(at)s::timestamptz is null or received_at < %(at)s)"
            " order by received_at desc limit %(limit)s",
            {"state": state, "at": at, "limit": limit},
        )


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


# One thing ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """One payment with all that hangs on it; rows as the tables have them."""

    payment: Row
    checkout: Row | None
    attempts: list[Row]
    calls: list[Row]
    fulfillments: list[Row]
    deliveries: list[Row]
    events: list[Row]
    entries: list[Row]
    batches: list[Row]
    promo: str | None
    customer: Row
    is_balanced: bool


def payment_page(env: Env, payment_id: UUID) -> PaymentPage:
    """Everything about a payment, read at one instant. Raises NotFound."""
    key = {"customer": ids.customer_of(payment_id), "payment": payment_id}
    with env.db.snapshot() as tx:
        payment = tx.one(
            "select p.customer_id, p.id, p.state, p.currency, p.asked_minor, p.captured_minor,"
            " p.refunded_minor, p.price_minor, p.discount_minor, p.credits_to_add, p.package_id,"
            " p.package_name, p.purpose, p.promo_id, p.checkout_id, p.session_ref,"
            " p.provider_payment_ref, p.provider, p.handle, p.method, p.description, p.reference,"
            " p.review, p.credits_added_at, p.completed_at, p.failed_at, p.expires_at,"
            " p.error_code, p.error_message, p.metadata, p.livemode, p.created_at"
            " from payments p where p.customer_id = %(customer)s and p.id = %(payment)s",
            key,
        )
        if payment is None:
            raise NotFound(f"No such payment: {ids.show('payment', payment_id)!r}.")
        _name_plans(tx, [payment])
        fulfillments = _fulfillments(tx, key)
        txns = [row["txn_id"] for row in fulfillments if row["txn_id"]]
        entries = _entries(tx, key["customer"], payment_id, txns)
        batches = tx.all(
            "select id, kind, granted, remaining, expires_at from batches"
            " where customer_id = %(customer)s and payment_id = %(payment)s order by id",
            key,
        )
        subjects = [payment_id, payment["checkout_id"], *txns]
        subjects += [row["id"] for row in (*entries, *batches)]
        return PaymentPage(
            payment=payment,
            checkout=tx.one(
                "select id, email, lines, success_url, verify_attempts, created_at from checkouts"
                " where customer_id = %(customer)s and payment_id = %(payment)s",
                key,
            ),
            attempts=tx.all(
                "select id, state, session_ref, method, error_code, error_message, created_at,"
                " expires_at, ended_at from attempts where customer_id = %(customer)s"
                " and payment_id = %(payment)s order by created_at, id limit 50",
                key,
            ),
            calls=tx.all(
                "select id, action, state, tries, error, created_at from provider_calls"
                " where customer_id = %(customer)s and payment_id = %(payment)s"
                " order by created_at, id limit 50",
                key,
            ),
            fulfillments=fulfillments,
            deliveries=_deliveries(tx, payment),
            events=tx.all(
                "select seq, id, type, subject_id, data, cause, created_at from events"
                " where customer_id = %(customer)s and subject_id = any(%(subjects)s)"
                " order by seq desc limit 100",
                {"customer": key["customer"], "subjects": [s for s in subjects if s]},
            ),
            entries=entries,
            batches=batches,
            promo=tx.value(
                "select code from promos where id = %(id)s", {"id": payment["promo_id"]}
            ),
            customer=_customer(tx, key["customer"], env.settings.default_currency),
            is_balanced=_is_balanced(tx, key["customer"]),
        )


def _fulfillments(tx: Tx, key: Row) -> list[Row]:
    return tx.all(
        "select purpose, state, path, txn_id, error_code, error, tries, try_at, done_at, created_at"
        " from fulfillments where customer_id = %(customer)s and payment_id = %(payment)s"
        " order by created_at, purpose",
        key,
    )


def _entries(tx: Tx, customer_id: UUID, payment_id: UUID, txns: list[UUID]) -> list[Row]:
    rows = tx.all(
        "select id, seq, txn_id, debit, credit, asset, amount, reason, effective_at from transfers"
        " where customer_id = %(customer)s and (subject_id = %(payment)s or txn_id = any(%(txns)s))"
        " order by seq limit 200",
        {"customer": customer_id, "payment": payment_id, "txns": txns},
    )
    for row in rows:
        row["debit_account"] = ledger.NAMES[row["debit"]]
        row["credit_account"] = ledger.NAMES[row["credit"]]
    return rows


def _deliveries(tx: Tx, payment: Row) -> list[Row]:
    """The webhooks about a payment: found by the object they were applied to."""
    return tx.all(
        "select event_id, type, state, tries, deliveries, error, received_at, applied_at"
        " from provider_events where customer_id = %(customer)s"
        " and subject_id = any(%(subjects)s) order by received_at limit 50",
        {
            "customer": payment["customer_id"],
            "subjects": [s for s in (payment["id"], payment["checkout_id"]) if s],
        },
    )


def _customer(tx: Tx, customer_id: UUID, currency: str) -> Row:
    row = tx.one(
        "select c.customer_id, c.external_id, c.email, c.name, c.metadata, c.created_at,"
        " (select coalesce(max(balance), 0) from accounts a where a.customer_id = c.customer_id"
        "   and a.code = 1 and a.asset = 'CREDIT') as balance,"
        " (select coalesce(sum(captured_minor - refunded_minor), 0)::bigint from payments p"
        "   where p.customer_id = c.customer_id and p.currency = %(currency)s) as paid"
        " from customers c where c.customer_id = %(customer)s",
        {"customer": customer_id, "currency": currency},
    )
    if row is None:
        raise NotFound(f"No such customer: {ids.show('customer', customer_id)!r}.")
    return row


def customer_row(env: Env, customer_id: UUID) -> Row:
    """A customer with the balance on the books and what was paid. Raises NotFound."""
    with env.db.read() as tx:
        return _customer(tx, customer_id, env.settings.default_currency)


def _is_balanced(tx: Tx, customer_id: UUID) -> bool:
    """Whether this customer's books add up: every asset's balances sum to nothing."""
    off = tx.value(
        "select count(*) from (select asset from accounts where customer_id = %(customer)s"
        " group by asset having sum(balance) <> 0) as uneven",
        {"customer": customer_id},
    )
    return off == 0


def find(env: Env, text: str) -> str | None:
    """The page of what an id names: ours, or the provider's session, intent or event; or None."""
    for kind, place in (("payment", "payments"), ("customer", "customers")):
        if text.startswith(ids.PREFIXES[kind] + "_"):
            return f"/dashboard/{place}/{text}"
    with env.db.read() as tx:
        row = tx.one(
            "select customer_id, object_id from provider_refs where ref = %(text)s limit 1",
            {"text": text},
        )
        checkout = None if row or not text.startswith("cs_") else _of_checkout(tx, text)
        owner = None if row or checkout else _by_external(tx, text)
        payment = checkout or (row and _payment_behind(tx, row["customer_id"], row["object_id"]))
    if payment:
        return f"/dashboard/payments/{ids.show('payment', payment)}"
    return f"/dashboard/customers/{ids.show('customer', owner)}" if owner else None


def _by_external(tx: Tx, text: str) -> UUID | None:
    return tx.value(
        "select customer_id from customer_refs where external_id = %(text)s", {"text": text}
    )


def _of_checkout(tx: Tx, text: str) -> UUID | None:
    try:
        checkout = ids.parse("checkout", text)
    except NotFound:
        return None
    return _payment_behind(tx, ids.customer_of(checkout), checkout)


def _payment_behind(tx: Tx, customer_id: UUID, object_id: UUID) -> UUID | None:
    """The payment that an object is, or belongs to."""
    return tx.value(
        "select id from payments where customer_id = %(customer)s and id = %(object)s"
        " union select payment_id from checkouts where customer_id = %(customer)s"
        " and id = %(object)s union select payment_id from attempts"
        " where customer_id = %(customer)s and id = %(object)s limit 1",
        {"customer": customer_id, "object": object_id},
    )
