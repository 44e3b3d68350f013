"""What figures are counted from: each source once in SQL, for raw rows and for the tables of sums.

A report adds up the months and days that are computed already (`rollups`) and counts the rest, such
as today, from the raw rows, all at one instant; all say the same, since all come from the same
statement. Days and months have narrow rows too, without the dimensions that few questions ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk.flows import figure_parts
from paydesk.rules.figure_names import PERIODS
from paydesk.rules.figures import Range
from paydesk.rules.ledger import CODES, CREDIT

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.flows.figure_parts import Parts

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A table of raw rows as dimensions and measures. `raw` groups what lies `{within}` some
    spans of `at`, its time, by a `{bucket}` of it and by the dimensions, which are its columns.
    `narrow`: the dimensions that its narrow sums keep; the others are empty texts in them."""

    table: sql.Identifier
    sums: sql.Identifier
    at: sql.SQL
    dimensions: tuple[str, ...]
    narrow: tuple[str, ...]
    measures: tuple[str, ...]
    raw: sql.SQL


_WAY = ("provider", "method", "country", "currency", "purpose")

SOURCES: dict[str, Source] = {
    "payments": Source(
        sql.Identifier("figure_payments"), sql.Identifier("figure_payments_sums"),
        sql.SQL("p.created_at"), ("state", *_WAY, "reason"), ("state", "currency"),
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
        sql.Identifier("figure_attempts"), sql.Identifier("figure_attempts_sums"),
        sql.SQL("p.created_at"), ("state", *_WAY, "reason"), ("state", "currency"), ("attempts",),
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
        sql.Identifier("figure_books"), sql.Identifier("figure_books_sums"),
        sql.SQL("t.effective_at"),
        ("asset", "reason", "debit", "credit", "provider", "method", "country", "purpose"),
        ("asset", "reason", "debit", "credit"),
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
    left join payments p on p.customer_id = t.customer_id
        and p.id = case when t.asset <> 'CREDIT' then t.subject_id end
    where {within}
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9"""),
    ),
    "goods": Source(
        sql.Identifier("figure_goods"), sql.Identifier("figure_goods_sums"),
        sql.SQL("p.created_at"), ("purpose", "product", "promo", "currency"),
        ("purpose", "product", "currency"),
        ("sold", "captured", "refunded", "discount", "usd", "unrated", "credits", "bonus"),
        sql.SQL("""
    select {bucket} as bucket, p.purpose,
        coalesce(p.package_id, p.terms #>> '{{goods,key}}', p.purpose) as product,
        coalesce(p.promo_id::text, i.promo, '') as promo, p.currency, count(*) as sold,
        sum(p.captured_minor)::bigint as captured, sum(p.refunded_minor)::bigint as refunded,
        sum(p.discount_minor + coalesce(i.discount, 0))::bigint as discount,
        coalesce(sum(case when p.currency = 'usd' then p.captured_minor
            else round(p.captured_minor::numeric * p.usd_minor / p.asked_minor) end), 0)::bigint
            as usd,
        count(*) filter (where p.currency <> 'usd' and p.usd_minor is null) as unrated,
        coalesce(sum(p.credits_to_add) filter (where p.credits_added_at is not null), 0)::bigint
            as credits,
        coalesce(sum(u.bonus_credits), 0)::bigint as bonus
    from payments p
    left join promo_uses u on u.promo_id = p.promo_id and u.payment_id = p.id
    left join lateral (select v.discount_minor as discount, s.discount ->> 'promo_id' as promo
        from invoices v join subscriptions s
            on s.customer_id = v.customer_id and s.id = v.subscription_id
            and s.discount ->> 'promo_id' is not null
        where p.purpose = 'invoice' and v.customer_id = p.customer_id
            and v.id = (p.terms #>> '{{goods,invoice}}')::uuid and v.payment_id = p.id
            and v.discount_minor > 0 offset 0) i on true
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


# Adding up ----------------------------------------------------------------------------------------


def collect(
    tx: Tx, parts: Parts, over: Range, name: str, *, period: str | None,
    by: Sequence[str], where: Mapping[str, Any] | None = None,
) -> list[Row]:  # fmt: skip
    """Sums of a source's measures, a row for each group, in order. A period's member is its first
    day; an hour's the instant at which it begins.

    `where`: dimension -> the only value, or a list of those that count.
    """
    source = SOURCES[name]
    is_narrow = {*by, *(where or {})} <= set(source.narrow)
    inner, told = _rows(source, parts, over, is_narrow, by_hour=period == "hour")
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


def _rows(
    source: Source, parts: Parts, over: Range, is_narrow: bool, *, by_hour: bool
) -> tuple[sql.Composable, Row]:
    """The rows of all parts, by bucket and dimensions, and the parameters they need.

    What was kept in another time zone lies wholly in one of the range's periods, so that the day
    on which it begins names it.
    """
    kept = sql.SQL("{}") if parts.kept_zone == over.time_zone else sql.SQL(
        "(({}::timestamp at time zone %(kept_zone)s) at time zone %(time_zone)s)::date"
    )
    columns = sql.SQL(", ").join(
        [sql.Identifier(c) for c in (*source.dimensions, *source.measures)]
    )
    narrow = [d for d in parts.days if d in parts.narrow] if is_narrow else []
    wide = [d for d in parts.days if d not in parts.narrow] if is_narrow else list(parts.days)
    told = {"time_zone": over.time_zone, "kept_zone": parts.kept_zone, "is_narrow": is_narrow,
            "months": list(parts.months), "narrow": narrow, "wide": wide,
            **spans_of(parts.segments)}  # fmt: skip
    summed = sql.SQL(
        "select {bucket} as bucket, {columns} from {table} where grain = {grain}"
        " and is_narrow = %(is_narrow)s and bucket = any({key}::date[])"
    )
    found = [
        summed.format(bucket=kept.format(sql.SQL("bucket")), columns=columns, table=source.sums,
                      grain=sql.Literal(grain), key=sql.Placeholder(key))
        for grain, key in (("month", "months"), ("day", "narrow")) if told[key]
    ]  # fmt: skip
    if wide:
        found.append(sql.SQL(
            "select {bucket} as bucket, {columns} from {table} where day = any(%(wide)s::date[])"
        ).format(bucket=kept.format(sql.SQL("day")), columns=columns, table=source.table))
    if parts.segments or not found:
        found.append(raw_of(source, len(parts.segments), by_hour=by_hour))
    return sql.SQL(" union all ").join(found), told


def _period(period: str) -> sql.Composable:
    assert period in PERIODS
    if period in ("hour", "day"):
        return sql.SQL("bucket")
    return sql.SQL("date_trunc({}, bucket::timestamp)::date").format(sql.Literal(period))


# Credits ------------------------------------------------------------------------------------------

_HELD = (CODES["credits"], CODES["held"])


def kept(one: Row) -> int:
    """What a group of postings of credits adds to what customers hold, set aside or not."""
    return one["amount"] * ((one["credit"] in _HELD) - (one["debit"] in _HELD))


def credits_held(tx: Tx, at: datetime, time_zone: str, *, recount: bool = False) -> int:
    """The credits that all customers held just before an instant, by the books."""
    over = Range(datetime(1970, 1, 2, tzinfo=UTC), at, time_zone)
    parts = figure_parts.raw(over) if recount else figure_parts.parts_of(tx, over, None)
    return sum(
        kept(one)
        for one in collect(tx, parts, over, "books", period=None,
                           by=["asset", "debit", "credit"], where={"asset": CREDIT})
    )  # fmt: skip
