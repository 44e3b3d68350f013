"""Stripe's subscriptions and invoices in our words, in the shapes of old and new API versions.

Since 2025-03-31 a subscription's period stands on its items, an invoice names its subscription in
`parent`, its payments in a list, and its lines their price in `pricing`; before, each said so by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from paydesk import ids
from paydesk.errors import NotFound
from paydesk.providers.billing import (
    RemoteClock,
    RemoteInvoice,
    RemoteItem,
    RemoteLine,
    RemoteNext,
    RemotePage,
    RemotePayment,
    RemoteSubscription,
    RemoteTry,
    Told,
)
from paydesk.providers.stripe_shapes import _money, _ref, _word
from paydesk.rules.money import Money, from_stripe
from paydesk.rules.subscriptions import STATE_OF_STRIPE

#: An invoice's `billing_reason` in our words; every other one is manual.
REASONS = {
    "subscription_create": "subscription_create", "subscription_cycle": "subscription_cycle",
    "subscription_update": "subscription_update", "subscription": "subscription_cycle",
    "subscription_threshold": "subscription_cycle",
}  # fmt: skip
#: More of a price than this is kept as this many.
MOST_SEATS = 2**31 - 1
INVOICE_STATES = frozenset({"draft", "open", "paid", "void", "uncollectible"})
#: A schedule in one of these states is on a subscription.
STANDING = ("active", "not_started")
#: Why a subscription ended, where nobody asked for it.
END_REASONS = frozenset({"payment_failed", "payment_disputed"})


def of_subscription(raw: Mapping[str, Any]) -> RemoteSubscription:
    """Raises KeyError, ValueError or TypeError for a shape that is not understood."""
    listed = raw["items"]["data"]
    if not listed:
        raise ValueError("a subscription has items")
    starts = [at(one.get("current_period_start") or raw["current_period_start"]) for one in listed]
    ends = [at(one.get("current_period_end") or raw["current_period_end"]) for one in listed]
    details, hold = raw.get("cancellation_details") or {}, raw.get("pause_collection") or {}
    reason = details.get("reason")
    at_trial_end = (raw.get("trial_settings") or {}).get("end_behavior") or {}
    return RemoteSubscription(
        id=raw["id"], state=STATE_OF_STRIPE[raw["status"]],
        provider_customer=_need(_ref(raw["customer"])),
        items=tuple(of_item(one, raw) for one in listed),
        currency=(raw.get("currency") or _price(listed[0])["currency"]).lower(),
        # A cycle that was begun anew may have one instant for both.
        period_start=max(starts), period_end=max(min(ends), max(starts) + timedelta(seconds=1)),
        created_at=at(raw.get("start_date") or raw["created"]),
        trial_start=_at(raw.get("trial_start")), trial_end=_at(raw.get("trial_end")),
        cancel_at=_at(raw.get("cancel_at"))
        or (min(ends) if raw.get("cancel_at_period_end") else None),
        cancels_at_end=bool(raw.get("cancel_at_period_end")),
        canceled_at=_at(raw.get("canceled_at")),
        cancel_reason=_text(details.get("comment")) or _text(details.get("feedback")),
        end_reason=reason if reason in END_REASONS else None,
        ended_at=_at(raw.get("ended_at")), is_held=hold.get("behavior") == "void",
        resumes_at=_at(hold.get("resumes_at")),
        latest_invoice=_ref(raw.get("latest_invoice")),
        method=_ref(raw.get("default_payment_method")), metadata=_metadata(raw),
        needs_method=at_trial_end.get("missing_payment_method") in ("cancel", "pause"),
        is_sent=raw.get("collection_method") == "send_invoice",
        livemode=raw.get("livemode"), **of_schedule(raw), **ours(_metadata(raw)),
    )  # fmt: skip


def of_item(raw: Mapping[str, Any], whole: Mapping[str, Any]) -> RemoteItem:
    """An item of the subscription `whole`."""
    price = _price(raw)
    recurs = price.get("recurring") or price
    return RemoteItem(
        id=raw["id"], price=price["id"], product=_ref(price.get("product")) or "",
        unit=_unit(price), interval=(recurs["interval"], recurs.get("interval_count") or 1),
        quantity=min(raw.get("quantity") or 1, MOST_SEATS), metadata=_metadata(price),
        lookup_key=_text(price.get("lookup_key")), 
        period=_item_period(raw if raw.get("current_period_start") else whole),
    )  # fmt: skip


def of_planned(raw: Mapping[str, Any]) -> RemoteItem:
    """An item of a phase that is still to come."""
    return of_item({"id": "", "price": raw["price"], "quantity": raw.get("quantity")}, {})


def of_schedule(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Of a subscription: its schedule's name, and what comes after the phase that runs, as far as
    it says that."""
    if "schedule" not in raw:
        return {}
    found = raw["schedule"]
    if not isinstance(found, dict):
        return {"schedule": _ref(found), "says_next": found is None}
    if found.get("status") not in STANDING:
        return {"says_next": True}
    end = (found.get("current_phase") or {}).get("end_date")
    phase = next((one for one in found["phases"] if one["start_date"] == end), None)
    items = [] if phase is None else [
        of_planned(one) for one in phase["items"] if isinstance(one["price"], dict)]  # fmt: skip
    return {
        "schedule": found["id"], "says_next": True,
        "next": RemoteNext(at=at(end), items=tuple(items)) if items else None,
    }  # fmt: skip


