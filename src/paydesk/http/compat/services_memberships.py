"""Services: the premium membership as a subscription, where the catalogue has a plan for it.

Then it renews itself and can be upgraded: each period and each change is a payment record of its
own, of the service that the subscription is in this family's words.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows import charges, checkout, customers, payments, plans, subscriptions
from paydesk.flows.payments import PaymentView
from paydesk.flows.plans import Plan
from paydesk.flows.subscription_payments import months_of
from paydesk.flows.subscription_views import SubscriptionView
from paydesk.flows.subscriptions import NewSubscription
from paydesk.http.compat.payment_records import decimal, instant
from paydesk.http.compat.shapes import bare
from paydesk.rules.payments import DEAD_STATES

#: In these the service runs.
ACTIVE = ("trialing", "active", "past_due")
_WAITING = {"incomplete": "pending_payment", "expired": "failed", "canceled": "failed"}


def plan_of(env: Env) -> Plan | None:
    """The plan of the premium membership, where it is sold as a subscription."""
    try:
        return plans.get(env, env.settings.premium_membership_item, active_only=True)
    except NotFound:
        return None


def apply(
    env: Env, plan: Plan, customer_id: UUID, *, email: str | None = None, **more: Any
) -> dict[str, Any]:
    """Subscribe on a page; answers as the document's application does. `more` is of a
    NewSubscription. Raises as subscriptions.start."""
    if email is not None and customers.get(env, customer_id).email is None:
        customers.update(env, customer_id, email=email)
    return application(subscriptions.start(env, NewSubscription(
        customer_id=customer_id, plan=plan.uuid, quantity=plan.terms.least_quantity,
        is_hosted=True, **more,
    )))  # fmt: skip


def application(made: SubscriptionView) -> dict[str, Any]:
    return {
        "status": _WAITING.get(made.state, "activated"),
        "service": {
            "id": bare(made.id),
            "service_type": made.plan_key,
            "active": is_active(made),
            "subscription_duration": months_of(made.interval_unit, made.interval_count),
            "subscription_expires_at": instant(made.period_end),
            "subscription_fee": decimal(made.amount),
        },
        "payment": _payment(made),
    }


def _payment(made: SubscriptionView) -> dict[str, Any] | None:
    """The page: to pay on, or before a trial to save a card on; null where none is needed."""
    page, setup = made.checkout, made.setup
    if page is None and setup is None:
        return None
    return {
        "payment_id": page.payment.handle if page else None,
        "payment_url": made.url,
        "amount": decimal(page.total) if page else 0,
        "currency": made.price.currency.upper(),
        "expires_at": instant(page.expires_at if page else setup.expires_at if setup else None),
    }


def is_active(one: SubscriptionView) -> bool:
    return one.state in ACTIVE


def of_payment(env: Env, payment: PaymentView) -> SubscriptionView | None:
    """The subscription that a payment is for, if it is for one."""
    found = ((payment.terms or {}).get("goods") or {}).get("subscription")
    return subscriptions.get(env, payment.customer_id, UUID(found)) if found else None


def confirmed(env: Env, found: PaymentView) -> tuple[PaymentView, SubscriptionView, str]:
    """Ask the provider about a subscription's payment; answers it, its subscription and the
    document's word for how they stand."""
    if found.checkout_id is not None:
        checkout.verify(env, found.id, found.customer_id)
    elif not found.paid:
        charges.refresh(env, found.customer_id, found.id, "verify")
    payment = payments.get(env, found.customer_id, found.id)
    one = of_payment(env, payment)
    assert one is not None, "the payment was for a subscription before"
    return payment, one, _word(payment, one)


def _word(payment: PaymentView, one: SubscriptionView) -> str:
    if not payment.paid:
        return "failed" if payment.state in DEAD_STATES else "pending_payment"
    if is_active(one):
        return "activated"
    return "ended" if one.ended_at else "in_review"
