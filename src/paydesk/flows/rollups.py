"""The days' tables of figures: computed from the raw rows, anew whenever those changed.

A sweep reads the publisher's feed and marks the days that news touched; a day that ended, or was
marked, is counted anew as a whole and replaces its rows, so that a repeat or a crash changes
nothing. The payments' own transactions know nothing of it.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk import telemetry
from paydesk.flows import figures
from paydesk.flows.figures import SOURCES
from paydesk.rules import figures as rules

if TYPE_CHECKING:
    from collections.abc import Callable

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
                days = figures.touched(tx, customers, state["time_zone"])
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
    """Compute days that ended and days that were marked, oldest first; answers how many.

    `on_day` hears of each day and of how many are left. Where another process computes, or the
    time is up, the rest stays due.
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
            day = tx.value(
                "select min(day) from figure_dirty where day < %(until)s",
                {"until": state["covered_until"]},
            )
            if day is None and state["covered_until"] >= today:
                return done
            _compute_day(tx, zone_name, state["covered_until"] if day is None else day)
            if day is None:
                day = state["covered_until"]
                tx.run("update figure_state set covered_until = covered_until + 1")
            left = (today - max(state["covered_until"], day)).days - 1
        done += 1
        if on_day:
            on_day(day, max(0, left))
    return done


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
        tx.run(sql.SQL("delete from {}").format(source.table))  # type: ignore[arg-type]
    tx.run("delete from figure_dirty")
    tx.run("delete from figure_state")


def rebuild(env: Env, on_day: Callable[[date, int], None] | None = None) -> int:
    """Forget every day and compute all anew, as after an import; answers how many days."""
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


@cache
def _statements(name: str) -> tuple[str, str]:
    """Those that forget a day's rows of a source and count them anew."""
    source = SOURCES[name]
    columns = sql.SQL(", ").join(
        [sql.Identifier(c) for c in (*source.dimensions, *source.measures)]
    )
    forget = sql.SQL("delete from {} where day = %(day)s").format(source.table)
    fill = sql.SQL(
        "insert into {table} (day, {columns}) select %(day)s::date, {columns} from ({raw}) f"
    ).format(table=source.table, columns=columns, raw=figures.raw_of(source, 1))
    return forget.as_string(None), fill.as_string(None)