def _item_period(raw: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Since 2025-03-31 each item has its own, before it is the subscription's. A cycle that was
    begun anew may have one instant for both."""
    if not raw.get("current_period_start"):
        return None
    start = at(raw["current_period_start"])
    return start, max(at(raw["current_period_end"]), start + timedelta(seconds=1))


def _price(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item's price; before 2020 its plan, which says the same in other words."""
    return raw.get("price") or raw["plan"]


def _unit(price: Mapping[str, Any]) -> Money | None:
    amount = price.get("unit_amount", price.get("amount"))
    if type(amount) is not int:
        return None
    return _money(amount, price["currency"])


def of_invoice(raw: Mapping[str, Any]) -> RemoteInvoice:
    """Raises KeyError, ValueError or TypeError for a shape that is not understood."""
    state = raw.get("status") or _older_state(raw)
    if state not in INVOICE_STATES:
        raise ValueError(f"an invoice has no status {state!r}")
    currency = raw["currency"].lower()
    whole = Whole(raw, currency)
    moments = raw.get("status_transitions") or {}
    parent = ((raw.get("parent") or {}).get("subscription_details")) or {}
    older = raw.get("subscription_details") or {}
    told = {**_metadata(older), **_metadata(parent), **_metadata(raw)}
    lines = tuple(whole.line(one) for one in raw["lines"]["data"])
    return RemoteInvoice(
        id=raw["id"], state=state, reason=REASONS.get(raw.get("billing_reason") or "", "manual"),
        provider_customer=_need(_ref(raw["customer"])), currency=currency, lines=lines,
        subtotal=whole.subtotal, discount=whole.discount, tax=whole.tax,
        total=whole.minor(raw["total"]), due=max(0, whole.minor(raw["amount_due"])),
        paid=whole.paid(raw),
        created_at=at(raw["created"] if "created" in raw else raw["date"]),
        number=_text(raw.get("number")),
        subscription_ref=_ref(parent.get("subscription")) or _ref(raw.get("subscription")),
        period=_period_of(lines, raw), payments=_payments(whole, raw), taxes=whole.taxes,
        is_listed=raw.get("payments") is not None,
        attempts=raw.get("attempt_count") or 0, is_outside=_is_outside(raw),
        due_at=_at(raw.get("due_date")),
        finalized_at=_at(moments.get("finalized_at") or raw.get("finalized_at")),
        paid_at=_at(moments.get("paid_at")), voided_at=_at(moments.get("voided_at")),
        uncollectible_at=_at(moments.get("marked_uncollectible_at")),
        hosted_url=_url(raw.get("hosted_invoice_url")), pdf_url=_url(raw.get("invoice_pdf")),
        livemode=raw.get("livemode"), has_more_lines=bool(raw["lines"].get("has_more")),
        **ours(told),
    )  # fmt: skip


def _older_state(raw: Mapping[str, Any]) -> str:
    """Before 2018-11-08 an invoice was paid or not, and what was not could be closed or forgiven:
    either way nobody collects it any more, which is given up. It may be paid all the same. Until
    it was tried, or its balance was reckoned, it could be changed: a draft."""
    if raw.get("paid"):
        return "paid"
    if raw.get("closed") or raw.get("forgiven"):
        return "uncollectible"
    is_final = (raw.get("attempted") or raw.get("attempt_count")
                or raw.get("ending_balance", 0) is not None)  # fmt: skip
    return "open" if is_final else "draft"


class Whole:
    """An invoice's amounts, as whole minor units of its currency."""

    def __init__(self, raw: Mapping[str, Any], currency: str) -> None:
        self.currency = currency
        listed = raw.get("total_taxes")
        older = raw.get("total_tax_amounts")
        self.taxes = tuple(self._tax(one) for one in listed or older or ())
        if not self.taxes and raw.get("tax"):  # Before 2019 there was one tax, and its sum.
            self.taxes = ((self.minor(raw["tax"]), False, None),)
        self.tax = sum(amount for amount, _, _ in self.taxes)
        off = raw.get("total_discount_amounts")
        exclusive = sum(amount for amount, is_in, _ in self.taxes if not is_in)
        self.subtotal, total = self.minor(raw["subtotal"]), self.minor(raw["total"])
        if off is not None:
            self.discount = sum(self.minor(one["amount"]) for one in off)
            if self.discount:  # Stripe's own has what single lines were discounted by off already.
                self.subtotal = total - exclusive + self.discount
        else:
            rest = self.subtotal + exclusive - total
            self.discount = max(0, rest) if raw.get("discount") else 0

    def minor(self, amount: Any) -> int:
        """An amount of Stripe's, below zero too."""
        if type(amount) is not int:
            raise ValueError("an amount is a whole number")
        whole = from_stripe(abs(amount), self.currency)
        return whole if amount >= 0 else -whole

    def paid(self, raw: Mapping[str, Any]) -> int:
        """What was paid of the invoice: all or nothing where it only says whether it is."""
        told = raw.get("amount_paid")
        if told is None and raw.get("paid"):
            return max(0, self.minor(raw["amount_due"]))
        return self.minor(told or 0)

    def _tax(self, raw: Mapping[str, Any]) -> tuple[int, bool, str | None]:
        is_in = raw.get("tax_behavior") == "inclusive" or bool(raw.get("inclusive"))
        rate = (raw.get("tax_rate_details") or {}).get("tax_rate") or _ref(raw.get("tax_rate"))
        return self.minor(raw["amount"]), is_in, rate

    def line(self, raw: Mapping[str, Any]) -> RemoteLine:
        parent = raw.get("parent") or {}
        own = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
        is_item = bool(own.get("invoice_item") or raw.get("invoice_item")) and not parent.get(
            "subscription_item_details"
        )
        priced = ((raw.get("pricing") or {}).get("price_details") or {}).get("price")
        inner = raw.get("price") or raw.get("plan") or {}
        amount = self.minor(raw["amount"])
        taxes = raw.get("taxes") or raw.get("tax_amounts") or ()
        return RemoteLine(
            kind=_kind(bool(own.get("proration", raw.get("proration"))), is_item, amount),
            description=_text(raw.get("description")) or "Subscription", amount_minor=amount,
            quantity=raw.get("quantity") or 1, unit_minor=self._unit(raw, inner),
            period=_period(raw.get("period")), price=_ref(priced) or _ref(inner) or None,
            ref=_word(raw.get("id")),
            item=_ref(own.get("subscription_item")) or _ref(raw.get("subscription_item")),
            taxes=tuple(self._tax(one) for one in taxes),
            discount_minor=sum(self.minor(one["amount"])
                               for one in raw.get("discount_amounts") or ()),
        )  # fmt: skip

    def _unit(self, raw: Mapping[str, Any], price: Mapping[str, Any]) -> int | None:
        told = (raw.get("pricing") or {}).get("unit_amount_decimal")
        if isinstance(told, str) and told.removeprefix("-").isdigit():
            return self.minor(int(told))
        amount = price.get("unit_amount", price.get("amount"))
        return self.minor(amount) if type(amount) is int else None


def _kind(is_proration: bool, is_item: bool, amount: int) -> str:
    if is_proration:
        return "proration_charge" if amount >= 0 else "proration_credit"
    if is_item:
        return "one_off" if amount >= 0 else "adjustment"
    return "recurring"


def _period_of(
    lines: Sequence[RemoteLine], raw: Mapping[str, Any]
) -> tuple[datetime, datetime] | None:
    """What is billed: the latest whole period among the lines. Stripe's own `period` is of what
    was used before."""
    whole = [one.period for one in lines if one.kind == "recurring" and one.period]
    if whole:
        return max(whole)
    if raw.get("period_start") and raw.get("period_end"):
        return at(raw["period_start"]), at(raw["period_end"])
    return None


def _payments(whole: Whole, raw: Mapping[str, Any]) -> tuple[RemotePayment, ...]:
    """What was paid first. Before 2025-03-31 there was one, which the invoice names itself: before
    2019 by its charge alone."""
    due, paid = max(0, whole.minor(raw["amount_due"])), whole.paid(raw)
    if raw.get("payments") is None:
        if raw.get("paid_out_of_band"):
            return ()
        intent, charge = _ref(raw.get("payment_intent")), _ref(raw.get("charge"))
        ref = intent or charge
        return (RemotePayment(ref=ref, asked=due, paid=paid, is_charge=not intent),) if ref else ()
    found = sorted(
        (one for one in raw["payments"]["data"] if one.get("status") != "canceled"),
        key=lambda one: (one.get("status") != "paid", not one.get("is_default")),
    )
    return tuple(_payment(whole, one, due, paid) for one in found)


def _payment(whole: Whole, raw: Mapping[str, Any], due: int, paid: int) -> RemotePayment:
    """One of the list; where it does not say how much, it is all."""
    by, is_paid = raw.get("payment") or {}, raw.get("status") == "paid"
    asked, came = raw.get("amount_requested"), raw.get("amount_paid")
    ref = _ref(by.get("payment_intent"))
    return RemotePayment(
        ref=None if by.get("type") == "payment_record" else ref or _ref(by.get("charge")),
        asked=due if asked is None else whole.minor(asked),
        paid=(paid if came is None else whole.minor(came)) if is_paid else 0,
        is_charge=ref is None,
    )


def _is_outside(raw: Mapping[str, Any]) -> bool:
    """Whether none of the money was at Stripe. Since 2025-03-31 only the list of payments says so:
    what paid is the record of a payment elsewhere, and nothing of Stripe's did."""
    if raw.get("paid_out_of_band"):
        return True
    listed = (raw.get("payments") or {}).get("data") or ()
    paid = {(one.get("payment") or {}).get("type") for one in listed if one.get("status") == "paid"}
    return paid == {"payment_record"}


def of_page(raw: Mapping[str, Any]) -> RemotePage:
    """A Checkout Session in subscription mode."""
    return RemotePage(
        id=raw["id"], status=raw.get("status") or "complete", url=raw.get("url"),
        expires_at=_at(raw.get("expires_at")), subscription_ref=_ref(raw.get("subscription")),
        provider_customer=_ref(raw.get("customer")), **ours(_metadata(raw)),
    )  # fmt: skip


def of_clock(raw: Mapping[str, Any]) -> RemoteClock:
    """A test clock."""
    state = {"ready": "ready", "advancing": "advancing"}.get(raw["status"], "failed")
    return RemoteClock(id=raw["id"], state=state, at=at(raw["frozen_time"]))


def of_try(raw: Mapping[str, Any]) -> RemoteTry | None:
    """A declined charge; None for another."""
    if raw.get("status") != "failed":
        return None
    outcome = raw.get("outcome") or {}
    return RemoteTry(
        ref=raw["id"], code=outcome.get("reason") or raw.get("failure_code"),
        message=_text(raw.get("failure_message")), at=at(raw["created"]),
    )  # fmt: skip


def told(body: str) -> Told | None:
    """What an event carries; None where its shape is not understood."""
    try:
        raw = msgspec.json.decode(body)
        inner = raw["data"]["object"]
        read = {"subscription": of_subscription, "invoice": of_invoice,
                "checkout.session": of_page}[inner["object"]]  # fmt: skip
        return Told(what=read(inner), at=at(raw["created"]))
    except (msgspec.DecodeError, KeyError, ValueError, TypeError, AttributeError):
        return None


def about(inner: Mapping[str, Any]) -> dict[str, Any]:
    """What an event is about: the subscription, the provider's customer and our ids, as far as it
    says them."""
    parent = _inner(_inner(inner, "parent"), "subscription_details")
    older = _inner(inner, "subscription_details")
    metadata = {**_metadata(older), **_metadata(parent), **_metadata(inner)}
    known = ours(metadata)
    is_itself = inner.get("object") == "subscription"
    return {
        "about": _ref(inner.get("id")) if is_itself else (
            _ref(parent.get("subscription")) or _ref(inner.get("subscription"))
            or _ref(inner.get("released_subscription"))  # A schedule that let go of it.
        ),
        "payment_ref": _ref(inner.get("customer")), "payment_id": known["subscription_id"],
        "customer_id": known["customer_id"] if known["subscription_id"] else None,
    }  # fmt: skip


def ours(metadata: Mapping[str, Any]) -> dict[str, str | None]:
    """Our ids in metadata: the subscription's as a bare uuid, None where they do not fit."""
    customer = _word(metadata.get("customer_id"))
    try:
        found = ids.parse("subscription", _word(metadata.get("subscription_id")) or "")
        whose = ids.show("customer", ids.customer_of(found))
        if customer in (None, whose):
            return {"subscription_id": str(found), "customer_id": whose}
    except NotFound:
        pass
    return {"subscription_id": None, "customer_id": customer}


def at(value: Any) -> datetime:
    if type(value) is not int:
        raise ValueError("an instant is a whole number of seconds")
    return datetime.fromtimestamp(value, UTC)


def _at(value: Any) -> datetime | None:
    return at(value) if value is not None else None


def _period(raw: Any) -> tuple[datetime, datetime] | None:
    return (at(raw["start"]), at(raw["end"])) if isinstance(raw, dict) else None


def _inner(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _metadata(raw: Mapping[str, Any]) -> dict[str, str]:
    found = raw.get("metadata")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value[:500] if isinstance(value, str) and value else None


def _url(value: Any) -> str | None:
    is_url = isinstance(value, str) and value.startswith(("https://", "http://"))
    return value if is_url and len(value) <= 4096 else None


def _need(value: str | None) -> str:
    if value is None:
        raise ValueError("an id is missing")
    return value
