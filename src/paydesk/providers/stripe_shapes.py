"""Stripe's objects and events, read in the shapes of old and new API versions alike."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from paydesk import ids
from paydesk.errors import InvalidRequest, InvalidSignature, MalformedRequest, NotFound
from paydesk.providers import texts
from paydesk.providers.base import Charge, ProviderEvent
from paydesk.rules.dunning import sterner
from paydesk.rules.money import Money, from_stripe

#: More candidates than any roll of secrets needs; each costs a comparison.
MAX_SIGNATURES = 16
MAX_HEADER = 4096
#: A payment intent's status in our words.
INTENT_STATUS = {
    "requires_payment_method": "pending",
    "requires_confirmation": "pending",
    "requires_action": "requires_action",
    "requires_source": "pending",  # The words before 2019-02-11.
    "requires_source_action": "requires_action",
    "processing": "processing",
    "requires_capture": "authorized",
    "succeeded": "succeeded",
    "canceled": "canceled",
}
#: Event types that are read, and the kind of object inside.
SESSION_EVENTS = frozenset({
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
})
INTENT_EVENTS = frozenset({
    "payment_intent.created",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.failed",
    "payment_intent.canceled",
})
CHARGE_EVENTS = frozenset({
    "charge.succeeded", "charge.captured", "charge.failed", "charge.pending", "charge.updated",
})
REFUND_EVENTS = frozenset({
    "charge.refunded", "charge.refund.updated", "refund.created", "refund.updated",
    "refund.failed",
})
DISPUTE_EVENTS = frozenset({
    "charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
    "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated",
})
METHOD_EVENTS = frozenset({
    "payment_method.attached", "payment_method.detached", "payment_method.updated",
    "payment_method.automatically_updated", "payment_method.card_automatically_updated",
    "customer.updated", "customer.deleted",
})
SETUP_EVENTS = frozenset({
    "setup_intent.created", "setup_intent.requires_action", "setup_intent.succeeded",
    "setup_intent.setup_failed", "setup_intent.canceled",
})
SUBSCRIPTION_EVENTS = frozenset({
    "customer.subscription.created", "customer.subscription.updated",
    "customer.subscription.deleted", "customer.subscription.paused",
    "customer.subscription.resumed", "customer.subscription.trial_will_end",
    "customer.subscription.pending_update_applied", "customer.subscription.pending_update_expired",
})
#: Of what is to come of a subscription.
SCHEDULE_EVENTS = frozenset({
    "subscription_schedule.created", "subscription_schedule.updated",
    "subscription_schedule.released", "subscription_schedule.completed",
    "subscription_schedule.canceled", "subscription_schedule.aborted",
})
INVOICE_EVENTS = frozenset({
    "invoice.created", "invoice.finalized", "invoice.updated", "invoice.paid",
    "invoice.payment_succeeded", "invoice.payment_failed", "invoice.payment_action_required",
    "invoice.voided", "invoice.marked_uncollectible", "invoice.overpaid", "invoice.overdue",
})
#: Why other events of invoices are acknowledged and say nothing here.
INVOICE_ASIDES = {
    "invoice.upcoming": "a forecast: there is no such invoice yet",
    "invoice.deleted": "a draft was thrown away, and no draft is kept here",
    "invoice.finalization_failed": "it stays a draft, which pays for nothing",
    "invoice.sent": "a mail went out; that it is open was told before",
    "invoice.will_be_due": "a reminder of a date that is known",
    "invoice.payment_attempt_required": "somebody collects it outside of Stripe; paid, it is told",
}
#: Likewise of schedules.
SCHEDULE_ASIDES = {
    "subscription_schedule.expiring": "a forecast: what comes of it is told when it comes",
}
#: What an event's type says of its object; where the object says otherwise, Stripe is asked.
TOLD = {
    "checkout.session.completed": frozenset({"succeeded", "authorized", "processing", "failed"}),
    "checkout.session.async_payment_succeeded": frozenset({"succeeded"}),
    "checkout.session.expired": frozenset({"expired"}),
    "payment_intent.processing": frozenset({"processing"}),
    "payment_intent.requires_action": frozenset({"requires_action"}),
    "payment_intent.amount_capturable_updated": frozenset({"authorized"}),
    "payment_intent.succeeded": frozenset({"succeeded"}),
    "payment_intent.canceled": frozenset({"canceled"}),
    "charge.succeeded": frozenset({"succeeded"}),
    "charge.captured": frozenset({"succeeded"}),
}
#: What the two digits of a card network's advice say, in the words of Stripe's own codes
#: (https://docs.stripe.com/declines/codes): a new card is known, later, never with this card, and
#: its holder ended the agreement. Others advise when to come back, which the schedule decides.
NETWORK_ADVICE = {
    "01": "new_account_information_available", "02": "try_again_later", "03": "do_not_try_again",
    "21": "revocation_of_authorization",
}  # fmt: skip
#: A thin event names only what it is about; such a type begins with this where it is of `/v1`.
THIN, THIN_V1 = "v2.core.event", "v1."
#: What may be kept of a card: what people recognize it by, and where it is from.
CARD_MEMBERS = frozenset({
    "brand", "last4", "exp_month", "exp_year", "country", "funding", "fingerprint", "wallet",
})
#: Which reader an event of these types has; the others are ignored.
_KINDS = (
    (SESSION_EVENTS | INTENT_EVENTS | CHARGE_EVENTS, "charge.updated"),
    (REFUND_EVENTS, "refund.updated"),
    (DISPUTE_EVENTS, "dispute.updated"),
    (METHOD_EVENTS, "method.updated"),
    (SETUP_EVENTS, "setup.updated"),
    (SUBSCRIPTION_EVENTS | SCHEDULE_EVENTS, "subscription.updated"),
    (INVOICE_EVENTS, "invoice.updated"),
)
READ_EVENTS = frozenset().union(*(types for types, _ in _KINDS))


def check_signature(
    body: bytes, header: str | None, secrets: list[str], *, now_s: float, tolerance_s: int
) -> None:
    """Raise InvalidSignature unless one secret signed this body within the tolerance, either way.

    Every secret is compared with every signature: the time taken says nothing about which failed.
    """
    if not header or len(header) > MAX_HEADER or not header.isascii() or not secrets:
        raise InvalidSignature("The Stripe-Signature header is missing or cannot be read.")
    stamp, given = _header_parts(header)
    signed = stamp.encode() + b"." + body
    matches = 0
    for secret in secrets:
        wanted = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        for signature in given:
            matches |= hmac.compare_digest(wanted, signature)
    if not matches:
        raise InvalidSignature("No signature of this webhook fits.")
    if abs(now_s - int(stamp)) > tolerance_s:
        raise InvalidSignature("The webhook's time stamp is outside the tolerance.")


def _header_parts(header: str) -> tuple[str, list[str]]:
    stamps, signatures = [], []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            stamps.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(stamps) != 1 or not stamps[0].isdigit() or len(stamps[0]) > 12:
        raise InvalidSignature("The Stripe-Signature header has no usable time stamp.")
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise InvalidSignature("The Stripe-Signature header has no usable signature.")
    return stamps[0], signatures


def read_event(body: bytes) -> ProviderEvent:
    """A signed body as an event. Raises MalformedRequest for what is no JSON object.

    An object that lacks what is needed gives an event with a `problem`.
    """
    try:
        text = body.decode("utf-8")
        raw = _decoded(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise MalformedRequest("The webhook's body is not JSON.") from None
    if not isinstance(raw, dict):
        raise MalformedRequest("The webhook's body is no JSON object.")
    event_id, kind = _word(raw.get("id")), _word(raw.get("type"))
    is_thin = raw.get("object") == THIN
    data = raw.get("data")
    inner = data.get("object") if isinstance(data, dict) else None
    account = _word(raw.get("account"))
    common: dict[str, Any] = {
        "id": event_id or "sha256:" + hashlib.sha256(body).hexdigest(),
        "type": kind or "unknown",
        "body": _kept(text, raw),
        "account": account or "",
        "livemode": raw.get("livemode") if isinstance(raw.get("livemode"), bool) else None,
    }
    if event_id and kind and kind.removeprefix(THIN_V1 if is_thin else "") not in READ_EVENTS:
        return ProviderEvent(kind="ignored", **common)
    if event_id and kind and is_thin:
        return _of_thin(kind.removeprefix(THIN_V1), raw.get("related_object"), common)
    if event_id is None or kind is None or not isinstance(inner, dict):
        return ProviderEvent(kind="charge.updated", problem="id, type or data.object is missing",
                             **common)
    if account is None and raw.get("account") not in (None, ""):
        return ProviderEvent(kind="charge.updated", problem="account is no account", **common)
    return _of_object(kind, inner, common)


def _decoded(text: str) -> Any:
    """The JSON in texts that can be kept: halves of pairs of surrogates are read too."""
    if not texts.may_be_odd(text):
        return msgspec.json.decode(text)
    return texts.clean(json.loads(text, parse_constant=_no_number))


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _kept(text: str, raw: dict[str, Any]) -> str:
    """An event as it may be kept: as it came, but without secrets of intents, and of cards no more
    than people know them by."""
    if '"client_secret"' not in text and '"card"' not in text:
        return text
    try:
        return msgspec.json.encode(_pruned(raw)).decode()
    except RecursionError:
        raise MalformedRequest("The webhook's body is nested too deep.") from None


def _pruned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pruned(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("object") == "card":
        value = {k: v for k, v in value.items() if k in CARD_MEMBERS | {"id", "object"}}
    found = {}
    for name, one in value.items():
        if name == "client_secret":
            found[name] = None
        elif name in ("card", "card_present") and isinstance(one, dict):
            found[name] = {k: _pruned(v) for k, v in one.items() if k in CARD_MEMBERS}
            if isinstance(wallet := one.get("wallet"), dict):
                found[name]["wallet"] = {"type": wallet.get("type")}
        else:
            found[name] = _pruned(one)
    return found


def _of_thin(kind: str, about: Any, common: dict[str, Any]) -> ProviderEvent:
    """A thin event: Stripe is asked about what it names. A charge's says nothing that its
    intent's, its refund's or its dispute's own event does not say."""
    if kind in CHARGE_EVENTS or kind == "charge.refunded":
        return ProviderEvent(kind="ignored", **common)
    ref = _word(about.get("id")) if isinstance(about, dict) else None
    if ref is None:
        return ProviderEvent(kind="charge.updated", problem="related_object.id is missing",
                             **common)
    ours = next(word for kinds, word in _KINDS if kind in kinds)
    whose = ref if kind in ("customer.updated", "customer.deleted") else None
    return ProviderEvent(kind=ours, ref=ref, payment_ref=whose, **common)


