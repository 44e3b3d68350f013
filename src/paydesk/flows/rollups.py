"""The tables of figures by day and month: computed from the raw rows, anew when those changed.

A sweep reads the publisher's feed and marks the days that news touched; a day that ended, or was
marked, is counted anew as a whole and replaces its rows, so that a repeat or a crash changes
nothing. A month is added up from its days when they are all there, and again when one of them was
counted anew. The payments' own transactions know nothing of it.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk import telemetry
from paydesk.flows import figure_parts, figures
from paydesk.flows.figures import SOURCES, Source
from paydesk.rules import figures as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paydesk.db.postgres import Tx
    from paydesk.env import Env

SINK = "figures"
_GROUP = 200
#: Events that say how payments fare.
_COUNTED = ("payment.created", "payment.succeeded", "payment.failed", "payment.expired",
            "payment.canceled", "payment.declined", "payment.refunded",
            "payment.partially_refunded")  # fmt: skip
#: A sweep begins no further day after so long.
_BUDGET_S = 5.0


def keep(env: Env) -> int:
    """Sweep: mark what news touched, then compute what is due for some seconds."""
    return mark(env) + compute(env, budget_s=_BUDGET_S)


def mark(env: Env, limit: int = 2_000) -> int:
    """Mark the days that changed since their customers were looked at; answers how many
    customers were.

    The feed's row is locked first and read after: the publisher waits for it, so that what is
    published later is due again.
    """
    done = 0
    while done < limit:
        with env.db.transaction() as tx:
            rows = tx.all(
                "select customer_id, seq from feeds where sink = %(sink)s and try_at <= %(now)s"
                " order by try_at, customer_id limit %(limit)s for update skip locked",
                {"sink": SINK, "now": env.now(), "limit": min(_GROUP, limit - done)},
            )
            customers = [row["customer_id"] for row in rows]
            if not customers:
                return done
            # Positions first: what comes between them and the days is looked at once more.
            places = tx.all(
                "select k.id, coalesce((select max(seq) from events where customer_id = k.id), 0)"
                " as seq, coalesce((select max(seq) from transfers where customer_id = k.id), 0)"
                " as entry_seq from unnest(%(customers)s::uuid[]) k(id)",
                {"customers": customers},
            )
            state = tx.one("select time_zone, covered_until from figure_state")
            if state is not None:
                days = figure_parts.touched(tx, customers, state["time_zone"])
                _mark_days(tx, state["covered_until"], days)
            counted = _payment_events(tx, rows, places) if telemetry.is_counting() else []
            _move_on(tx, places)
        for row in counted:
            telemetry.count(
                "paydesk.payment", row["n"], paydesk_provider=row["provider"],
                paydesk_status=row["type"].partition(".")[2], paydesk_currency=row["currency"],
                error_type=row["error"],
            )  # fmt: skip
        done += len(customers)
    return done


def _mark_days(tx: Tx, covered_until: date, days: set[date]) -> None:
    """Only days that were computed, and the one that may be on its way; the others will be."""
    tx.run(
        "insert into figure_dirty (day) select d from unnest(%(days)s::date[]) d"
        " where d <= %(until)s order by d on conflict do nothing",
        {"days": sorted(days), "until": covered_until},
    )


def _payment_events(
    tx: Tx, before: list[dict[str, Any]], places: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """How often payments came into which state, for a counter."""
    seqs = {row["customer_id"]: row["seq"] for row in before}
    return tx.all(
        "select e.type, p.provider, p.currency,"
        " case when e.type = 'payment.failed' then coalesce(p.error_code, 'unknown') end as error,"
        " count(*)::int as n"
        " from unnest(%(ids)s::uuid[], %(since)s::bigint[], %(until)s::bigint[]) k(id, a, b)"
        " join events e on e.customer_id = k.id and e.seq > k.a and e.seq <= k.b"
        " join payments p on p.customer_id = e.customer_id and p.id = e.subject_id"
        " where e.type = any(%(types)s) group by 1, 2, 3, 4",
        {
            "ids": [row["id"] for row in places],
            "since": [seqs[row["id"]] for row in places],
            "until": [row["seq"] for row in places], "types": list(_COUNTED),
        },
    )  # fmt: skip


def _move_on(tx: Tx, places: list[dict[str, Any]]) -> None:
    values = {
        "customers": [row["id"] for row in places], "seqs": [row["seq"] for row in places],
        "entries": [row["entry_seq"] for row in places], "sink": SINK,
    }  # fmt: skip
    tx.run(
        "insert into figure_marks (customer_id, entry_seq) select k.id, k.entry_seq"
        " from unnest(%(customers)s::uuid[], %(entries)s::bigint[]) k(id, entry_seq)"
        " on conflict (customer_id) do update"
        " set entry_seq = greatest(figure_marks.entry_seq, excluded.entry_seq)",
        values,
    )
    tx.run(
        "update feeds f set try_at = null, seq = greatest(f.seq, k.seq)"
        " from unnest(%(customers)s::uuid[], %(seqs)s::bigint[]) k(id, seq)"
        " where f.customer_id = k.id and f.sink = %(sink)s",
        values,
    )


def compute(
    env: Env, *, budget_s: float | None = None, on_day: Callable[[date, int], None] | None = None
) -> int:
    """Compute days that ended and days that were marked, oldest first, then the sums of them and
    of months; answers how many days and months.

    `on_day` hears of each day, or of a month's first one, and of how many are left. Where another
    process computes, or the time is up, the rest stays due.
    """
    zone_name = env.settings.time_zone
    today = env.now().astimezone(rules.zone_of(zone_name)).date()
    until = time.monotonic() + (budget_s if budget_s is not None else 10**9)
    done = 0
    if not _begun(env, zone_name, today):
        return 0
    while time.monotonic() < until:
        with env.db.transaction() as tx:
            state = tx.one(
                "select time_zone, covered_from, covered_until from figure_state"
                " for update skip locked"
            )
            if state is None or state["time_zone"] != zone_name:
                return done
            step = _next_day(tx, zone_name, state, today) or _next_sums(tx, state)
        if step is None:
            return done
        done += 1
        if on_day:
            on_day(*step)
    return done


def _next_day(
    tx: Tx, zone_name: str, state: dict[str, Any], today: date
) -> tuple[date, int] | None:
    """Compute a marked day, or the next one that ended; answers it and how many of these are
    left."""
    day = tx.value(
        "select min(day) from figure_dirty where day < %(until)s",
        {"until": state["covered_until"]},
    )
    if day is not None:
        _compute_day(tx, zone_name, day)
        return day, max(0, (today - state["covered_until"]).days)
    if state["covered_until"] >= today:
        return None
    _compute_day(tx, zone_name, state["covered_until"])
    tx.run("update figure_state set covered_until = covered_until + 1")
    return state["covered_until"], (today - state["covered_until"]).days - 1


def _next_sums(tx: Tx, state: dict[str, Any]) -> tuple[date, int] | None:
    """Add up a month that is due, or those of its days that are; answers its first day and how
    many months are left."""
    told = {"since": state["covered_from"], "until": state["covered_until"]}
    rows = tx.all(_DAYS_DUE, told)
    if rows:
        _sum(tx, "day", rows[0]["days"])
    else:
        rows = tx.all(_MONTHS_DUE, told)
        if not rows:
            return None
        _sum(tx, "month", [rows[0]["month"]])
    return rows[0]["month"], len(rows) - 1


#: Months with computed days that have no narrow sums yet, as after an upgrade.
_DAYS_DUE = """
    select date_trunc('month', d)::date as month, array_agg(d::date order by d) as days
    from (select generate_series(%(since)s::timestamp, %(until)s::date - 1, '1 day') as d
        union select day from figure_payments where day < %(since)s
        union select day from figure_books where day < %(since)s) d
    where not exists (select from figure_summed where grain = 'day' and bucket = d)
    group by 1 order by 1
