"""The doctor: proves on any database that the books balance and that nothing was lost or doubled.

Set-based and read-only, in one snapshot. `CHECKS` names every statement with the promise it
proves; each answers the rows that break it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

from paydesk.db.postgres import Database, Tx
from paydesk.flows import figure_proof, invoice_proof, subscription_history

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `detail` says what was looked at, or names the first rows that break it."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """`table`: where it is empty there is nothing to prove. `broken`: a query for culprits."""

    name: str
    promise: str
    table: str
    broken: LiteralString


CHECKS: tuple[Check, ...] = (
    Check(
        "books_balance", "I2: every customer's accounts sum to zero in every asset", "accounts",
        "select customer_id, asset, sum(balance) as total from accounts"
        " group by customer_id, asset having sum(balance) <> 0 limit 4",
    ),
    Check(
        "balances_equal_entries", "I3: a stored balance is the sum of its transfers", "accounts",
        "select customer_id, code, asset, sum(stored) as stored, sum(moved) as posted from ("
        " select customer_id, code, asset, balance as stored, 0 as moved from accounts"
        " union all select customer_id, debit, asset, 0, -amount from transfers"
        " union all select customer_id, credit, asset, 0, amount from transfers) l"
        " group by customer_id, code, asset having sum(stored) <> sum(moved) limit 4",
    ),
    Check(
        "floors", "I3: credits, wallet, held funds and balance are never below zero", "accounts",
        "select customer_id, code, asset, balance from accounts"
        " where balance < floor or (code in (1, 2, 3) and floor <> 0)"
        " or (code = 18 and balance < 0) limit 4",
    ),
    Check(
        "running_balances", "I3: each transfer carries the balances after it", "transfers",
        "select customer_id, seq, code from (select customer_id, seq, code, after,"
        " sum(delta) over (partition by customer_id, code, asset order by seq) as total from ("
        " select customer_id, seq, debit as code, asset, -amount as delta, debit_after as after"
        "  from transfers"
        " union all select customer_id, seq, credit, asset, amount, credit_after from transfers"
        " ) l) r where total <> after limit 4",
    ),
    Check(
        "entries_gap_free", "I4: transfers are numbered without gaps", "transfers",
        "select t.customer_id, t.n, t.top, h.entry_seq from (select customer_id, count(*) as n,"
        " max(seq) as top from transfers group by customer_id) t"
        " left join heads h on h.customer_id = t.customer_id"
        " where t.n <> t.top or t.top is distinct from h.entry_seq limit 4",
    ),
    Check(
        "events_gap_free", "events are numbered without gaps", "events",
        "select e.customer_id, e.n, e.top, h.seq from (select customer_id, count(*) as n,"
        " max(seq) as top from events group by customer_id) e"
        " left join heads h on h.customer_id = e.customer_id"
        " where e.n <> e.top or e.top is distinct from h.seq limit 4",
    ),
    Check(
        "batches_hold_the_balance", "I15: the batches hold what the balance says", "batches",
        "select customer_id, sum(held) as in_batches, sum(booked) as balance from ("
        " select customer_id, remaining as held, 0 as booked from batches where open"
        " union all select customer_id, 0, balance from accounts"
        "  where code = 1 and asset = 'CREDIT') l"
        " group by customer_id having sum(held) <> sum(booked) limit 4",
    ),
    Check(
        "batches_match_draws", "I15: what left a batch is named by draws", "batches",
        "select b.customer_id, b.id, b.granted, b.remaining, coalesce(d.taken, 0) as drawn"
        " from batches b left join (select customer_id, batch_id, sum(amount) as taken from draws"
        "  group by customer_id, batch_id) d on d.customer_id = b.customer_id and d.batch_id = b.id"
        " where b.remaining <> b.granted - coalesce(d.taken, 0) limit 4",
    ),
    Check(
        "draws_match_transfers", "I15: every transfer of credits names its batches", "transfers",
        "select t.customer_id, t.id, t.amount, d.taken, b.granted from transfers t"
        " left join (select customer_id, transfer_id, sum(amount) as taken from draws"
        "  group by customer_id, transfer_id) d"
        "  on d.customer_id = t.customer_id and d.transfer_id = t.id"
        " left join batches b on b.customer_id = t.customer_id and b.id = t.subject_id"
        " where t.asset = 'CREDIT' and ((t.debit = 1 and d.taken is distinct from t.amount)"
        "  or (t.credit = 1 and d.taken is distinct from -t.amount"
        "   and (d.taken is not null or b.granted is distinct from t.amount))) limit 4",
    ),
    Check(
        "batches_were_granted", "I15: every batch was filled by exactly one transfer", "batches",
        "select b.customer_id, b.id, count(t.id) as grants from batches b left join transfers t"
        " on t.customer_id = b.customer_id and t.subject_id = b.id and t.credit = 1"
        " and t.asset = 'CREDIT' group by b.customer_id, b.id having count(t.id) <> 1 limit 4",
    ),
    Check(
        "debts_match", "what is owed on batches is the debt account", "batches",
        "select customer_id, sum(owed) as owed, sum(debt) as debt from ("
        " select customer_id, owed, 0 as debt from batches where owed > 0"
        " union all select customer_id, 0, -balance from accounts"
        "  where code = 4 and asset = 'CREDIT') l"
        " group by customer_id having sum(owed) <> sum(debt) limit 4",
    ),
    Check(
        "next_expiry", "I16: no batch ends before the customer's next known expiry", "batches",
        "select b.customer_id, min(b.expires_at) as soonest from batches b"
        " left join accounts a on a.customer_id = b.customer_id and a.code = 1"
        "  and a.asset = 'CREDIT' where b.open group by b.customer_id"
        " having not coalesce(bool_and(a.next_expiry <= b.expires_at), false) limit 4",
    ),
    Check(
        "refunds_within_captures", "I7: never more refunded than captured, but for stated losses",
        "payments",
        "select p.customer_id, p.id, p.state, p.captured_minor, p.refunded_minor,"
        " coalesce(r.lost, 0) as lost from payments p left join (select customer_id, payment_id,"
        "  currency, sum(loss_minor) as lost from refunds where state in ('pending', 'succeeded')"
        "  group by customer_id, payment_id, currency) r on r.customer_id = p.customer_id"
        "  and r.payment_id = p.id and r.currency = p.currency"
        " where p.refunded_minor > p.captured_minor + coalesce(r.lost, 0)"
        " or (p.state = 'refunded' and p.refunded_minor < p.captured_minor)"
        " or (p.state = 'succeeded' and p.refunded_minor > 0)"
        " or (p.state = 'partially_refunded'"
        "  and (p.refunded_minor = 0 or p.refunded_minor >= p.captured_minor)) limit 4",
    ),
    Check(
        "refunded_sums", "I7: a payment's refunded sum is that of its live refunds", "payments",
        "select p.customer_id, p.id, p.refunded_minor, coalesce(r.total, 0) as refunds"
        " from payments p left join (select customer_id, payment_id, currency,"
        "  sum(amount_minor) as total from refunds where state in ('pending', 'succeeded')"
        "  group by customer_id, payment_id, currency) r on r.customer_id = p.customer_id"
        "  and r.payment_id = p.id and r.currency = p.currency"
        " where p.refunded_minor <> coalesce(r.total, 0) limit 4",
    ),
    Check(
        "refunds_on_their_way", "the account of refunds holds what is pending", "refunds",
        "select customer_id, currency, sum(pending) as pending, sum(booked) as booked from ("
        " select customer_id, currency, amount_minor - loss_minor as pending, 0 as booked"
        "  from refunds where state = 'pending'"
        " union all select customer_id, asset, 0, balance from accounts where code = 13) l"
        " group by customer_id, currency having sum(pending) <> sum(booked) limit 4",
    ),
    Check(
        "clawbacks_are_posted", "I17: credits taken back are in the books, and undone with them",
        "clawbacks",
        "select c.customer_id, c.id, c.taken, c.owed, t.taken as posted, t.owed as posted_owed"
        " from clawbacks c left join (select customer_id, txn_id,"
        "  coalesce(sum(amount) filter (where debit = 1), 0) as taken,"
        "  coalesce(sum(amount) filter (where debit = 4), 0) as owed from transfers"
        "  where reason = 'CREDIT_CLAWBACK' group by customer_id, txn_id) t"
        "  on t.customer_id = c.customer_id and t.txn_id = c.txn_id"
        " where c.goods = 'credits' and (c.taken <> coalesce(t.taken, 0)"
        "  or c.owed <> coalesce(t.owed, 0) or (c.reversed_at is not null"
        "   and c.taken + c.owed > 0 and c.reversal_txn_id is null)) limit 4",
    ),
    Check(
        "captures_are_posted", "I3: what a payment took is what the books say it took",
        "payments",
        "select p.customer_id, p.id, p.captured_minor, coalesce(t.posted, 0) as posted"
        " from payments p left join (select customer_id, subject_id, asset, sum(amount) as posted"
        "  from transfers where reason in ('PAYMENT_CAPTURE', 'WALLET_PAYMENT')"
        "  group by customer_id, subject_id, asset) t on t.customer_id = p.customer_id"
        "  and t.subject_id = p.id and t.asset = p.currency"
        " where p.captured_minor <> coalesce(t.posted, 0) limit 4",
    ),
    Check(
        "paid_is_fulfilled", "I1: goods of what was paid are handed over, due or blocked",
        "payments",
        "select p.customer_id, p.id, p.state, p.captured_minor from payments p"
        " where (p.captured_minor > 0 or p.state in ('succeeded', 'partially_refunded',"
        "  'refunded', 'disputed')) and not exists (select from fulfillments f"
        "  where f.customer_id = p.customer_id and f.payment_id = p.id) limit 4",
    ),
    Check(
        "fulfillments_are_posted", "goods handed over are in the books", "fulfillments",
        "select f.customer_id, f.payment_id, f.purpose, f.txn_id from fulfillments f"
        " where f.state in ('done', 'reversed') and not exists (select from transfers t"
        "  where t.customer_id = f.customer_id and t.txn_id = f.txn_id) limit 4",
    ),
    Check(
        "credits_granted_once", "I1: a payment's credits were granted at most once", "payments",
        "select customer_id, payment_id, count(*) as grants from batches"
        " where kind = 'purchased' and payment_id is not null and source_id is null"
        " group by customer_id, payment_id having count(*) > 1 limit 4",
    ),
    Check(
        "seals_hold", "I46: no sealed event or transfer was changed", "seals",
        "select s.customer_id, s.seq, s.entry_seq from (select customer_id, seq, entry_seq, hash,"
        " lag(hash) over w as before, coalesce(lag(seq) over w, 0) as from_seq,"
        " coalesce(lag(entry_seq) over w, 0) as from_entry from seals"
        " window w as (partition by customer_id order by seq, entry_seq)) s"
        " where s.hash <> seal_v1(s.before, s.customer_id, s.from_seq, s.seq, s.from_entry,"
        " s.entry_seq) limit 4",
    ),
    Check(
        "access_is_owned", "I20: what a purchase or service gave holds only while that does",
        "access_grants",
        "select g.customer_id, g.id, g.resource_type, g.resource_id from access_grants g"
        " left join purchases p on g.source = 'purchase' and p.customer_id = g.customer_id"
        "  and p.id = g.source_id"
        " left join customer_services s on g.source = 'service'"
        "  and s.customer_id = g.customer_id and s.id = g.source_id"
        " where g.source in ('purchase', 'service') and not exists (select from"
        "  access_revocations r where r.customer_id = g.customer_id and r.grant_id = g.id"
        "  and r.reinstated_at is null)"
        " and (coalesce(p.state, s.state, 'none') in ('none', 'pending', 'failed')"
        "  or (p.taken_by <> '{}' and g.expires_at > p.refunded_at)"
        "  or (s.taken_by <> '{}' and g.expires_at > s.ended_at)) limit 4",
    ),
    Check(
        "bought_days_follow", "I20: of days that were bought for one resource no two overlap",
        "access_grants",
        "select customer_id, id, resource_type, resource_id from (select g.*, lag(expires_at)"
        "  over (partition by customer_id, resource_type, resource_id order by starts_at, id)"
        "  as before from access_grants g where source = 'purchase' and expires_at < 'infinity'"
        "  and not exists (select from access_revocations r where r.customer_id = g.customer_id"
        "   and r.grant_id = g.id and r.reinstated_at is null)) d"
        " where starts_at < before limit 4",
    ),
    Check(
        "owned_is_paid", "I20 I21: what a customer owns was paid for", "payments",
        "select y.customer_id, y.id, y.captured_minor from payments y"
        " left join purchases p on p.customer_id = y.customer_id and p.payment_id = y.id"
        " left join customer_services s on s.customer_id = y.customer_id and s.payment_id = y.id"
        " where y.captured_minor = 0"
        " and (p.state = 'completed' or s.state = 'active') limit 4",
    ),
    Check(
        "promo_counts", "promo codes: the count is the uses that were not given back",
        "promo_uses",
        "select u.promo_id, u.n, c.used from (select promo_id,"
        " count(*) filter (where state <> 'released') as n from promo_uses group by promo_id) u"
        " left join promo_counts c on c.promo_id = u.promo_id"
        " where u.n is distinct from coalesce(c.used, 0) limit 4",
    ),
    Check(
        "held_is_set_aside", "I8: what is held is what open holds and withdrawals set aside",
        "accounts",
        "select customer_id, asset, sum(held) as held, sum(aside) as set_aside from ("
        " select customer_id, asset, balance as held, 0 as aside from accounts where code = 3"
        " union all select customer_id, asset, 0, amount - captured from holds"
        "  where state = 'open'"
        " union all select customer_id, currency, 0, amount_minor from withdrawals"
        "  where state in ('requested', 'approved')) l"
        " group by customer_id, asset having sum(held) <> sum(aside) limit 4",
    ),
    Check(
        "holds_end_once", "I8: a hold is used within its amount, and at its end the rest is back",
        "holds",
        "select h.customer_id, h.id, h.amount, h.captured, c.moved as used, r.moved as released"
        " from holds h left join (select customer_id, subject_id, sum(amount) as moved"
        "  from transfers where debit = 3 and reason = 'HOLD_CAPTURE'"
        "  group by customer_id, subject_id) c on c.customer_id = h.customer_id"
        "  and c.subject_id = h.id"
        " left join (select customer_id, txn_id, sum(amount) as moved from transfers"
        "  where debit = 3 group by customer_id, txn_id) r on r.customer_id = h.customer_id"
        "  and r.txn_id = h.release_txn_id"
        " where coalesce(c.moved, 0) <> h.captured or (h.state = 'closed'"
        "  and coalesce(c.moved, 0) + coalesce(r.moved, 0) <> h.amount) limit 4",
    ),
    Check(
        "wallets_are_there", "money of a wallet belongs to a wallet", "accounts",
        "select a.customer_id, a.asset, a.balance from accounts a"
        " where a.code = 2 and a.balance <> 0 and not exists (select from wallets w"
        "  where w.customer_id = a.customer_id and w.currency = a.asset) limit 4",
    ),
    Check(
        "debts_are_repaid_first", "whoever owes has nothing in that wallet, and nobody overpays",
        "wallets",
        "select d.customer_id, d.asset, d.balance as debt, w.balance as wallet from accounts d"
        " left join accounts w on w.customer_id = d.customer_id and w.asset = d.asset"
        "  and w.code = 2 where d.code = 4 and d.asset <> 'CREDIT'"
        "  and (d.balance > 0 or (d.balance < 0 and w.balance > 0)) limit 4",
    ),
    Check(
        "exchange_is_conversions", "I14: what was exchanged is what the conversions say",
        "conversions",
        "select customer_id, asset, sum(booked) as booked, sum(converted) as converted from ("
        " select customer_id, asset, balance as booked, 0 as converted from accounts"
        "  where code = 17"
        " union all select customer_id, from_currency, 0,"
        "  from_minor - margin_minor - rounding_minor from conversions"
        " union all select customer_id, to_currency, 0, -to_minor from conversions) l"
        " group by customer_id, asset having sum(booked) <> sum(converted) limit 4",
    ),
    Check(
        "transit_is_even", "I2: what left one customer for another has arrived", "accounts",
        "select asset, sum(balance) as under_way from accounts where code = 9"
        " group by asset having sum(balance) <> 0 limit 4",
    ),
    Check(
        "disputes_are_posted", "I9: what a dispute took and gave back is in the books, once",
        "disputes",
        "select d.customer_id, d.id, d.withdrawn_minor, d.reinstated_minor, d.loss_minor,"
        " d.fee_minor, m.* from disputes d cross join lateral (select"
        " coalesce(sum(t.amount) filter (where t.reason = 'DISPUTE'), 0) as withdrawn,"
        " coalesce(sum(r.back) filter (where t.reason = 'DISPUTE'), 0) as reinstated,"
        " coalesce(sum(t.amount - r.back) filter (where t.reason = 'DISPUTE' and t.debit = 15), 0)"
        "  - coalesce(sum(t.amount - r.back) filter (where t.reason = 'DISPUTE_LOSS_COVERED'), 0)"
        "  as lost,"
        " coalesce(sum(t.amount - r.back) filter (where t.reason = 'DISPUTE_FEE'), 0) as fee"
        " from jsonb_array_elements(d.postings) p"
        " join transfers t on t.customer_id = d.customer_id and t.id = (p->>'transfer')::uuid"
        " cross join lateral (select coalesce(sum(amount), 0) as back from transfers"
        "  where customer_id = t.customer_id and reverses_id = t.id) r) m"
        " where (m.withdrawn, m.reinstated, m.lost, m.fee) is distinct from (d.withdrawn_minor,"
        "  d.reinstated_minor, d.loss_minor, d.fee_minor) limit 4",
    ),
    Check(
        "disputes_hold_nothing", "I9: every posting of a dispute is a dispute's, and none is left"
        " half done", "transfers",
        "select customer_id, asset, sum(posted) as posted, sum(told) as told from ("
        " select customer_id, asset, amount as posted, 0 as told from transfers"
        "  where reason = 'DISPUTE'"
        " union all select customer_id, asset, balance, 0 from accounts where code = 14"
        " union all select customer_id, currency, 0, withdrawn_minor from disputes) l"
        " group by customer_id, asset having sum(posted) <> sum(told) limit 4",
    ),
    Check(
        "disputes_within_captures",
        "I9: refunds and disputes never take more than was captured, but for stated losses",
        "disputes",
        "select p.customer_id, p.id, p.captured_minor, d.held, r.refunded from payments p"
        " join (select customer_id, payment_id, currency,"
        "  sum(withdrawn_minor - reinstated_minor - loss_minor) as held from disputes"
        "  group by customer_id, payment_id, currency) d on d.customer_id = p.customer_id"
        "  and d.payment_id = p.id and d.currency = p.currency"
        " left join (select customer_id, payment_id, currency,"
        "  sum(amount_minor - loss_minor) as refunded from refunds"
        "  where state in ('pending', 'succeeded') group by customer_id, payment_id, currency) r"
        "  on r.customer_id = p.customer_id and r.payment_id = p.id and r.currency = p.currency"
        " where d.held + coalesce(r.refunded, 0) > p.captured_minor limit 4",
    ),
    Check(
        "refills_have_payments", "I1: every refill that was begun is a payment", "refills",
        "select r.customer_id, r.id, r.number, count(p.id) as payments from refills r"
        " left join payments p on p.customer_id = r.customer_id and p.payable = 'refill:' || r.what"
        " group by r.customer_id, r.id, r.number having count(p.id) < r.number limit 4",
    ),
)  # fmt: skip

#: What reports are read from, where they do not read the rows: name, promise, who breaks it.
FIGURES = (
    ("figures_equal_rows", "reports: the computed days say what the rows say",
     figure_proof.broken_days),
    ("figures_add_up", "reports: sums of days and months are those of their days",
     figure_proof.broken_sums),
)  # fmt: skip


def check(where: Database | Tx) -> list[Finding]:
    """Every check on a database, or inside a transaction that is open. Changes nothing."""
    if isinstance(where, Tx):
        return _check(where)
    with where.snapshot() as tx:
        return _check(tx)


def _check(tx: Tx) -> list[Finding]:
    filled = tx.one(
        "select exists (select from accounts) as accounts,"
        " exists (select from transfers) as transfers, exists (select from events) as events,"
        " exists (select from batches) as batches, exists (select from payments) as payments,"
        " exists (select from fulfillments) as fulfillments,"
        " exists (select from refunds) as refunds, exists (select from clawbacks) as clawbacks,"
        " exists (select from disputes) as disputes,"
        " exists (select from holds) as holds, exists (select from wallets) as wallets,"
        " exists (select from conversions) as conversions,"
        " exists (select from access_grants) as access_grants,"
        " exists (select from promo_uses) as promo_uses, exists (select from seals) as seals,"
        " exists (select from invoices) as invoices,"
        " exists (select from refills) as refills,"
        " exists (select from subscriptions) as subscriptions"
    )
    assert filled is not None
    more = invoice_proof.CHECKS + subscription_history.CHECKS
    checks = CHECKS + tuple(Check(*one) for one in more)
    found = [_finding(tx, one) if filled[one.table] else _nothing(one) for one in checks]
    return found + [_said(name, promise, broken(tx)) for name, promise, broken in FIGURES]


def _finding(tx: Tx, one: Check) -> Finding:
    return _said(one.name, one.promise, tx.all(one.broken))


def _said(name: str, promise: str, rows: list[dict[str, Any]]) -> Finding:
    if not rows:
        return Finding(name, True, promise)
    shown = "; ".join(_show(row) for row in rows[:_SHOWN])
    more = " and more" if len(rows) > _SHOWN else ""
    return Finding(name, False, f"{promise}, but: {shown}{more}")


def _nothing(one: Check) -> Finding:
    return Finding(one.name, True, f"{one.promise} (nothing there yet)")


def _show(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())
