"""Schedules of subscriptions: what a subscription is to be of after its period, and until when.

A schedule is put on a subscription that runs, and its phases are set then. The subscription enters
a phase when the one before ends, with the invoice of the period that begins at that instant.
"""

from __future__ import annotations

import copy
from typing import Any

from .. import errors, ids, periods, shapes
from ..engine import SUBSCRIPTION_OVER, Call, operation
from ..errors import StripeError
from . import listing, payment_methods, prices_inline, subscription_items, test_clocks
from . import subscription_changes as changes
from . import subscription_life as life

KIND = "subscription_schedule"
MOST_PHASES = 10
PHASE_UNSIMULATED = {
    "add_invoice_items": "invoice items of phases", "application_fee_percent": "application fees",
    "billing_thresholds": "billing thresholds", "default_tax_rates": "tax rates",
    "on_behalf_of": "Connect", "transfer_data": "transfers", "trial": "trials of later phases",
}
ITEM_UNSIMULATED = {
    "billing_thresholds": "billing thresholds", "discounts": "coupons of items",
    "tax_rates": "tax rates",
}


# Calls --------------------------------------------------------------------------------------------


@operation("POST /v1/subscription_schedules")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    if not params.get("from_subscription"):
        raise errors.not_simulated("schedules that begin a subscription", "from_subscription")
    if set(params) - {"from_subscription", "metadata"}:
        raise StripeError(
            "You cannot set other parameters if `from_subscription` is set. Make the schedule "
            "first, and update it then.", param="from_subscription",
        )
    subscription = call.find(
        "subscription", params["from_subscription"], "from_subscription", 400
    )
    if subscription["status"] in (*SUBSCRIPTION_OVER, "incomplete"):
        raise StripeError(
            "You cannot migrate a subscription that is in the "
            f"`{subscription['status']}` status.", param="from_subscription",
        )
    if subscription["schedule"]:
        raise StripeError(
            "You cannot migrate a subscription that is already attached to a schedule: "
            f"`{subscription['schedule']}`.", param="from_subscription",
        )
    with test_clocks.time_of(call, subscription):
        return _from(call, subscription)