"""
#: Months whose days are all there and were not added up since.
_MONTHS_DUE = """
    select m::date as month
    from generate_series(date_trunc('month', %(since)s::timestamp),
        %(until)s::date - interval '1 month', '1 month') m
    where not exists (select from figure_summed where grain = 'month' and bucket = m)
        and not exists (select from figure_dirty where day >= m and day < m + interval '1 month')
    order by 1
"""


def _begun(env: Env, zone_name: str, today: date) -> bool:
    """Make the first state, or begin anew after the business's time zone changed."""
    with env.db.transaction() as tx:
        state = tx.one("select time_zone from figure_state for update skip locked")
        if state is not None and state["time_zone"] == zone_name:
            return True
        if state is None and tx.value("select count(*) from figure_state"):
            return False  # Another process has it just now.
        _forget(tx)
        first = tx.value(
            "select least((select min(created_at) from payments),"
            " (select min(effective_at) from transfers))"
        )
        if first is None:
            return False
        day = min(today, max(first, datetime(1970, 1, 2, tzinfo=UTC))
                  .astimezone(rules.zone_of(zone_name)).date())  # fmt: skip
        tx.run(
            "insert into figure_state (time_zone, covered_from, covered_until)"
            " values (%(zone)s, %(day)s, %(day)s) on conflict do nothing",
            {"zone": zone_name, "day": day},
        )
    return True


