"""What tests of items, services and access share: things on sale, and buying them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from purchase import Desk

from paydesk.flows import access, items, purchases, services
from paydesk.flows.checkout import CheckoutView
from paydesk.rules.money import USD
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment


def course(desk: Desk, key: str = "python", **more: Any) -> items.Item:
    """A course that is bought once, with access for ever."""
    told = {"name": f"Course {key}", "price": USD("49.99"), "grants": [f"course:{key}"], **more}
    return items.upsert(desk.env, key, **told)


def membership(desk: Desk, **more: Any) -> items.Item:
    """Six months of membership."""
    told = {"name": "Premium Membership", "price": USD("549.99"), "kind": "service",
            "duration_months": 6, **more}  # fmt: skip
    return items.upsert(desk.env, "premium_membership", **told)


def bought(desk: Desk, user: Any, **what: Any) -> CheckoutView:
    """A checkout that was paid, and whose goods were handed over."""
    view = desk.open(user, **what)
    desk.pay(view)
    desk.deliver(view)
    return view


def purchase(desk: Desk, view: CheckoutView) -> purchases.PurchaseView:
    return purchases.get(desk.env, view.customer_id, view.payment.id)


def service(desk: Desk, view: CheckoutView) -> services.ServiceView:
    return services.of_payment(desk.env, view.customer_id, view.payment.id)


def reason(desk: Desk, view: CheckoutView, resource: str, at: Any = None) -> str:
    return access.can(desk.env, view.customer_id, resource, at).reason


def record(tx: Any, view: CheckoutView) -> ServicePayment:
    """The payment's record in a transaction."""
    found = JoinedStore(tx.conn).get_many([(view.customer_id, view.payment.id)])[0]
    assert found is not None
    return found


def taken_back(desk: Desk, view: CheckoutView, cause_id: UUID, cause: str = "refund") -> list[int]:
    """All that a payment bought, taken away; how much of each kind was."""
    with desk.env.db.transaction(view.customer_id) as tx:
        payment, now = record(tx, view), desk.env.now()
        return [
            len(part(tx, now, payment, cause, cause_id))
            for part in (access.revoke_for, services.end_for, purchases.refund_for)
        ]


def given_back(desk: Desk, view: CheckoutView, cause_id: UUID) -> list[int]:
    with desk.env.db.transaction(view.customer_id) as tx:
        now = desk.env.now()
        return [
            len(part(tx, now, view.customer_id, cause_id))
            for part in (access.reinstate_for, services.restore_for, purchases.restore_for)
        ]
