"""Changes of a subscription: its items, its cycle, its trial, and what they come to."""

from __future__ import annotations

import copy
from typing import Any

from .. import errors
from ..engine import SUBSCRIPTION_OVER, Call
from ..errors import StripeError
from . import (
    invoice_lines,
    listing,
    payment_methods,
    subscription_items,
)
from . import subscription_life as life

UNSIMULATED = {
    "application_fee_percent": "application fees", "billing_cycle_anchor_config":
    "configured anchors", "billing_schedules": "billing schedules",
    "billing_thresholds": "billing thresholds", "customer_account": "customer accounts",
    "backdate_start_date": "subscriptions that began in the past", "default_source": "sources",
    "default_tax_rates": "tax rates", "discounts": "coupons", "on_behalf_of": "Connect",
    "pending_invoice_item_interval": "intervals of pending items",
    "transfer_data": "transfers", "trial_from_plan": "trials of prices",
    "days_until_due": "subscriptions paid by hand",
}
#: The shortest and longest trial, in seconds: Stripe takes at most two years.
LONGEST_TRIAL_S = 730 * 86_400


def check(params: dict[str, Any]) -> None:
    """Refuse what is not simulated, at the creation and at a change."""
    listing.refuse_unsimulated(params, UNSIMULATED)
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise errors.not_simulated("automatic tax", "automatic_tax")
    if params.get("collection_method") == "send_invoice":
        raise errors.not_simulated("subscriptions paid by hand", "collection_method")
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise errors.not_simulated("pending updates", "payment_behavior")
    kinds = (params.get("payment_settings") or {}).get("payment_method_types") or ()
    for kind in kinds:
        if kind != "card":
            raise errors.not_simulated(
                f"payments by {kind}", "payment_settings[payment_method_types]"
            )
    if isinstance(params.get("cancel_at"), str) and params["cancel_at"]:
        raise errors.not_simulated(f"{params['cancel_at']} as a date", "cancel_at")
    listing.exclusive(params, "cancel_at", "cancel_at_period_end")
    pause = params.get("pause_collection") or {}
    if pause and pause.get("resumes_at") is not None and pause["resumes_at"] < 0:
        raise StripeError("Invalid timestamp.", param="pause_collection[resumes_at]")


def settings(
    call: Call, subscription: dict[str, Any], params: dict[str, Any], customer: str
) -> None:
    """Take over what changes no amount."""
    listing.assign(subscription, params, ("description",))
    subscription["metadata"] = listing.merged_metadata(
        subscription["metadata"], params.get("metadata")
    )
    if "default_payment_method" in params:
        wanted = params["default_payment_method"]
        if wanted:
            payment_methods.of_customer(call, wanted, customer)
        subscription["default_payment_method"] = wanted or None
    if params.get("payment_settings"):
        given = params["payment_settings"]
        kept = dict(subscription["payment_settings"])
        listing.assign(kept, given, ("save_default_payment_method", "payment_method_types"))
        subscription["payment_settings"] = kept
    if params.get("trial_settings"):
        subscription["trial_settings"] = params["trial_settings"]
    if "pause_collection" in params:
        given = params["pause_collection"]
        subscription["pause_collection"] = (
            {"behavior": given["behavior"], "resumes_at": given.get("resumes_at")}
            if given else None
        )
    if params.get("cancellation_details"):
        told = {k: v or None for k, v in params["cancellation_details"].items()}
        subscription["cancellation_details"] = {**subscription["cancellation_details"], **told}
    _cancellation(call, subscription, params)


