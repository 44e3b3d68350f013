"""What is due of many customers, done in batches: one transaction for all, their provider calls
side by side, the answers recorded together.

A batch waits for nobody: who is held elsewhere, by another worker's batch too, is left to a later
round. Where a batch fails it is halved, until what fails stands alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from paydesk import crash
from paydesk.db.errors import DatabaseUnavailable
from paydesk.db.postgres import Tx
from paydesk.db.together import each
from paydesk.env import Env
from paydesk.flows import call_batches
from paydesk.flows.events import gathered
from paydesk.flows.provider_calls import Call
from paydesk.flows.sweeps import each as each_row
from paydesk.flows.sweeps import fell_apart, is_ending

#: Customers of one transaction: more save little, and hold their customers longer.
SIZE = 128
#: Customers of one round for whom a provider has to be asked first; a slow one holds no more.
MOST_ALONE = 8 * call_batches.SENDERS
#: The others come up again so much later, behind whatever else is due by then.
LATER = timedelta(seconds=30)

Key = tuple[UUID, UUID]
#: (environment, transaction, the instant, customer, id) -> whether something was done, and the
#: call that follows it; None where this one is to be done alone, outside a transaction.
Act = Callable[[Env, Tx, datetime, UUID, UUID], tuple[bool, Call | None] | None]


def run(
    env: Env, found: Iterable[Mapping[str, Any]], act: Act, points: tuple[str, str]
) -> tuple[int, list[Key]]:
    """Do what is due of these rows (customer_id, id), each once; (how much was done, what is to be
    done alone).

    `points`: where a process may die before the commit, and after it.
    """
    done, alone = 0, []
    for keys in _batches(found):
        if is_ending():
            break
        made, left = _run(env, keys, act, points)
        done, alone = done + made, alone + left
    return done, alone


def by_itself(
    env: Env, sweep: str, keys: Sequence[Key], do: Callable[[UUID, UUID], int],
    set_back: Callable[[UUID, UUID], None], later: Act, points: tuple[str, str],
) -> int:  # fmt: skip
    """Do what cannot be done together: customers side by side, and each one's rows in order;
    answers how much was done. Those who are too many are put off by LATER with `later`."""
    of: dict[UUID, list[Mapping[str, Any]]] = {}
    for customer_id, row_id in keys:
        of.setdefault(customer_id, []).append({"customer_id": customer_id, "id": row_id})
    chosen, others = list(of.values())[:MOST_ALONE], list(of.values())[MOST_ALONE:]
    if others:
        run(env, [row for rows in others for row in rows], later, points)
    if len(chosen) < 2:
        return sum(each_row(sweep, rows, do, set_back) for rows in chosen)
    with ThreadPoolExecutor(min(call_batches.SENDERS, len(chosen))) as pool:
        left = [
            pool.submit(copy_context().run, each_row, sweep, rows, do, set_back) for rows in chosen
        ]
        try:
            return sum(one.result() for one in left)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _batches(found: Iterable[Mapping[str, Any]]) -> list[list[Key]]:
    """One row of each customer to a batch, and a customer's rows in the order given; else the
    batches in any order: workers who see the same rows begin at different ends of them."""
    of: dict[UUID, list[Key]] = {}
    for row in found:
        of.setdefault(row["customer_id"], []).append((row["customer_id"], row["id"]))
    batches: list[list[Key]] = []
    for turn in range(max(map(len, of.values()), default=0)):
        keys = [rows[turn] for rows in of.values() if len(rows) > turn]
        parts = [keys[start : start + SIZE] for start in range(0, len(keys), SIZE)]
        random.shuffle(parts)
        batches += parts
    return batches


def _run(
    env: Env, keys: Sequence[Key], act: Act, points: tuple[str, str]
) -> tuple[int, list[Key]]:
    try:
        acted, calls, alone = _together(env, keys, act, points)
    except DatabaseUnavailable:
        raise
    except Exception as exc:  # Whichever it was: in halves, and at last by itself.
        fell_apart("due", exc, len(keys))
        if len(keys) == 1:
            return 0, list(keys)
        middle = len(keys) // 2
        parts = [_run(env, part, act, points) for part in (keys[:middle], keys[middle:])]
        return sum(done for done, _ in parts), [key for _, left in parts for key in left]
    call_batches.run(env, calls)
    return acted, alone


def _together(
    env: Env, keys: Sequence[Key], act: Act, points: tuple[str, str]
) -> tuple[int, list[Call], list[Key]]:
    with env.db.transaction() as tx:
        tx.lock(*(customer_id for customer_id, _ in keys), free_only=True)
        free = [key for key in keys if key[0] in tx.heads]
        at = env.now()
        with gathered(tx):
            said = each(
                tx, [partial(_act, env=env, at=at, key=key, act=act) for key in free],
                [customer_id for customer_id, _ in free],
            )  # fmt: skip
        crash.at(points[0])
    crash.at(points[1])
    calls = [one[1] for one in said if one is not None and one[1] is not None]
    alone = [key for key, one in zip(free, said, strict=True) if one is None]
    return sum(one is not None and one[0] for one in said), calls, alone


def _act(
    tx: Tx, *, env: Env, at: datetime, key: Key, act: Act
) -> tuple[bool, Call | None] | None:
    return act(env, tx, at, *key)