def _of_object(kind: str, inner: dict[str, Any], common: dict[str, Any]) -> ProviderEvent:
    ref = _word(inner.get("id"))
    if ref is None:
        return ProviderEvent(kind="charge.updated", problem="data.object.id is missing", **common)
    mode = inner.get("mode")
    if kind in SESSION_EVENTS and mode == "setup":
        return _of_setup(ref, inner, common)
    is_billed = kind in SESSION_EVENTS and mode == "subscription"
    if is_billed or kind in SUBSCRIPTION_EVENTS | INVOICE_EVENTS | SCHEDULE_EVENTS:
        from paydesk.providers.stripe_billing_shapes import about

        ours = "invoice.updated" if kind in INVOICE_EVENTS else "subscription.updated"
        return ProviderEvent(kind=ours, ref=ref, **about(inner), **common)
    if kind in SESSION_EVENTS and mode not in (None, "payment"):
        return ProviderEvent(kind="ignored", **common)
    if kind in REFUND_EVENTS:
        return _of_refund(kind, ref, inner, common)
    if kind in DISPUTE_EVENTS:
        return _of_dispute(ref, inner, common)
    if kind in METHOD_EVENTS:
        # A method that was taken away names its customer no more: it is found by its own id.
        whose = ref if inner.get("object") == "customer" else _ref(inner.get("customer"))
        return ProviderEvent(kind="method.updated", ref=ref, payment_ref=whose, **common)
    if kind in SETUP_EVENTS:
        return _of_setup(ref, inner, common)
    return _of_payment(kind, ref, inner, common)


