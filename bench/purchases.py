"""Purchases: webhooks in, applied, delivered again, and a whole purchase in process."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from bench.harness import Desk, Row, many_customers, percentile, timed
from bench.spending import CUSTOMERS
from paydesk import ids
from paydesk.env import Env
from paydesk.flows import catalog, checkout, events, inbox
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.providers.base import Order, Providers, RemoteCheckout
from paydesk.providers.stripe import Stripe
from paydesk.rules.money import USD

GROUP = 64


class AnswersAtOnce(Stripe):
    """Stripe without the way to Stripe: a session is opened with no call, all else is real."""

    def create_checkout(self, order: Order) -> RemoteCheckout:
        session = f"cs_test_{secrets.token_hex(16)}"
        return RemoteCheckout(id=session, url=f"http://127.0.0.1:9/{session}", expires_in=1800)


def quick(desk: Desk) -> Env:
    """The desk's environment with a provider that answers without a network."""
    known = {"stripe": AnswersAtOnce(desk.settings)}
    return replace(desk.env, providers=Providers(desk.settings, known, "stripe"))


def buyers(env: Env) -> itertools.cycle:
    owners = many_customers(env, [f"buyer-{n}" for n in range(CUSTOMERS)])
    catalog.upsert_pack(env, "bench", name="Bench Pack", credits=150, price=USD("9.99"))
    return itertools.cycle(owners)


def paid_event(view: CheckoutView) -> bytes:
    """The event that Stripe sends when this checkout's session is paid."""
    now = int(time.time())
    metadata = {
        "customer_id": ids.show("customer", view.customer_id),
        "payment_id": ids.show("payment", view.payment.id),
    }
    session = {
        "id": view.payment.session_ref, "object": "checkout.session", "mode": "payment",
        "amount_total": view.total.minor, "currency": view.total.currency, "livemode": False,
        "payment_status": "paid", "status": "complete", "created": now, "expires_at": now + 1800,
        "payment_intent": f"pi_{secrets.token_hex(12)}", "metadata": metadata,
        "client_reference_id": metadata["payment_id"],
    }
    event = {
        "id": f"evt_{secrets.token_hex(12)}", "object": "event", "created": now,
        "api_version": "2026-06-24.dahlia", "livemode": False, "pending_webhooks": 1,
        "type": "checkout.session.completed", "data": {"object": session},
        "request": {"id": None, "idempotency_key": None},
    }
    return json.dumps(event).encode()


def signed(env: Env, body: bytes) -> tuple[bytes, Mapping[str, str]]:
    at = int(time.time())
    mac = hmac.new(env.settings.stripe_webhook_secret.encode(), b"%d." % at + body, hashlib.sha256)
    return body, {"Stripe-Signature": f"t={at},v1={mac.hexdigest()}"}


def opened(env: Env, count: int) -> list[CheckoutView]:
    """So many open checkouts, each of another customer."""
    owners = buyers(env)
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(
            lambda owner: checkout.start(env, StartCheckout(customer_id=owner, pack="bench")),
            [next(owners) for _ in range(count)],
        ))


def in_groups(env: Env, deliveries: Sequence[Any]) -> tuple[float, list[float]]:
    """Deliver 64 at a time, two groups under way; rate a second and milliseconds of a group."""
    groups = [deliveries[at : at + GROUP] for at in range(0, len(deliveries), GROUP)]
    took: list[float] = []

    def deliver(group: Sequence[Any]) -> None:
        took.append(timed(lambda: inbox.receive_many(env, "stripe", group)) * 1000)

    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(deliver, groups))
    return len(deliveries) / (time.perf_counter() - begin), took


def report(desk: Desk, name: str, rate: float, took: list[float], target: str) -> None:
    desk.report(Row(name, rate, percentile(took, 0.5), percentile(took, 0.99), target=target,
                    note="times of a group of 64"))


def webhooks(desk: Desk, seconds: float) -> None:
    """Stored; stored, applied and fulfilled; and delivered once more."""
    env = quick(desk)
    count = GROUP * max(4, int(seconds * 8))
    news = [
        json.dumps({
            "id": f"evt_{secrets.token_hex(12)}", "object": "event", "created": int(time.time()),
            "type": "customer.created", "livemode": False, "api_version": "2026-06-24.dahlia",
            "data": {"object": {"id": f"cus_{n}", "object": "customer"}},
        }).encode()
        for n in range(count)
    ]
    rate, took = in_groups(env, [signed(env, body) for body in news])
    report(desk, "webhook verified and stored", rate, took, "0.9 R")
    deliveries = [signed(env, paid_event(view)) for view in opened(env, count)]
    rate, took = in_groups(env, deliveries)
    report(desk, "webhook verified, stored, applied, fulfilled", rate, took, "0.3 R")
    rate, took = in_groups(env, deliveries)
    report(desk, "webhook delivered again", rate, took, "2 R")


def whole(desk: Desk, seconds: float) -> None:
    """Priced, pending row, provider's answer, webhook, fulfilled, event out; 8 threads."""
    env = quick(desk)
    owners = buyers(env)
    while events.publish(env):
        pass  # what earlier benchmarks left behind is not part of this
    latencies: list[float] = []
    stop_at = time.perf_counter() + seconds

    def buy(_: int) -> None:
        while time.perf_counter() < stop_at:
            begin = time.perf_counter()
            view = checkout.start(env, StartCheckout(customer_id=next(owners), pack="bench"))
            inbox.receive(env, "stripe", *signed(env, paid_event(view)))
            latencies.append((time.perf_counter() - begin) * 1000)

    begin = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(buy, range(8)))
    while events.publish(env):
        pass
    rate = len(latencies) / (time.perf_counter() - begin)
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    desk.report(Row("whole purchase in process, 8 threads", rate, p50, p99, target="0.15 R"))
