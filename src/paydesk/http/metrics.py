"""Figures for Prometheus: requests as they pass, the state of the desk when asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, Histogram, generate_latest

from paydesk.errors import PaydeskError
from paydesk.flows import figures_desk

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
REFUNDS = Gauge("paydesk_refunds_open", "Refunds on their way, or before a person.", ["state"])
DISPUTES = Gauge("paydesk_disputes_open", "Disputes that are not decided.", ["state"])
DISPUTES_DUE = Gauge("paydesk_disputes_due_soon", "Disputes whose evidence is due soon.")
PARKED = Gauge("paydesk_deliveries_parked", "Events that an application's handler failed on.")
WEBHOOKS_OUT = Gauge("paydesk_webhooks_out", "Outgoing webhooks not taken yet.", ["state"])
REVIEWS = Gauge("paydesk_risk_reviews_waiting", "Payments that wait for a person's decision.")
DAYS_DUE = Gauge("paydesk_figures_days_due", "Days of reports to be computed anew.")
BEATS = Gauge(
    "paydesk_sweep_age_seconds", "Since when a sweep of the worker was not heard.", ["sweep"]
)
PROVIDER_UP = Gauge("paydesk_provider_up", "1 while this process calls the provider.", ["provider"])
PROVIDER_SLOWED = Gauge(
    "paydesk_provider_slowed",
    "Calls of this process that the provider asked to send later (429), since it started.",
    ["provider"],
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
    state = figures_desk.look(env)
    OUTBOX.set(state.outbox)
    WEBHOOK_LAG.set(state.webhook_lag_s)
    CALLS.set(state.calls)
    DISPUTES_DUE.set(state.disputes_due)
    PARKED.set(state.parked)
    REVIEWS.set(state.reviews)
    DAYS_DUE.set(state.days_due)
    for gauge, values in (
        (INBOX, state.inbox), (FULFILLMENTS, state.fulfillments), (REFUNDS, state.refunds),
        (DISPUTES, state.disputes), (WEBHOOKS_OUT, state.webhooks_out), (BEATS, state.beats),
        (IMBALANCE, state.imbalance),
        (PROVIDER_SLOWED, {name: env.providers.circuit(name).slowed for name in env.providers}),
        (PROVIDER_UP, {name: int(how != "open") for name, how in env.providers.health().items()}),
    ):  # fmt: skip
        gauge.clear()
        for label, value in values.items():
            gauge.labels(label).set(value)
    PAYMENTS.clear()
    for row in state.payments:
        PAYMENTS.labels(row["provider"], row["state"], row["currency"]).set(row["n"])