def _forget(tx: Tx) -> None:
    for source in SOURCES.values():
        for table in (source.table, source.sums):
            tx.run(sql.SQL("delete from {}").format(table))  # type: ignore[arg-type]
    tx.run("delete from figure_summed")
    tx.run("delete from figure_dirty")
    tx.run("delete from figure_state")


def rebuild(env: Env, on_day: Callable[[date, int], None] | None = None) -> int:
    """Forget everything and compute all anew, as after an import; answers how many days and
    months."""
    with env.db.transaction() as tx:
        tx.one("select time_zone from figure_state for update")
        _forget(tx)
    return compute(env, on_day=on_day)


def _compute_day(tx: Tx, zone_name: str, day: date) -> None:
    """Replace a day's rows of every source. What is marked while this runs stays marked, since
    a mark waits for the deletion of the one before."""
    tx.run("delete from figure_dirty where day = %(day)s", {"day": day})
    zone = rules.zone_of(zone_name)
    span = (rules.midnight(zone, day), rules.midnight(zone, day + timedelta(days=1)))
    told = {"day": day, "time_zone": zone_name, **figures.spans_of([span])}
    for name in SOURCES:
        for statement in _statements(name):
            tx.run(statement, told)  # type: ignore[arg-type]
    _sum(tx, "day", [day])
    tx.run(
        "delete from figure_summed where grain = 'month'"
        " and bucket = date_trunc('month', %(day)s::timestamp)::date",
        {"day": day},
    )


@cache
def _statements(name: str) -> tuple[str, str]:
    """Those that forget a day's rows of a source and count them anew."""
    source = SOURCES[name]
    columns = _names((*source.dimensions, *source.measures))
    forget = sql.SQL("delete from {} where day = %(day)s").format(source.table)
    fill = sql.SQL(
        "insert into {table} (day, {columns}) select %(day)s::date, {columns} from ({raw}) f"
    ).format(table=source.table, columns=columns, raw=figures.raw_of(source, 1))
    return forget.as_string(None), fill.as_string(None)


def _sum(tx: Tx, grain: str, buckets: list[date]) -> None:
    """Replace the sums of these days, or of these months in a row, by what their days' rows add up
    to. A day has narrow sums alone, since its own table has the others."""
    told = {"grain": grain, "buckets": buckets, "first": buckets[0],
            "after": rules.next_month(buckets[-1].replace(day=1))}  # fmt: skip
    for source in SOURCES.values():
        tx.run(
            sql.SQL("delete from {} where grain = %(grain)s and bucket = any(%(buckets)s)").format(
                source.sums
            ),  # type: ignore[arg-type]
            told,
        )
        for is_narrow in (True, False) if grain == "month" else (True,):
            tx.run(_summing(source, grain, is_narrow), told)  # type: ignore[arg-type]
    tx.run(
        "insert into figure_summed (grain, bucket) select %(grain)s, b"
        " from unnest(%(buckets)s::date[]) b on conflict do nothing",
        told,
    )


def _summing(source: Source, grain: str, is_narrow: bool) -> sql.Composed:
    """The statement that adds up days' rows by bucket and by the dimensions that are kept."""
    kept = source.narrow if is_narrow else source.dimensions
    bucket = sql.SQL("day" if grain == "day" else "date_trunc('month', day::timestamp)::date")
    within = sql.SQL(
        "day = any(%(buckets)s)" if grain == "day" else
        "day >= %(first)s and day < %(after)s"
    )
    sums = [sql.SQL("sum({})").format(sql.Identifier(m)) for m in source.measures]
    return sql.SQL(
        "insert into {table} (grain, is_narrow, bucket, {columns})"
        " select %(grain)s, {narrow}, {bucket}, {heads} from {days} where {within} group by {keys}"
    ).format(
        table=source.sums, columns=_names((*source.dimensions, *source.measures)),
        narrow=sql.Literal(is_narrow), bucket=bucket, days=source.table, within=within,
        heads=sql.SQL(", ").join(
            [sql.Identifier(d) if d in kept else sql.SQL("''") for d in source.dimensions] + sums
        ),
        keys=sql.SQL(", ").join([bucket, *map(sql.Identifier, kept)]),
    )  # fmt: skip


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(c) for c in columns])
