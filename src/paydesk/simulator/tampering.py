"""Actions for reconciliation: payments the shop never made, objects altered, objects gone.

`alter`, `alter_amount` and `drop` tell nobody unless `event` asks for it: the provider's books are
then not what the shop was told. They keep the objects' shapes, and what belongs together fitting.
"""

from __future__ import annotations

from typing import Any

from . import cards, money, shapes
from .backstage import action, charge_of, named
from .engine import Call
from .objects import confirmation, customers, listing, payment_intents, payment_methods

#: What may not be set: other objects find the object by it.
FIXED = ("id", "object")
#: Where the types of an object's events do not begin with its kind.
EVENTS_OF = {"dispute": "charge.dispute", "subscription": "customer.subscription"}
#: Objects that an event of their own tells about when they change.
TOLD = (
    "charge", "customer", "payment_method", "price", "product", "refund", "charge.dispute",
    "customer.subscription", "invoice",
)


@action
def pay(
    call: Call, amount: int, currency: str = "usd", card: str = "pm_card_visa",
    customer: str | None = None, description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A payment made in the provider itself, unknown to the shop; returns the intent.

    `card` is a name such as pm_card_visa, the id of a saved method, or a test card's number.
    """
    currency = money.check_currency(currency, "currency")
    money.check_amount(amount, currency)
    if customer is not None:
        customers.living(call, customer)
    if card[:1].isdigit():
        method = payment_methods.make(call, cards.by_number(card))
    else:
        method = payment_methods.resolve(call, card)
    intent = payment_intents.make(
        call,
        {
            "amount": amount, "currency": currency, "customer": customer,
            "description": description, "metadata": metadata or {},
            "payment_method_types": ["card"],
        },
    )
    payment_intents.take_method(call, intent, {"payment_method": method["id"]})
    return confirmation.attempt(call, intent, method)


@action
def update_card(
    call: Call, payment_method: str, exp_month: int = 12, exp_year: int = 2040,
    last4: str | None = None,
) -> dict[str, Any]:
    """The bank replaces a saved card: its date, and its digits where they are named."""
    method = named(call, "payment_method", payment_method)
    before = dict(method)
    card = {**method["card"], "exp_month": exp_month, "exp_year": exp_year}
    if last4 is not None:
        card["last4"] = last4
    method["card"] = card
    call.save(method)
    call.emit("payment_method.automatically_updated", method, listing.changed(before, method))
    return method


@action
def alter(call: Call, id: str, set: dict[str, Any], event: bool = False) -> dict[str, Any]:
    """Set fields of any object; `event` tells of it as if it was changed in the dashboard."""
    item = call.tx.get(id)
    if item is None or "object" not in item:
        raise ValueError(f"there is no object {id[:100]}")
    for name in set:
        if name in FIXED or name[:1] == "_":
            raise ValueError(f"{name[:60]} cannot be set")
    before, item = item, {**item, **set}
    if item["object"] == "product":
        item["updated"] = call.now
    shown = call.show(item)
    try:
        shapes.validate(item["object"], shown)
    except (shapes.ShapeMismatch, KeyError) as error:
        raise ValueError(str(error)) from None
    kind = EVENTS_OF.get(item["object"], item["object"])
    if event and kind not in TOLD:
        raise ValueError(f"no event tells that a {kind} changed")
    _keep(call, item)
    if event:
        call.emit(f"{kind}.updated", item, listing.changed(before, item))
    return item


@action
def alter_amount(call: Call, id: str, amount: int) -> dict[str, Any]:
    """Give a payment intent, charge or refund another amount, with its balance transaction."""
    if not 1 <= amount <= money.MAXIMUM_MINOR:
        raise ValueError("amount is positive, in minor units")
    if call.tx.get(id, "refund"):
        refund = named(call, "refund", id)
        charge = named(call, "charge", refund["charge"])
        charge["amount_refunded"] += amount - refund["amount"]
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        _keep(call, charge)
        _rebook(call, refund, -amount, 0)
        _keep(call, {**refund, "amount": amount})
        return named(call, "refund", id)
    charge = charge_of(call, id)
    _rebook(call, charge, amount, money.fee_minor(amount))
    _keep(call, {**charge, "amount": amount, "amount_captured": amount})
    intent = call.tx.get(charge["payment_intent"] or "", "payment_intent")
    if intent is not None:
        _keep(call, {**intent, "amount": amount, "amount_received": amount})
    return named(call, call.tx.get(id)["object"], id)  # type: ignore[index]


def _rebook(call: Call, item: dict[str, Any], amount: int, fee: int) -> None:
    booked = call.tx.get(item["balance_transaction"] or "")
    if booked is None:
        return
    details = [{**one, "amount": fee} for one in booked["fee_details"]]
    call.save({**booked, "amount": amount, "fee": fee, "net": amount - fee, "fee_details": details})


@action
def drop(call: Call, id: str) -> dict[str, Any]:
    """Make an object, and what hangs on it, as if it had never been; returns what it was.

    With a charge or payment intent go each other, their session, refunds, disputes and balance
    transactions; with a refund or dispute its balance transactions; with a setup intent its
    session and attempts; with a session its intent and what goes with that.
    """
    item = call.tx.get(id)
    if item is None or item.get("object") in (None, "event", "webhook_endpoint"):
        raise ValueError(f"there is no object {id[:100]} that could be dropped")
    for one in _belonging(call, item):
        call.tx.remove(one["id"])
    kind = item["object"]
    if kind in ("refund", "dispute"):
        charge = call.tx.get(item["charge"], "charge")
        if charge is not None:
            if kind == "dispute":
                others = call.tx.scan("dispute", link=("charge", charge["id"]))
                charge["disputed"] = any(True for _ in others)
            elif item["status"] not in ("failed", "canceled"):
                charge["amount_refunded"] -= item["amount"]
                charge["refunded"] = False
            call.save(charge)
    return item


def _belonging(call: Call, item: dict[str, Any]) -> list[dict[str, Any]]:
    """The object and everything that goes with it."""
    found, kind = [item], item["object"]
    if kind == "checkout.session":
        inner = call.tx.get(item["payment_intent"] or item["setup_intent"] or "")
        return _belonging(call, inner) if inner else found
    if kind == "setup_intent":
        found += [
            one for one in call.tx.scan("setup_attempt") if one["setup_intent"] == item["id"]
        ]
        session = call.tx.get(item.get("_session") or "")
        return [*found, session] if session else found
    if kind in ("payment_intent", "charge"):
        intent_id = item["id"] if kind == "payment_intent" else item["payment_intent"]
        intent = call.tx.get(intent_id) if intent_id else None
        found = [intent] if intent else [item]
        if intent_id:
            for linked in ("charge", "refund", "dispute", "checkout.session"):
                found += call.tx.scan(linked, link=("payment_intent", intent_id))
    booked: list[str] = []
    for one in found:
        names = ("balance_transaction", "failure_balance_transaction")
        booked += [one[name] for name in names if one.get(name)]
        booked += one.get("_transactions", [])
    return found + [one for name in booked if (one := call.tx.get(name))]


def _keep(call: Call, item: dict[str, Any]) -> None:
    """Save without losing the time at which something happens to it by itself."""
    call.save(item, due_at=call.tx.due_of(item["id"]))