def _cancellation(call: Call, subscription: dict[str, Any], params: dict[str, Any]) -> None:
    """When the subscription is to end, if it is."""
    if subscription["schedule"] and {"cancel_at", "cancel_at_period_end"} & params.keys():
        raise StripeError(
            "The subscription is managed by the subscription schedule "
            f"`{subscription['schedule']}`, and updating any cancelation behavior directly is not "
            "allowed. Please update the schedule instead."
        )
    end = life.period_of(subscription)[1]
    if params.get("cancel_at_period_end"):
        subscription |= {"cancel_at_period_end": True, "cancel_at": end, "canceled_at": call.now}
    elif params.get("cancel_at"):
        at = params["cancel_at"]
        if at <= call.now:
            raise StripeError("The cancel_at must be in the future.", param="cancel_at")
        if at < end and params.get("proration_behavior") != "none":
            raise errors.not_simulated(
                "credit for a period that is cut short; name the `proration_behavior` none, or a "
                "time after it", "cancel_at",
            )
        subscription |= {
            "cancel_at_period_end": False, "cancel_at": at, "canceled_at": call.now,
        }
    elif params.get("cancel_at") == "" or (
        # A date stands when only the flag is cleared.
        params.get("cancel_at_period_end") is False and subscription["cancel_at_period_end"]
    ):
        subscription |= {
            "cancel_at_period_end": False, "cancel_at": None, "canceled_at": None,
        }
        subscription["cancellation_details"] = {
            **subscription["cancellation_details"], "reason": None,
        }
        return
    else:
        return
    subscription["cancellation_details"] = {
        **subscription["cancellation_details"], "reason": "cancellation_requested",
    }


