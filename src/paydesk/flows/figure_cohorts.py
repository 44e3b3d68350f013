"""Cohorts: customers by the period in which they first had recurring revenue in a currency, and
what is left of them period by period.

Counted from `subscription_history`, whose rows never change: a cohort's past months say the same
whenever they are asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk.errors import InvalidRequest
from paydesk.flows import figure_dollars
from paydesk.flows.figure_recurring import buckets_of, came
from paydesk.flows.figure_rows import bucket_of, told_of
from paydesk.rules import figures as rules
from paydesk.rules.figures import Range

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

Row = dict[str, Any]

#: A customer's first change of a currency is the only one that is new; nothing goes before it.
_KEPT = sql.SQL("""
    with moved as (
        select h.customer_id, h.currency, h.movement, {bucket} as bucket,
            h.monthly_minor - h.was_minor as minor
        from subscription_history h
        where h.changed_at >= %(start)s and h.changed_at < %(end)s and h.movement is not null
            and (%(currency)s::text is null or h.currency = %(currency)s)
    )
    select b.bucket as cohort, m.bucket, m.currency, m.movement, count(*)::int as n,
        sum(m.minor)::bigint as minor
    from moved b join moved m on m.customer_id = b.customer_id and m.currency = b.currency
    where b.movement = 'new'
    group by 1, 2, 3, 4
""")


def cohorts(
    tx: Tx, over: Range, period: str, currency: str | None, now: datetime, max_age_days: int
) -> list[Row]:  # fmt: skip
    """By cohort (its period's first day), currency and age in periods: how many came and with how
    much, how many are there still and what they bring. Each is told up to the range's end, or to
    now; `is_last` marks the row of that one."""
    rows = tx.all(_KEPT.format(bucket=bucket_of(period, "h.changed_at")),
                  told_of(over, currency=currency))  # type: ignore[arg-type]  # fmt: skip
    buckets = buckets_of(over, period, [{**one, "is_before": False} for one in rows], now)
    changes: dict[tuple[date, str], list[Row]] = defaultdict(list)
    for one in rows:
        changes[one["cohort"], one["currency"]].append(one)
    made: list[Row] = []
    for (cohort, code), mine in sorted(changes.items()):
        made += _aged(mine, period, cohort, code, [day for day in buckets if day >= cohort])
        if len(made) > rules.MAX_ROWS:
            raise InvalidRequest(f"More than {rules.MAX_ROWS:,} rows; ask for less.", param="by")
    _rate(tx, made, over, period, now, max_age_days)
    return made


def _aged(
    rows: Sequence[Row], period: str, cohort: date, currency: str, buckets: Sequence[date]
) -> list[Row]:
    """A row for each period from the cohort's own on."""
    first = [one for one in rows if one["movement"] == "new"]
    size, brought = sum(one["n"] for one in first), sum(one["minor"] for one in first)
    kept: Counter[date] = Counter()
    minor: Counter[date] = Counter()
    for one in rows:
        kept[one["bucket"]] += came(one)
        minor[one["bucket"]] += one["minor"]
    made, still, brings = [], 0, 0
    for age, bucket in enumerate(buckets):
        still, brings = still + kept[bucket], brings + minor[bucket]
        made.append({
            period: cohort, "bucket": bucket, "currency": currency, "age": age,
            "cohort_customers": size, "customers_kept": still, "cohort_mrr": brought,
            "mrr_kept": brings, "is_last": bucket == buckets[-1],
        })  # fmt: skip
    return made


def _rate(
    tx: Tx, rows: Sequence[Row], over: Range, period: str, now: datetime, max_age_days: int
) -> None:
    """Adds what the amounts are in US cents, each at the end of its own period."""
    days = {one[name] for one in rows for name in (period, "bucket")}
    ends = {day: figure_dollars.edges(over, period, day, now)[1] for day in days}
    dollars = figure_dollars.looked_up(
        tx, {one["currency"] for one in rows}, ends.values(), max_age_days
    )
    for one in rows:
        came_with = dollars.of(one["cohort_mrr"], one["currency"], ends[one[period]])
        brings = dollars.of(one["mrr_kept"], one["currency"], ends[one["bucket"]])
        one |= {"cohort_mrr_usd": came_with, "mrr_kept_usd": brings,
                "mrr_unrated": int(None in (came_with, brings))}  # fmt: skip


def last_ones(rows: Sequence[Row]) -> list[Row]:
    """Of each currency, all cohorts as they stand when the range ends."""
    made: dict[str, Row] = {}
    for one in rows:
        if not one["is_last"]:
            continue
        into = made.setdefault(one["currency"], {"currency": one["currency"]})
        for name in ("cohort_customers", "customers_kept", "cohort_mrr", "mrr_kept"):
            into[name] = into.get(name, 0) + one[name]
        for name in ("cohort_mrr_usd", "mrr_kept_usd"):
            into[name] = into.get(name, 0) + (one[name] or 0)
        into["mrr_unrated"] = max(into.get("mrr_unrated", 0), one["mrr_unrated"])
    return [made[code] for code in sorted(made)]
