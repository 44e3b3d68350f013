"""Calls about saved methods: attach, detach, default, and the making of a setup."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    IdempotencyInProgress,
    NotSupported,
    OutcomeUnknown,
    PaymentFailed,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.flows import methods, provider_calls, provider_customers, setups
from paydesk.flows.provider_calls import Action, Call, order_of
from paydesk.providers.base import RemoteMethod, RemoteSetup


def _send(env: Env, call: Call) -> Any:
    """Each operation is safe to repeat under the call's key."""
    name, request = call.provider, call.request
    if request["op"] == "detach":
        return env.providers.call(name, "detach_method", request["ref"], str(call.id))
    whose = provider_customers.ensure(env, call.customer_id, name)
    if request["op"] == "default":
        return env.providers.call(name, "default_method", whose, request["ref"], str(call.id))
    if request["op"] == "attach":
        made = env.providers.call(name, "attach_method", request["token"], whose, str(call.id))
        if request["default"]:
            env.providers.call(name, "default_method", whose, made.id, f"{call.id}-default")
        return made
    order = order_of(call.id, request | {"provider_customer": whose})
    return env.providers.call(name, "create_setup", order, request.get("token"))


def _done(env: Env, tx: Tx, now: datetime, call: Call, remote: Any) -> Mapping[str, Any] | None:
    if isinstance(remote, RemoteSetup):
        assert call.subject_id is not None
        setups.attach(tx, now, call.customer_id, call.subject_id, call.provider, remote)
        return {"id": remote.id}
    if call.request["op"] == "attach":
        assert isinstance(remote, RemoteMethod) and call.subject_id is not None
        setups.finish(tx, now, call.customer_id, call.subject_id, remote,
                      account=env.providers[call.provider].account)  # fmt: skip
    return {"id": remote.id} if isinstance(remote, RemoteMethod) else None


def _refused(
    env: Env, tx: Tx, now: datetime, call: Call, code: str, message: str, unknown: bool
) -> None:
    if call.request["op"] in ("attach", "setup"):
        assert call.subject_id is not None
        setups.fail(tx, now, call.customer_id, call.subject_id, code, message)


def _old(env: Env, call: Call) -> Mapping[str, Any] | None:
    """Detaching and choosing a default may be done again at any time; a setup that nobody has
    seen is worth nothing any more; an attached method shows in the customer's list."""
    op = call.request["op"]
    if op == "detach":
        _send(env, call)
        return {"op": op}
    if op == "default":
        with env.db.read() as tx:
            row = methods.find(tx, call.customer_id, call.request["ref"])
        if row is not None and row["is_default"]:
            _send(env, call)
        return {"op": op}
    if op == "setup":
        raise NotSupported("A setup that was never answered is begun anew.")
    whose = provider_customers.ensure(env, call.customer_id, call.provider)
    found, _ = env.providers.call(call.provider, "list_methods", whose)
    for one in found:
        if one.id == call.request["token"]:
            setups.record_method(env, call.customer_id, _subject(call), one)
            return {"id": one.id}
    return None


def _subject(call: Call) -> UUID:
    assert call.subject_id is not None, "attaching is about a setup"
    return call.subject_id


def refusal(call: Call, message: str) -> PaymentFailed:
    return PaymentFailed(message[:500])


def run_quietly(env: Env, call: Call) -> None:
    """Run what the provider is only told of: what it does not take now, the sweep repeats."""
    with contextlib.suppress(
        ProviderUnavailable, OutcomeUnknown, ProviderRefused, PaymentFailed, IdempotencyInProgress
    ):
        provider_calls.run(env, call)


ACTION = Action(send=_send, done=_done, refused=_refused, refusal=refusal, old=_old)
