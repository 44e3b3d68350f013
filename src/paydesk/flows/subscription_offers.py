"""What subscribing to a plan would cost somebody: the first invoice, reckoned and not written."""

from __future__ import annotations

from uuid import UUID

from paydesk.env import Env
from paydesk.errors import NotSupported
from paydesk.flows import heads, subscription_first, subscriptions
from paydesk.flows.subscription_first import FirstInvoice
from paydesk.flows.subscriptions import NewSubscription

__all__ = ["FirstInvoice", "preview", "preview_of"]


def preview_of(env: Env, what: NewSubscription) -> FirstInvoice:
    """The first invoice by the very steps that write it. Nothing is reserved or written.

    Raises as `subscriptions.start`: NotFound, InvalidRequest, InvalidPromoCode,
    PaymentMethodNotUsable, SubscriptionAlreadyActive; NotSupported for what the provider would
    run, which reckons it on its page.
    """
    subscriptions.check_runner(what.runner)
    if what.runner == "provider":
        raise NotSupported(
            "The provider reckons the first invoice, and shows it on its page.", param="runner"
        )
    with env.db.read() as tx:
        now = heads.now(env, what.customer_id, tx)
        return subscription_first.reckon(env, tx, now, subscriptions.draw_up(env, tx, now, what))


def preview(
    env: Env, customer_id: UUID, plan: str, *, quantity: int, promo: str | None = None,
    currency: str | None = None,
) -> FirstInvoice:  # fmt: skip
    """As `preview_of`, for one that begins on a page."""
    return preview_of(env, NewSubscription(
        customer_id=customer_id, plan=plan, quantity=quantity, promo=promo, currency=currency,
        is_hosted=True,
    ))  # fmt: skip
