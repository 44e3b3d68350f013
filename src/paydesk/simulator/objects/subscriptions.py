"""Subscriptions and their items: the calls."""

from __future__ import annotations

import copy
from typing import Any

from .. import errors, ids, shapes
from ..engine import SUBSCRIPTION_OVER, Call, operation
from ..errors import StripeError
from . import (
    coupons,
    customers,
    invoicing,
    listing,
    search,
    setup_intents,
    subscription_changes,
    subscription_items,
    test_clocks,
)
from . import subscription_life as life

DAY_S = 86_400


def build(
    call: Call, customer: dict[str, Any], params: dict[str, Any]
) -> dict[str, Any]:
    """A new subscription as `params` describe it, neither saved nor billed."""
    subscription_id = ids.new("subscription")
    trial_end = _trial_end(call, params)
    subscription: dict[str, Any] = {
        **shapes.blank("subscription"),
        "id": subscription_id,
        "object": "subscription",
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": trial_end or call.now,
        "billing_mode": _mode(params),
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": call.now,
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None, "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": call.now,
        "status": "trialing" if trial_end else "incomplete",
        "test_clock": customer.get("test_clock"),
        "trial_end": trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": call.now if trial_end else None,
        "_billed": {}, "_trial_told": False, "_upcoming": None, "_resumed_by": None,
    }
    items = [
        subscription_items.build(call, given, subscription_id, (0, 0), f"items[{index}]")
        for index, given in enumerate(params.get("items") or ())
    ]
    subscription_items.check(items)
    subscription["currency"] = items[0]["price"]["currency"]
    subscription["items"] = {
        "object": "list", "data": items, "has_more": False,
        "url": f"/v1/subscription_items?subscription={subscription_id}",
    }
    _first_period(call, subscription, params, trial_end)
    if params.get("currency") not in (None, subscription["currency"]):
        raise StripeError("The prices are of another currency.", param="currency")
    subscription_changes.settings(call, subscription, params, customer["id"])
    off = [coupons.begin(call, coupon, subscription, customer["id"])
           for coupon in params.get("_coupons") or ()]  # fmt: skip
    subscription |= {"_off": off, "discounts": [one["id"] for one in off]}
    return subscription


def _mode(params: dict[str, Any]) -> dict[str, Any]:
    if (params.get("billing_mode") or {}).get("type") == "classic":
        return {"flexible": None, "type": "classic"}
    return {"flexible": {"proration_discounts": "included"}, "type": "flexible"}


def _trial_end(call: Call, params: dict[str, Any]) -> int | None:
    listing.exclusive(params, "trial_end", "trial_period_days")
    end, days = params.get("trial_end"), params.get("trial_period_days")
    if days is not None and not 0 <= days <= 730:
        raise StripeError(
            "Trial periods can be at most two years long.", param="trial_period_days"
        )
    if isinstance(end, int):
        if not call.now < end <= call.now + subscription_changes.LONGEST_TRIAL_S:
            raise StripeError(
                "Invalid timestamp: it must be in the future, at most two years from now.",
                param="trial_end",
            )
        return end
    return call.now + days * DAY_S if days else None


def _first_period(
    call: Call, subscription: dict[str, Any], params: dict[str, Any], trial_end: int | None
) -> None:
    """The first period: the trial, the time up to the anchor that was asked for, or a whole one."""
    natural = life.next_period_end(subscription, call.now)
    anchor = params.get("billing_cycle_anchor")
    if anchor is not None:
        if trial_end:
            raise errors.not_simulated("an anchor apart from the trial", "billing_cycle_anchor")
        if not call.now < anchor <= natural:
            raise StripeError(
                "The billing_cycle_anchor must be in the future and cannot be later than the next "
                "natural billing date.",
                param="billing_cycle_anchor",
            )
        subscription["billing_cycle_anchor"] = anchor
    life.set_period(subscription, call.now, trial_end or anchor or natural)


