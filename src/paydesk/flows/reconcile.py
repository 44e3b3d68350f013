"""Reconciliation: a provider's books and ours, item by item, and the repair of what is missing.

A run goes through the provider's lists page by page, then through what of ours was not among
them. Where it stands is kept after every page, so that whoever comes after a death goes on.
Repairs go through the doors that webhooks come through; amounts are never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import BEGINNING, Tx, jsonb
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound, NotSupported, ProviderRefused
from paydesk.flows import reconcile_books, reconcile_repair
from paydesk.flows.reconcile_books import Item
from paydesk.flows.sweeps import one_row
from paydesk.logger import get_logger
from paydesk.rules.reconciliation import KINDS

log = get_logger(__name__)

#: The steps of a run, in order: the provider's lists, then ours that were in none of them.
STEPS = ("charge", "refund", "dispute", "fee", "ours:payment", "ours:refund", "ours:dispute")
PAGE = 100
#: A run that moved for so long no more is taken up by a worker.
STALE = timedelta(minutes=10)
NIGHT = "night"
#: The longest window of one run.
MAX_WINDOW = timedelta(days=3660)

#: Told after each page: the kind, how many were compared, how many there are about.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A run. `counts`: kind -> theirs, ours, matched, foreign, fees, and minor units matched by
    currency. `drifts`: (kind, type, state) -> how many."""

    id: UUID
    provider: str
    account: str
    since: datetime
    until: datetime
    state: str
    is_dry: bool
    cursor: dict[str, Any]
    counts: dict[str, Any]
    drifts: dict[tuple[str, str, str], int]
    started_by: str | None
    started_at: datetime
    ended_at: datetime | None
    updated_at: datetime

    @property
    def has_drift(self) -> bool:
        """Whether something was found that is not mended."""
        return any(n for (_, _, state), n in self.drifts.items() if state in ("open", "manual"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference. `state` is open, fixed, manual (a person looks) or gone."""

    kind: str
    ref: str
    type: str
    customer_id: UUID | None
    object_id: UUID | None
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | None
    state: str
    error: str | None
    fixed_by: str | None
    fixed_at: datetime | None
    created_at: datetime


def start(
    env: Env, provider: str, since: datetime, until: datetime | None = None, *, fix: bool = False,
    by: str | None = None, for_worker: bool = False,
) -> Reconciliation:  # fmt: skip
    """Write a run of [since, until) that `carry_on` then does, or the sweep where it is
    `for_worker`. Without `fix` it only looks.

    Raises NotFound, NotSupported where the provider's books cannot be read, InvalidRequest.
    """
    known, now = env.providers[provider], env.now()
    if "books" not in known.can:
        raise NotSupported(f"The books of {provider!r} cannot be read.")
    # Providers tell whole seconds: the present one is looked at too.
    latest = now.replace(microsecond=0) + timedelta(seconds=1)
    until = min(until or latest, latest)
    if not timedelta(0) < until - since <= MAX_WINDOW:
        raise InvalidRequest("The window begins before it ends, and spans at most ten years.",
                             param="since")  # fmt: skip
    made = ids.new_catalog()
    with env.db.transaction() as tx:
        tx.run(
            "insert into reconciliations (id, provider, account, since, until, state, cursor,"
            " is_dry, started_by, started_at) values (%(id)s, %(provider)s, %(account)s, %(since)s,"
            " %(until)s, 'running', %(cursor)s, %(dry)s, %(by)s, %(now)s)",
            {"cursor": jsonb({"for": "worker"} if for_worker else {}), "id": made,
             "provider": provider, "account": known.account, "since": since, "until": until,
             "dry": not fix, "by": by, "now": now},
        )  # fmt: skip
    return get(env, made)


def carry_on(
    env: Env, run_id: UUID, *, progress: Progress | None = None, most_pages: int | None = None
) -> Reconciliation:
    """Do what is left of a run; `most_pages` stops it early. One that has ended stays as it is.

    Raises what the provider raises (the run goes on later), Conflict where another does it now.
    """
    pages = 0
    while True:
        run = get(env, run_id)
        if run.state != "running" or (most_pages is not None and pages >= most_pages):
            return run
        step = run.cursor.get("step", STEPS[0])
        if step.startswith("ours:"):
            _ours_page(env, run, step)
        else:
            _book_page(env, run, step)
        pages += 1
        if progress is not None:
            _tell(env, run_id, step, progress)


def reconcile(
    env: Env, provider: str, since: datetime, until: datetime | None = None, *, fix: bool = False,
    by: str | None = None, progress: Progress | None = None,
) -> Reconciliation:  # fmt: skip
    """`start` and `carry_on` in one."""
    made = start(env, provider, since, until, fix=fix, by=by)
    return carry_on(env, made.id, progress=progress)


def stop(env: Env, run_id: UUID) -> Reconciliation:
    """End a run where it stands; what it found stays."""
    with env.db.transaction() as tx:
        tx.run(
            "update reconciliations set state = 'stopped', ended_at = %(now)s"
            " where id = %(id)s and state = 'running'",
            {"id": run_id, "now": env.now()},
        )
        _forget(tx, run_id)
    return get(env, run_id)


def nightly(env: Env) -> int:
    """Sweep: begin once a UTC day, for every provider whose books can be read, a run of the last
    days; do what was begun for a worker, and what somebody left. Answers how many runs ended."""
    done = 0
    for name, provider in env.providers.items():
        if env.settings.reconcile_days and "books" in provider.can:
            with one_row("reconciliation", name):
                _begin_tonight(env, name)
    with env.db.read() as tx:
        rows = tx.all(
            "select id from reconciliations where state = 'running'"
            " and (cursor->>'for' = 'worker' or updated_at <= now() - %(stale)s)"
            " order by started_at limit 10",
            {"stale": STALE},
        )
    for row in rows:
        with one_row("reconciliation", row["id"]):
            run = carry_on(env, row["id"])
            log.info("books were compared", provider=run.provider, drift=run.has_drift)
            done += run.state == "done"
    return done


def _begin_tonight(env: Env, provider: str) -> None:
    now = env.now()
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with env.db.read() as tx:
        is_begun = tx.value(
            "select exists (select from reconciliations where provider = %(provider)s"
            " and account = %(account)s and started_by = %(night)s"
            " and started_at >= %(midnight)s)",
            {"provider": provider, "account": env.providers[provider].account, "night": NIGHT,
             "midnight": midnight},
        )  # fmt: skip
    if not is_begun:
        start(env, provider, now - timedelta(days=env.settings.reconcile_days),
              fix=env.settings.reconcile_fix, by=NIGHT, for_worker=True)  # fmt: skip


# Pages --------------------------------------------------------------------------------------------


def _book_page(env: Env, run: Reconciliation, step: str) -> None:
    """One page of the provider's: compared, written, mended, and only then passed."""
    try:
        page, after = env.providers.call(
            run.provider, "books", run.since, run.until, step, run.cursor.get("page")
        )
    except NotSupported:
        page, after = [], None
    with env.db.read() as tx:
        items = reconcile_books.compare(tx, run.provider, run.account, page)
    differing = [item for item in items if item.differs]
    with env.db.transaction() as tx:
        _see(tx, run, items)
        _write(tx, env.now(), run, differing)
    crash.at("reconcile_after_drifts")
    fees = 0 if run.is_dry else reconcile_repair.mend(env, run.id, run.started_by, items)
    crash.at("reconcile_after_repair")
    following = {"step": step, "page": after} if after else _next_step(step)
    kind = reconcile_books.KIND_OF_BOOK[step]
    _pass(env, run, following, kind, _counted(items) | {"fees": fees})


def _ours_page(env: Env, run: Reconciliation, step: str) -> None:
    """Ours that no list had: the provider is asked about each before it counts as missing."""
    kind = step.partition(":")[2]
    told = run.cursor.get("after")
    values = {
        **_window(run), "run": run.id, "limit": PAGE,
        "at": datetime.fromisoformat(told[0]) if told else BEGINNING,
        "id": UUID(told[1]) if told else UUID(int=0),
    }  # fmt: skip
    with env.db.read() as tx:
        rows = reconcile_books.unseen(tx, kind, values)
    gone = [row for row in rows if not _is_there(env, run, kind, row["ref"])]
    with env.db.transaction() as tx:
        for row in gone:
            _write_missing_there(tx, env.now(), run, kind, row)
    if not run.is_dry:
        for row in gone:
            reconcile_repair.flag(env, (row["customer_id"], row["payment_id"]))
    last = rows[-1] if len(rows) == PAGE else None
    following: dict[str, Any] = _next_step(step)
    if last is not None:
        following = {"step": step, "after": [last["created_at"].isoformat(), str(last["id"])]}
    _pass(env, run, following, kind, {"there_only_outside": len(rows) - len(gone)})


_FETCH = {"payment": "fetch", "refund": "fetch_refund", "dispute": "fetch_dispute"}


def _is_there(env: Env, run: Reconciliation, kind: str, ref: str | None) -> bool:
    if ref is None:
        return False
    try:
        found = env.providers.call(run.provider, _FETCH[kind], ref)
    except (ProviderRefused, NotFound):
        return False
    return kind != "payment" or found.status == "succeeded"


def _next_step(step: str) -> dict[str, Any]:
    at = STEPS.index(step) + 1
    return {"step": STEPS[at]} if at < len(STEPS) else {}


def _counted(items: Sequence[Item]) -> dict[str, Any]:
    """What a page adds to the counts."""
    known = [item for item in items if not item.is_foreign]
    matched = [item for item in known if not item.differs]
    amounts: dict[str, int] = {}
    for item in matched:
        if item.ours is not None and item.theirs["currency"] and _counts(item):
            code = item.theirs["currency"]
            amounts[code] = amounts.get(code, 0) + item.theirs["amount"]
    return {
        "theirs": len(known), "foreign": len(items) - len(known), "matched": len(matched),
        "ours": sum(item.ours is not None for item in known), "amounts": amounts,
    }  # fmt: skip


def _counts(item: Item) -> bool:
    return item.kind != "payment" or item.theirs["status"] == "succeeded"


def _see(tx: Tx, run: Reconciliation, items: Sequence[Item]) -> None:
    seen = sorted({(item.kind, ref) for item in items if not item.is_foreign
                   for ref in item.refs})  # fmt: skip
    tx.run(
        "insert into reconciliation_refs (reconciliation_id, kind, ref)"
        " select %(run)s, k.kind, k.ref from unnest(%(kinds)s::text[], %(refs)s::text[])"
        "  as k(kind, ref) on conflict do nothing",
        {"run": run.id, "kinds": [kind for kind, _ in seen], "refs": [ref for _, ref in seen]},
    )


def _write(tx: Tx, now: datetime, run: Reconciliation, items: Sequence[Item]) -> None:
    for item in items:
        assert item.differs is not None
        owner = item.owner if item.payment else None
        _write_drift(tx, {
            "run": run.id, "kind": item.kind, "ref": item.ref, "type": item.differs.type,
            "customer_id": owner[0] if owner else None,
            "object_id": item.object_id or (owner[1] if owner else None),
            "ours": jsonb(item.ours) if item.ours else None, "theirs": jsonb(item.theirs),
            "state": "open" if item.differs.is_fixable else "manual", "now": now,
        })  # fmt: skip


def _write_missing_there(
    tx: Tx, now: datetime, run: Reconciliation, kind: str, row: Mapping[str, Any]
) -> None:
    ours = {name: row[name] for name in ("status", "amount", "currency")}
    _write_drift(tx, {
        "run": run.id, "kind": kind, "ref": row["ref"] or str(row["id"]), "type": "missing_there",
        "customer_id": row["customer_id"], "object_id": row["id"], "ours": jsonb(ours),
        "theirs": None, "state": "manual", "now": now,
    })  # fmt: skip


def _write_drift(tx: Tx, values: Mapping[str, Any]) -> None:
    tx.run(
        "insert into drifts (reconciliation_id, kind, ref, type, customer_id, object_id, ours,"
        " theirs, state, created_at) values (%(run)s, %(kind)s, %(ref)s, %(type)s,"
        " %(customer_id)s, %(object_id)s, %(ours)s, %(theirs)s, %(state)s, %(now)s)"
        " on conflict do nothing",
        values,
    )


def _pass(
    env: Env, run: Reconciliation, following: Mapping[str, Any], kind: str, more: Mapping[str, Any]
) -> None:
    """Keep where the run stands now; whoever else worked at the same page has lost."""
    counts = {**run.counts, kind: _added(run.counts.get(kind, {}), more)}
    is_done = not following
    with env.db.transaction() as tx:
        moved = tx.run(
            "update reconciliations set cursor = %(following)s, counts = %(counts)s,"
            " state = case when %(done)s then 'done' else state end,"
            " ended_at = case when %(done)s then %(now)s end"
            " where id = %(id)s and state = 'running' and cursor = %(before)s::jsonb",
            {"following": jsonb(following), "counts": jsonb(counts), "done": is_done,
             "now": env.now(), "id": run.id, "before": jsonb(run.cursor)},
        )  # fmt: skip
        if not moved:
            raise Conflict("Another process goes on with this run, or it was stopped.")
        if is_done:
            _forget(tx, run.id)


def _added(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    after = dict(before)
    for name, value in more.items():
        if isinstance(value, dict):
            after[name] = _added(after.get(name, {}), value)
        else:
            after[name] = after.get(name, 0) + value
    return after


def _forget(tx: Tx, run_id: UUID) -> None:
    tx.run("delete from reconciliation_refs where reconciliation_id = %(id)s", {"id": run_id})


def _window(run: Reconciliation) -> dict[str, Any]:
    return {"provider": run.provider, "account": run.account, "since": run.since,
            "until": run.until}  # fmt: skip


def _tell(env: Env, run_id: UUID, step: str, progress: Progress) -> None:
    kind = reconcile_books.KIND_OF_BOOK.get(step)
    if kind is None:
        return
    run = get(env, run_id)
    done = run.counts.get(kind, {}).get("theirs", 0)
    with env.db.read() as tx:
        total = reconcile_books.how_many(tx, kind, _window(run))
    is_over = run.cursor.get("step") != step
    progress(step, done, done if is_over else max(done, total))


# Reading ------------------------------------------------------------------------------------------


def get(env: Env, run_id: UUID) -> Reconciliation:
    """A run as it stands. Raises NotFound."""
    found = _read(env, "where id = %(id)s", {"id": run_id})
    if not found:
        raise NotFound(f"No such reconciliation: {ids.show('reconciliation', run_id)}.")
    return found[0]


def list_(
    env: Env, *, limit: int = 20, after: UUID | None = None, provider: str | None = None,
    state: str | None = None,
) -> list[Reconciliation]:  # fmt: skip
    """Runs, newest first. `after`: older than that one."""
    return _read(
        env,
        "where (%(after)s::uuid is null or id < %(after)s)"
        " and (%(provider)s::text is null or provider = %(provider)s)"
        " and (%(state)s::text is null or state = %(state)s) order by id desc limit %(limit)s",
        {"after": after, "provider": provider, "state": state, "limit": limit},
    )


_RUNS = (
    "select id, provider, account, since, until, state, cursor, counts, is_dry, started_by,"
    " started_at, ended_at, updated_at from reconciliations "
)


def _read(env: Env, where: Any, values: Mapping[str, Any]) -> list[Reconciliation]:
    with env.db.read() as tx:
        rows = tx.all(_RUNS + where, values)
        sums = tx.all(
            "select reconciliation_id, kind, type, state, count(*) as n from drifts"
            " where reconciliation_id = any(%(ids)s) group by 1, 2, 3, 4",
            {"ids": [row["id"] for row in rows]},
        )
    drifts: dict[UUID, dict[tuple[str, str, str], int]] = {}
    for row in sums:
        held = drifts.setdefault(row["reconciliation_id"], {})
        held[row["kind"], row["type"], row["state"]] = row["n"]
    return [Reconciliation(**row, drifts=drifts.get(row["id"], {})) for row in rows]


def drifts(
    env: Env, run_id: UUID, *, kind: str | None = None, type: str | None = None,
    state: str | None = None, limit: int = 100, after: tuple[str, str] | None = None,
) -> list[Drift]:  # fmt: skip
    """What a run found, by kind and reference. `after`: (kind, ref) of the last one seen."""
    if kind is not None and kind not in KINDS:
        raise InvalidRequest(f"A kind is one of {', '.join(KINDS)}.", param="kind")
    with env.db.read() as tx:
        rows = tx.all(
            "select kind, ref, type, customer_id, object_id, ours, theirs, state, error, fixed_by,"
            " fixed_at, created_at from drifts where reconciliation_id = %(id)s"
            " and (%(kind)s::text is null or kind = %(kind)s)"
            " and (%(type)s::text is null or type = %(type)s)"
            " and (%(state)s::text is null or state = %(state)s)"
            " and (%(after)s::text is null or (kind, ref) > (%(after)s, %(ref)s))"
            " order by kind, ref limit %(limit)s",
            {"id": run_id, "kind": kind, "type": type, "state": state, "limit": limit,
             "after": after[0] if after else None, "ref": after[1] if after else None},
        )  # fmt: skip
    return [Drift(**row) for row in rows]
