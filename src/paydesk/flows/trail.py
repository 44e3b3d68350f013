"""The trail: who changed what, chained by hashes so that a changed row is found.

A customer's events and transfers are covered by seals, each over the seal before it. Changes of
privileges, of the catalogue and of settings stand in one log of their own, chained row by row.
The root of all seals, kept elsewhere, also finds a chain that was made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import causes
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env

#: The feed that says whose events are not sealed yet.
SINK = "seals"
#: So many events, and so many transfers, stand under one seal at most.
SPAN = 1000
_GROUP = 64
_PAGE = 500
#: One writer at a time appends to the log.
_LOG_LOCK = 7_310_586_013


@dataclass(frozen=True, slots=True)
class Broken:
    """A place where the chain does not hold: events or transfers up to these numbers were changed
    or are missing. `customer_id` None: the log's own chain, `seq` its row. `payment_id`: this
    payment's row says other than its last event, number `seq`; or is gone."""

    customer_id: UUID | None
    seq: int
    entry_seq: int = 0
    payment_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the log."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    request_id: str | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verification looked at, and what it found."""

    customers: int
    seals: int
    unsealed: int
    payments: int
    entries: int
    broken: list[Broken]

    @property
    def ok(self) -> bool:
        return not self.broken


# Seals -------------------------------------------------------------------------------------------


def seal_due(env: Env, limit: int = 1000) -> int:
    """Sweep: seal what is new, of customers who are not held just now. Answers how many seals."""
    now, done = env.now(), 0
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id from feeds where sink = %(sink)s and try_at <= %(now)s"
            " order by try_at limit %(limit)s",
            {"sink": SINK, "now": now, "limit": limit},
        )
    due = [row["customer_id"] for row in rows]
    for start in range(0, len(due), _GROUP):
        with env.db.transaction() as tx:
            tx.lock(*due[start : start + _GROUP], free_only=True)
            done += _seal(tx, list(tx.heads), now)
    return done


def _seal(tx: Tx, customers: list[UUID], now: datetime) -> int:
    """One more seal for each; whoever has more than a span stays due."""
    values = {"customers": customers, "span": SPAN, "now": now, "sink": SINK}
    count = tx.run(
        "insert into seals (customer_id, seq, entry_seq, hash, sealed_at)"
        " select n.customer_id, n.seq, n.entry_seq,"
        "  seal_v1(n.hash, n.customer_id, n.from_seq, n.seq, n.from_entry, n.entry_seq), %(now)s"
        " from (select h.customer_id, coalesce(l.seq, 0) as from_seq, l.hash,"
        "   coalesce(l.entry_seq, 0) as from_entry,"
        "   least(h.seq, coalesce(l.seq, 0) + %(span)s) as seq,"
        "   least(h.entry_seq, coalesce(l.entry_seq, 0) + %(span)s) as entry_seq"
        "  from unnest(%(customers)s::uuid[]) k(id)"
        "  cross join lateral (select customer_id, seq, entry_seq from heads"
        "   where customer_id = k.id limit 1) h"
        "  left join lateral (select seq, entry_seq, hash from seals"
        "   where customer_id = h.customer_id order by seq desc, entry_seq desc limit 1) l on true"
        " ) n where n.seq > n.from_seq or n.entry_seq > n.from_entry",
        values,
    )
    tx.run(
        "update feeds f set seq = greatest(f.seq, n.seq),"
        " try_at = case when n.is_whole then null else %(now)s end"
        " from (select k.id, s.seq, s.seq >= h.seq and s.entry_seq >= h.entry_seq as is_whole"
        "  from unnest(%(customers)s::uuid[]) k(id)"
        "  cross join lateral (select seq, entry_seq from heads where customer_id = k.id limit 1) h"
        "  cross join lateral (select seq, entry_seq from seals where customer_id = k.id"
        "   order by seq desc, entry_seq desc limit 1) s) n"
        " where f.customer_id = n.id and f.sink = %(sink)s",
        values,
    )
    return count


def verify(
    env: Env, customer_id: UUID | None = None, progress: Callable[[int], None] = lambda _: None
) -> Verdict:
    """Compute every chain anew, one customer's or all, and the log's, and compare each payment's
    row with its events. Reads page by page; `progress` is told how many customers are done."""
    seals = customers = unsealed = payments = 0
    broken: list[Broken] = []
    for page in _pages(env, customer_id):
        with env.db.snapshot() as tx:
            rows = tx.all(
                "select s.customer_id, s.seq, s.entry_seq, s.hash = seal_v1(s.before,"
                "  s.customer_id, s.from_seq, s.seq, s.from_entry, s.entry_seq) as holds"
                " from (select customer_id, seq, entry_seq, hash, lag(hash) over w as before,"
                "   coalesce(lag(seq) over w, 0) as from_seq,"
                "   coalesce(lag(entry_seq) over w, 0) as from_entry"
                "  from seals where customer_id = any(%(page)s)"
                "  window w as (partition by customer_id order by seq, entry_seq)) s"
                " order by s.customer_id, s.seq, s.entry_seq",
                {"page": page},
            )
            behind = tx.value(
                "select coalesce(sum(h.seq - coalesce(l.seq, 0)), 0)::bigint from heads h"
                " left join lateral (select seq from seals where customer_id = h.customer_id"
                "  order by seq desc, entry_seq desc limit 1) l on true"
                " where h.customer_id = any(%(page)s)",
                {"page": page},
            )
            told = tx.all(_TOLD, {"page": page})
        customers += len(page)
        payments += len(told)
        seals += len(rows)
        unsealed += behind
        broken += [Broken(r["customer_id"], r["seq"], r["entry_seq"])
                   for r in rows if not r["holds"]]  # fmt: skip
        broken += [Broken(r["customer_id"], r["seq"], payment_id=r["id"])
                   for r in told if not r["holds"]]  # fmt: skip
        progress(customers)
    entries = 0
    if customer_id is None:
        entries, wrong = _verify_log(env)
        broken += wrong
    return Verdict(customers=customers, seals=seals, unsealed=unsealed,
                   payments=payments, entries=entries, broken=broken)  # fmt: skip


