"""`./run bench figures --payments N`: a plausible history of N payments, and how long reports take.

The history is made inside PostgreSQL, a chunk at a time and in order of time, with the indexes off
until the end; with `--keep FOLDER` it stays there, and a run that was stopped goes on where it was.
The days' tables are computed by the same code as in service. Then each report is timed as it is,
and once more counted from the raw rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench import harness
from paydesk.env import Env
from paydesk.flows import figure_reports, rollups

CHUNK = 50_000
TABLES = ("customers", "payments", "attempts", "transfers", "refunds")
DAYS = 730
#: What is asked, as (report, by, range, another time zone).
ASKED = (
    ("revenue", "month", "24mo", None), ("revenue", "day", "90d", None),
    ("revenue", "month,method", "24mo", None), ("payments", "day", "30d", None),
    ("payments", "month", "24mo", None), ("payments", "month,method", "24mo", None),
    ("methods", "method", "24mo", None), ("methods", "reason", "12mo", None),
    ("credits", "month", "24mo", None), ("packs", "product", "24mo", None),
    ("promos", "promo", "12mo", None), ("payments", "country", "12mo", None),
    ("payments", "week", "24mo", None), ("refunds", "reason", "30d", None),
    ("customers", "month", "30d", None),
    ("revenue", "month", "24mo", "America/Port-au-Prince"),
    ("revenue", "day", "30d", "America/Port-au-Prince"),
)  # fmt: skip
PLAIN_PAYMENTS = """select date_trunc('month', created_at) as month, currency, count(*),
    sum(captured_minor), sum(refunded_minor) from payments group by 1, 2 order by 1, 2"""
PLAIN_BOOKS = """select date_trunc('month', effective_at) as month, asset, reason, sum(amount)
    from transfers group by 1, 2, 3 order by 1, 2, 3"""
#: A report that takes longer from its raw rows is not counted a second time to compare.
PATIENCE_MS = 5_000

#: A chunk's payments. Customers who came first buy more often.
_MADE = """
    create temporary table made on commit drop as
    select n, md5('payment ' || n)::uuid as id,
        md5('customer ' || floor(power(random(), 2) * %(customers)s))::uuid as customer_id,
        %(start)s + (%(days)s * interval '1 day') * (n::float8 / %(payments)s) as at,
        (array['succeeded','failed','expired','canceled'])[
            1 + (o > 0.86)::int + (o > 0.92)::int + (o > 0.98)::int] as outcome,
        (array['usd','htg','eur'])[1 + (c > 0.6)::int + (c > 0.85)::int] as currency,
        (array['card','card','apple_pay','moncash','natcash'])[1 + floor(m * 5)::int] as method,
        (array['US','HT','FR','CA','DO'])[1 + floor(k * k * 5)::int] as country,
        1 + floor(p * 5)::int as pack, r < 0.03 as is_refunded, d < 0.1 as has_promo
    from generate_series(%(first)s::bigint, %(last)s::bigint) n,
        lateral (select random() * (n - n + 1) as o, random() as c, random() as m, random() as k,
            random() as p, random() as r, random() as d) z