def _of_payment(
    kind: str, ref: str, inner: dict[str, Any], common: dict[str, Any]
) -> ProviderEvent:
    """A session's, an intent's or a charge's event; what it claims, where that can be read."""
    try:
        if kind in SESSION_EVENTS:
            charge = of_session(inner)
            if kind == "checkout.session.async_payment_failed":
                charge = None  # Whether the session can be paid anew, only the provider knows.
        elif kind in INTENT_EVENTS:
            charge = of_intent(inner)
        else:
            charge = of_charge(inner)
            ref = (charge.payment_ref if charge else None) or ref
            if charge is None:
                return ProviderEvent(kind="ignored", **common)
        if charge is not None and charge.status not in TOLD.get(kind, {charge.status}):
            return ProviderEvent(
                kind="charge.updated", ref=ref, payment_id=charge.payment_id,
                customer_id=charge.customer_id, payment_ref=charge.payment_ref, **common,
            )  # fmt: skip
    except (InvalidRequest, ValueError, TypeError, KeyError, AttributeError):
        charge = None  # A shape that is not understood is read from the provider instead.
    return ProviderEvent(kind="charge.updated", ref=ref, charge=charge, **common)


def _of_refund(
    kind: str, ref: str, inner: dict[str, Any], common: dict[str, Any]
) -> ProviderEvent:
    """A refund's event; `charge.refunded` names none: `ref` is None and the payment's are listed.

    Money that was held and let go is a refund object too, one that moves nothing.
    """
    common = common | {"kind": "refund.updated"}
    named = None if kind == "charge.refunded" else ref
    whose = _whose(inner, _ref(inner.get("charge")) if named else ref)
    if whose is None or is_release(inner):
        return ProviderEvent(**common | {"kind": "ignored"})
    return ProviderEvent(ref=named, **whose, **_ours(inner), **common)


