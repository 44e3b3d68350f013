"""The life of a subscription: begun, billed, renewed, in trial, in arrears, paused, ended."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import ids, periods
from ..engine import SUBSCRIPTION_OVER, Call
from ..errors import StripeError
from . import (
    customers,
    invoice_lines,
    invoicing,
    listing,
    subscription_items,
    test_clocks,
)

#: How long the first payment may take before a subscription is given up.
INCOMPLETE_S = 23 * 3600
TRIAL_NOTICE_S = 3 * periods.DAY_S
UPCOMING_S = 7 * periods.DAY_S
IN_ARREARS = ("past_due", "unpaid")
NO_METHOD = (
    "This customer has no attached payment source or default payment method. Please consider "
    "adding a default payment method."
)


@dataclass(frozen=True)
class Schedules:
    """What schedules make of a subscription: `enter` a phase as a period begins, or `within` one;
    `ended` with it; `items_changed` by somebody else."""

    enter: Callable[[Call, dict[str, Any]], None]
    within: Callable[[Call, dict[str, Any]], None]
    ended: Callable[[Call, dict[str, Any], str | None], None]
    items_changed: Callable[[Call, dict[str, Any]], None]


#: subscription_schedules.py puts it here, for it stands on this file.
SCHEDULES: list[Schedules] = []


def period_of(subscription: dict[str, Any]) -> tuple[int, int]:
    item = subscription["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


def items_of(subscription: dict[str, Any]) -> list[dict[str, Any]]:
    return subscription["items"]["data"]


def customer_of(call: Call, subscription: dict[str, Any]) -> dict[str, Any]:
    return call.find("customer", subscription["customer"], "customer")


def again(call: Call, subscription: dict[str, Any]) -> dict[str, Any]:
    """The subscription as it is stored now: what its invoice did may have changed it."""
    return call.find("subscription", subscription["id"], "subscription")


def set_period(subscription: dict[str, Any], start: int, end: int) -> None:
    for item in items_of(subscription):
        item |= {"current_period_start": start, "current_period_end": end}


def next_period_end(subscription: dict[str, Any], after: int) -> int:
    rhythm = subscription_items.rhythm_of(items_of(subscription)[0])
    return periods.next_boundary(subscription["billing_cycle_anchor"], *rhythm, after)


def next_due(subscription: dict[str, Any]) -> int | None:
    """When something happens to the subscription by itself."""
    if subscription["status"] in (*SUBSCRIPTION_OVER, "paused"):
        return None
    if subscription["status"] == "incomplete":
        return subscription["created"] + INCOMPLETE_S
    start, end = period_of(subscription)
    dates = [end, subscription["cancel_at"], subscription.get("_phase_end")]
    dates.append((subscription["pause_collection"] or {}).get("resumes_at"))
    if subscription["status"] == "trialing" and not subscription["_trial_told"]:
        dates.append(subscription["trial_end"] - TRIAL_NOTICE_S)
    if _upcoming_told(subscription, start, end):
        dates.append(end - UPCOMING_S)
    return min(one for one in dates if one is not None)


def _upcoming_told(subscription: dict[str, Any], start: int, end: int) -> bool:
    """Whether the next invoice is still to be announced."""
    ends = subscription["cancel_at"] is not None and subscription["cancel_at"] <= end
    return subscription["_upcoming"] != end and start < end - UPCOMING_S and not ends


def keep(call: Call, subscription: dict[str, Any]) -> dict[str, Any]:
    """Save a subscription with its items, and with the time at which it goes on by itself."""
    for item in items_of(subscription):
        call.tx.put(item, hidden=True)
    return call.save(subscription, due_at=next_due(subscription))


def change(
    call: Call, subscription: dict[str, Any], before: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """Set fields, save, and tell of what differs from `before`, else from how it was."""
    before = copy.deepcopy(subscription) if before is None else before
    subscription |= fields
    keep(call, subscription)
    previous = listing.changed(before, subscription)
    if previous:
        call.emit("customer.subscription.updated", subscription, previous)
    return subscription


def begin(
    call: Call, customer: dict[str, Any], subscription: dict[str, Any], *,
    once: list[dict[str, Any]] | None, behavior: str, off_session: bool, prorated: bool = True,
    paid_by: dict[str, Any] | None = None, collect: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Save and announce a new subscription and bill it for the first time.

    `once` are one-time prices as the call has them; `paid_by` is an intent that took the money
    already. Returns the subscription and its first invoice.
    """
    start, end = period_of(subscription)
    trial = subscription["status"] == "trialing"
    part = None
    if not trial and end == subscription["billing_cycle_anchor"]:
        rhythm = subscription_items.rhythm_of(items_of(subscription)[0])
        whole = end - periods.previous_boundary(end, *rhythm, end)
        part = (end - start, whole) if end - start < whole else None
    keep(call, subscription)
    call.emit("customer.subscription.created", subscription)
    if trial and subscription["trial_end"] - call.now <= TRIAL_NOTICE_S:
        tell_trial_end(call, subscription)
    subscription_items.add_once(call, customer, once, subscription["id"])
    lines = [
        subscription_items.line(call, item, (start, end), trial=trial, part=part)
        for item in items_of(subscription) if prorated or part is None
    ]
    invoice = bill(
        call, subscription, reason="subscription_create", lines=lines,
        behavior=behavior, off_session=off_session, paid_by=paid_by, collect=collect,
        period=(call.now, call.now),
    )
    return again(call, subscription), invoice


