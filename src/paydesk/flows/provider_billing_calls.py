"""The calls about subscriptions that a provider bills: a page is opened, a command is given."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import PaydeskError, PaymentFailed
from paydesk.flows import heads
from paydesk.flows import provider_billing_books as books
from paydesk.flows import provider_billing_events as news
from paydesk.flows import provider_billing_refunds as give_back
from paydesk.flows import subscription_steps as steps
from paydesk.flows.provider_billing_invoices import Heard
from paydesk.flows.provider_calls import Action, Call
from paydesk.providers.billing import RemotePage, RemoteSubscription


def _send(env: Env, call: Call) -> Any:
    name, request = call.provider, call.request
    if request["op"] == "open":
        if request.get("coupon"):
            env.providers.call(name, "ensure_coupon", request["coupon"], f"{call.id}-coupon")
        return env.providers.call(name, "open_page", request["body"], str(call.id))
    return env.providers.call(
        name, "steer_subscription", request["ref"], request["op"], request["told"], str(call.id)
    )


def _done(env: Env, tx: Tx, now: datetime, call: Call, remote: Any) -> Mapping[str, Any] | None:
    sub = steps.read(tx, call.customer_id, _subject(call))
    if isinstance(remote, RemotePage):
        books.name_it(tx, sub, remote.id, sub.id)
        if sub.state == "incomplete":
            sub.told = {**sub.told, "page": {"session": remote.id, "url": remote.url}}
            steps.save(tx, now, sub)
        return {"id": remote.id, "url": remote.url}
    assert isinstance(remote, RemoteSubscription)
    news.lay(env, tx, now, sub.provider, call.customer_id, sub, remote, Heard(), "command")
    if back := call.request.get("back"):
        give_back.begin(env, tx, now, steps.read(tx, *sub.key), back)
    return {"id": remote.id, "status": remote.state}


def _refused(
    env: Env, tx: Tx, now: datetime, call: Call, code: str, message: str, unknown: bool
) -> None:
    """A page that was not opened is waited for no more; a refused command changed nothing."""
    if call.request["op"] != "open":
        return
    sub = steps.read(tx, call.customer_id, _subject(call))
    if sub.state == "incomplete" and sub.provider_ref is None:
        news.give_up(tx, now, sub, "lapsed", "not_opened")


def _old(env: Env, call: Call) -> Mapping[str, Any] | None:
    """A page that nobody has seen is worth nothing after a day: what came of it tells itself. A
    command's outcome is what the subscription says."""
    if call.request["op"] == "open":
        return None
    news.look(env, call.customer_id, _subject(call))
    if back := call.request.get("back"):
        with env.db.transaction(call.customer_id) as tx:
            now = heads.decide(tx, env.now(), call.customer_id)
            give_back.begin(env, tx, now, steps.read(tx, call.customer_id, _subject(call)), back)
    return {"id": call.request["ref"]}


def _after(env: Env, call: Call) -> None:
    """What the command billed is taken up at once; where that fails its events bring it."""
    if call.request["op"] != "open":
        with contextlib.suppress(PaydeskError):
            news.look(env, call.customer_id, _subject(call))


def refusal(call: Call, message: str) -> PaymentFailed:
    return PaymentFailed(message[:500])


def _subject(call: Call) -> UUID:
    assert call.subject_id is not None, "these calls are about a subscription"
    return call.subject_id


ACTION = Action(send=_send, done=_done, refused=_refused, refusal=refusal, old=_old, after=_after)
