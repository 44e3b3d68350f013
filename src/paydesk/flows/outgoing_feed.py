"""The feed of what goes out: turns each event into webhooks and mails, once, in its order."""

from __future__ import annotations

from uuid import UUID

from paydesk.env import Env
from paydesk.flows import events, handlers, notifications, sweeps, webhook_deliveries
from paydesk.flows import webhook_endpoints as endpoints_flow
from paydesk.flows.webhook_endpoints import Endpoint

SINK = "outgoing"
_PAGE = 200


def drain(env: Env, *, limit: int = 100) -> int:
    """Queue what is new for endpoints and mailboxes; answers how many events were looked at.

    The place in the feed moves on in the transaction that writes the rows, so that no event is
    queued twice and none is left out.
    """
    with env.db.read() as tx:
        endpoints = endpoints_flow.receiving(tx)
        if not endpoints and not notifications.any_on(env.settings):
            return 0
        is_known = tx.value("select name from sinks where name = %(sink)s", {"sink": SINK})
        rows = tx.all(
            "select customer_id from feeds where sink = %(sink)s and try_at <= %(now)s"
            " order by try_at limit %(limit)s",
            {"sink": SINK, "now": env.now(), "limit": limit},
        )
    if is_known is None:
        handlers.register(env, SINK)
    done = 0
    for row in rows:
        with sweeps.one_row("outgoing_feed", row["customer_id"]):
            done += _drain_customer(env, row["customer_id"], endpoints)
    return done


def _drain_customer(env: Env, customer_id: UUID, endpoints: list[Endpoint]) -> int:
    with env.db.transaction(customer_id, wait_s=sweeps.WAIT_S) as tx:
        keys = {"customer_id": customer_id, "sink": SINK, "now": env.now()}
        seq = tx.value(
            "select seq from feeds where customer_id = %(customer_id)s and sink = %(sink)s"
            " and try_at <= %(now)s",
            keys,
        )
        if seq is None:
            return 0
        found = events.follow(tx, customer_id, seq, limit=_PAGE)
        if found:
            webhook_deliveries.enqueue(tx, env, endpoints, found)
            notifications.enqueue(tx, env, found)
        tx.run(
            "update feeds set seq = greatest(seq, %(last)s),"
            " try_at = case when %(last)s < %(head)s then %(now)s::timestamptz end"
            " where customer_id = %(customer_id)s and sink = %(sink)s",
            {**keys, "last": found[-1].seq if found else seq,
             "head": tx.heads[customer_id].seq},
        )  # fmt: skip
    return len(found)