def _from(call: Call, subscription: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy(subscription)
    start, end = life.period_of(subscription)
    ends = subscription["cancel_at_period_end"]
    phase = {
        **_blank_phase(subscription["currency"]), "start_date": start, "end_date": end,
        "items": [_shown_item(one["price"]["id"], one["quantity"], one["metadata"])
                  for one in life.items_of(subscription)],
        "discounts": [{**shapes.blank("stackable_discount_with_discount_settings_and_discount_end"),
                       "discount": one} for one in subscription["discounts"]],
        "trial_end": subscription["trial_end"] if subscription["status"] == "trialing" else None,
        "proration_behavior": "create_prorations",
    }  # fmt: skip
    schedule: dict[str, Any] = {
        **shapes.blank(KIND), "id": ids.new(KIND), "object": KIND,
        "billing_mode": subscription["billing_mode"], "created": call.now,
        "current_phase": {"start_date": start, "end_date": end},
        "customer": subscription["customer"],
        "default_settings": {
            **shapes.blank("subscription_schedules_resource_default_settings"),
            "billing_cycle_anchor": "automatic", "collection_method": "charge_automatically",
            "default_payment_method": subscription["default_payment_method"],
            "invoice_settings": {"account_tax_ids": None, "days_until_due": None,
                                 "issuer": {"type": "self"}},
        },
        "end_behavior": "cancel" if ends else "release", "livemode": False,
        "metadata": listing.merged_metadata({}, call.params.get("metadata")), "phases": [phase],
        "status": "active", "subscription": subscription["id"],
        "test_clock": subscription["test_clock"],
    }  # fmt: skip
    call.save(schedule)
    call.emit(f"{KIND}.created", schedule)
    subscription |= {"schedule": schedule["id"], "_phase_end": end}
    if ends:
        subscription |= {"cancel_at_period_end": False, "cancel_at": end}
    life.change(call, subscription, before)
    return schedule


def _blank_phase(currency: str) -> dict[str, Any]:
    found = shapes.blank("subscription_schedule_phase_configuration")
    return {**found, "add_invoice_items": [], "currency": currency, "discounts": [],
            "default_tax_rates": [], "metadata": {}}  # fmt: skip


def _shown_item(price: str, quantity: int, metadata: dict[str, str]) -> dict[str, Any]:
    return {"billing_thresholds": None, "discounts": [], "metadata": metadata, "price": price,
            "quantity": quantity, "tax_rates": []}  # fmt: skip


def _found(call: Call) -> dict[str, Any]:
    return call.find(KIND, call.path["schedule"], "schedule")


def _running(call: Call, verb: str) -> dict[str, Any]:
    schedule = _found(call)
    if schedule["status"] != "active":
        raise StripeError(
            f"You cannot {verb} a subscription schedule that is currently in the "
            f"`{schedule['status']}` status. It must be in the `not_started` or `active` status."
        )
    return schedule


@operation("GET /v1/subscription_schedules/{schedule}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


@operation("GET /v1/subscription_schedules")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    dates = ("canceled_at", "completed_at", "released_at")

    def keep(one: dict[str, Any]) -> bool:
        fits = all(name not in params or (one[name] is not None
                   and listing.in_range(one[name], params[name])) for name in dates)  # fmt: skip
        return fits and not params.get("scheduled")

    customer = params.get("customer")
    return listing.page(
        call, KIND, "/v1/subscription_schedules",
        link=("customer", customer) if customer else None, keep=keep,
    )


@operation("POST /v1/subscription_schedules/{schedule}")
def update(call: Call) -> dict[str, Any]:
    schedule = _running(call, "update")
    params, before = call.params, copy.deepcopy(schedule)
    subscription = call.find("subscription", schedule["subscription"], "subscription")
    with test_clocks.time_of(call, subscription):
        if "phases" in params:
            schedule["phases"] = _phases(call, schedule, subscription, params["phases"])
            first = schedule["phases"][0]
            schedule["current_phase"] = {"start_date": first["start_date"],
                                         "end_date": first["end_date"]}  # fmt: skip
        if params.get("end_behavior") in ("none", "renew"):
            raise errors.not_simulated(f"the end behavior {params['end_behavior']}")
        listing.assign(schedule, params, ("end_behavior",))
        schedule["metadata"] = listing.merged_metadata(
            schedule["metadata"], params.get("metadata"))  # fmt: skip
        _defaults(call, schedule, params.get("default_settings") or {})
        return _keep(call, schedule, subscription, before)


def _defaults(call: Call, schedule: dict[str, Any], given: dict[str, Any]) -> None:
    for name in given:
        if name != "default_payment_method":
            raise errors.not_simulated(f"the default {name}", f"default_settings[{name}]")
    if given:
        payment_methods.of_customer(
            call, given["default_payment_method"], schedule["customer"]
        )
        schedule["default_settings"] = {**schedule["default_settings"], **given}


def _keep(
    call: Call, schedule: dict[str, Any], subscription: dict[str, Any], before: dict[str, Any]
) -> dict[str, Any]:
    """Save it, with what its end makes of the subscription's."""
    call.save(schedule)
    if previous := listing.changed(before, schedule):
        call.emit(f"{KIND}.updated", schedule, previous)
    was = copy.deepcopy(subscription)
    end = schedule["phases"][-1]["end_date"]
    if schedule["end_behavior"] == "cancel":
        subscription["cancel_at"] = end
    elif before["end_behavior"] == "cancel":
        subscription["cancel_at"] = None
    subscription["_phase_end"] = schedule["current_phase"]["end_date"]
    life.change(call, subscription, was)
    return schedule


def _phases(
    call: Call, schedule: dict[str, Any], subscription: dict[str, Any],
    given: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The phases as they shall be: the one that runs, and those after it."""
    if not 1 <= len(given) <= MOST_PHASES:
        raise StripeError(f"A schedule has 1 to {MOST_PHASES} phases here.", param="phases")
    now = schedule["current_phase"]
    found: list[dict[str, Any]] = []
    start = now["start_date"]
    for index, one in enumerate(given):
        name = f"phases[{index}]"
        if one.get("start_date", start) != start:
            raise StripeError(
                "You can not modify the start date of the current phase." if not index else
                "The start date of a phase has to be the end date of the one before.",
                param=f"{name}[start_date]",
            )
        found.append(_phase(call, subscription, one, start, name, is_running=not index))
        start = found[-1]["end_date"]
    if found[0]["end_date"] <= call.now:
        raise StripeError("The current phase has to end in the future.", param="phases")
    running = [(one["price"]["id"], one["quantity"]) for one in life.items_of(subscription)]
    if sorted(running) != sorted((one["price"], one["quantity"]) for one in found[0]["items"]):
        raise errors.not_simulated("changes of the phase that runs", "phases[0][items]")
    return found


def _phase(
    call: Call, subscription: dict[str, Any], given: dict[str, Any], start: int, name: str, *,
    is_running: bool,
) -> dict[str, Any]:
    listing.refuse_unsimulated(given, PHASE_UNSIMULATED)
    trial_end = given.get("trial_end")
    if trial_end is not None and not (is_running and trial_end == subscription["trial_end"]):
        raise errors.not_simulated("trials of later phases", f"{name}[trial_end]")
    if given.get("collection_method") == "send_invoice":
        raise errors.not_simulated("subscriptions paid by hand", f"{name}[collection_method]")
    items = [_item(call, one, f"{name}[items][{at}]") for at, one in enumerate(given["items"])]
    prices = [call.find("price", one["price"], "price") for one in items]
    if len({(one["recurring"]["interval"], one["recurring"]["interval_count"])
            for one in prices}) > 1:  # fmt: skip
        raise errors.not_simulated("items with different billing intervals", f"{name}[items]")
    if {one["currency"] for one in prices} != {subscription["currency"]}:
        raise StripeError(
            "The currency of a subscription cannot be changed.", param=f"{name}[items]"
        )
    method = given.get("default_payment_method")
    if method:
        payment_methods.of_customer(call, method, subscription["customer"])
    return {
        **_blank_phase(subscription["currency"]), "start_date": start,
        "end_date": _end_of(given, start, name), "items": items, "trial_end": trial_end,
        "discounts": _discounts(subscription, given.get("discounts") or (), name),
        "proration_behavior": given.get("proration_behavior", "create_prorations"),
        "billing_cycle_anchor": given.get("billing_cycle_anchor"),
        "collection_method": given.get("collection_method"),
        "default_payment_method": method or None, "metadata": given.get("metadata") or {},
    }  # fmt: skip


def _item(call: Call, given: dict[str, Any], name: str) -> dict[str, Any]:
    listing.refuse_unsimulated(given, ITEM_UNSIMULATED)
    price = prices_inline.chosen(call, given, name, recurring=True, active=False)
    return _shown_item(price["id"], given.get("quantity", 1), given.get("metadata") or {})


def _end_of(given: dict[str, Any], start: int, name: str) -> int:
    listing.exclusive(given, "end_date", "duration")
    end, length = given.get("end_date"), given.get("duration")
    if length:
        end = periods.boundary(start, length["interval"], length.get("interval_count") or 1, 1)
    if not isinstance(end, int):
        raise errors.missing_param(f"{name}[end_date]")
    if end <= start:
        raise StripeError("A phase has to end after its start.", param=f"{name}[end_date]")
    return end


def _discounts(
    subscription: dict[str, Any], given: Any, name: str
) -> list[dict[str, Any]]:
    """Those that the subscription has already: others are not simulated."""
    found = []
    for one in given:
        if one.get("discount") not in subscription["discounts"]:
            raise errors.not_simulated("coupons of phases", f"{name}[discounts]")
        found.append({**shapes.blank("stackable_discount_with_discount_settings_and_discount_end"),
                      "discount": one["discount"]})  # fmt: skip
    return found


@operation("POST /v1/subscription_schedules/{schedule}/release")
def release(call: Call) -> dict[str, Any]:
    schedule = _running(call, "release")
    subscription = call.find("subscription", schedule["subscription"], "subscription")
    with test_clocks.time_of(call, subscription):
        return _let_go(
            call, schedule, subscription, "released", "released_at",
            keeps_date=call.params.get("preserve_cancel_date", False),
        )


def _let_go(
    call: Call, schedule: dict[str, Any], subscription: dict[str, Any], status: str, at: str, *,
    keeps_date: bool = False,
) -> dict[str, Any]:
    """The subscription runs on by itself."""
    before = copy.deepcopy(subscription)
    schedule |= {
        "status": status, at: call.now, "released_subscription": subscription["id"],
        "subscription": None, "current_phase": None,
    }
    call.save(schedule)
    call.emit(f"{KIND}.{status}", schedule)
    subscription |= {"schedule": None, "_phase_end": None}
    if schedule["end_behavior"] == "cancel" and not keeps_date:
        subscription |= {"cancel_at": None, "canceled_at": None}
    life.change(call, subscription, before)
    return schedule


@operation("POST /v1/subscription_schedules/{schedule}/cancel")
def cancel(call: Call) -> dict[str, Any]:
    schedule = _running(call, "cancel")
    subscription = call.find("subscription", schedule["subscription"], "subscription")
    with test_clocks.time_of(call, subscription):
        life.finish(
            call, subscription, prorate=call.params.get("prorate", True),
            invoice_now=call.params.get("invoice_now", True),
        )
    return _found(call)


# With the subscription ----------------------------------------------------------------------------


def _of(call: Call, subscription: dict[str, Any]) -> dict[str, Any] | None:
    return call.tx.get(subscription["schedule"] or "", KIND)


def _enter(call: Call, subscription: dict[str, Any]) -> None:
    """The period that begins now is that of the next phase, where the last one is over. The
    caller saves and tells of it."""
    schedule = _of(call, subscription)
    if schedule is None or schedule["current_phase"]["end_date"] > call.now:
        return
    phase = _next(schedule)
    if phase is None:
        _complete(call, schedule, subscription)
        return
    was = {one["price"]["id"]: one for one in life.items_of(subscription)}
    rhythm = subscription_items.rhythm_of(life.items_of(subscription)[0])
    period, items = life.period_of(subscription), []
    for index, one in enumerate(phase["items"]):
        old = was.pop(one["price"], None)
        given = {"quantity": one["quantity"], "metadata": one["metadata"]}
        if old is None:
            given["_price"] = call.find("price", one["price"], "price")
        items.append(subscription_items.build(
            call, given, subscription["id"], period, f"items[{index}]", old
        ))
    for gone in was.values():
        call.tx.remove(gone["id"])
    subscription["items"] = {**subscription["items"], "data": items}
    if subscription_items.rhythm_of(items[0]) != rhythm or (
            phase["billing_cycle_anchor"] == "phase_start"):  # fmt: skip
        subscription["billing_cycle_anchor"] = phase["start_date"]
    _settings(schedule, subscription, phase)
    _at(call, schedule, subscription, phase)


def _settings(
    schedule: dict[str, Any], subscription: dict[str, Any], phase: dict[str, Any]
) -> None:
    kept = {one["discount"] for one in phase["discounts"]}
    off = [one for one in subscription["_off"] if one["id"] in kept]
    method = (phase["default_payment_method"]
              or schedule["default_settings"]["default_payment_method"])  # fmt: skip
    subscription |= {
        "_off": off, "discounts": [one["id"] for one in off],
        "default_payment_method": method or subscription["default_payment_method"],
        "metadata": {**subscription["metadata"], **phase["metadata"]},
    }


def _next(schedule: dict[str, Any]) -> dict[str, Any] | None:
    end = schedule["current_phase"]["end_date"]
    return next((one for one in schedule["phases"] if one["start_date"] == end), None)


def _at(
    call: Call, schedule: dict[str, Any], subscription: dict[str, Any], phase: dict[str, Any]
) -> None:
    before = copy.deepcopy(schedule)
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    call.save(schedule)
    call.emit(f"{KIND}.updated", schedule, listing.changed(before, schedule))
    subscription["_phase_end"] = phase["end_date"]


def _complete(
    call: Call, schedule: dict[str, Any], subscription: dict[str, Any]
) -> None:
    schedule |= {
        "status": "completed", "completed_at": call.now, "current_phase": None,
        "released_subscription": subscription["id"], "subscription": None,
    }
    call.save(schedule)
    call.emit(f"{KIND}.completed", schedule)
    subscription |= {"schedule": None, "_phase_end": None}


def _within(call: Call, subscription: dict[str, Any]) -> None:
    """A phase ends within a period: its items change as by an update."""
    schedule = _of(call, subscription)
    assert schedule is not None, "it has a phase"
    phase = _next(schedule)
    if phase is None:
        before = copy.deepcopy(subscription)
        _complete(call, schedule, subscription)
        life.change(call, subscription, before)
        return
    given = []
    new = {one["price"]: one for one in phase["items"]}
    for item in life.items_of(subscription):
        one = new.pop(item["price"]["id"], None)
        given.append({"id": item["id"], "deleted": True} if one is None else
                     {"id": item["id"], "quantity": one["quantity"]})  # fmt: skip
    given += [{"_price": call.find("price", one["price"], "price"), "quantity": one["quantity"]}
              for one in new.values()]  # fmt: skip
    _settings(schedule, subscription, phase)
    _at(call, schedule, subscription, phase)
    changes.apply(call, subscription, {
        "items": given, "proration_behavior": phase["proration_behavior"]})  # fmt: skip


def _ended(call: Call, subscription: dict[str, Any], reason: str | None) -> None:
    """A subscription that is over takes its schedule along."""
    schedule = _of(call, subscription)
    if schedule is None or schedule["status"] != "active":
        return
    schedule |= {"status": "canceled", "canceled_at": call.now, "current_phase": None}
    call.save(schedule)
    call.emit(f"{KIND}.{'aborted' if reason == 'payment_failed' else 'canceled'}", schedule)


def _items_changed(call: Call, subscription: dict[str, Any]) -> None:
    """The phase that runs is what the subscription was changed to."""
    schedule = _of(call, subscription)
    if schedule is None or schedule["status"] != "active":
        return
    before = copy.deepcopy(schedule)
    start = schedule["current_phase"]["start_date"]
    for phase in schedule["phases"]:
        if phase["start_date"] == start:
            phase["items"] = [_shown_item(one["price"]["id"], one["quantity"], one["metadata"])
                              for one in life.items_of(subscription)]  # fmt: skip
    if previous := listing.changed(before, schedule):
        call.save(schedule)
        call.emit(f"{KIND}.updated", schedule, previous)


life.SCHEDULES.append(life.Schedules(
    enter=_enter, within=_within, ended=_ended, items_changed=_items_changed
))
