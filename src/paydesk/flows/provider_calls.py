"""Provider calls are rows: intended and committed, then sent, resumed or resolved by one function.

The row's id is the provider's idempotency key and its request never changes. `try_at` is the
lease of whoever is sending and the time of the next try. Sent less than 23 hours ago: the
identical body goes out again under the same key. Older: the provider is asked what became of it,
and nothing is ever sent again. What a call does and means stands in the module that ACTIONS names.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    IdempotencyInProgress,
    NotFound,
    NotSupported,
    OutcomeUnknown,
    PaydeskError,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.flows import heads
from paydesk.flows.sweeps import WAIT_S, is_ending, one_row
from paydesk.logger import get_logger
from paydesk.providers.base import AnswerUnclear, Order, OrderLine
from paydesk.rules.money import Money
from paydesk.rules.payments import backoff_s

log = get_logger(__name__)

#: Where each action's `ACTION` stands.
ACTIONS = {
    "checkout": "paydesk.flows.checkout_calls",
    "refund": "paydesk.flows.refund_calls",
    "charge": "paydesk.flows.charge_calls",
    "setup": "paydesk.flows.setup_calls",
    "evidence": "paydesk.flows.dispute_evidence",
    "billing": "paydesk.flows.provider_billing_calls",
}

#: How long whoever sends has the call for itself; above any deadline of a provider.
LEASE_S = 60
#: Providers keep idempotency keys for 24 hours; so long a repeat is safe.
REPLAY_S = 23 * 3600
#: After so long a provider that still cannot say is asked no more: a person looks. What happened
#: is recorded whenever it shows.
GIVE_UP_S = 7 * 86_400
#: Tries are counted up to here.
MOST_TRIES = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A row of `provider_calls`. `subject_id` is what it is about where that is no payment."""

    customer_id: UUID
    id: UUID
    payment_id: UUID | None
    attempt_id: UUID | None
    subject_id: UUID | None
    action: str
    request: dict[str, Any]
    state: str
    first_sent_at: datetime | None
    try_at: datetime
    tries: int
    error: str | None = None

    @property
    def is_settled(self) -> bool:
        return self.state in ("done", "refused")

    @property
    def provider(self) -> str:
        return self.request["provider"]


def _nothing(env: Env, call: Call) -> None:
    """After a call was settled there is nothing more to do."""


def _no_answer(env: Env, call: Call) -> Mapping[str, Any] | None:
    raise NotSupported("Nobody can say what became of this call.")


