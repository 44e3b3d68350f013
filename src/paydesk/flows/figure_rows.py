"""Rows of reports: grouped and added up, and those that are counted from raw rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk.rules.figure_names import FIGURES, PERIODS, REPORTS
from paydesk.rules.figures import Range

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

Row = dict[str, Any]

OPEN_STATES = ("pending", "processing", "requires_action", "authorized")
#: Every figure that adds up, and what derived ones are made of.
SUMMED = (*(name for name, one in FIGURES.items() if one.sums and one.unit != "instant"),
          "kept", "gaps", "gap_seconds")  # fmt: skip
_SUMMED = frozenset(SUMMED)
RISK = ("assessments", "allowed", "reviewed", "blocked", "accepted", "refused", "waiting",
        "succeeded", "disputes_opened", "disputes_won", "disputes_lost",
        "disputed_amount")  # fmt: skip


def columns_of(kind: str, heads: Sequence[str]) -> tuple[str, ...]:
    """A report's figures; by customer those that a single one has."""
    columns = REPORTS[kind].figures
    if "customer" not in heads:
        return columns
    single = ("succeeded", "captured", "average", "captured_usd", "unrated", "days_between")
    return (*(name for name in columns if name in single), "first_at", "last_at")


def folded(rows: Iterable[Row], heads: Sequence[str]) -> list[Row]:
    """Rows with the same heads as one, with the sum of every figure; in the order of the heads."""
    made: dict[tuple[Any, ...], Row] = {}
    for one in rows:
        key = tuple([one[h] for h in heads])
        into = made.get(key)
        if into is None:
            into = made[key] = {**dict.fromkeys(SUMMED, 0), **dict(zip(heads, key, strict=True))}
        for name, value in one.items():
            if value and name in _SUMMED:
                into[name] += value
    return [made[key] for key in sorted(made)]


def best_first(rows: list[Row], period: str | None) -> list[Row]:
    """In each period what sold most comes first."""
    rows.sort(key=lambda r: (-r["captured_usd"], -r["captured"], -r["sold"]))
    return sorted(rows, key=lambda r: r[period]) if period else rows


# From raw rows ------------------------------------------------------------------------------------


def bucket_of(period: str | None, at: str) -> sql.Composable:
    """The first day of the period in which a moment lies, in SQL; a constant without one."""
    if period is None:
        return sql.SQL("null::date")
    assert period in PERIODS and period != "hour"
    return sql.SQL("date_trunc({}, {} at time zone %(time_zone)s)::date").format(
        sql.Literal(period), sql.SQL(at)  # type: ignore[arg-type]
    )


def told_of(over: Range, **more: Any) -> dict[str, Any]:
    """The parameters that every statement here names, and more."""
    return {"start": over.start, "end": over.end, "time_zone": over.time_zone, **more}


def named(rows: list[Row], period: str | None) -> list[Row]:
    """Rows whose bucket is called as the period is."""
    for row in rows:
        bucket = row.pop("bucket")
        if period is not None:
            row[period] = bucket
    return rows