def _whose(inner: dict[str, Any], charge: str | None) -> dict[str, str | None] | None:
    """The payment of a refund or dispute: its intent, or its charge where it has no intent. Shapes
    of 2018 and before know of no intents: which one the charge is of, Stripe is asked. None: it
    belongs to nothing."""
    if (intent := _ref(inner.get("payment_intent"))) is not None:
        return {"payment_ref": intent}
    if "payment_intent" in inner:
        return {"payment_ref": charge} if charge else None
    return {"charge_ref": charge}


def is_release(refund: Mapping[str, Any]) -> bool:
    """Whether a refund object is the release of an authorization: no money went back."""
    return (
        refund.get("object") == "refund"
        and refund.get("status") == "succeeded"
        and "balance_transaction" in refund
        and refund["balance_transaction"] is None
    )


def _of_dispute(ref: str, inner: dict[str, Any], common: dict[str, Any]) -> ProviderEvent:
    common = common | {"kind": "dispute.updated"}
    whose = _whose(inner, _ref(inner.get("charge")))
    if whose is None:
        return ProviderEvent(**common | {"kind": "ignored"})
    return ProviderEvent(ref=ref, **whose, **_ours(inner), **common)


def _of_setup(ref: str, inner: dict[str, Any], common: dict[str, Any]) -> ProviderEvent:
    """A setup's event; our own id of it stands, as a bare uuid, in `payment_id`."""
    metadata = inner.get("metadata")
    ours = _word(metadata.get("setup_id")) if isinstance(metadata, dict) else None
    try:
        setup_id = str(ids.parse("setup", ours)) if ours else None
    except NotFound:
        setup_id = None
    customer_id = _ours(inner)["customer_id"] if setup_id else None
    return ProviderEvent(
        kind="setup.updated", ref=ref, payment_id=setup_id, customer_id=customer_id, **common
    )


