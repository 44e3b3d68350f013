"""Rows of the reports on subscriptions: recurring revenue and its changes, trials, how many stand.

All but trials is counted from `subscription_history`, whose rows never change, so that what was
said of a past instant is said again later; what went before a range is what stands now with what
happened since undone. Sums of one currency are never added to another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk.errors import InvalidRequest
from paydesk.flows.figure_rows import bucket_of, named, told_of
from paydesk.rules import figures as rules
from paydesk.rules.figures import Range
from paydesk.rules.recurring import MOVEMENTS

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

Row = dict[str, Any]

_NO_MOVEMENT = dict.fromkeys((*(f"mrr_{one}" for one in MOVEMENTS), "customers_new",
                              "customers_back", "customers_churned"), 0)  # fmt: skip
_CUSTOMERS = {"new": "customers_new", "reactivation": "customers_back",
              "churned": "customers_churned"}  # fmt: skip


def moved(tx: Tx, over: Range, period: str | None, currency: str | None) -> list[Row]:
    """What there was before the range, and all changes in it, added up by period."""
    return tx.all(_MOVED.format(bucket=bucket_of(period, "h.changed_at")),
                  told_of(over, currency=currency))  # type: ignore[arg-type]  # fmt: skip


def movements(
    rows: Sequence[Row], over: Range, period: str | None, now: datetime
) -> list[Row]:  # fmt: skip
    """By `bucket`, the period's first day, and currency, out of `moved`: recurring revenue when it
    begins, what changed it, and when it ends; and the customers who have some. A period without
    changes has a row too, once there is revenue.
    """
    if period is None:
        rows = [{**one, "bucket": None} for one in rows]
    buckets = buckets_of(over, period, rows, now)
    made = []
    for code in sorted({one["currency"] for one in rows}):
        made += _movements_of([one for one in rows if one["currency"] == code], code, buckets)
    return [one for one in made if any(one[name] for name in (*_NO_MOVEMENT, "mrr_opening",
                                                              "customers_opening"))]  # fmt: skip


#: What there was before the range is what there is now, less all that happened since: so that of
#: the past only the range's rows are read.
_MOVED = sql.SQL("""
    with since as (
        select {bucket} as bucket, h.changed_at >= %(end)s as is_after, h.currency, h.movement,
            count(*)::int as n, sum(h.monthly_minor - h.was_minor)::bigint as minor
        from subscription_history h
        where h.changed_at >= %(start)s and h.movement is not null
            and (%(currency)s::text is null or h.currency = %(currency)s)
        group by 1, 2, 3, 4
    )
    select null::date as bucket, true as is_before, currency, 'new' as movement,
        sum(n)::int as n, sum(minor)::bigint as minor
    from (
        select s.currency, count(distinct s.customer_id) as n, sum(s.monthly_minor) as minor
        from subscriptions s
        where s.state in ('active', 'past_due') and s.monthly_minor > 0
            and (%(currency)s::text is null or s.currency = %(currency)s)
        group by 1
        union all
        select currency, case when movement in ('new', 'reactivation') then -n
            when movement = 'churned' then n else 0 end, -minor from since
    ) b group by currency
    union all
    select bucket, false, currency, movement, n, minor from since where not is_after
""")


def _movements_of(rows: Sequence[Row], currency: str, buckets: Sequence[Any]) -> list[Row]:
    opening = sum(one["minor"] for one in rows if one["is_before"])
    customers = sum(came(one) for one in rows if one["is_before"])
    changes: dict[Any, list[Row]] = {}
    for one in rows:
        if not one["is_before"]:
            changes.setdefault(one["bucket"], []).append(one)
    made = []
    for bucket in buckets:
        found = {**_NO_MOVEMENT, "bucket": bucket, "currency": currency, "mrr_opening": opening,
                 "customers_opening": customers}  # fmt: skip
        for one in changes.get(bucket, ()):
            found[f"mrr_{one['movement']}"] += abs(one["minor"])
            if one["movement"] in _CUSTOMERS:
                found[_CUSTOMERS[one["movement"]]] += one["n"]
            opening += one["minor"]
            customers += came(one)
        made.append({
            **found, "mrr_net": opening - found["mrr_opening"], "mrr_closing": opening,
            "arr": 12 * opening, "customers_closing": customers,
        })  # fmt: skip
    return made


def came(row: Row) -> int:
    """How many more customers have recurring revenue after these changes."""
    return row["n"] * ({"new": 1, "reactivation": 1, "churned": -1}.get(row["movement"], 0))


def buckets_of(
    over: Range, period: str | None, rows: Iterable[Row], now: datetime
) -> list[date | None]:
    """The first days of the range's periods up to the present one, or to the last change: a clock
    that is moved by hand may be ahead. Without a period one that is all of it."""
    if period is None:
        return [None]
    last = min(over.last_day, now.astimezone(over.zone).date())
    for one in rows:
        if not one["is_before"]:
            last = max(last, one["bucket"])
    found, day = [], rules.period_start(period, over.first_day)
    while day <= last:
        found.append(day)
        day = rules.next_period(period, day)
    return found


# How many stand ----------------------------------------------------------------------------------

_HEADS = {"plan": sql.SQL("coalesce(p.key, '')"), "status": sql.SQL("h.state"),
          "currency": sql.SQL("h.currency")}  # fmt: skip
#: A row of the history puts its subscription where it says, and takes it from where it stood. What
#: stood before the first period is what stands now, with all that happened since undone.
_STOOD = sql.SQL("""
    with since as (
        select changed_at, state, plan_id, quantity, currency, monthly_minor as minor, 1 as one
        from subscription_history where changed_at >= %(start)s
        union all
        select changed_at, was_state, was_plan_id, was_quantity, was_currency,
            case when was_currency = currency then was_minor else 0 end, -1
        from subscription_history where changed_at >= %(start)s and was_state is not null
    )
    select case when h.changed_at >= %(start)s then {bucket} end as bucket,
        h.changed_at is null as is_before, {heads}, sum(h.one)::int as subscriptions,
        sum(h.one * h.quantity)::bigint as seats, sum(h.one * h.minor)::bigint as mrr
    from (
        select null::timestamptz as changed_at, state, plan_id, quantity, currency,
            monthly_minor as minor, 1 as one from subscriptions
        union all
        select null, state, plan_id, quantity, currency, minor, -one from since
        union all
        select changed_at, state, plan_id, quantity, currency, minor, one from since
        where changed_at < %(end)s
    ) h left join plans p on p.id = h.plan_id
    where (%(currency)s::text is null or h.currency = %(currency)s)
        and (%(plan)s::text is null or p.key = %(plan)s)
        and (%(status)s::text is null or h.state = %(status)s)
    group by {groups}
