"""Figures for Prometheus: requests as they pass, the state of the desk when asked."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, Histogram, generate_latest

from paydesk.errors import PaydeskError

if TYPE_CHECKING:
    from paydesk.env import Env

CONTENT_TYPE = CONTENT_TYPE_LATEST

#: Labels are the route's template, never an address with ids in it.
REQUEST_S = Histogram(
    "http_server_request_duration_seconds",
    "Time from the request's first byte to the answer's last.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
OUTBOX = Gauge("paydesk_outbox_pending", "Customers whose latest events are not published yet.")
INBOX = Gauge("paydesk_inbox_events", "Provider events that are not applied.", ["state"])
WEBHOOK_LAG = Gauge("paydesk_webhook_lag_seconds", "Age of the oldest event not applied yet.")
FULFILLMENTS = Gauge("paydesk_fulfillments_open", "Paid and not handed over.", ["state"])
CALLS = Gauge("paydesk_provider_calls_open", "Provider calls whose outcome is not settled.")
PAYMENTS = Gauge(
    "paydesk_payments_recent", "Payments of the last 24 hours.", ["provider", "status", "currency"]
)
IMBALANCE = Gauge(
    "paydesk_ledger_imbalance_minor_units", "Sum over all accounts; anything but 0 is a fault.",
    ["asset"],
)  # fmt: skip
#: Figures that read whole tables are taken no more often than this.
LOOK_EVERY_S = 15.0
_looked_at = float("-inf")
DATABASE_UP = Gauge("paydesk_database_up", "1 when the database answered this request.")


def render(env: Env) -> bytes:
    """The exposition text; without the database, what is known without it."""
    global _looked_at
    try:
        if time.monotonic() - _looked_at >= LOOK_EVERY_S:
            _look(env)
            _looked_at = time.monotonic()
        env.db.ping()
        DATABASE_UP.set(1)
    except PaydeskError:
        DATABASE_UP.set(0)
    return generate_latest(REGISTRY)


def _look(env: Env) -> None:
    with env.db.read() as tx:
        OUTBOX.set(tx.value("select count(*) from news"))
        INBOX.clear()
        for row in tx.all(
            "select state, count(*) as n from provider_events"
            " where state in ('new', 'waiting', 'parked') group by state"
        ):
            INBOX.labels(row["state"]).set(row["n"])
        lag = tx.value(
            "select extract(epoch from now() - min(received_at))::float8 from provider_events"
            " where state in ('new', 'waiting')"
        )
        WEBHOOK_LAG.set(lag or 0)
        FULFILLMENTS.clear()
        for row in tx.all(
            "select state, count(*) as n from fulfillments"
            " where state in ('due', 'blocked') group by state"
        ):
            FULFILLMENTS.labels(row["state"]).set(row["n"])
        CALLS.set(
            tx.value("select count(*) from provider_calls where state in ('intended', 'unknown')")
        )
        PAYMENTS.clear()
        for row in tx.all(
            "select provider, state, currency, count(*) as n from payments"
            " where created_at >= %(since)s group by provider, state, currency",
            {"since": env.now() - timedelta(days=1)},
        ):
            PAYMENTS.labels(row["provider"], row["state"], row["currency"]).set(row["n"])
        for row in tx.all(
            "select asset, sum(balance)::bigint as total from accounts group by asset"
        ):
            IMBALANCE.labels(row["asset"]).set(row["total"])
