"""What figures are counted from: each source once in SQL, for raw rows and for the days' tables.

A report adds up the days that are computed already (`rollups`) and counts the rest, such as today,
from the raw rows, all at one instant; both say the same, since both come from the same statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import sql

from paydesk.rules import figures as rules
from paydesk.rules.figures import PERIODS, Range

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.env import Env

Row = dict[str, Any]

#: Changes that the days do not know yet are looked through for so many customers in a report.
MOST_PENDING = 500
#: With more gaps than these among the computed days, the raw rows are counted altogether.
MOST_SEGMENTS = 100


@dataclass(frozen=True, slots=True)
class Source:
    """A table of raw rows as dimensions and measures. `raw` groups what lies `{within}` some
    spans of `at`, its time, by a `{bucket}` of it and by the dimensions, which are its columns."""

    table: sql.Identifier
    at: sql.SQL
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]
    raw: sql.SQL


_WAY = ("provider", "method", "country", "currency", "purpose")

SOURCES: dict[str, Source] = {
    "payments": Source(
        sql.Identifier("figure_payments"), sql.SQL("p.created_at"),
        ("state", *_WAY, "reason"),
        ("payments", "asked", "captured", "refunded", "discount", "usd", "unrated", "credits",
         "disputed"),
        sql.SQL("""
    select {bucket} as bucket, p.state, p.provider, coalesce(p.method, '') as method,
        coalesce(p.country, '') as country, p.currency, p.purpose,
        case when p.state = 'failed' then coalesce(p.error_code, 'unknown') else '' end as reason,
        count(*) as payments, sum(p.asked_minor)::bigint as asked,
        sum(p.captured_minor)::bigint as captured, sum(p.refunded_minor)::bigint as refunded,
        coalesce(sum(p.discount_minor) filter (where p.captured_minor > 0), 0)::bigint as discount,
        coalesce(sum(case when p.currency = 'usd' then p.captured_minor
            else round(p.captured_minor::numeric * p.usd_minor / p.asked_minor) end), 0)::bigint
            as usd,
        count(*) filter (where p.captured_minor > 0 and p.currency <> 'usd'
            and p.usd_minor is null) as unrated,
        coalesce(sum(p.credits_to_add) filter (where p.credits_added_at is not null), 0)::bigint
            as credits,
        count(*) filter (where p.disputed) as disputed
    from payments p where {within} and p.deleted_at is null
    group by 1, 2, 3, 4, 5, 6, 7, 8"""),
    ),
    "attempts": Source(
        sql.Identifier("figure_attempts"), sql.SQL("p.created_at"),
        ("state", *_WAY, "reason"), ("attempts",),
        sql.SQL("""
    select {bucket} as bucket, t.state, t.provider, coalesce(t.method, p.method, '') as method,
        coalesce(p.country, '') as country, p.currency, p.purpose,
        case when t.state = 'failed' then coalesce(t.error_code, 'unknown') else '' end as reason,
        count(*) as attempts
    from payments p
    join attempts t on t.customer_id = p.customer_id and t.payment_id = p.id
    where {within} and p.deleted_at is null
    group by 1, 2, 3, 4, 5, 6, 7, 8"""),
    ),
    "books": Source(
        sql.Identifier("figure_books"), sql.SQL("t.effective_at"),
        ("asset", "reason", "debit", "credit", "provider", "method", "country", "purpose"),
        ("postings", "amount", "usd", "unrated"),
        sql.SQL("""
    select {bucket} as bucket, t.asset, t.reason, t.debit, t.credit,
        coalesce(p.provider, '') as provider, coalesce(p.method, '') as method,
        coalesce(p.country, '') as country, coalesce(p.purpose, '') as purpose,
        count(*) as postings, sum(t.amount)::bigint as amount,
        coalesce(sum(case when t.asset = 'usd' then t.amount
            when t.asset = p.currency then
                round(t.amount::numeric * p.usd_minor / p.asked_minor) end), 0)::bigint as usd,
        count(*) filter (where t.asset not in ('usd', 'CREDIT') and p.id is not null
            and (p.usd_minor is null or t.asset <> p.currency)) as unrated
    from transfers t
    left join payments p on t.asset <> 'CREDIT' and p.customer_id = t.customer_id
        and p.id = t.subject_id
    where {within}
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9"""),
    ),
    "goods": Source(
        sql.Identifier("figure_goods"), sql.SQL("p.created_at"),
        ("purpose", "product", "promo", "currency"),
        ("sold", "captured", "refunded", "discount", "usd", "unrated", "credits", "bonus"),
        sql.SQL("""
    select {bucket} as bucket, p.purpose,
        coalesce(p.package_id, p.terms #>> '{{goods,key}}', p.purpose) as product,
        coalesce(p.promo_id::text, '') as promo, p.currency, count(*) as sold,
        sum(p.captured_minor)::bigint as captured, sum(p.refunded_minor)::bigint as refunded,
        sum(p.discount_minor)::bigint as discount,
        coalesce(sum(case when p.currency = 'usd' then p.captured_minor
            else round(p.captured_minor::numeric * p.usd_minor / p.asked_minor) end), 0)::bigint
            as usd,
        count(*) filter (where p.currency <> 'usd' and p.usd_minor is null) as unrated,
        coalesce(sum(p.credits_to_add) filter (where p.credits_added_at is not null), 0)::bigint
            as credits,
        coalesce(sum(u.bonus_credits), 0)::bigint as bonus
    from payments p
    left join promo_uses u on u.promo_id = p.promo_id and u.payment_id = p.id
    where {within} and p.deleted_at is null and p.captured_minor > 0
    group by 1, 2, 3, 4, 5"""),
    ),
}

#: A moment as a day of the range's time zone.
_DAY = "({at} at time zone %(time_zone)s)::date"


def raw_of(source: Source, spans: int, *, by_hour: bool = False) -> sql.Composed:
    """The statement over the raw rows of so many spans (`spans_of`), by day or by hour."""
    bucket = (
        sql.SQL("date_trunc('hour', {}, %(time_zone)s)").format(source.at)
        if by_hour
        else sql.SQL(_DAY).format(at=source.at)
    )
    within = [
        sql.SQL("({at} >= {start} and {at} < {end})").format(
            at=source.at, start=sql.Placeholder(f"start_{n}"), end=sql.Placeholder(f"end_{n}")
        )
        for n in range(spans)
    ]
    # Spans as conditions, not as rows: the planner reads each through the index of times.
    found = sql.SQL(" or ").join(within) if within else sql.SQL("false")
    return source.raw.format(bucket=bucket, within=sql.SQL("({})").format(found))


def spans_of(segments: Sequence[tuple[Any, Any]]) -> Row:
    """The parameters that `raw_of` names."""
    told: Row = {}
    for number, (start, end) in enumerate(segments):
        told |= {f"start_{number}": start, f"end_{number}": end}
    return told


# How much of a range is computed already ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """What a report adds up: days first <= day < after of the tables but for `stale`, and raw
    rows of the segments. `behind`: customers whose last changes only the segments see."""

    first: date
    after: date
    stale: tuple[date, ...]
    segments: tuple[tuple[Any, Any], ...]
    behind: int


def parts_of(tx: Tx, env: Env, over: Range) -> Parts:
    """Which days of the range can be taken as they were computed."""
    state = tx.one("select time_zone, covered_from, covered_until, started_at from figure_state")
    first, after = over.whole_days
    if state is None or state["time_zone"] != over.time_zone:
        return Parts(first, first, (), ((over.start, over.end),), 0)
    after = min(after, state["covered_until"])
    if first >= after:
        return Parts(first, first, (), ((over.start, over.end),), 0)
    pending, behind = _pending(tx, over.time_zone)
    rows = tx.all(
        "select day from figure_dirty where day >= %(first)s and day < %(after)s",
        {"first": first, "after": after},
    )
    stale = {row["day"] for row in rows} | {d for d in pending if first <= d < after}
    zone = over.zone
    edges: list[tuple[Any, Any]] = []
    if over.start < rules.midnight(zone, first):
        edges.append((over.start, rules.midnight(zone, first)))
    edges += [(rules.midnight(zone, d), rules.midnight(zone, d + timedelta(days=1)))
              for d in sorted(stale)]  # fmt: skip
    if rules.midnight(zone, after) < over.end:
        edges.append((rules.midnight(zone, after), over.end))
    merged: list[tuple[Any, Any]] = []
    for start, end in edges:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    if len(merged) > MOST_SEGMENTS:
        return Parts(first, first, (), ((over.start, over.end),), behind)
    return Parts(first, after, tuple(sorted(stale)), tuple(merged), behind)


def _pending(tx: Tx, time_zone: str) -> tuple[set[date], int]:
    """Days touched by events that the sweep has not read, and how many customers were left out."""
    rows = tx.all(
        "select customer_id from news union select customer_id from feeds"
        " where sink = 'figures' and try_at is not null limit %(limit)s",
        {"limit": MOST_PENDING + 1},
    )
    if len(rows) > MOST_PENDING:
        count = tx.value(
            "select count(*) from (select customer_id from news union select customer_id"
            " from feeds where sink = 'figures' and try_at is not null) n"
        )
        return set(), count
    return touched(tx, [row["customer_id"] for row in rows], time_zone), 0


#: The days on which a customer's news changed a row: of payments, of their postings, and of every
#: new posting. Whoever has no mark yet starts where the computing of the days began.
_TOUCHED = """
    with k as (
        select k.id as customer_id,
            coalesce((select seq from feeds f where f.customer_id = k.id and f.sink = 'figures'),
                (select seq from feeds f where f.customer_id = k.id and f.sink = 'live'), 0) as seq,
            coalesce((select entry_seq from figure_marks m where m.customer_id = k.id), 0) as entry,
            (select started_at - interval '1 hour' from figure_state
             where not exists (select from figure_marks m where m.customer_id = k.id)) as since
        from unnest(%(customers)s::uuid[]) k(id)
    ), news as (
        select distinct e.customer_id, n.id from k
        join events e on e.customer_id = k.customer_id and e.seq > k.seq
        cross join lateral (values (e.subject_id),
            (case when e.data ->> 'payment_id' ~ '^[0-9a-f-]{36}$'
             then (e.data ->> 'payment_id')::uuid end)) n(id)
        where n.id is not null
    ), entries as (
        select t.customer_id, t.subject_id, t.effective_at from k
        join transfers t on t.customer_id = k.customer_id and t.seq > k.entry
        where k.since is null or t.created_at >= k.since
    ), paid as (
        select distinct p.customer_id, p.id, p.created_at from (
            select customer_id, id from news
            union select customer_id, subject_id from entries where subject_id is not null
            union select r.customer_id, r.payment_id from news n
                join refunds r on r.customer_id = n.customer_id and r.id = n.id
            union select d.customer_id, d.payment_id from news n
                join disputes d on d.customer_id = n.customer_id and d.id = n.id
            union select c.customer_id, c.payment_id from news n
                join checkouts c on c.customer_id = n.customer_id and c.id = n.id
        ) s join payments p on p.customer_id = s.customer_id and p.id = s.id
    )
    select (created_at at time zone %(time_zone)s)::date as day from paid
    union select (effective_at at time zone %(time_zone)s)::date from entries
    union select (t.effective_at at time zone %(time_zone)s)::date from paid
        join transfers t on t.customer_id = paid.customer_id and t.subject_id = paid.id
        and t.asset <> 'CREDIT'
    order by day
"""


def touched(tx: Tx, customers: Sequence[UUID], time_zone: str) -> set[date]:
    """The days whose figures these customers' unread events and postings changed."""
    if not customers:
        return set()
    rows = tx.all(_TOUCHED, {"customers": list(customers), "time_zone": time_zone})
    return {row["day"] for row in rows}


# Adding up ---------------------------------------------------------------------------------------


def collect(
    tx: Tx, parts: Parts, over: Range, name: str, *, period: str | None,
    by: Sequence[str], where: Mapping[str, Any] | None = None,
) -> list[Row]:  # fmt: skip
    """Sums of a source's measures, a row for each group, in order. A period's member is its first
    day; an hour's the instant at which it begins.

    `where`: dimension -> the only value, or a list of those that count.
    """
    source = SOURCES[name]
    by_hour = period == "hour"
    if by_hour and (parts.first, parts.segments) != (parts.after, ((over.start, over.end),)):
        parts = Parts(parts.first, parts.first, (), ((over.start, over.end),), 0)
    columns = [sql.Identifier(d) for d in (*source.dimensions, *source.measures)]
    raw = raw_of(source, len(parts.segments), by_hour=by_hour)
    union = sql.SQL("{raw}") if by_hour else sql.SQL(
        "select day as bucket, {columns} from {table} where day >= %(first)s and day < %(after)s"
        " and day <> all(%(stale)s::date[]) union all {raw}"
    )
    inner = union.format(columns=sql.SQL(", ").join(columns), table=source.table, raw=raw)
    told = {"time_zone": over.time_zone, "first": parts.first, "after": parts.after,
            "stale": list(parts.stale), **spans_of(parts.segments)}  # fmt: skip
    filters = [sql.SQL("true")]
    for number, (dimension, value) in enumerate((where or {}).items()):
        key = f"where_{number}"
        told[key] = value if isinstance(value, list) else [value]
        filters.append(sql.SQL("{} = any({})").format(sql.Identifier(dimension),
                                                      sql.Placeholder(key)))  # fmt: skip
    groups = ([_period(period)] if period else []) + [sql.Identifier(d) for d in by]
    heads = ([sql.SQL("{} as {}").format(_period(period), sql.Identifier(period))]
             if period else []) + [sql.Identifier(d) for d in by]  # fmt: skip
    sums = [sql.SQL("coalesce(sum({m}), 0)::bigint as {m}").format(m=sql.Identifier(m))
            for m in source.measures]  # fmt: skip
    numbers = sql.SQL(", ").join([sql.SQL(str(n + 1)) for n in range(len(groups))])
    grouped = sql.SQL(" group by {g} order by {g}").format(g=numbers) if groups else sql.SQL("")
    statement = sql.SQL("select {heads} from ({inner}) f where {filters}{grouped}").format(
        heads=sql.SQL(", ").join([*heads, *sums]), inner=inner,
        filters=sql.SQL(" and ").join(filters), grouped=grouped,
    )
    return tx.all(statement, told)  # type: ignore[arg-type]


def _period(period: str) -> sql.Composable:
    assert period in PERIODS
    if period in ("hour", "day"):
        return sql.SQL("bucket")
    return sql.SQL("date_trunc({}, bucket::timestamp)::date").format(sql.Literal(period))