"""
_FILLS = (
    """
    insert into payments (customer_id, id, state, provider, currency, asked_minor, captured_minor,
        refunded_minor, price_minor, discount_minor, credits_to_add, package_id, package_name,
        promo_id, handle, method, country, usd_minor, error_code, credits_added_at, request_key,
        request_hash, created_at, updated_at)
    select customer_id, id,
        case when outcome = 'succeeded' and is_refunded then 'refunded' else outcome end,
        case method when 'moncash' then 'moncash' when 'natcash' then 'natcash' else 'stripe' end,
        currency, pack * 1000,
        case when outcome = 'succeeded' then pack * 1000 else 0 end,
        case when outcome = 'succeeded' and is_refunded then pack * 1000 else 0 end,
        pack * 1000 + case when has_promo then 100 else 0 end,
        case when has_promo then 100 else 0 end, pack * 100, 'pack-' || pack, 'Pack ' || pack,
        case when has_promo then md5('promo ' || pack)::uuid end, 'h' || n, method, country,
        case currency when 'usd' then pack * 1000 when 'eur' then pack * 1080 else pack * 8 end,
        case when outcome = 'failed'
            then (array['card_declined','insufficient_funds','expired_card'])[1 + n %% 3] end,
        case when outcome = 'succeeded' then at end, id, '\\x00', at, at
    from made""",
    """
    insert into attempts (customer_id, id, payment_id, provider, state, method, error_code,
        created_at, updated_at)
    select customer_id, md5('attempt ' || n)::uuid, id, 'stripe',
        outcome, method,
        case when outcome = 'failed' then 'card_declined' end, at, at
    from made""",
    """
    insert into transfers (customer_id, id, seq, txn_id, debit, credit, asset, amount, debit_after,
        credit_after, reason, subject_id, effective_at, created_at)
    select customer_id, md5('transfer ' || n || ' ' || k)::uuid, n * 8 + k, id, debit, credit,
        coalesce(asset, currency), amount, 0, 0, reason, id, at + late, at
    from made, lateral (values
        (0, 10, 5, null, pack * 1000, 'PAYMENT_CAPTURE', interval '0'),
        (1, 16, 10, null, pack * 30, 'PROVIDER_FEE', interval '0'),
        (2, 5, 6, null, pack * 1000, 'SALE', interval '0'),
        (3, 11, 1, 'CREDIT', pack * 100, 'CREDIT_PURCHASE', interval '0'),
        (4, 1, 7, 'CREDIT', pack * 40, 'CREDIT_USAGE', interval '1 day'),
        (5, 6, 13, null, pack * 1000, 'REFUND', interval '3 days'),
        (6, 13, 10, null, pack * 1000, 'REFUND_PAID', interval '3 days')
    ) as t (k, debit, credit, asset, amount, reason, late)
    where outcome = 'succeeded' and (k < 5 or is_refunded)""",
    """
    insert into refunds (customer_id, id, payment_id, amount_minor, currency, state, reason,
        provider, request_key, request_hash, succeeded_at, created_at)
    select customer_id, md5('refund ' || n)::uuid, id, pack * 1000, currency, 'succeeded',
        (array['duplicate','requested_by_customer','fraudulent'])[1 + n %% 3], 'stripe', id,
        '\\x00', at + interval '3 days', at + interval '3 days'
    from made where outcome = 'succeeded' and is_refunded""",
)  # fmt: skip


def bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<28}"), BarColumn(40), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), refresh_per_second=2,
    )  # fmt: skip


def fill(dsn: str, env: Env, payments: int) -> tuple[int, float]:
    """Make what is missing of the history; answers how many payments were made and the seconds."""
    started = time.perf_counter()
    told = {"customers": max(1, payments // 8), "payments": payments, "days": DAYS,
            "start": env.now() - timedelta(days=DAYS)}  # fmt: skip
    with psycopg.connect(dsn, autocommit=True) as conn, bar() as progress:
        conn.execute("set synchronous_commit = off")
        conn.execute("set maintenance_work_mem = '512MB'")
        told["start"], before = _begun(conn, told)
        task = progress.add_task("payments", total=payments, completed=before)
        for first in range(before + 1, payments + 1, CHUNK):
            last = min(first + CHUNK - 1, payments)
            with conn.transaction():
                conn.execute("select setseed(%(share)s)", {"share": first / payments})
                conn.execute(_MADE, {**told, "first": first, "last": last})
                for statement in _FILLS:
                    conn.execute(statement, {})
                conn.execute("update bench.filled set payments = %(last)s", {"last": last})
            progress.update(task, completed=last)
        _index(conn, progress)
    return payments - before, time.perf_counter() - started


def _begun(conn: psycopg.Connection[Any], told: dict[str, Any]) -> tuple[Any, int]:
    """Take the indexes off and make the customers, once; answers (when the history starts, how
    many payments are there)."""
    conn.execute("create schema if not exists bench")
    conn.execute("create table if not exists bench.filled (start timestamptz, wanted bigint,"
                 " payments bigint)")  # fmt: skip
    conn.execute("create table if not exists bench.missing (n int primary key, name text,"
                 " statement text)")  # fmt: skip
    found = conn.execute("select start, wanted, payments from bench.filled").fetchone()
    if found is not None:
        if found[1] != told["payments"]:
            raise SystemExit(f"The folder holds a history of {found[1]:,} payments.")
        return found[0], found[2]
    with conn.transaction():
        for number, (name, statement) in enumerate(_without_indexes(conn)):
            conn.execute("insert into bench.missing values (%s, %s, %s)", (number, name, statement))
        conn.execute(
            "insert into customers (customer_id, external_id, owner_id)"
            " select md5('customer ' || i)::uuid, 'user_' || i, md5('customer ' || i)::uuid"
            " from generate_series(0, %(customers)s) i", told,
        )  # fmt: skip
        conn.execute("insert into bench.filled values (%(start)s, %(payments)s, 0)", told)
    return told["start"], 0


def _index(conn: psycopg.Connection[Any], progress: Progress) -> None:
    """Make the indexes that are missing, then tell the planner what is there."""
    missing = conn.execute("select n, name, statement from bench.missing order by n").fetchall()
    if not missing:
        return
    task = progress.add_task("indexes", total=len(missing))
    for number, name, statement in missing:
        progress.update(task, description=name[:28])
        with conn.transaction():
            conn.execute(statement)  # type: ignore[call-overload]
            conn.execute("delete from bench.missing where n = %s", (number,))
        progress.advance(task)
    task = progress.add_task("vacuum", total=len(TABLES))
    for table in TABLES:
        conn.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(table)))
        progress.advance(task)


def _without_indexes(conn: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Drop them all; answers (name, how to make it again), those that others need first."""
    constraints = conn.execute(
        "select c.conname, c.conrelid::regclass::text, pg_get_constraintdef(c.oid)"
        " from pg_constraint c where c.contype in ('p', 'u', 'f') and (c.conrelid::regclass::text"
        " = any(%(tables)s) or c.confrelid::regclass::text = any(%(tables)s))"
        " order by c.contype = 'f', c.contype = 'u'", {"tables": list(TABLES)},
    ).fetchall()  # fmt: skip
    for name, table, _ in reversed(constraints):
        conn.execute(sql.SQL("alter table {} drop constraint {}").format(
            sql.Identifier(table), sql.Identifier(name)))  # fmt: skip
    plain = conn.execute(
        "select indexname, indexdef from pg_indexes where tablename = any(%(tables)s)",
        {"tables": list(TABLES)},
    ).fetchall()
    for name, _ in plain:
        conn.execute(sql.SQL("drop index {}").format(sql.Identifier(name)))
    made = [(name, definition) for name, definition in plain]
    keys = [
        (name, f"alter table {table} add constraint {name} {definition}")
        for name, table, definition in constraints
    ]
    foreign = [key for key in keys if "FOREIGN" in key[1]]
    return [key for key in keys if key not in foreign] + made + foreign


