"""Credits: spend them, oldest batch first; grant, refund and move them; say what is there.

`spend` is the step and the only caller of the SQL function; `spend_now`, `spend_soon` and
`spend_many_now` put items on a lane whose runner is that very step.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.rows import tuple_row

from paydesk import causes, ids
from paydesk.db import group_commit
from paydesk.db.errors import UnknownCustomer
from paydesk.db.group_commit import BUSY, SLOW, How
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    AmountTooLarge,
    Busy,
    IdempotencyKeyReused,
    InsufficientCredits,
    NotFound,
    TransactionLimit,
)
from paydesk.flows import heads, ledger
from paydesk.flows.credit_grants import Grant, Granted, expire_due, grant, grant_now, settle
from paydesk.flows.credit_moves import (
    Refunded,
    Transferred,
    refund_spend,
    refund_spend_now,
    transfer,
    transfer_now,
)
from paydesk.flows.credit_views import (
    Balance,
    BatchView,
    Line,
    balance,
    balance_total,
    batches,
    history,
)
from paydesk.rules.credits import LANE_EXPIRIES, WAITING_EXPIRIES, check_amount

__all__ = [
    "Balance", "BatchView", "Grant", "Granted", "Limits", "Line", "Refunded", "Spend",
    "SpendVerdict", "Transferred", "balance", "balance_total", "batches", "expire_due", "grant",
    "grant_now", "history", "new_spend", "raise_for", "refund_spend", "refund_spend_now", "settle",
    "spend", "spend_many_now", "spend_now", "spend_soon", "transfer", "transfer_now",
]  # fmt: skip

#: Verdicts of the SQL function, by number. 6 (slow) and 7 (no such customer) are handled here.
_STATUS = ("done", "insufficient", "same", "reused", "busy", "limit", "slow", "missing")
_UNLIMITED = 2**31 - 1


class Spend(NamedTuple):
    """Credits to take. `reason` is the caller's own word, `reference` what they paid for, `cause`
    who asked for it.

    `transfer_id` is made before (`new_spend`), so that a lost answer can be asked for again.
    """

    customer_id: UUID
    amount: int
    reason: str | None
    transfer_id: UUID
    request_key: UUID | None = None
    request_hash: int | None = None
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None
    cause: Mapping[str, Any] | None = None


class SpendVerdict(NamedTuple):
    """What became of a spend. `status`: done, insufficient, same (done before with this key),
    reused (the key stands for another request), busy, limit (of the day), too_large, missing.

    `balance` in whole credits, after the spend where there was one; `draws` are (batch, amount),
    in order of taking.
    """

    status: str
    transfer_id: UUID
    balance: int
    needed: int
    draws: list[tuple[UUID, int]]


class Limits(NamedTuple):
    """Of one transaction in whole credits, and of transactions a UTC day."""

    amount: int
    daily: int


def new_spend(
    customer_id: UUID,
    amount: int,
    reason: str | None = None,
    *,
    request_key: UUID | None = None,
    request_hash: int | None = None,
    reference: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Spend:
    """A spend with an id of its own. Raises InvalidRequest where the amount is no whole credits.

    A key without a hash is bound to amount, reason and reference.
    """
    check_amount(amount)
    if request_key is not None and request_hash is None:
        request_hash = ledger.hash_of("spend", amount, reason, reference)
    return Spend(
        customer_id, amount, reason, ids.new_owned(customer_id), request_key, request_hash,
        reference, metadata, causes.current(),
    )  # fmt: skip


def spend_now(env: Env, item: Spend) -> SpendVerdict:
    """Spend and wait for the commit. Refusals are verdicts; raises Unavailable and its kin."""
    return spend_soon(env, item).result()


def spend_soon(env: Env, item: Spend) -> Future[SpendVerdict]:
    """Queue a spend; the future has its verdict once it is committed."""
    return env.lanes.submit("spend", item.customer_id, item)


def spend_many_now(env: Env, items: Sequence[Spend]) -> list[SpendVerdict]:
    """Spend many, for any customers, and wait. Each item has its own verdict, in order; items of
    one customer are worked off in order. Raises the first fault that was no verdict."""
    found = env.lanes.submit_many("spend", [(item.customer_id, item) for item in items]).result()
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found


def raise_for(verdict: SpendVerdict) -> SpendVerdict:
    """The verdict, where credits were taken (now, or by the same request before); else raises."""
    status = verdict.status
    if status in ("done", "same"):
        return verdict
    if status == "insufficient":
        raise InsufficientCredits(
            f"Needs {verdict.needed} credits, balance is {verdict.balance}.",
            needed=verdict.needed, balance=verdict.balance,
        )  # fmt: skip
    if status == "reused":
        raise IdempotencyKeyReused("This key stands for another spend.")
    if status == "limit":
        raise TransactionLimit("The day's number of transactions is used up.")
    if status == "too_large":
        raise AmountTooLarge(f"{verdict.needed} credits are too many for one transaction.")
    if status == "missing":
        raise NotFound("No such customer.")
    raise Busy("This customer's account is busy; nothing happened.", retry_after_s=1)


def spend(
    tx: Tx, items: Sequence[Spend], now: datetime, *, limits: Limits | None = None
) -> list[SpendVerdict]:
    """Spend inside the caller's transaction; waits for the heads. Only READ COMMITTED.

    Without `limits` only the balance limits. Never answers "busy". The heads are locked as by
    `tx.lock`, so that it sees the order of all locks of this transaction.
    """
    with contextlib.suppress(UnknownCustomer):  # Whoever is not there has a verdict that says so.
        tx.lock(*{item.customer_id for item in items})
    how = _Call(now, True, False, _UNLIMITED, limits or Limits(_UNLIMITED, _UNLIMITED))
    return _spend(tx, items, how)


class _Call(NamedTuple):
    now: datetime
    wait: bool
    again: bool
    expiries: int
    limits: Limits


def _step(tx: Tx, items: Sequence[Spend], how: How) -> Sequence[Any]:
    """What lanes run: as `spend`, with the settings' limits, passing over locked customers."""
    found = how.settings
    limits = Limits(found.max_transaction_amount, found.max_daily_transactions)
    expiries = WAITING_EXPIRIES if how.wait else LANE_EXPIRIES
    verdicts: list[Any] = _spend(tx, items, _Call(how.now, how.wait, how.again, expiries, limits))
    for index, verdict in enumerate(verdicts):
        if verdict.status == "busy":
            verdicts[index] = BUSY
        elif verdict.status == "slow":
            verdicts[index] = SLOW
    return verdicts


