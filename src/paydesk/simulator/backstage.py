"""What happens without the shop: owners, banks, the dashboard, and books that were altered.

Every function of ACTIONS is `POST /_sim/{name}` with a JSON object of its named arguments, and
`Sandbox.act(name, ...)` in tests. `silent` keeps what it does from the events.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from . import cards, invoice_page
from .engine import Call
from .errors import StripeError
from .objects import (
    authentication,
    disputes,
    invoicing,
    payment_methods,
    payouts,
    refunds,
)
from .objects import subscription_life as life

Action = Callable[..., dict[str, Any]]
#: Actions by the name of their path.
ACTIONS: dict[str, Action] = {}

REFUND_FAILURES = (
    "lost_or_stolen_card", "expired_or_canceled_card", "charge_for_pending_refund_disputed",
    "insufficient_funds", "declined", "merchant_request", "unknown",
)


def action(do: Action) -> Action:
    ACTIONS[do.__name__] = do
    return do


def run(call: Call, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Do a named action and return the object it is about; ValueError where the call is wrong."""
    do = ACTIONS.get(name)
    if do is None:
        raise ValueError(f"there is no {name}; there are {', '.join(sorted(ACTIONS))}")
    arguments = dict(given)
    silent = arguments.pop("silent", False)
    if not isinstance(silent, bool):
        raise ValueError("silent is true or false")
    _check(do, arguments)
    call.silent = silent
    return call.show(do(call, **arguments))


def _check(do: Action, given: dict[str, Any]) -> None:
    """Refuse arguments that the action does not have, lacks, or has of another type."""
    wanted = dict(list(inspect.signature(do, eval_str=True).parameters.items())[1:])
    for name, value in given.items():
        if name not in wanted:
            raise ValueError(f"there is no {name}; there are {', '.join(wanted)}, silent")
        annotation = wanted[name].annotation
        kinds = annotation.__args__ if isinstance(annotation, types.UnionType) else (annotation,)
        kinds = tuple(getattr(kind, "__origin__", kind) for kind in kinds)
        right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not right:
            raise ValueError(f"{name} is not of type {' or '.join(k.__name__ for k in kinds)}")
    missing = [n for n, p in wanted.items() if p.default is p.empty and n not in given]
    if missing:
        raise ValueError(f"{missing[0]} is missing")


def charge_of(call: Call, payment: str) -> dict[str, Any]:
    """The charge with this id, or the successful one of the payment intent with it."""
    intent = call.tx.get(payment, "payment_intent")
    charge = call.tx.get(intent["latest_charge"] if intent else payment, "charge")
    if charge is None or not charge["captured"]:
        raise ValueError(f"there is no captured charge {payment[:100]}")
    return charge


def named(call: Call, kind: str, wanted: str) -> dict[str, Any]:
    try:
        return call.find(kind, wanted, kind)
    except StripeError as error:
        raise ValueError(str(error)) from None


@action
def authenticate(call: Call, intent: str, succeed: bool = True) -> dict[str, Any]:
    """The owner of the card completes or fails 3-D Secure of a payment or setup intent."""
    found, _ = authentication.authenticate(call, intent, succeed)
    if found is None:
        raise ValueError(f"there is no intent {intent[:100]}")
    return found


@action
def refund(
    call: Call, payment: str, amount: int | None = None, reason: str | None = None,
    status: str | None = None, metadata: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Somebody refunds in the dashboard; `payment` is a charge or an intent, without `amount` all
    that is left goes back. `status` pending, requires_action or succeeded where the card does not
    say it."""
    if status not in (None, "pending", "requires_action", "succeeded"):
        raise ValueError("status is pending, requires_action or succeeded")
    if reason not in (None, "duplicate", "fraudulent", "requested_by_customer"):
        raise ValueError("reason is duplicate, fraudulent or requested_by_customer")
    charge = charge_of(call, payment)
    return refunds.give_back(
        call, charge, amount, reason=reason, metadata=metadata or {}, status=status
    )


@action
def finish_refund(
    call: Call, refund: str, outcome: str = "succeeded",
    failure_reason: str = "expired_or_canceled_card",
) -> dict[str, Any]:
    """The bank's last word: a refund succeeded or failed, now; one that succeeded may fail."""
    if outcome not in ("succeeded", "failed"):
        raise ValueError("outcome is succeeded or failed")
    if failure_reason not in REFUND_FAILURES:
        raise ValueError(f"failure_reason is one of {', '.join(REFUND_FAILURES)}")
    return refunds.finish(call, named(call, "refund", refund), outcome, failure_reason)


@action
def dispute(
    call: Call, payment: str, amount: int | None = None, reason: str = "fraudulent",
    inquiry: bool = False,
) -> dict[str, Any]:
    """The owner of the card disputes a charge, or the charge of an intent; without `amount` all
    that is left of it. An inquiry takes no money yet."""
    if reason not in disputes.REASONS:
        raise ValueError(f"reason is one of {', '.join(disputes.REASONS)}")
    charge = charge_of(call, payment)
    return disputes.bring_against(call, charge, amount, reason=reason, inquiry=inquiry)


@action
def decide_dispute(call: Call, dispute: str, outcome: str) -> dict[str, Any]:
    """The bank decides: won or lost; an inquiry is warning_closed or escalated."""
    if outcome not in ("won", "lost", "warning_closed", "escalated"):
        raise ValueError("outcome is won, lost, warning_closed or escalated")
    return disputes.decide(call, named(call, "dispute", dispute), outcome)


@action
def pay_invoice(
    call: Call, invoice: str, card: str = "4242424242424242"
) -> dict[str, Any]:
    """The customer pays an invoice on its hosted page with a test card."""
    found = named(call, "invoice", invoice)
    if found["status"] not in ("open", "uncollectible"):
        raise ValueError(f"the invoice is {found['status']}")
    try:
        return invoice_page.pay(call, found, cards.by_number(card))
    except StripeError:  # what the bank refuses is to be seen in the invoice and its events
        return named(call, "invoice", invoice)


@action
def renew(call: Call, subscription: str, card: str | None = None) -> dict[str, Any]:
    """The present period of a subscription ends at once and its invoice is charged, as it will
    be on the day; `card` is a test card that is its method from now on. Returns the invoice.

    What happens bears the time at which it would happen. A subscription on a test clock is
    renewed by advancing that.
    """
    found = named(call, "subscription", subscription)
    if found["test_clock"] or life.next_due(found) is None:
        raise ValueError("only a running subscription without a test clock can be renewed")
    if card is not None:
        method = payment_methods.make(call, cards.by_number(card))
        payment_methods.attach(call, method["id"], found["customer"])
        life.change(call, found, default_payment_method=method["id"])
    end = life.period_of(found)[1]
    while (due := life.next_due(found)) is not None and due <= end:
        with call.at(due):
            life.go_on(call, found)
        found = named(call, "subscription", subscription)
    invoice = named(call, "invoice", found["latest_invoice"])
    if invoice["status"] == "draft" and invoice["auto_advance"]:
        with call.at(invoice["automatically_finalizes_at"]):
            invoicing.go_on(call, invoice)
    return named(call, "invoice", invoice["id"])


@action
def pay_out(call: Call, currency: str = "usd") -> dict[str, Any]:
    """Everything of a currency that is available goes to the bank."""
    payout = payouts.pay_out(call, currency)
    if payout is None:
        raise ValueError(f"there is nothing available in {currency[:10]}")
    return payout