#: (environment, transaction, now, [(call, what the provider said)]) -> [(kept, is `after` needed)]
DoneMany = Callable[
    [Env, Tx, datetime, Sequence[tuple["Call", Any]]],
    Sequence[tuple[Mapping[str, Any] | None, bool]],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a kind of call does.

    `send` calls the provider with `call.id` as the key and answers what it said. `done` records
    that in the transaction that settles the call, and answers what the row keeps of it as JSON.
    `refused` records that it is certain that nothing happened, (code, message), or, where
    `unknown`, that it was never known. `old`: too late to repeat: find out and record what became
    of it; answers what the row keeps, None where nothing happened; raises NotSupported where
    nobody can tell. `after` runs when the call was settled and committed; where its process dies
    before, a sweep does the same. `refusal` is what whoever asked hears. `done_many` is `done` for
    calls of several customers: what each row keeps, and whether `after` has anything to do.
    """

    send: Callable[[Env, Call], Any]
    done: Callable[[Env, Tx, datetime, Call, Any], Mapping[str, Any] | None]
    refused: Callable[[Env, Tx, datetime, Call, str, str, bool], None]
    refusal: Callable[[Call, str], PaydeskError]
    old: Callable[[Env, Call], Mapping[str, Any] | None] = _no_answer
    after: Callable[[Env, Call], None] = _nothing
    done_many: DoneMany | None = None


def action_of(call: Call) -> Action:
    return importlib.import_module(ACTIONS[call.action]).ACTION


def order_json(order: Order) -> dict[str, Any]:
    """An order as it is kept in `request`, the provider's own body included."""
    return {
        "id": order.id, "customer": order.customer, "amount_minor": order.amount.minor,
        "currency": order.amount.currency, "description": order.description,
        "lines": [{"name": one.name, "amount_minor": one.amount.minor, "quantity": one.quantity}
                  for one in order.lines],
        "email": order.email, "success_url": order.success_url, "cancel_url": order.cancel_url,
        "expires_in_s": order.expires_in_s, "metadata": dict(order.metadata),
        "provider_customer": order.provider_customer, "save_method": order.save_method,
        "body": dict(order.request or {}),
    }  # fmt: skip


def order_of(call_id: UUID, kept: Mapping[str, Any]) -> Order:
    """The very order that `order_json` kept."""

    def money(minor: int) -> Money:
        return Money(minor, kept["currency"], minor=True)

    return Order(
        id=kept["id"],
        customer=kept["customer"],
        key=str(call_id),
        amount=money(kept["amount_minor"]),
        description=kept["description"],
        lines=tuple(
            OrderLine(name=one["name"], amount=money(one["amount_minor"]), quantity=one["quantity"])
            for one in kept["lines"]
        ),
        email=kept["email"],
        success_url=kept["success_url"],
        cancel_url=kept["cancel_url"],
        expires_in_s=kept["expires_in_s"],
        metadata=kept["metadata"],
        request=kept["body"],
        provider_customer=kept.get("provider_customer"),
        save_method=kept.get("save_method", False),
    )


def intend(
    tx: Tx, now: datetime, *, customer_id: UUID, call_id: UUID, action: str,
    request: Mapping[str, Any], payment_id: UUID | None = None, attempt_id: UUID | None = None,
    subject_id: UUID | None = None, amount: Money | None = None, clock_id: UUID | None = None,
) -> Call:  # fmt: skip
    """Write the intention; the caller holds its lease and runs it once this is committed.

    `request` names the `provider` and has all that `send` needs, so that a repeat is identical.
    """
    assert "provider" in request, "a call's request names its provider"
    now = heads.real(tx, now, customer_id)
    try_at = now + timedelta(seconds=LEASE_S)
    tx.run(
        "insert into provider_calls (customer_id, id, payment_id, attempt_id, subject_id, action,"
        " amount_minor, currency, request, state, first_sent_at, try_at, tries, clock_id,"
        " created_at) values (%(customer_id)s, %(id)s, %(payment_id)s, %(attempt_id)s,"
        " %(subject_id)s, %(action)s, %(amount)s, %(currency)s, %(request)s, 'intended', %(now)s,"
        " %(try_at)s, 1, %(clock_id)s, %(now)s)",
        {
            "customer_id": customer_id,
            "id": call_id,
            "payment_id": payment_id,
            "attempt_id": attempt_id,
            "subject_id": subject_id,
            "action": action,
            "amount": amount.minor if amount else None,
            "currency": amount.currency if amount else None,
            "request": dict(request),
            "now": now,
            "try_at": try_at,
            "clock_id": clock_id,
        },
    )
    return Call(
        customer_id=customer_id, id=call_id, payment_id=payment_id, attempt_id=attempt_id,
        subject_id=subject_id, action=action, request=dict(request), state="intended",
        first_sent_at=now, try_at=try_at, tries=1,
    )  # fmt: skip


def run(env: Env, call: Call) -> None:
    """Send a call whose lease is ours, and record what came of it.

    Raises what the action's `refusal` makes (nothing happened, and never will),
    ProviderUnavailable or OutcomeUnknown (the same key goes on later, by the caller or by the
    sweep).
    """
    refused = _run(env, call)
    if refused is not None:
        raise action_of(call).refusal(call, refused)


def _run(env: Env, call: Call) -> str | None:
    """`run` that answers why the call was refused, None where it is done."""
    assert call.first_sent_at is not None
    if env.now() - call.first_sent_at >= timedelta(seconds=REPLAY_S):
        return _resolve_old(env, call)
    refused, remote = send(env, call)
    if refused is None:
        record(env, call, remote)
    return refused


def send(env: Env, call: Call) -> tuple[str | None, Any]:
    """Send a call: (why it was refused, None) or (None, what the provider said), which is still to
    be recorded. Raises as `run`."""
    action = action_of(call)
    crash.at("before_provider_call")
    try:
        remote = action.send(env, call)
    except ProviderRefused as exc:
        _refused(env, call, exc.extra.get("provider_code") or exc.code, exc.detail)
        return exc.detail, None
    except (OutcomeUnknown, ProviderUnavailable) as exc:
        _unknown(env, call, exc.detail)
        raise
    except Exception as exc:  # A fault of the adapter: who knows what it had sent by then.
        _unknown(env, call, f"{type(exc).__name__}: {exc}")
        raise
    crash.at("after_provider_call")
    return None, remote


def record(env: Env, call: Call, remote: Any) -> None:
    """Record what the provider said, once."""
    action = action_of(call)
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        if read(tx, call.customer_id, call.id).is_settled:
            return
        result = action.done(env, tx, now, call, remote)
        settle(tx, call, "done", result=result)
        crash.at("call_before_done_commit")
    crash.at("call_after_done")
    action.after(env, call)


def keep(env: Env, call: Call) -> Call | None:
    """Make sure, before it is sent, that a call whose lease was ours once is ours until its answer
    comes: the call with its lease, renewed where little of it is left or none.

    None where another has taken or settled it, and where it is too old to be sent. Raises Busy.
    """
    enough = timedelta(seconds=2 * env.settings.provider_timeout_s)  # LEASE_S at most
    if call.try_at - env.now() > enough:
        return call
    with env.db.transaction(call.customer_id, wait_s=WAIT_S) as tx:
        now = heads.real(tx, heads.decide(tx, env.now(), call.customer_id), call.customer_id)
        try_at = now + timedelta(seconds=LEASE_S)
        is_ours = tx.run(
            "update provider_calls set try_at = %(try_at)s"
            " where customer_id = %(customer_id)s and id = %(id)s and state = 'intended'"
            " and try_at = %(before)s and first_sent_at > %(oldest)s",
            {
                "customer_id": call.customer_id,
                "id": call.id,
                "try_at": try_at,
                "before": call.try_at,
                "oldest": now - timedelta(seconds=REPLAY_S),
            },
        )
    return replace(call, try_at=try_at) if is_ours else None


def resume(
    env: Env, customer_id: UUID, call_id: UUID, *, wait_s: float | None = None
) -> None:
    """Go on with a call that somebody began; nothing where it is settled.

    `wait_s`: for the customer's lock. Raises IdempotencyInProgress while another has its lease,
    and what `run` raises.
    """
    call = _taken(env, customer_id, call_id, wait_s)
    if call is not None:
        run(env, call)


def _taken(env: Env, customer_id: UUID, call_id: UUID, wait_s: float | None) -> Call | None:
    """The call with its lease in our hands; None where it is settled."""
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        now = heads.real(tx, heads.decide(tx, env.now(), customer_id), customer_id)
        call = read(tx, customer_id, call_id)
        if call.is_settled:
            return None
        if call.state == "intended" and call.try_at > now:
            raise IdempotencyInProgress("This request is still running.", retry_after_s=2)
        row = tx.one(
            "update provider_calls set state = 'intended', try_at = %(try_at)s,"
            " tries = least(tries + 1, %(most)s),"
            " first_sent_at = coalesce(first_sent_at, %(now)s)"
            " where customer_id = %(customer_id)s and id = %(id)s returning first_sent_at, tries",
            {
                "customer_id": customer_id,
                "id": call_id,
                "now": now,
                "try_at": now + timedelta(seconds=LEASE_S),
                "most": MOST_TRIES,
            },
        )
        assert row is not None
        return Call(**{**_fields(call), **row})


def resolve_due(env: Env, limit: int = 20) -> int:
    """Sweep: go on with every call whose lease or back-off is over. Answers how many settled."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from provider_calls where state in ('intended', 'unknown')"
            " and try_at <= %(now)s and clock_id is null order by try_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    settled = 0
    for row in rows:
        if is_ending():
            break
        with one_row("provider_calls", row["id"]):
            call = _taken(env, row["customer_id"], row["id"], WAIT_S)
            if call is not None:
                _run(env, call)
            settled += 1
    return settled


def read(tx: Tx, customer_id: UUID, call_id: UUID) -> Call:
    """The call as it stands. Raises NotFound."""
    row = tx.one(
        "select customer_id, id, payment_id, attempt_id, subject_id, action, request, state,"
        " first_sent_at, try_at, tries, error from provider_calls"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": call_id},
    )
    if row is None:
        raise NotFound(f"No such call: {ids.show('call', call_id)}.")
    return Call(**row)


def of_payment(
    tx: Tx, customer_id: UUID, payment_id: UUID, action: str = "checkout"
) -> Call | None:
    """The payment's latest call of this kind."""
    row = tx.one(
        "select id from provider_calls where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s and action = %(action)s"
        " order by created_at desc, id desc limit 1",
        {"customer_id": customer_id, "payment_id": payment_id, "action": action},
    )
    return read(tx, customer_id, row["id"]) if row else None


def _refused(env: Env, call: Call, code: str, message: str, *, unknown: bool = False) -> None:
    """It is certain that nothing happened, or it was never known."""
    action = action_of(call)
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        if read(tx, call.customer_id, call.id).is_settled:
            return
        action.refused(env, tx, now, call, code, message[:500], unknown)
        settle(tx, call, "refused", error=message[:500])
    action.after(env, call)


def _unknown(env: Env, call: Call, error: str) -> None:
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        now = heads.real(tx, now, call.customer_id)
        tx.run(
            "update provider_calls set state = 'unknown', error = %(error)s, try_at = %(try_at)s"
            " where customer_id = %(customer_id)s and id = %(id)s and state = 'intended'",
            {
                "customer_id": call.customer_id,
                "id": call.id,
                "error": error[:500],
                "try_at": now + timedelta(seconds=backoff_s(call.tries)),
            },
        )


def _resolve_old(env: Env, call: Call) -> str | None:
    """Too late to repeat: what became of it is found out and recorded.

    The call is settled last: whoever dies before that leaves it to the next one, who finds the
    same. Answers why it counts as refused, None where it was done. Raises OutcomeUnknown or
    ProviderUnavailable where it stays open.
    """
    action = action_of(call)
    try:
        result = action.old(env, call)
    except NotSupported:
        return _never_known(env, call)
    except (ProviderRefused, AnswerUnclear) as exc:
        assert call.first_sent_at is not None
        if env.now() - call.first_sent_at >= timedelta(seconds=GIVE_UP_S):
            return _never_known(env, call)
        _unknown(env, call, exc.detail)
        raise OutcomeUnknown(exc.detail) from exc
    except Exception as exc:  # Whatever it was, it is tried again, ever more rarely.
        _unknown(env, call, getattr(exc, "detail", None) or f"{type(exc).__name__}: {exc}")
        raise
    if result is None:
        message = "It never reached the provider."
        _refused(env, call, "never_sent", message)
        return message
    crash.at("old_call_before_settle")
    with env.db.transaction(call.customer_id) as tx:
        if not read(tx, call.customer_id, call.id).is_settled:
            settle(tx, call, "done", result=result)
    return None


def _never_known(env: Env, call: Call) -> str:
    message = "The outcome was never known."
    _refused(env, call, "outcome_unknown", message, unknown=True)
    return message


def settle(
    tx: Tx, call: Call, state: str, *, result: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:  # fmt: skip
    """Write what came of a call: done or refused."""
    tx.run(
        "update provider_calls set state = %(state)s, result = %(result)s, error = %(error)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {
            "customer_id": call.customer_id,
            "id": call.id,
            "state": state,
            "result": dict(result) if result else None,
            "error": error,
        },
    )


def _fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in Call.__slots__}