def customers(
    tx: Tx, over: Range, period: str | None, by_customer: bool, by_currency: bool,
    currency: str | None, limit: int,
) -> list[Row]:  # fmt: skip
    """Customers with a paid payment, by period: how many, how often, for the first time or not.

    By customer: those who paid most, in US dollars. Without a currency `captured` is nothing.
    """
    one = sql.SQL("""
        select {bucket} as bucket, p.customer_id as customer, {currency} as currency,
            count(*) as succeeded, sum(p.captured_minor)::bigint as captured,
            coalesce(sum(case when p.currency = 'usd' then p.captured_minor
                else round(p.captured_minor::numeric * p.usd_minor / p.asked_minor) end),
                0)::bigint as captured_usd,
            count(*) filter (where p.currency <> 'usd' and p.usd_minor is null) as unrated,
            min(p.created_at) as first_at, max(p.created_at) as last_at
        from payments p where p.created_at >= %(start)s and p.created_at < %(end)s
            and p.captured_minor > 0 and p.deleted_at is null
            and (%(currency)s::text is null or p.currency = %(currency)s)
        group by 1, 2, 3""").format(
        bucket=bucket_of(period, "p.created_at"),
        currency=sql.SQL("p.currency" if by_currency else "null::text"),
    )
    gaps = sql.SQL("succeeded - 1 as gaps,"
                   " round(extract(epoch from last_at - first_at))::bigint as gap_seconds")
    if by_customer:
        statement = sql.SQL(
            "select one.*, 1 as customers, 0 as new_customers, {gaps} from ({one}) one"
            " order by bucket, captured_usd desc, captured desc, customer limit %(limit)s"
        ).format(one=one, gaps=gaps)
    else:
        statement = sql.SQL("""
            select bucket, currency, count(*) as customers,
                count(*) filter (where not exists (select from payments e
                    where e.customer_id = one.customer and e.captured_minor > 0
                    and e.deleted_at is null and e.created_at < one.first_at)) as new_customers,
                count(*) filter (where succeeded > 1) as repeat_customers,
                sum(succeeded)::bigint as succeeded, sum(captured)::bigint as captured,
                sum(captured_usd)::bigint as captured_usd, sum(unrated)::bigint as unrated,
                sum(gaps)::bigint as gaps, sum(gap_seconds)::bigint as gap_seconds
            from (select one.*, {gaps} from ({one}) one) one
            group by 1, 2 order by 1, 2""").format(one=one, gaps=gaps)
    rows = tx.all(statement, told_of(over, currency=currency, limit=limit))  # type: ignore[arg-type]
    for row in rows:
        if not by_currency:
            row["captured"] = None
    return named(rows, period)


def assessments(tx: Tx, over: Range, period: str | None) -> list[Row]:
    """What the risk rules decided, by the currency of the payment that was weighed."""
    statement = sql.SQL("""
        select {bucket} as bucket, coalesce(p.currency, '') as currency, count(*) as assessments,
            count(*) filter (where r.decision = 'allow') as allowed,
            count(*) filter (where r.decision = 'review') as reviewed,
            count(*) filter (where r.decision = 'block') as blocked,
            count(*) filter (where r.verdict = 'accepted') as accepted,
            count(*) filter (where r.verdict = 'refused') as refused,
            count(*) filter (where r.decision = 'review' and r.verdict is null) as waiting
        from risk_assessments r left join payments p on p.customer_id = r.customer_id
            and p.id = r.payment_id
        where r.created_at >= %(start)s and r.created_at < %(end)s
        group by 1, 2""").format(bucket=bucket_of(period, "r.created_at"))
    return named(tx.all(statement, told_of(over)), period)  # type: ignore[arg-type]


def disputes(tx: Tx, over: Range, period: str | None) -> list[Row]:
    """Disputes opened in the range."""
    statement = sql.SQL("""
        select {bucket} as bucket, d.currency, count(*) as disputes_opened,
            count(*) filter (where d.state = 'won') as disputes_won,
            count(*) filter (where d.state = 'lost') as disputes_lost,
            sum(d.amount_minor)::bigint as disputed_amount
        from disputes d where d.opened_at >= %(start)s and d.opened_at < %(end)s
        group by 1, 2""").format(bucket=bucket_of(period, "d.opened_at"))
    return named(tx.all(statement, told_of(over)), period)  # type: ignore[arg-type]


def refunds(tx: Tx, over: Range, period: str | None) -> list[Row]:
    """Refunds asked for in the range."""
    statement = sql.SQL("""
        select {bucket} as bucket, r.currency, coalesce(r.reason, '') as reason,
            r.state as status, r.provider, r.origin, count(*) as refund_count,
            sum(r.amount_minor)::bigint as refund_amount,
            coalesce(sum(r.amount_minor) filter (where r.state = 'succeeded'), 0)::bigint
                as paid_back,
            coalesce(sum(r.amount_minor) filter (where r.state in ('requested', 'pending')),
                0)::bigint as pending
        from refunds r where r.created_at >= %(start)s and r.created_at < %(end)s
        group by 1, 2, 3, 4, 5, 6""").format(bucket=bucket_of(period, "r.created_at"))
    return named(tx.all(statement, told_of(over)), period)  # type: ignore[arg-type]