def bill(
    call: Call, subscription: dict[str, Any], *, reason: str, lines: list[dict[str, Any]],
    behavior: str, off_session: bool, period: tuple[int, int],
    paid_by: dict[str, Any] | None = None, collect: bool = True,
    proration_date: int | None = None,
) -> dict[str, Any]:
    """Make an invoice now, final at once, and charge it as `behavior` says; returns it.

    Without `collect` it stays a draft.
    """
    invoice = draft(
        call, subscription, reason=reason, lines=lines, period=period, auto_advance=False,
        waiting=paid_by is None, proration_date=proration_date,
    )
    if not collect:
        return invoice
    invoice = invoicing.finalize(call, invoice, paid_by=paid_by)
    if invoice["status"] != "open" or behavior == "default_incomplete":
        return invoice
    method = invoicing.default_method(call, invoice)
    if method is None:
        raise StripeError(NO_METHOD, code="resource_missing")
    if reason != "subscription_create":
        invoice["auto_advance"] = True
        invoicing.keep(call, invoice)
    try:
        invoice = invoicing.attempt(call, invoice, method, off_session=off_session)
    except StripeError as error:
        if behavior == "error_if_incomplete":
            error.keep = False
            raise
        invoice = call.find("invoice", invoice["id"], "invoice")
    if invoice["status"] == "open" and behavior == "error_if_incomplete":
        raise StripeError(
            "Payment for this subscription requires additional user action before it can be "
            "completed successfully.",
            status=402, type="card_error", code="subscription_payment_intent_requires_action",
        )
    return invoice


def draft(
    call: Call, subscription: dict[str, Any], *, reason: str, lines: list[dict[str, Any]],
    period: tuple[int, int], auto_advance: bool, waiting: bool = True,
    proration_date: int | None = None,
) -> dict[str, Any]:
    """A draft of a subscription with what waits for its next invoice."""
    customer, currency = customer_of(call, subscription), subscription["currency"]
    items = invoice_lines.pending(call, customer["id"], currency, subscription["id"])
    if not waiting:
        items = [one for one in items if one["_subscription"] == subscription["id"]]
    invoice = invoicing.draft(
        call, customer, reason=reason, currency=currency, lines=lines, items=items, period=period,
        auto_advance=auto_advance, subscription=subscription, proration_date=proration_date,
    )
    subscription["latest_invoice"] = invoice["id"]
    if subscription["_resumed_by"] == "next":
        subscription["_resumed_by"] = invoice["id"]
    for line in invoice["_lines"]:
        details = (line["parent"] or {}).get("subscription_item_details")
        if details and line["amount"] > 0:
            subscription["_billed"][details["subscription_item"]] = {
                "invoice": invoice["id"], "invoice_line_items": [line["id"]],
            }
    keep(call, subscription)
    return invoice


def go_on(call: Call, subscription: dict[str, Any]) -> None:
    """Do the one thing whose time has come."""
    now, pause = call.now, subscription["pause_collection"] or {}
    start, end = period_of(subscription)
    cancel_at = subscription["cancel_at"]
    if subscription["status"] == "incomplete":
        expire(call, subscription)
    elif cancel_at is not None and cancel_at <= now:
        finish(call, subscription)
    elif pause.get("resumes_at") is not None and pause["resumes_at"] <= now:
        change(call, subscription, pause_collection=None)
    elif _notice_due(subscription, now):
        tell_trial_end(call, subscription)
    elif end <= now:
        _end_period(call, subscription)
    elif subscription.get("_phase_end") is not None and subscription["_phase_end"] <= now:
        SCHEDULES[0].within(call, subscription)
    elif _upcoming_told(subscription, start, end) and end - UPCOMING_S <= now:
        subscription["_upcoming"] = end
        keep(call, subscription)
        call.emit("invoice.upcoming", upcoming(call, subscription))
    else:
        keep(call, subscription)