def start(
    call: Call, customer: dict[str, Any], params: dict[str, Any], *,
    paid_by: dict[str, Any] | None = None, collect: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a subscription and its first invoice, and charge it; returns both."""
    subscription = build(call, customer, params)
    behavior = params.get("payment_behavior", "allow_incomplete")
    subscription, invoice = life.begin(
        call, customer, subscription, once=params.get("add_invoice_items"), behavior=behavior,
        off_session=params.get("off_session", False), paid_by=paid_by, collect=collect,
        prorated=params.get("proration_behavior") != "none",
    )
    needs_setup = invoice["status"] == "paid" and behavior == "default_incomplete"
    if needs_setup and invoicing.default_method(call, invoice) is None:
        _ask_for_method(call, subscription)
    return subscription, invoice


def _ask_for_method(call: Call, subscription: dict[str, Any]) -> None:
    """Nothing is due yet: a setup intent takes the card that later invoices are charged to."""
    intent = setup_intents.make(
        call, {"customer": subscription["customer"], "payment_method_types": ["card"]}
    )
    intent["_subscription"] = subscription["id"]
    call.save(intent)
    subscription["pending_setup_intent"] = intent["id"]
    life.keep(call, subscription)


def _method_saved(call: Call, intent: dict[str, Any]) -> None:
    """The setup intent of a subscription succeeded: its method is what will be charged."""
    subscription = call.tx.get(intent.get("_subscription") or "", "subscription")
    if subscription is None or subscription["pending_setup_intent"] != intent["id"]:
        return
    with test_clocks.time_of(call, subscription, changing=False):
        fields: dict[str, Any] = {"pending_setup_intent": None}
        saved = subscription["payment_settings"]["save_default_payment_method"]
        if saved == "on_subscription":
            fields["default_payment_method"] = intent["payment_method"]
        life.change(call, subscription, **fields)


setup_intents.setup_confirmation.SUCCEEDED.append(_method_saved)


@operation("POST /v1/subscriptions")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    if not params.get("customer"):
        raise errors.missing_param("customer")
    subscription_changes.check(params)
    customer = customers.living(call, params["customer"])
    with test_clocks.time_of(call, customer):
        return start(call, customer, params)[0]


def _found(call: Call, name: str = "subscription_exposed_id") -> dict[str, Any]:
    return call.find("subscription", call.path[name], "id")


@operation("GET /v1/subscriptions/{subscription_exposed_id}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


@operation("POST /v1/subscriptions/{subscription_exposed_id}")
def update(call: Call) -> dict[str, Any]:
    subscription, params = _found(call), call.params
    subscription_changes.check(params)
    with test_clocks.time_of(call, subscription):
        if subscription["status"] in SUBSCRIPTION_OVER and set(params) == {"metadata"}:
            metadata = listing.merged_metadata(subscription["metadata"], params["metadata"])
            return life.change(call, subscription, metadata=metadata)
        return subscription_changes.apply(call, subscription, params)[0]


@operation("DELETE /v1/subscriptions/{subscription_exposed_id}")
def cancel(call: Call) -> dict[str, Any]:
    subscription, params = _found(call), call.params
    if subscription["status"] in SUBSCRIPTION_OVER:
        raise errors.missing_object("subscription", subscription["id"], "id")
    with test_clocks.time_of(call, subscription):
        return life.finish(
            call, subscription, details=params.get("cancellation_details"),
            prorate=params.get("prorate", False), invoice_now=params.get("invoice_now", False),
        )


@operation("POST /v1/subscriptions/{subscription}/resume")
def resume(call: Call) -> dict[str, Any]:
    """Bring a paused subscription back: its invoice is made now, and paying it makes it active."""
    subscription, params = _found(call, "subscription"), call.params
    if subscription["status"] != "paused":
        raise StripeError(
            "You can only resume a subscription with a status of `paused`; this one has a status "
            f"of `{subscription['status']}`."
        )
    with test_clocks.time_of(call, subscription):
        before = copy.deepcopy(subscription)
        if params.get("billing_cycle_anchor", "now") == "now":
            begin, subscription["billing_cycle_anchor"] = call.now, call.now
        else:
            rhythm = subscription_items.rhythm_of(life.items_of(subscription)[0])
            begin = life.periods.previous_boundary(
                subscription["billing_cycle_anchor"], *rhythm, call.now + 1
            )
        life.set_period(subscription, begin, life.next_period_end(subscription, call.now))
        subscription["_resumed_by"] = "next"
        life.change(call, subscription, before)
        period = life.period_of(subscription)
        lines = [
            subscription_items.line(call, one, period) for one in life.items_of(subscription)
        ]
        life.bill(
            call, subscription, reason="subscription_update", lines=lines, period=period,
            behavior="allow_incomplete", off_session=False,
        )
        return life.again(call, subscription)


@operation("GET /v1/subscriptions")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    customer, status = params.get("customer"), params.get("status")

    def keep(one: dict[str, Any]) -> bool:
        over = one["status"] in SUBSCRIPTION_OVER
        fits = {None: not over, "all": True, "ended": over}.get(status, one["status"] == status)
        start, end = life.period_of(one)
        items = life.items_of(one)
        return (
            fits
            and ("price" not in params or params["price"] in {i["price"]["id"] for i in items})
            and listing.in_range(start, params.get("current_period_start"))
            and listing.in_range(end, params.get("current_period_end"))
            and params.get("test_clock", one["test_clock"]) == one["test_clock"]
        )

    return listing.page(
        call, "subscription", "/v1/subscriptions",
        link=("customer", customer) if customer else None, keep=keep,
    )


@operation("GET /v1/subscriptions/search")
def find_matching(call: Call) -> dict[str, Any]:
    return search.page(call, "subscription", "/v1/subscriptions/search")


# Items --------------------------------------------------------------------------------------------


def _item(call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
    item = call.find("subscription_item", call.path["item"], "item")
    return item, call.find("subscription", item["subscription"], "subscription")


def _change_items(
    call: Call, subscription: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """Change one item through its subscription; returns the subscription."""
    names = ("payment_behavior", "proration_behavior", "proration_date", "off_session")
    params = {name: call.params[name] for name in names if name in call.params}
    subscription_changes.check(params)
    with test_clocks.time_of(call, subscription):
        return subscription_changes.apply(call, subscription, {**params, "items": [given]})[0]


def _fields(call: Call) -> dict[str, Any]:
    names = (
        "price", "price_data", "quantity", "metadata", "discounts", "tax_rates",
        "billing_thresholds",
    )
    return {name: call.params[name] for name in names if name in call.params}


@operation("POST /v1/subscription_items")
def create_item(call: Call) -> dict[str, Any]:
    subscription = call.find("subscription", call.params["subscription"], "subscription", 400)
    known = {one["id"] for one in life.items_of(subscription)}
    changed = _change_items(call, subscription, _fields(call))
    return next(one for one in life.items_of(changed) if one["id"] not in known)


@operation("GET /v1/subscription_items/{item}")
def retrieve_item(call: Call) -> dict[str, Any]:
    return _item(call)[0]


@operation("POST /v1/subscription_items/{item}")
def update_item(call: Call) -> dict[str, Any]:
    item, subscription = _item(call)
    _change_items(call, subscription, {"id": item["id"], **_fields(call)})
    return _item(call)[0]


@operation("DELETE /v1/subscription_items/{item}")
def delete_item(call: Call) -> dict[str, Any]:
    item, subscription = _item(call)
    if call.params.get("clear_usage"):
        raise errors.not_simulated("metered usage", "clear_usage")
    if len(life.items_of(subscription)) == 1:
        raise StripeError(
            "A subscription must have at least one active item. Cancel the subscription instead."
        )
    _change_items(call, subscription, {"id": item["id"], "deleted": True})
    return {"id": item["id"], "object": "subscription_item", "deleted": True}


@operation("GET /v1/subscription_items")
def list_items(call: Call) -> dict[str, Any]:
    subscription = call.find("subscription", call.params["subscription"], "subscription", 400)
    return listing.list_of(call, life.items_of(subscription), "/v1/subscription_items")