group_commit.register("spend", _step, max_group=256, is_one_call=True)


def _spend(tx: Tx, items: Sequence[Spend], call: _Call) -> list[SpendVerdict]:
    verdicts: list[SpendVerdict | None] = [None] * len(items)
    waves: list[list[int]] = [[]]
    seen: dict[tuple[int, int], int] = {}
    for index, item in enumerate(items):
        if item.amount > call.limits.amount:
            verdicts[index] = SpendVerdict("too_large", item.transfer_id, 0, item.amount, [])
            continue
        # Two items with one key cannot share a call: the second must see the first's row.
        wave = 0
        if item.request_key is not None:
            pair = (item.customer_id.int, item.request_key.int)
            wave = seen.get(pair, -1) + 1
            seen[pair] = wave
            if wave == len(waves):
                waves.append([])
        waves[wave].append(index)
    settled: dict[tuple[int, int], int] = {}
    for wave in waves:
        left = [index for index in wave if not _is_repeated(items, index, verdicts, settled)]
        for some, at in _by_instant(tx, items, left, call):
            _call(tx, items, some, at, verdicts)
        for index in left:
            item, verdict = items[index], verdicts[index]
            if item.request_key is not None and verdict and verdict.status in ("done", "same"):
                settled[item.customer_id.int, item.request_key.int] = index
    return verdicts  # type: ignore[return-value]


def _by_instant(
    tx: Tx, items: Sequence[Spend], wave: list[int], call: _Call
) -> list[tuple[list[int], _Call]]:
    """Whoever has a clock that is moved by hand spends by that one: in a call of its own."""
    own = [index for index in wave if ids.may_have_clock(items[index].customer_id)]
    if not own:
        return [(wave, call)] if wave else []
    found: dict[datetime, list[int]] = {}
    clocks = {one: heads.clock_at(tx, one) for one in {items[index].customer_id for index in own}}
    for index in wave:
        at = clocks.get(items[index].customer_id) or call.now
        found.setdefault(at, []).append(index)
    return [(some, call._replace(now=at)) for at, some in found.items()]


def _is_repeated(
    items: Sequence[Spend], index: int, verdicts: list[SpendVerdict | None],
    settled: dict[tuple[int, int], int],
) -> bool:  # fmt: skip
    """Whether an earlier item of this very call was done with the same key: then it answers."""
    item = items[index]
    if not settled or item.request_key is None:
        return False
    earlier = settled.get((item.customer_id.int, item.request_key.int))
    if earlier is None:
        return False
    found = verdicts[earlier]
    assert found is not None
    if items[earlier].request_hash == item.request_hash:
        verdicts[index] = found._replace(status="same")
    else:
        verdicts[index] = SpendVerdict(
            "reused", item.transfer_id, found.balance, item.amount, []
        )
    return True


