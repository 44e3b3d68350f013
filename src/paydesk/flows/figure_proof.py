"""Proves that the tables of figures say what the rows say: days against rows, sums against days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from paydesk.flows import figure_parts, figures
from paydesk.flows.figures import SOURCES, Source
from paydesk.rules import figures as rules

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

Row = dict[str, Any]

_MOST = 4


def broken_days(tx: Tx) -> list[Row]:
    """Computed days whose figures are not those of the raw rows, a month at a time. Days whose
    news is not read yet are left out."""
    state = tx.one(
        "select time_zone, covered_until, least(covered_from, (select min(day) from"
        " figure_payments), (select min(day) from figure_books)) as first_day from figure_state"
    )
    if state is None:
        return []
    changed, behind = figure_parts.pending(tx, state["time_zone"])
    if behind:
        return []
    changed |= {row["day"] for row in tx.all("select day from figure_dirty")}
    zone, found = rules.zone_of(state["time_zone"]), []
    first = state["first_day"]
    while first < state["covered_until"] and len(found) < _MOST:
        after = min(rules.next_month(first.replace(day=1)), state["covered_until"])
        span = (rules.midnight(zone, first), rules.midnight(zone, after))
        told = {"first": first, "after": after, "stale": sorted(changed),
                "time_zone": state["time_zone"], **figures.spans_of([span])}  # fmt: skip
        for name, source in SOURCES.items():
            rows = tx.all(_days(source), told)  # type: ignore[arg-type]
            found += [{"source": name, **row} for row in rows]
        first = after
    return found[:_MOST]


def _days(source: Source) -> sql.Composed:
    """Days of a span with a row that only one side has."""
    columns = _names((*source.dimensions, *source.measures))
    return sql.SQL(
        "with counted as (select bucket as day, {columns} from ({raw}) r"
        "  where bucket <> all(%(stale)s::date[])),"
        " kept as (select day, {columns} from {table} where day >= %(first)s and day < %(after)s"
        "  and day <> all(%(stale)s::date[]))"
        " select day, count(*) as rows from ("
        "  (select * from counted except all select * from kept)"
        "  union all (select * from kept except all select * from counted)) d"
        " group by day order by day limit 4"
    ).format(columns=columns, raw=figures.raw_of(source, 1), table=source.table)


def broken_sums(tx: Tx) -> list[Row]:
    """Days and months whose sums are not those of their days' rows."""
    found: list[Row] = []
    if not tx.all("select from figure_summed limit 1"):
        return found
    for name, source in SOURCES.items():
        for grain, is_narrow in (("day", True), ("month", True), ("month", False)):
            rows = tx.all(_sums(source, grain, is_narrow), {})  # type: ignore[arg-type]
            found += [{"source": name, "grain": grain, **row} for row in rows]
    return found[:_MOST]


def _sums(source: Source, grain: str, is_narrow: bool) -> sql.Composed:
    """Buckets that are said to be added up, with a row that only one side has."""
    kept = source.narrow if is_narrow else source.dimensions
    bucket = sql.SQL("day" if grain == "day" else "date_trunc('month', day::timestamp)::date")
    keys = _names(kept)
    sums = sql.SQL(", ").join(
        [sql.SQL("sum({m})::bigint as {m}").format(m=sql.Identifier(m)) for m in source.measures]
    )
    return sql.SQL(
        "with known as (select bucket from figure_summed where grain = {grain}),"
        " counted as (select {bucket} as bucket, {keys}, {sums} from {days} group by {by}),"
        " kept as (select bucket, {keys}, {measures} from {table} where grain = {grain}"
        "  and is_narrow = {narrow})"
        " select bucket, count(*) as rows from ("
        "  (select * from counted except all select * from kept)"
        "  union all (select * from kept except all select * from counted)) d"
        " where bucket in (select bucket from known) group by bucket order by bucket limit 4"
    ).format(
        grain=sql.Literal(grain), bucket=bucket, keys=keys, sums=sums, days=source.table,
        by=sql.SQL(", ").join([bucket, *map(sql.Identifier, kept)]),
        measures=_names(source.measures), table=source.sums, narrow=sql.Literal(is_narrow),
    )  # fmt: skip


def _names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(c) for c in columns])