test_clocks.DUE["subscription"] = go_on


def _notice_due(subscription: dict[str, Any], now: int) -> bool:
    return (
        subscription["status"] == "trialing" and not subscription["_trial_told"]
        and subscription["trial_end"] - TRIAL_NOTICE_S <= now
    )


def tell_trial_end(call: Call, subscription: dict[str, Any]) -> None:
    subscription["_trial_told"] = True
    keep(call, subscription)
    call.emit("customer.subscription.trial_will_end", subscription)


def _end_period(call: Call, subscription: dict[str, Any]) -> None:
    if subscription["status"] != "trialing":
        renew(call, subscription)
        return
    behavior = "create_invoice"
    if _method_of(call, subscription) is None:
        settings = subscription["trial_settings"] or {"end_behavior": {}}
        behavior = settings["end_behavior"].get("missing_payment_method", behavior)
    if behavior == "cancel":
        finish(call, subscription)
    elif behavior == "pause":
        change(call, subscription, status="paused")
        call.emit("customer.subscription.paused", subscription)
    else:
        renew(call, subscription)


def _method_of(call: Call, subscription: dict[str, Any]) -> str | None:
    settings = customer_of(call, subscription)["invoice_settings"]
    return subscription["default_payment_method"] or settings["default_payment_method"]


def renew(call: Call, subscription: dict[str, Any]) -> None:
    """Begin the next period and draft its invoice, which becomes final an hour later."""
    before = copy.deepcopy(subscription)
    start = period_of(subscription)[1]
    SCHEDULES[0].enter(call, subscription)
    end = next_period_end(subscription, start)
    set_period(subscription, start, end)
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    pause = subscription["pause_collection"] or {}
    held = pause.get("behavior") == "keep_as_draft" or subscription["status"] == "unpaid"
    lines = [subscription_items.line(call, one, (start, end)) for one in items_of(subscription)]
    draft(
        call, subscription, reason="subscription_cycle", lines=lines,
        period=period_of(before), auto_advance=not held,
    )
    change(call, subscription, before)