def apply(
    call: Call, subscription: dict[str, Any], params: dict[str, Any], *, collect: bool = True
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Change a subscription as a call asks; returns it and the invoice that was made now, if any.

    Without `collect` that invoice stays a draft, for a preview.
    """
    if subscription["status"] in SUBSCRIPTION_OVER:
        raise StripeError(
            f"No such subscription: '{subscription['id']}'. A canceled subscription can only be "
            "updated in its metadata.", code="resource_missing", param="id", status=404,
        )
    before = copy.deepcopy(subscription)
    settings(call, subscription, params, subscription["customer"])
    items, changed = _new_items(call, subscription, params)
    restart = _restart(call, subscription, items, params)
    subscription_items.add_once(
        call, life.customer_of(call, subscription), params.get("add_invoice_items"),
        subscription["id"],
    )
    if not changed and restart is None:
        life.change(call, subscription, before)
        now = params.get("add_invoice_items") and _always(params)
        return _bill(call, subscription, [], params, collect, None) if now else (
            subscription, None
        )
    if subscription["status"] == "incomplete":
        raise StripeError(
            "The items of a subscription whose first payment is incomplete cannot be changed."
        )
    return _rebuild(call, subscription, before, items, restart, params, collect)


def _rebuild(
    call: Call, subscription: dict[str, Any], before: dict[str, Any],
    items: list[dict[str, Any]], restart: tuple[int, int] | None, params: dict[str, Any],
    collect: bool,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Put other items or another period in place, with the credit and the charges of it."""
    policy = params.get("proration_behavior", "create_prorations")
    at = _proration_date(call, before, params)
    if policy != "none" and before["status"] not in ("trialing", "paused"):
        _prorate(call, before, items, at, whole=restart is not None)
    gone = {one["id"] for one in life.items_of(before)} - {one["id"] for one in items}
    for item_id in gone:
        call.tx.remove(item_id)
    subscription["items"] = {**subscription["items"], "data": items}
    lines = []
    if restart is not None:
        life.set_period(subscription, *restart)
        if subscription["cancel_at_period_end"]:
            subscription["cancel_at"] = restart[1]
        trial = subscription["status"] == "trialing"
        lines = [subscription_items.line(call, one, restart, trial=trial) for one in items]
    life.change(call, subscription, before)
    life.SCHEDULES[0].items_changed(call, subscription)
    waiting = _always(params) and invoice_lines.pending(
        call, subscription["customer"], subscription["currency"], subscription["id"]
    )
    if not lines and not waiting:
        return subscription, None
    return _bill(call, subscription, lines, params, collect, at if policy != "none" else None)


def _always(params: dict[str, Any]) -> bool:
    return params.get("proration_behavior") == "always_invoice"


def _bill(
    call: Call, subscription: dict[str, Any], lines: list[dict[str, Any]],
    params: dict[str, Any], collect: bool, at: int | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    invoice = life.bill(
        call, subscription, reason="subscription_update", lines=lines,
        behavior=params.get("payment_behavior", "allow_incomplete"),
        off_session=params.get("off_session", False), period=life.period_of(subscription),
        collect=collect, proration_date=at,
    )
    return life.again(call, subscription), invoice


def _new_items(
    call: Call, subscription: dict[str, Any], params: dict[str, Any]
) -> tuple[list[dict[str, Any]], bool]:
    """The items as they shall be, and whether that changes what is charged."""
    known = {one["id"]: one for one in life.items_of(subscription)}
    items, period = dict(known), life.period_of(subscription)
    for index, given in enumerate(params.get("items") or ()):
        param = f"items[{index}]"
        item_id = given.get("id")
        if item_id is not None and item_id not in items:
            raise errors.missing_object("subscription_item", item_id, f"{param}[id]", 400)
        if given.get("deleted"):
            if item_id is None:
                raise errors.missing_param(f"{param}[id]")
            del items[item_id]
            continue
        if given.get("clear_usage"):
            raise errors.not_simulated("metered usage", f"{param}[clear_usage]")
        built = subscription_items.build(
            call, given, subscription["id"], period, param, known.get(item_id or "")
        )
        items[built["id"]] = built
    found = list(items.values())
    subscription_items.check(found)
    if found[0]["price"]["currency"] != subscription["currency"]:
        raise StripeError(
            "The currency of a subscription cannot be changed.", param="items"
        )
    same = [_charged(one) for one in found] == [_charged(one) for one in known.values()]
    if same:
        subscription["items"] = {**subscription["items"], "data": found}
    return found, not same


def _charged(item: dict[str, Any]) -> tuple[str, str, int]:
    return item["id"], item["price"]["id"], item["quantity"]


def _restart(
    call: Call, subscription: dict[str, Any], items: list[dict[str, Any]], params: dict[str, Any]
) -> tuple[int, int] | None:
    """The period that begins now, where the change begins one: another interval, `now` as the
    anchor, or the end or the beginning of a trial. Sets status, anchor and trial with it."""
    rhythm, trial_end = subscription_items.rhythm_of(items[0]), params.get("trial_end")
    trialing = subscription["status"] == "trialing"
    if isinstance(trial_end, int):
        if not call.now < trial_end <= call.now + LONGEST_TRIAL_S:
            raise StripeError(
                "Invalid timestamp: it must be in the future, at most two years from now.",
                param="trial_end",
            )
        if trialing and trial_end == subscription["trial_end"]:
            return None
        subscription |= {
            "status": "trialing", "trial_end": trial_end, "billing_cycle_anchor": trial_end,
            "trial_start": subscription["trial_start"] if trialing else call.now,
            "_trial_told": False,
        }
        if trialing:
            life.set_period({"items": {"data": items}}, call.now, trial_end)
        return None if trialing else (call.now, trial_end)
    now = trial_end == "now" and trialing
    other = rhythm != subscription_items.rhythm_of(life.items_of(subscription)[0])
    if trialing and not now:
        return None
    if not (now or other or params.get("billing_cycle_anchor") == "now"):
        return None
    if now:
        subscription |= {"status": "active", "trial_end": call.now}
    subscription["billing_cycle_anchor"] = call.now
    return call.now, life.periods.next_boundary(call.now, *rhythm, call.now)


def _proration_date(
    call: Call, subscription: dict[str, Any], params: dict[str, Any]
) -> int:
    start, end = life.period_of(subscription)
    at = params.get("proration_date", call.now)
    if params.get("proration_date") is not None and not start <= at <= end:
        raise StripeError(
            "Cannot specify proration date outside of the current billing period.",
            param="proration_date",
        )
    return min(max(at, start), end)


def _prorate(
    call: Call, before: dict[str, Any], items: list[dict[str, Any]], at: int, *, whole: bool
) -> None:
    """Give back the rest of what was, and charge the rest of what is.

    Where the cycle begins anew (`whole`) all of the old is given back, and the new is charged in
    full elsewhere.
    """
    customer = life.customer_of(call, before)
    new = {one["id"]: one for one in items}
    old = {one["id"]: one for one in life.items_of(before)}
    for item_id, item in old.items():
        if whole or item_id not in new or _charged(new[item_id]) != _charged(item):
            subscription_items.prorate(
                call, customer, item, at, sign=-1, credited=before["_billed"].get(item_id)
            )
    if whole:
        return
    for item_id, item in new.items():
        if item_id not in old or _charged(old[item_id]) != _charged(item):
            subscription_items.prorate(call, customer, item, at, sign=1)