def _call(
    tx: Tx, items: Sequence[Spend], wave: list[int], call: _Call, verdicts: list[Any]
) -> None:
    """One call of the SQL function for items of distinct keys; fills in their verdicts."""
    wave.sort(key=lambda index: items[index].customer_id.int)
    chosen = [items[index] for index in wave]
    customers: list[UUID] = []
    first: list[int] = []
    of: list[int] = []
    last: UUID | None = None
    for position, item in enumerate(chosen, 1):
        if item.customer_id != last:
            last = item.customer_id
            customers.append(last)
            first.append(position)
        of.append(len(customers))
    first.append(len(chosen) + 1)
    keyed = any(item.request_key is not None for item in chosen)
    cursor = tx.conn.cursor(row_factory=tuple_row)
    row = cursor.execute(
        "select * from spend_v2(%s, %s, %s, %s, %s, %s::uuid[], %s::integer[], %s::integer[],"
        " %s::uuid[], %s::uuid[], %s::bigint[], %s::uuid[], %s::bigint[], %s::text[], %s::text[],"
        " %s::text[], %s::text[])",
        (
            call.now, call.wait, call.again, call.expiries, call.limits.daily,
            ledger.uuid_array(customers), _numbers(first), _numbers(of),
            ledger.uuid_array([item.transfer_id for item in chosen]),
            ledger.uuid_array([ids.new_owned(item.customer_id) for item in chosen]),
            _numbers([item.amount for item in chosen]),
            ledger.uuid_array([item.request_key for item in chosen]) if keyed else None,
            _numbers([item.request_hash for item in chosen]) if keyed else None,
            _texts([item.reason for item in chosen]),
            _texts([item.reference for item in chosen]),
            _texts([None if item.metadata is None else _json(item.metadata) for item in chosen]),
            _texts([None if item.cause is None else _json(item.cause) for item in chosen]),
        ),
        prepare=True,
    ).fetchone()  # fmt: skip
    assert row is not None
    _read(tx, chosen, wave, row, verdicts)


def _read(
    tx: Tx, chosen: list[Spend], wave: list[int], row: tuple[Any, ...], verdicts: list[Any]
) -> None:
    statuses, balances, known_items, known_ids, draw_items, draw_batches, draw_amounts = row
    draws: list[list[tuple[UUID, int]]] = [[] for _ in chosen]
    if draw_items:
        for position, batch_id, amount in zip(
            draw_items, draw_batches, draw_amounts, strict=True
        ):
            draws[position - 1].append((batch_id, amount))
    stored: dict[int, UUID] = {}
    if known_items:
        pairs = zip(known_items, known_ids, strict=True)
        stored = {position - 1: found for position, found in pairs}
        again = [p for p in stored if statuses[p] == 2]
        for place, found in zip(again, _stored_draws(tx, chosen, again, stored), strict=True):
            draws[place] = found
    for place, index in enumerate(wave):
        item = chosen[place]
        status = statuses[place]
        verdicts[index] = SpendVerdict(
            _STATUS[status],
            stored[place] if status == 2 else item.transfer_id,
            balances[place], item.amount, draws[place],
        )  # fmt: skip


def _stored_draws(
    tx: Tx, chosen: list[Spend], places: list[int], stored: dict[int, UUID]
) -> list[list[tuple[UUID, int]]]:
    """The draws of spends that were done before, each in order of taking."""
    rows = tx.all(
        "select p.i, d.batch_id, d.amount"
        " from unnest(%(customers)s::uuid[], %(transfers)s::uuid[])"
        "  with ordinality p(customer_id, transfer_id, i)"
        " cross join lateral (select x.batch_id, x.amount, b.take_at from draws x"
        "  join batches b on b.customer_id = x.customer_id and b.id = x.batch_id"
        "  where x.customer_id = p.customer_id and x.transfer_id = p.transfer_id) d"
        " order by p.i, d.take_at, d.batch_id",
        {
            "customers": [chosen[place].customer_id for place in places],
            "transfers": [stored[place] for place in places],
        },
    )
    found: list[list[tuple[UUID, int]]] = [[] for _ in places]
    for row in rows:
        found[row["i"] - 1].append((row["batch_id"], row["amount"]))
    return found


def _numbers(values: Sequence[int | None]) -> str:
    return "{" + ",".join(["null" if v is None else str(v) for v in values]) + "}"


def _texts(values: list[str | None]) -> list[str | None] | None:
    return values if any(v is not None for v in values) else None


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