def of_session(session: Mapping[str, Any]) -> Charge | None:
    """A Checkout Session, with its payment intent when that was expanded."""
    intent = session.get("payment_intent")
    expanded = intent if isinstance(intent, dict) else None
    inner = of_intent(expanded) if expanded else None
    ref = session["id"]
    common: dict[str, Any] = {
        "ref": ref,
        "session_ref": ref,
        "payment_ref": _ref(intent),
        "provider_customer": _ref(session.get("customer")),
        "method": (inner and inner.method) or _only(session.get("payment_method_types")),
        "livemode": session.get("livemode"),
        "decline_ref": inner.decline_ref if inner else None,
        "error_code": inner.error_code if inner else None,
        "error_message": inner.error_message if inner else None,
        "method_detail": inner.method_detail if inner else None,
        "fee": inner.fee if inner else None,
        "refunded": inner.refunded if inner else None,
        **_ours(session),
    }
    status, paid = session.get("status"), session.get("payment_status")
    if inner and inner.status in ("succeeded", "authorized"):
        return Charge(status=inner.status, amount=inner.amount, fact=inner.fact, ended=True,
                      **common)
    if paid == "paid":
        if common["payment_ref"] is None:
            return None
        amount = _money(session["amount_total"], session["currency"])
        return Charge(status="succeeded", amount=amount, fact=common["payment_ref"], ended=True,
                      **common)
    if status == "expired":
        return Charge(status="expired", ended=True, **common)
    if status == "complete":
        failed = inner is not None and inner.status in ("pending", "canceled")
        return Charge(status="failed" if failed else "processing", ended=failed, **common)
    return Charge(status=inner.status if inner else "pending", **common)


def of_intent(intent: Mapping[str, Any]) -> Charge | None:
    """A payment intent: `charges.data` (before 2022-11-15) or `latest_charge`."""
    status = INTENT_STATUS.get(intent.get("status", ""))
    if status is None:
        return None
    ref = intent["id"]
    charges = intent.get("charges")
    listed = charges["data"] if isinstance(charges, dict) and charges.get("data") else []
    latest = intent.get("latest_charge")
    charge = latest if isinstance(latest, dict) else listed[0] if listed else None
    amount = None
    if status == "succeeded":
        amount = _money(intent["amount_received"], intent["currency"])
    elif status == "authorized":
        amount = _money(intent["amount_capturable"], intent["currency"])
    error = intent.get("last_payment_error")
    error = error if isinstance(error, dict) else {}
    details = charge.get("payment_method_details") if charge else None
    method = details.get("type") if isinstance(details, dict) else None
    return Charge(
        ref=ref,
        status=status,
        amount=amount,
        fact=ref,
        ended=status in ("succeeded", "canceled", "authorized"),
        payment_ref=ref,
        provider_customer=_ref(intent.get("customer")),
        method=method or _only(intent.get("payment_method_types")),
        livemode=intent.get("livemode"),
        decline_ref=_decline(ref, error, latest) if status == "pending" else None,
        error_code=error.get("decline_code") or error.get("code"),
        error_message=error.get("message"),
        advice=_advice(error),
        action_url=_action_url(intent) if status == "requires_action" else None,
        **(_details(charge) if charge else {}),
        **_ours(intent),
    )


def of_charge(charge: Mapping[str, Any], *, alone: bool = False) -> Charge | None:
    """A charge of a payment intent; None for one that says nothing new, or that stands alone where
    such a one is no payment itself."""
    intent = _ref(charge.get("payment_intent")) or (charge["id"] if alone else None)
    if intent is None:
        return None
    details = charge.get("payment_method_details")
    common: dict[str, Any] = {
        "ref": intent,
        "payment_ref": intent,
        "fact": intent,
        "provider_customer": _ref(charge.get("customer")),
        "method": details.get("type") if isinstance(details, dict) else None,
        "livemode": charge.get("livemode"),
        **_details(charge),
        **_ours(charge),
    }
    if charge.get("status") == "succeeded" and charge.get("captured") and charge.get("paid"):
        captured = charge.get("amount_captured", charge["amount"])
        amount = _money(captured, charge["currency"])
        return Charge(status="succeeded", amount=amount, ended=True, **common)
    if charge.get("status") == "failed":
        outcome = charge.get("outcome")
        outcome = outcome if isinstance(outcome, dict) else {}
        reason = outcome.get("reason")
        return Charge(
            status="pending",
            decline_ref=charge["id"],
            error_code=reason or charge.get("failure_code"),
            error_message=charge.get("failure_message"),
            advice=_advice(outcome),
            **common,
        )
    return None


