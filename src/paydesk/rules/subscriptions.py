"""Subscriptions as a state machine: what may follow what, and what is due next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from paydesk.errors import InvalidTransition
from paydesk.rules import periods

#: {state: {event: the state after it}}. An event that a state does not name is refused.
#:
#: trial_started   the trial begins (with a saved method, or without one where the plan says so)
#: paid            an invoice of it was paid, or nothing was due
#: payment_failed  a charge for an invoice failed; dunning begins or goes on
#: gave_up         dunning ended with "unpaid"
#: downgraded      dunning ended with "downgrade": it lives on with the lesser plan
#: paused, resumed by the customer or the desk; a trial that ends with no method pauses too
#: canceled        it ends: by the customer, the desk, at the end of the period, by dunning
#: lapsed          it ends without ever having been paid: the first checkout ran out, or the trial
#:                 ended with nothing to charge
TRANSITIONS: dict[str, dict[str, str]] = {
    "incomplete": {
        "trial_started": "trialing", "paid": "active", "payment_failed": "incomplete",
        "canceled": "canceled", "lapsed": "expired",
    },
    "trialing": {
        "paid": "active", "payment_failed": "past_due", "paused": "paused",
        "canceled": "canceled", "lapsed": "expired",
    },
    "active": {
        "paid": "active", "payment_failed": "past_due", "paused": "paused",
        "downgraded": "active", "canceled": "canceled",
    },
    "past_due": {
        "paid": "active", "payment_failed": "past_due", "gave_up": "unpaid",
        "downgraded": "active", "canceled": "canceled",
    },
    # What is still open may be paid or fail meanwhile: it stays paused.
    "paused": {
        "paid": "paused", "payment_failed": "paused", "resumed": "active",
        "canceled": "canceled",
    },
    "unpaid": {
        "paid": "active", "payment_failed": "unpaid", "downgraded": "active",
        "canceled": "canceled",
    },
    "canceled": {},
    # Late money still begins what it was paid for.
    "expired": {"trial_started": "trialing", "paid": "active"},
}  # fmt: skip

#: Of these a customer has one for each family (as in the index `subscriptions_live`).
LIVE = frozenset({"trialing", "active", "past_due", "paused", "unpaid"})
#: Nothing is due any more.
ENDED = frozenset({"canceled", "expired"})
#: Stripe's words for the states of a subscription that it bills.
#: https://docs.stripe.com/api/subscriptions/object#subscription_object-status
STATE_OF_STRIPE = {
    "incomplete": "incomplete", "incomplete_expired": "expired", "trialing": "trialing",
    "active": "active", "past_due": "past_due", "canceled": "canceled", "unpaid": "unpaid",
    "paused": "paused",
}  # fmt: skip

#: How long before a trial's end its customer is told.
TRIAL_NOTICE = timedelta(days=3)
#: What may be due, in the order in which it is done where instants are equal.
DUE = ("lapse", "trial_notice", "cancel", "trial_end", "resume", "renew", "credits")


def move(state: str, event: str) -> str:
    """The state after `event`. Raises InvalidTransition (409) where the table has no such way."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        words = event.replace("_", " ")
        raise InvalidTransition(
            f"A subscription that is {state} cannot become what {words!r} would make it.",
            state=state,
            event=event,
        ) from None


def may(state: str, event: str) -> bool:
    """Whether `move` would answer."""
    return event in TRANSITIONS.get(state, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What `due_at` looks at: a subscription's row beside the terms of its plan.

    `period` is the number of the running period counted from `anchor` and `period_end` its end
    (exclusive); in a trial both are the trial's. `credits`: credits of one allotment, 0 for a
    plan that gives none; `credits_month`: how many allotments of the running period were given
    after its first. `stood`: how long pauses held the running period up so far.
    `notice_told`: the notice of the trial's end was given. `lapse_at`: when an incomplete one
    runs out. `runner` is "paydesk" or "provider".
    """

    state: str
    anchor: datetime
    unit: str
    period_end: datetime
    count: int = 1
    zone: str = "UTC"
    period: int = 0
    runner: str = "paydesk"
    credits: int = 0
    credits_month: int = 0
    stood: timedelta = timedelta(0)
    trial_end: datetime | None = None
    notice_told: bool = False
    cancel_at: datetime | None = None
    resume_at: datetime | None = None
    lapse_at: datetime | None = None


class Due(NamedTuple):
    """What is to be done and when; `at` may be past. `what` is one of DUE."""

    at: datetime
    what: str


def due_at(of: Schedule) -> Due | None:
    """What is due next; None where nothing is, however long one waits.

    - A provider that runs the subscription does all of it but one thing: while active, credits of
      a month within a longer period are due here.
    - incomplete: it lapses. trialing: the notice, three days before the end (at once where the
      trial is shorter), then the end of the trial, or the end that was asked for.
    - active, past_due: the cancellation, or the next period, whichever comes first (at the same
      instant the cancellation alone); while active, credits of a month within a longer period.
    - paused: it is resumed, or canceled; it does not renew. unpaid: only canceled.

    The order at one instant is that of DUE.
    """
    found = _due(of) if of.runner == "paydesk" else _credits_due(of)
    return min(found, key=lambda one: (one.at, DUE.index(one.what)), default=None)


def _credits_due(of: Schedule) -> list[Due]:
    at = _next_credits(of) if of.state == "active" else None
    return [Due(at, "credits")] if at is not None else []


def _due(of: Schedule) -> list[Due]:
    if of.state in ENDED:
        return []
    if of.state == "incomplete":
        return [Due(of.lapse_at, "lapse")] if of.lapse_at is not None else []
    found = [Due(of.cancel_at, "cancel")] if of.cancel_at is not None else []
    if of.state == "trialing":
        end = of.trial_end or of.period_end
        found.append(Due(end, "trial_end"))
        if not of.notice_told:
            found.append(Due(end - TRIAL_NOTICE, "trial_notice"))
    elif of.state in ("active", "past_due"):
        found.append(Due(of.period_end, "renew"))
        if of.state == "active" and (at := _next_credits(of)) is not None:
            found.append(Due(at, "credits"))
    elif of.state == "paused" and of.resume_at is not None:
        found.append(Due(of.resume_at, "resume"))
    return found


def _next_credits(of: Schedule) -> datetime | None:
    """When the next allotment within the running period is due; before the period's end."""
    if of.credits <= 0 or of.period < 0:
        return None
    given = allotments(of)
    following = of.credits_month + 1
    if following >= len(given) or given[following] >= of.period_end:
        return None
    return given[following]


def allotments(of: Schedule) -> tuple[datetime, ...]:
    """When the running period's credits are given; a pause has moved them as it moved the end."""
    given = periods.allotments(of.anchor, of.unit, of.count, of.period, of.zone)
    return tuple(one + of.stood for one in given)
