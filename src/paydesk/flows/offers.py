"""Offers: what one customer is shown of an item before buying it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from paydesk.env import Env
from paydesk.errors import AlreadyPurchased, InvalidPromoCode
from paydesk.flows import (
    customers,
    heads,
    items,
    offer_links,
    pricing,
    promos,
    purchases,
    services,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.customers import Customer
from paydesk.flows.items import Item, Quote
from paydesk.flows.promos import Discount
from paydesk.rules.payments import OPEN_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An item as it is offered to somebody, or to nobody in particular (no `quote`).

    `had` says why it cannot be bought (again), `refusal` why the code does not count,
    `refused` the same as a code; `payment_id` is of a checkout of it that is open.
    """

    item: Item
    quantity: int
    quote: Quote | None = None
    discount: Discount | None = None
    refusal: str | None = None
    refused: str | None = None
    had: str | None = None
    payment_id: UUID | None = None


def look(
    env: Env, who: Customer | None, ref: str, quantity: int = 1, code: str | None = None
) -> Offer:
    """An item on sale at this customer's price, less what a code takes off. Reserves nothing.

    Raises NotFound, InvalidRequest.
    """
    item = items.get(env, ref, active_only=True)
    if who is None:
        return Offer(item=item, quantity=1)
    quote = items.quote(env, item, who, quantity)
    discount, refusal, refused = None, None, None
    if code:
        order = StartCheckout(customer_id=who.uuid, quantity=quantity, **named(item))
        try:
            discount = promos.quote(env, code, who, **pricing.product(env, order))
        except InvalidPromoCode as exc:
            refusal, refused = str(exc), str(exc.extra.get("reason") or "other")
    had, payment_id = _state(env, who, item)
    return Offer(item=item, quantity=quote.quantity, quote=quote, discount=discount,
                 refusal=refusal, refused=refused, had=had,
                 payment_id=payment_id)  # fmt: skip


def named(item: Item) -> dict[str, str]:
    """An item or a service as an order names it."""
    return {item.kind: item.key}


def _state(env: Env, who: Customer, item: Item) -> tuple[str | None, UUID | None]:
    """Why the item cannot be bought now, and the payment of it that is under way."""
    with env.db.read() as tx:
        try:
            if item.kind == "service":
                services.check_free(tx, heads.now(env, who.uuid, tx), who.uuid, item)
            else:
                purchases.check_free(tx, who.uuid, item)
        except AlreadyPurchased as exc:
            return str(exc), None
        if item.payable is None:
            return None, None
        return None, tx.value(
            "select id from payments where customer_id = %(customer_id)s"
            " and payable = %(payable)s and state = any(%(open)s)"
            " and checkout_id is not null limit 1",
            {"customer_id": who.uuid, "payable": item.payable, "open": sorted(OPEN_STATES)},
        )


def buyer(env: Env, word: str, external_id: str | None) -> Customer | None:
    """Who looks at an offer: the link's customer, else whoever is in the portal."""
    named = offer_links.named_by(env, word) or external_id
    return customers.ensure(env, named) if named else None