#: Each payment that events tell of, and whether its row still says what the last of them said.
#: Of held money less may be asked for before it is taken. What was captured and refunded the
#: transfers prove (`doctor` compares them).
_TOLD = """
    select e.customer_id, e.subject_id as id, e.seq, coalesce(
        p.state = e.data->>'status' and p.currency = e.data->>'currency'
        and (p.asked_minor = (e.data->>'amount')::bigint or p.state = 'authorized'), false)
        as holds
    from (select distinct on (customer_id, subject_id) customer_id, subject_id, seq, data
        from events where customer_id = any(%(page)s) and type like 'payment.%%'
        and type <> 'payment.review' and data ?& array['status', 'amount', 'currency']
        order by customer_id, subject_id, seq desc) e
    left join payments p on p.customer_id = e.customer_id and p.id = e.subject_id
"""


def root(env: Env) -> str:
    """One hash over the latest seal of every customer and the log's last row: to be kept where
    nobody who can change the database can change it."""
    digest = hashlib.sha256()
    for page in _pages(env, None):
        with env.db.snapshot() as tx:
            rows = tx.all(
                "select l.hash from unnest(%(page)s::uuid[]) with ordinality k(id, i)"
                " cross join lateral (select hash from seals where customer_id = k.id"
                "  order by seq desc, entry_seq desc limit 1) l order by k.i",
                {"page": page},
            )
        for row in rows:
            digest.update(row["hash"])
    with env.db.read() as tx:
        last = tx.one("select hash from audit_log order by seq desc limit 1")
    digest.update(last["hash"] if last else b"")
    return digest.hexdigest()


def _pages(env: Env, customer_id: UUID | None) -> Iterator[list[UUID]]:
    if customer_id is not None:
        yield [customer_id]
        return
    after = None
    while True:
        with env.db.read() as tx:
            rows = tx.all(
                "select customer_id from heads"
                " where %(after)s::uuid is null or customer_id > %(after)s"
                " order by customer_id limit %(limit)s",
                {"after": after, "limit": _PAGE},
            )
        if not rows:
            return
        page = [row["customer_id"] for row in rows]
        yield page
        after = page[-1]


# The log -----------------------------------------------------------------------------------------


def record(
    tx: Tx, now: datetime, action: str, subject: str, data: Mapping[str, Any] | None = None, *,
    actor: str | None = None,
) -> int:  # fmt: skip
    """Append to the log, in the transaction of the change; answers the row's number.

    The actor and the request are those of the work at hand, where none is named.
    """
    tx.one("select pg_advisory_xact_lock(%(key)s)", {"key": _LOG_LOCK})
    last = tx.one("select seq, hash from audit_log order by seq desc limit 1")
    around = causes.current() or {}
    row = {
        "seq": last["seq"] + 1 if last else 1,
        "at": now,
        "actor": actor or causes.actor(),
        "action": action,
        "subject": subject,
        "request_id": around.get("request_id"),
        "data": json.loads(json.dumps(dict(data or {}), default=str)),
    }
    row_hash = _log_hash(last["hash"] if last else b"", row)
    tx.run(
        "insert into audit_log (seq, at, actor, action, subject, request_id, data, hash) values"
        " (%(seq)s, %(at)s, %(actor)s, %(action)s, %(subject)s, %(request_id)s, %(data)s,"
        " %(hash)s)",
        {**row, "data": jsonb(row["data"]), "hash": row_hash},
    )
    return row["seq"]


def log(
    env: Env, *, limit: int = 50, before: int | None = None, actor: str | None = None,
    action: str | None = None,
) -> list[Entry]:  # fmt: skip
    """Rows of the log, newest first. `action`: a word, or its beginning with a dot, `key.`."""
    with env.db.read() as tx:
        rows = tx.all(
            "select seq, at, actor, action, subject, request_id, data from audit_log"
            " where (%(before)s::bigint is null or seq < %(before)s)"
            " and (%(actor)s::text is null or actor = %(actor)s)"
            " and (%(action)s::text is null or action = %(action)s"
            "  or (right(%(action)s, 1) = '.' and starts_with(action, %(action)s)))"
            " order by seq desc limit %(limit)s",
            {"before": before, "actor": actor, "action": action, "limit": limit},
        )
    return [Entry(**row) for row in rows]


def _verify_log(env: Env) -> tuple[int, list[Broken]]:
    before, after, count = b"", 0, 0
    broken: list[Broken] = []
    while True:
        with env.db.read() as tx:
            rows = tx.all(
                "select seq, at, actor, action, subject, request_id, data, hash from audit_log"
                " where seq > %(after)s order by seq limit %(limit)s",
                {"after": after, "limit": _PAGE},
            )
        if not rows:
            return count, broken
        for row in rows:
            if row["seq"] != after + 1 or bytes(row["hash"]) != _log_hash(before, row):
                broken.append(Broken(None, row["seq"]))
            before, after, count = bytes(row["hash"]), row["seq"], count + 1


def _log_hash(before: bytes, row: Mapping[str, Any]) -> bytes:
    at = row["at"]
    text = json.dumps(
        [row["seq"], int(at.timestamp()), at.microsecond, row["actor"], row["action"],
         row["subject"], row["request_id"], row["data"]],
        sort_keys=True, separators=(",", ":"), ensure_ascii=False,
    )  # fmt: skip
    return hashlib.sha256(bytes(before) + text.encode()).digest()
