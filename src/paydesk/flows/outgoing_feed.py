"""The feed of what goes out: turns each event into webhooks, mails and messages of Redis."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from paydesk.env import Env
from paydesk.flows import events, handlers, notifications, sweeps, webhook_deliveries
from paydesk.flows import webhook_endpoints as endpoints_flow
from paydesk.flows.events import Event
from paydesk.flows.webhook_endpoints import Endpoint
from paydesk.logger import get_logger

log = get_logger(__name__)

SINK = "outgoing"
#: Other services hear of an event on this channel and its type: `paydesk:events:payment.succeeded`.
CHANNEL = "paydesk:events:"
_PAGE = 200


def drain(env: Env, *, limit: int = 100) -> int:
    """Queue what is new for endpoints and mailboxes, and publish it; answers how many events.

    The place in the feed moves on in the transaction that writes the rows, so that no event is
    queued twice and none is left out.
    """
    with env.db.read() as tx:
        endpoints = endpoints_flow.receiving(tx)
        is_needed = endpoints or env.cache.redis or notifications.any_on(env.settings)
        if not is_needed:
            return 0
        is_known = tx.value("select name from sinks where name = %(sink)s", {"sink": SINK})
        rows = tx.all(
            "select customer_id, seq from feeds where sink = %(sink)s and try_at <= %(now)s"
            " order by try_at limit %(limit)s",
            {"sink": SINK, "now": env.now(), "limit": limit},
        )
    if is_known is None:
        handlers.register(env, SINK)
    done = 0
    for row in rows:
        with sweeps.one_row("outgoing_feed", row["customer_id"]):
            done += _drain_customer(env, row["customer_id"], row["seq"], endpoints)
    return done


def _drain_customer(env: Env, customer_id: UUID, seq: int, endpoints: list[Endpoint]) -> int:
    with env.db.read() as tx:
        found = events.follow(tx, customer_id, seq, limit=_PAGE)
    _publish(env, found)
    with env.db.transaction(customer_id, wait_s=sweeps.WAIT_S) as tx:
        last = found[-1].seq if found else seq
        moved = tx.run(
            "update feeds set seq = %(last)s,"
            " try_at = case when %(last)s < %(head)s then %(now)s::timestamptz end"
            " where customer_id = %(customer_id)s and sink = %(sink)s and seq = %(seq)s",
            {"customer_id": customer_id, "sink": SINK, "now": env.now(), "seq": seq,
             "last": last, "head": tx.heads[customer_id].seq},
        )  # fmt: skip
        if not moved:
            return 0  # Another worker was quicker.
        if found:
            webhook_deliveries.enqueue(tx, env, endpoints, found)
            notifications.enqueue(tx, env, found)
    return len(found)


def _publish(env: Env, found: Sequence[Event]) -> None:
    """Tell other services, where there is a Redis that answers; before the place moves on, so that
    a worker that dies here tells it again. Redis keeps nothing: who was away asks the feed."""
    redis = env.cache.redis
    for event in found:
        if redis is None or redis.is_down:
            return
        try:
            body = webhook_deliveries.encoded(webhook_deliveries.payload(env, event))
        except (ValueError, TypeError, KeyError):  # One that cannot be written out stops no other.
            log.exception("an event has no body", event_id=event.id)
            continue
        redis.publish(CHANNEL + event.type, body.decode())
