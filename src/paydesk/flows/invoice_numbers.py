"""Numbers of invoices and credit notes: without gaps, drawn outside any payment's transaction.

A transaction of its own takes the series' counter and writes who uses the number up; a second one
copies it onto the document, under its customer's lock. Whatever dies between the two, the row
stays the document's, and the sweep copies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from paydesk import crash
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Busy
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.logger import get_logger

log = get_logger(__name__)

#: So many numbers are drawn by one transaction of the sweep.
BATCH = 200
INVOICES, NOTES = "invoices", "credit_notes"

#: (series, customer, document).
Wanted = tuple[str, UUID, UUID]


def shown(series: str, number: int) -> str:
    """`INV-000042`."""
    return f"{series}-{number:06d}"


def number(env: Env, customer_id: UUID, object_id: UUID, table: str = INVOICES) -> str | None:
    """The document's number, drawn and copied where it has none; None for a draft and for what the
    provider numbers. While its customer is held elsewhere the copy is left to the sweep."""
    with env.db.read() as tx:
        row = tx.one(_ONE[table], {"customer_id": customer_id, "id": object_id})
    if row is None or row["number"]:
        return row["number"] if row else None
    drawn = draw(env, [(row["series"], customer_id, object_id)])[0]
    crash.at("number_after_draw")
    try:
        _copy(env, table, customer_id, object_id, drawn)
    except Busy:
        log.info("a number is copied later", table=table, document=str(object_id))
    return drawn


def draw(env: Env, wanted: list[Wanted]) -> list[str]:
    """Numbers for documents, in this order, each series' without a gap; one that was drawn before
    is the document's still."""
    with env.db.transaction() as tx:
        series = sorted({one[0] for one in wanted})
        tx.run(
            "insert into invoice_series (series) select unnest(%(series)s::text[])"
            " on conflict do nothing",
            {"series": series},
        )
        rows = tx.all(
            "select series, last_number from invoice_series where series = any(%(series)s)"
            " order by series for update",
            {"series": series},
        )
        last = {row["series"]: row["last_number"] for row in rows}
        known = _known(tx, wanted)
        fresh: list[tuple[str, int, UUID, UUID]] = []
        for name, owner, document in wanted:
            if (name, document) not in known:
                last[name] += 1
                known[name, document] = last[name]
                fresh.append((name, last[name], owner, document))
        if fresh:
            _use_up(tx, fresh, last)
        crash.at("number_before_commit")
    return [shown(name, known[name, document]) for name, _, document in wanted]


def _known(tx: Tx, wanted: list[Wanted]) -> dict[tuple[str, UUID], int]:
    rows = tx.all(
        "select n.series, n.object_id, n.number from unnest(%(series)s::text[],"
        " %(objects)s::uuid[]) as k(series, object_id) join invoice_numbers n"
        " on n.series = k.series and n.object_id = k.object_id",
        {"series": [w[0] for w in wanted], "objects": [w[2] for w in wanted]},
    )
    return {(row["series"], row["object_id"]): row["number"] for row in rows}


def _use_up(tx: Tx, fresh: list[tuple[str, int, UUID, UUID]], last: dict[str, int]) -> None:
    tx.run(
        "insert into invoice_numbers (series, number, customer_id, object_id)"
        " select * from unnest(%(series)s::text[], %(numbers)s::bigint[], %(customers)s::uuid[],"
        "  %(objects)s::uuid[])",
        {
            "series": [f[0] for f in fresh], "numbers": [f[1] for f in fresh],
            "customers": [f[2] for f in fresh], "objects": [f[3] for f in fresh],
        },
    )  # fmt: skip
    tx.run(
        "update invoice_series s set last_number = n.last from unnest(%(series)s::text[],"
        " %(last)s::bigint[]) as n(series, last) where s.series = n.series",
        {"series": list(last), "last": list(last.values())},
    )


#: The document, where it is to have a number.
_ONE: dict[str, LiteralString] = {
    INVOICES: "select series, number from invoices where customer_id = %(customer_id)s"
    " and id = %(id)s and state <> 'draft' and runner = 'paydesk'",
    NOTES: "select series, number from credit_notes where customer_id = %(customer_id)s"
    " and id = %(id)s",
}
_COPY: dict[str, LiteralString] = {
    INVOICES: "update invoices set number = %(number)s, version = version + 1"
    " where customer_id = %(customer_id)s and id = %(id)s and number is null",
    NOTES: "update credit_notes set number = %(number)s"
    " where customer_id = %(customer_id)s and id = %(id)s and number is null",
}
#: What has no number yet, the oldest first.
_LEFT: dict[str, LiteralString] = {
    INVOICES: "select customer_id, id, series from invoices where number is null"
    " and state <> 'draft' and runner = 'paydesk' order by finalized_at, id limit %(limit)s",
    NOTES: "select customer_id, id, series from credit_notes where number is null"
    " order by created_at, id limit %(limit)s",
}
_OF_CLOCK: dict[str, LiteralString] = {
    INVOICES: "select t.customer_id, t.id, t.series from clock_customers k join invoices t"
    " using (customer_id) where k.clock_id = %(clock_id)s and t.number is null"
    " and t.state <> 'draft' and t.runner = 'paydesk'"
    " order by t.finalized_at, t.id limit %(limit)s",
    NOTES: "select t.customer_id, t.id, t.series from clock_customers k join credit_notes t"
    " using (customer_id) where k.clock_id = %(clock_id)s and t.number is null"
    " order by t.created_at, t.id limit %(limit)s",
}


def _copy(env: Env, table: str, customer_id: UUID, object_id: UUID, drawn: str) -> None:
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        tx.run(_COPY[table], {"customer_id": customer_id, "id": object_id, "number": drawn})


def number_due(env: Env, limit: int = BATCH) -> int:
    """Sweep: number what has none. Answers how many documents got theirs."""
    done = 0
    for table in (INVOICES, NOTES):
        with env.db.read() as tx:
            rows = tx.all(_LEFT[table], {"limit": limit})
        done += _number(env, table, rows)
    return done


def number_of_clock(env: Env, clock_id: UUID) -> None:
    """Number what a clock's customers have without one, the oldest first. What is held elsewhere
    is left to the sweep."""
    for table in (INVOICES, NOTES):
        done = 1
        while done:
            with env.db.read() as tx:
                rows = tx.all(_OF_CLOCK[table], {"limit": BATCH, "clock_id": clock_id})
            done = _number(env, table, rows)


def _number(env: Env, table: str, rows: Sequence[dict[str, Any]]) -> int:
    if not rows:
        return 0
    done = 0
    drawn = draw(env, [(row["series"], row["customer_id"], row["id"]) for row in rows])
    crash.at("number_after_draw")
    for row, text in zip(rows, drawn, strict=True):
        with one_row("invoice_numbers", row["id"]):
            _copy(env, table, row["customer_id"], row["id"], text)
            done += 1
    return done
