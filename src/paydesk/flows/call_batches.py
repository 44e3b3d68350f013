"""Provider calls of many customers: sent side by side, and recorded together as they come back.

What each call means stands in its `Action`; one that cannot be recorded with the others is
recorded by itself, as `provider_calls.run` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import Any

from paydesk import crash
from paydesk.db.errors import DatabaseUnavailable
from paydesk.db.together import each
from paydesk.env import Env
from paydesk.flows import charges, heads, provider_calls
from paydesk.flows.events import gathered
from paydesk.flows.provider_calls import Call, action_of
from paydesk.flows.sweeps import fell_apart, is_ending, one_row

#: Calls under way at a time; a provider's circuit may allow fewer.
SENDERS = 8
#: So long answers are gathered before those that have come are recorded.
GATHER_S = 0.5

Answer = tuple[Call, Any]


def run(env: Env, calls: Sequence[Call]) -> None:
    """Send calls whose lease is ours, and record what came of each. What goes wrong with one is
    its own, and the sweep of calls goes on with it. Raises DatabaseUnavailable."""
    if not calls:
        return
    with ThreadPoolExecutor(min(SENDERS, len(calls))) as pool:
        try:
            _send_all(env, calls, pool)
        except BaseException:  # What is not under way yet is left to the sweep of calls.
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _send_all(env: Env, calls: Sequence[Call], pool: ThreadPoolExecutor) -> None:
    left: set[Future[Answer | None]] = {
        pool.submit(copy_context().run, _sent, env, call) for call in calls
    }
    while left:
        done, left = wait(left, timeout=GATHER_S)
        if not done:
            done, left = wait(left, return_when=FIRST_COMPLETED)
        _record(env, [answer for one in done if (answer := one.result()) is not None])


def _sent(env: Env, call: Call) -> Answer | None:
    """The call with its answer; None where there is nothing to record any more, or not now."""
    if is_ending():  # Its lease ends, and the sweep of calls goes on with it.
        return None
    with one_row("provider_calls", call.id):
        ours = provider_calls.keep(env, call)
        if ours is None:
            return None
        refused, remote = provider_calls.send(env, ours)
        return None if refused is not None else (ours, remote)
    return None


def _record(env: Env, answers: list[Answer]) -> None:
    left = answers
    if len(answers) > 1:
        try:
            left = _record_together(env, answers)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # Whichever it was: each by itself then.
            fell_apart("answers", exc, len(answers))
    for call, remote in left:
        with one_row("provider_calls", call.id):
            provider_calls.record(env, call, remote)


def _record_together(env: Env, answers: list[Answer]) -> list[Answer]:
    """Record what can be in one transaction, without waiting for anybody; answers the others."""
    with env.db.transaction() as tx:
        tx.lock(*{call.customer_id for call, _ in answers}, free_only=True)
        ready = _fit(env, tx, answers)
        if not ready:
            return answers
        owners = [call.customer_id for call, _ in ready]
        now = max(heads.decide(tx, env.now(), one) for one in owners)
        known = each(
            tx, [partial(provider_calls.read, customer_id=call.customer_id, call_id=call.id)
                 for call, _ in ready], owners,
        )  # fmt: skip
        todo = [one for one, row in zip(ready, known, strict=True) if not row.is_settled]
        done_many = action_of(ready[0][0]).done_many
        assert done_many is not None
        with gathered(tx):
            kept = list(done_many(env, tx, now, todo)) if todo else []
        each(
            tx, [partial(provider_calls.settle, call=call, state="done", result=result)
                 for (call, _), (result, _) in zip(todo, kept, strict=True)],
            [call.customer_id for call, _ in todo],
        )  # fmt: skip
        crash.at("call_before_done_commit")
    crash.at("call_after_done")
    for (call, _), (_, is_followed) in zip(todo, kept, strict=True):
        if is_followed:
            with one_row("provider_calls", call.id):
                action_of(call).after(env, call)
    done = {call.id for call, _ in ready}
    return [one for one in answers if one[0].id not in done]


def _fit(env: Env, tx: Any, answers: list[Answer]) -> list[Answer]:
    """Answers of one kind whose customers are free and live by our own clock, one of each."""
    ahead, kind = env.now() + charges.MAX_AHEAD, answers[0][0].action
    found: dict[Any, Answer] = {}
    for call, remote in answers:
        head = tx.heads.get(call.customer_id)
        if head is None or head.clock_id is not None or head.last_at > ahead:
            continue
        if call.action == kind and action_of(call).done_many is not None:
            found.setdefault(call.customer_id, (call, remote))
    return list(found.values())