def upcoming(
    call: Call, subscription: dict[str, Any], more: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The invoice that the end of the period will bring, with `more` lines; nothing is kept."""
    with call.rehearsal():
        rehearsed = copy.deepcopy(subscription)
        with call.at(period_of(rehearsed)[1]):
            renew(call, rehearsed)
        invoice = call.find("invoice", rehearsed["latest_invoice"], "invoice")
        if more:
            invoicing.add(call, invoice, more, [])
    return as_preview(invoice)


def as_preview(invoice: dict[str, Any]) -> dict[str, Any]:
    """A draft that was only rehearsed, as previews show it."""
    preview_id = f"upcoming_{ids.new('invoice')}"
    for line in invoice["_lines"]:
        line["invoice"] = preview_id
    next_at = invoice["automatically_finalizes_at"]
    return {
        **invoice, "id": preview_id, "automatically_finalizes_at": None, "auto_advance": False,
        "next_payment_attempt": next_at, "_lines": invoice["_lines"],
    }


def expire(call: Call, subscription: dict[str, Any]) -> None:
    """Give up a subscription whose first invoice was not paid in time."""
    change(call, subscription, status="incomplete_expired", ended_at=call.now)
    _void_first(call, subscription)


def _void_first(call: Call, subscription: dict[str, Any]) -> None:
    invoice = call.tx.get(subscription["latest_invoice"] or "", "invoice")
    if invoice is not None and invoice["status"] == "open":
        invoicing.void(call, invoice)


def finish(
    call: Call, subscription: dict[str, Any], *, reason: str | None = "cancellation_requested",
    details: dict[str, Any] | None = None, prorate: bool = False, invoice_now: bool = False,
) -> dict[str, Any]:
    """End a subscription now; what is left of its period is credited where that is asked for."""
    start, end = period_of(subscription)
    customer, incomplete = customer_of(call, subscription), subscription["status"] == "incomplete"
    if prorate and subscription["status"] not in ("trialing", "paused", "incomplete"):
        for item in items_of(subscription):
            subscription_items.prorate(
                call, customer, item, call.now, sign=-1,
                credited=subscription["_billed"].get(item["id"]),
            )
    if invoice_now and invoice_lines.pending(
        call, customer["id"], subscription["currency"], subscription["id"]
    ):
        charged = _method_of(call, subscription) is not None
        bill(
            call, subscription, reason="subscription_update", lines=[], off_session=True,
            behavior="allow_incomplete" if charged else "default_incomplete", period=(start, end),
        )
        subscription = again(call, subscription)
    subscription |= {
        "status": "incomplete_expired" if incomplete else "canceled",
        "canceled_at": subscription["canceled_at"] or call.now, "ended_at": call.now,
        "pause_collection": None,
    }
    told = {**subscription["cancellation_details"], **(details or {})}
    subscription["cancellation_details"] = told | {"reason": told["reason"] or reason}
    keep(call, subscription)
    call.emit("customer.subscription.deleted", subscription)
    SCHEDULES[0].ended(call, subscription, reason)
    if incomplete:
        _void_first(call, subscription)
    _stop_collecting(call, subscription)
    return subscription


def _stop_collecting(call: Call, subscription: dict[str, Any]) -> None:
    """Invoices of a subscription that ended do not go on by themselves."""
    for invoice in invoices_of(call, subscription):
        if invoice["status"] in ("draft", "open") and invoice["auto_advance"]:
            before = dict(invoice)
            invoice |= {
                "auto_advance": False, "next_payment_attempt": None,
                "automatically_finalizes_at": None,
            }
            invoicing.keep(call, invoice)
            call.emit("invoice.updated", invoice, listing.changed(before, invoice))


def invoices_of(call: Call, subscription: dict[str, Any]) -> list[dict[str, Any]]:
    """Its invoices, newest first."""
    found = call.tx.scan("invoice", link=("customer", subscription["customer"]))
    return [one for one in found if one["_subscription"] == subscription["id"]]


def _hear(call: Call, invoice: dict[str, Any], what: str) -> None:
    """What became of an invoice, and what that makes of its subscription."""
    _set_delinquent(call, invoice, what)
    subscription = call.tx.get(invoice["_subscription"] or "", "subscription")
    if subscription is None or subscription["status"] in SUBSCRIPTION_OVER:
        return
    latest = subscription["latest_invoice"] == invoice["id"]
    if what == "paid":
        _was_paid(call, subscription, invoice, latest)
    elif what == "failed" and latest and subscription["status"] == "active":
        change(call, subscription, status="past_due")
    elif what == "given_up" and subscription["status"] in IN_ARREARS:
        _give_up(call, subscription)
    elif what == "closed":
        if subscription["status"] == "incomplete" and invoice["status"] == "void":
            change(call, subscription, status="incomplete_expired", ended_at=call.now)
        elif latest and subscription["status"] in IN_ARREARS:
            change(call, subscription, status="active")


invoicing.HEARERS.append(_hear)


def _was_paid(
    call: Call, subscription: dict[str, Any], invoice: dict[str, Any], latest: bool
) -> None:
    fields: dict[str, Any] = {}
    first = invoice["billing_reason"] == "subscription_create"
    resumed = subscription["status"] == "paused" and subscription["_resumed_by"] == invoice["id"]
    intent = call.tx.get(invoice["_intent"] or "", "payment_intent")
    saved = (subscription["payment_settings"] or {}).get("save_default_payment_method")
    if intent is not None and saved == "on_subscription":
        fields["default_payment_method"] = intent["payment_method"]
    late = subscription["status"] in IN_ARREARS and latest
    if (subscription["status"] == "incomplete" and first) or late or resumed:
        fields["status"] = "active"
    if fields:
        change(call, subscription, **fields)
    if resumed:
        call.emit("customer.subscription.resumed", subscription)


def _give_up(call: Call, subscription: dict[str, Any]) -> None:
    after = call.sim.switches.after_retries
    if after == "cancel":
        finish(call, subscription, reason="payment_failed")
    elif after == "unpaid":
        change(call, subscription, status="unpaid")


def _set_delinquent(call: Call, invoice: dict[str, Any], what: str) -> None:
    customer = call.tx.get(invoice["customer"], "customer")
    if customer is None or customer.get("deleted") or what not in ("paid", "failed"):
        return
    late = what == "failed" and invoice["billing_reason"] != "subscription_create"
    if customer["delinquent"] != late:
        call.save({**customer, "delinquent": late})
        call.emit("customer.updated", {**customer, "delinquent": late}, {"delinquent": not late})


def _customer_goes(call: Call, customer: dict[str, Any]) -> None:
    """A customer that is deleted takes its subscriptions along."""
    for subscription in list(call.tx.scan("subscription", link=("customer", customer["id"]))):
        if subscription["status"] not in SUBSCRIPTION_OVER:
            finish(call, subscription)


customers.BEFORE_DELETION.append(_customer_goes)