def compute(env: Env) -> tuple[int, float]:
    """The tables of days and months; answers (how many, seconds)."""
    started = time.perf_counter()
    with bar() as progress:
        task = progress.add_task("days", total=None)
        done = 0

        def on_day(day: Any, left: int) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done, total=done + left)

        days = rollups.compute(env, on_day=on_day)
    return days, time.perf_counter() - started


def timed(work: Callable[[], Any], seconds: float) -> tuple[float, int]:
    """(median milliseconds, rounds), at least one round."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while not found or (time.perf_counter() < until and len(found) < 50):
        started = time.perf_counter()
        work()
        found.append((time.perf_counter() - started) * 1000)
    return statistics.median(found), len(found)


def reports(env: Env, seconds: float) -> list[tuple[str, float, float, int]]:
    """Each report by itself and from raw rows: (what, ms, ms from raw rows, rows)."""
    found = []
    for kind, by, last, zone in ASKED:

        def ask(recount: bool = False, kind=kind, by=by, last=last, zone=zone) -> Any:
            return figure_reports.report(
                env, kind, by=by, last=last, time_zone=zone, recount=recount
            )

        what = f"{kind} by {by}, {last}" + (f", {zone}" if zone else "")
        rows = ask().rows
        kept, _ = timed(ask, seconds)
        raw, _ = timed(lambda ask=ask: ask(recount=True), 0.0)
        if raw < PATIENCE_MS:
            assert ask(recount=True).rows == rows, what
        found.append((what, kept, raw, len(rows)))
        print(f"{what:<44} {kept:9.1f} ms   raw {raw:10.1f} ms   1/{raw / kept:6.1f}"
              f"   {len(rows):,} rows", flush=True)  # fmt: skip
    return found


def plain(env: Env) -> None:
    """What people write by themselves for revenue by month, as a measure beside the reports."""
    for what, statement in (("payments", PLAIN_PAYMENTS), ("books", PLAIN_BOOKS)):
        with env.db.read() as tx:
            took, _ = timed(lambda tx=tx, statement=statement: tx.all(statement), 0.0)
        print(f"plain SQL over the {what:<26} {took:9.1f} ms", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="./run bench figures", description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each report")
    parser.add_argument("--keep", metavar="FOLDER", help="make the history there, or go on with it")
    told = parser.parse_args(arguments)
    with harness.desk(told.keep) as desk:
        env = replace(desk.env, settings=replace(desk.env.settings, time_zone="UTC"))
        made, took = fill(desk.server.owner_dsn, env, told.payments)
        if made:
            print(f"{made:,} payments in {took:.0f} s, {made / took:,.0f} a second")
        days, took = compute(env)
        if days:
            print(f"{days:,} days and months in {took:.0f} s, {1000 * took / days:.0f} ms each")
        plain(env)
        reports(env, told.seconds)


if __name__ == "__main__":
    main()