""")


def standing(
    tx: Tx, over: Range, period: str | None, dimensions: Sequence[str],
    where: Mapping[str, Any], now: datetime,
) -> list[Row]:  # fmt: skip
    """Subscriptions, their seats and recurring revenue by plan, state and currency, as they stood
    at the end of each period, or of the range."""
    heads = [sql.SQL("{} as {}").format(_HEADS[d], sql.Identifier(d)) for d in dimensions]
    told = told_of(over, **{name: where.get(name) for name in ("currency", "plan", "status")})
    if period is None:  # Only how it ends is told.
        told["start"] = over.end
    rows = tx.all(
        _STOOD.format(
            bucket=bucket_of(period, "h.changed_at"),
            heads=sql.SQL(", ").join(heads or [sql.SQL("0 as nothing")]),
            groups=sql.SQL(", ").join([sql.SQL(str(n + 1)) for n in range(2 + len(heads))]),
        ),  # type: ignore[arg-type]
        told,
    )
    by_bucket: dict[Any, list[Row]] = {}
    for one in rows:
        by_bucket.setdefault(None if one["is_before"] else one["bucket"], []).append(one)
    buckets = buckets_of(over, period, rows, now)
    stands: dict[tuple[str, ...], Counter[str]] = {}
    made: list[Row] = []
    for bucket in dict.fromkeys([None, *buckets]):
        for one in by_bucket.get(bucket, []):
            key = tuple([one[d] for d in dimensions])
            counts = stands.setdefault(key, Counter())
            for name in ("subscriptions", "seats", "mrr"):
                counts[name] += one[name]
        if bucket not in buckets:
            continue
        for key, counts in sorted(stands.items()):
            if counts["subscriptions"]:
                made.append({**dict(zip(dimensions, key, strict=True)), **counts,
                             **({period: bucket} if period else {})})  # fmt: skip
        if len(made) > rules.MAX_ROWS:
            raise InvalidRequest(f"More than {rules.MAX_ROWS:,} rows; ask for less.", param="by")
    return made


# Trials ------------------------------------------------------------------------------------------

_TRIED = sql.SQL("""
    select {bucket} as bucket, coalesce(p.key, '') as plan, count(*)::int as trials_started,
        count(*) filter (where w.is_paid)::int as trials_converted,
        count(*) filter (where not w.is_paid
            and s.state in ('canceled', 'expired', 'unpaid'))::int as trials_lost,
        count(*) filter (where not w.is_paid
            and s.state not in ('canceled', 'expired', 'unpaid'))::int as trials_running
    from subscriptions s
    left join plans p on p.id = s.plan_id
    cross join lateral (select exists (select from invoices i
        where i.customer_id = s.customer_id and i.subscription_id = s.id and i.state = 'paid'
        and (i.cycle is not null or i.total_minor > 0)) as is_paid) w
    where s.trial_start >= %(start)s and s.trial_start < %(end)s
        and s.trial_end - s.trial_start > interval '1 second'
        and (%(plan)s::text is null or p.key = %(plan)s)
    group by 1, 2
""")


def trials(tx: Tx, over: Range, period: str | None, plan: str | None) -> list[Row]:
    """Trials that began in the range, by period and plan, and what became of them until now. A
    second one of a family, which ends as it begins, is none."""
    statement = _TRIED.format(bucket=bucket_of(period, "s.trial_start"))
    return named(tx.all(statement, told_of(over, plan=plan)), period)  # type: ignore[arg-type]