def _advice(said: Mapping[str, Any]) -> str | None:
    """The sterner of what Stripe and what the network advise after a decline."""
    own, network = said.get("advice_code"), said.get("network_advice_code")
    return sterner(own if isinstance(own, str) else None,
                   NETWORK_ADVICE.get(network) if isinstance(network, str) else None)  # fmt: skip


def declined(intent: Mapping[str, Any], code: str | None) -> Charge:
    """A charge of a saved method that was refused: failed, or its owner has to act."""
    found = of_intent(intent)
    if found is None:
        raise ValueError("the intent's status is not known")
    acts = code == "authentication_required" or found.status == "requires_action"
    return replace(found, status="requires_action" if acts else "failed", ended=False)


def _details(charge: Mapping[str, Any]) -> dict[str, Any]:
    """What was paid with, what Stripe kept, what went back: as far as this shape says it."""
    found: dict[str, Any] = {"method_detail": _method_detail(charge), "fee": None, "refunded": None}
    booked = charge.get("balance_transaction")
    if isinstance(booked, dict) and type(booked.get("fee")) is int and booked["fee"] >= 0:
        found["fee"] = _money(booked["fee"], booked.get("currency"))
    back, whole = charge.get("amount_refunded"), charge.get("amount")
    if type(back) is int and type(whole) is int:
        # What was held and never taken counts as refunded at Stripe.
        released = whole - charge.get("amount_captured", whole) if charge.get("captured") else whole
        found["refunded"] = _money(max(0, back - released), charge.get("currency"))
    return found


def _method_detail(charge: Mapping[str, Any]) -> dict[str, Any] | None:
    details = charge.get("payment_method_details")
    if not isinstance(details, dict) or not isinstance(details.get("type"), str):
        return None
    inner = details.get(details["type"])
    inner = inner if isinstance(inner, dict) else {}
    wallet = inner.get("wallet")
    found = {
        "type": details["type"],
        "brand": inner.get("brand") or inner.get("bank_name"),
        "last4": inner.get("last4"),
        "exp_month": inner.get("exp_month"),
        "exp_year": inner.get("exp_year"),
        "country": inner.get("country"),
        "funding": inner.get("funding"),
        "wallet": wallet.get("type") if isinstance(wallet, dict) else None,
        "method": _ref(charge.get("payment_method")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _action_url(intent: Mapping[str, Any]) -> str | None:
    """The page of Stripe where the payer has to act, where the intent has one."""
    action = intent.get("next_action")
    inner = action.get(action.get("type")) if isinstance(action, dict) else None
    url = inner.get("url") or inner.get("hosted_voucher_url") if isinstance(inner, dict) else None
    return url if isinstance(url, str) else None


def _decline(intent: str, error: Mapping[str, Any], latest: Any) -> str | None:
    """What a declined try is known by: its charge, or where 3-D Secure failed before there was
    one, the intent with the payment method (saved methods are tried for more than one intent)."""
    if not error:
        return None
    if error.get("code") == "payment_intent_authentication_failure":
        method = _ref(error.get("payment_method"))
        return f"{intent}/{method}" if method else None
    return _ref(error.get("charge")) or _ref(latest)


def _ours(thing: Mapping[str, Any]) -> dict[str, str | None]:
    metadata = thing.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return {
        "payment_id": _word(metadata.get("payment_id")),
        "customer_id": _word(metadata.get("customer_id")),
    }


def _money(amount: Any, currency: Any) -> Money:
    if type(amount) is not int or amount < 0 or not isinstance(currency, str):
        raise ValueError("an amount must be a whole number with a currency")
    code = currency.lower()
    return Money(from_stripe(amount, code), code, minor=True)


def _ref(value: Any) -> str | None:
    return _word(value.get("id")) if isinstance(value, dict) else _word(value)


def _only(methods: Any) -> str | None:
    return methods[0] if isinstance(methods, list) and len(methods) == 1 else None


def _word(value: Any) -> str | None:
    """A text that can be an id or a type: printable ASCII, no blanks, at most 255."""
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isascii():
        return None
    return value if value.isprintable() and " " not in value else None
