"""Dunning: when a failed invoice is tried again, what a decline means, what is done at last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from paydesk.errors import InvalidRequest

FINALS = ("cancel", "unpaid", "downgrade")
#: Retries of one invoice: card networks limit how often one card is tried in 30 days (Visa to
#: 15, lately to 20), and the customer's own tries count too.
MOST_RETRIES = 12
#: The last retry, in days after the first failure.
MOST_DAYS = 90

#: The card may pay later: try again on schedule.
_RETRY = """
approve_with_id call_issuer card_velocity_exceeded do_not_honor duplicate_transaction
generic_decline insufficient_funds issuer_not_available no_action_taken not_permitted
processing_error reenter_transaction security_violation service_not_allowed testmode_decline
try_again_later withdrawal_count_limit_exceeded
card_declined card_decline_rate_limit_exceeded provider_unavailable rate_limit
""".split()
#: This card will not pay, or its holder must do something first: wait for another method, or for
#: the customer to pay on the page of the invoice.
_NEW_METHOD = """
authentication_not_handled authentication_required card_not_supported currency_not_supported
do_not_try_again expired_card fraudulent highest_risk_level incorrect_address incorrect_cvc
incorrect_number incorrect_pin incorrect_zip invalid_account invalid_amount invalid_cvc
invalid_expiry_month invalid_expiry_year invalid_number invalid_pin lost_card
new_account_information_available offline_pin_required online_or_offline_pin_required pickup_card
pin_try_exceeded restricted_card stolen_card transaction_not_allowed
account_closed bank_account_restricted confirm_card_data no_account payer_action_required
payer_cannot_pay payment_intent_authentication_failure payment_method_not_usable
""".split()
#: The holder forbade it, or the merchant's own list blocks him: ask no more.
_STOP = """
debit_not_authorized merchant_blacklist revocation_of_all_authorizations
revocation_of_authorization stop_payment_order
""".split()

#: What a decline code means for the next try: "retry", "new_method" or "stop". Stripe's decline
#: codes and advice codes (https://docs.stripe.com/declines/codes), among them those that Stripe
#: itself does not retry without a new method
#: (https://docs.stripe.com/billing/revenue-recovery/smart-retries); failures of bank debits
#: (https://docs.stripe.com/error-codes); PayPal's; and our own words where a provider gives no
#: such code. A code that is not here is retried on schedule.
ACTIONS: dict[str, str] = {
    **dict.fromkeys(_RETRY, "retry"),
    **dict.fromkeys(_NEW_METHOD, "new_method"),
    **dict.fromkeys(_STOP, "stop"),
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """`days` after the first failure at which the invoice is tried again, rising; and what is
    done when all have failed. `downgrade_to` is the key of the plan that `downgrade` moves to."""

    days: tuple[int, ...] = (1, 3, 5, 7)
    final: str = "cancel"
    downgrade_to: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Charge again at `at`; `left` retries follow that one."""

    at: datetime
    left: int


@dataclass(frozen=True, slots=True)
class WaitForMethod:
    """Charge only a new method, at once when it comes; the final action is due at `final_at`."""

    final_at: datetime


@dataclass(frozen=True, slots=True)
class Final:
    """Nothing is tried any more: `action` is one of FINALS, with the plan of a downgrade."""

    action: str
    downgrade_to: str | None = None


def read(data: Mapping[str, Any]) -> Schedule:
    """The schedule from a plan's JSON {"days": [1, 3, 5, 7], "final": "cancel"}.

    Missing members take the defaults of Schedule; no days at all mean that the first failure is
    the last. Raises InvalidRequest (param `dunning`) for what is no schedule.
    """
    unknown = set(data) - {"days", "final", "downgrade_to"}
    if unknown:
        raise _refusal(f"knows no {', '.join(sorted(map(str, unknown)))[:80]}")
    days = data.get("days", Schedule().days)
    if not isinstance(days, list | tuple) or any(type(day) is not int for day in days):
        raise _refusal("takes `days` as a list of whole days, like [1, 3, 5, 7]")
    if len(days) > MOST_RETRIES:
        raise _refusal(f"tries again {MOST_RETRIES} times at most")
    # The first failure is day 0: every retry comes after what was before it.
    if any(later <= earlier for earlier, later in zip((0, *days), days, strict=False)):
        raise _refusal("takes `days` from 1 on, each later than the one before")
    if days and days[-1] > MOST_DAYS:
        raise _refusal(f"ends {MOST_DAYS} days after the first failure at the latest")
    final, plan = data.get("final", "cancel"), data.get("downgrade_to")
    if final not in FINALS:
        raise _refusal(f"ends with one of {', '.join(FINALS)}")
    if (final == "downgrade") != (plan is not None):
        raise _refusal("names `downgrade_to` where it ends with downgrade, and only there")
    if plan is not None and (not isinstance(plan, str) or not plan):
        raise _refusal("takes `downgrade_to` as a plan's key")
    return Schedule(tuple(days), final, plan)


def _refusal(why: str) -> InvalidRequest:
    return InvalidRequest(f"Dunning {why}.", param="dunning")


def to_json(schedule: Schedule) -> dict[str, Any]:
    """What `read` reads back."""
    found: dict[str, Any] = {"days": list(schedule.days), "final": schedule.final}
    if schedule.downgrade_to is not None:
        found["downgrade_to"] = schedule.downgrade_to
    return found


def action_of(decline_code: str | None) -> str:
    """retry, new_method or stop. An unknown code, or none, is retried."""
    return ACTIONS.get(decline_code or "", "retry")


def sterner(*codes: str | None) -> str | None:
    """Of a decline code and pieces of advice the one that decides: the first of the sternest."""
    words = ("retry", "new_method", "stop")
    return max((code for code in codes if code), default=None,
               key=lambda code: words.index(action_of(code)))  # fmt: skip


def next_step(
    schedule: Schedule,
    first_failed_at: datetime,
    attempts: int,
    decline_code: str | None,
    now: datetime,
) -> Retry | WaitForMethod | Final:
    """What follows a failure at `now`; `attempts` failed by now, the first one counted.

    The k-th retry is due `days[k - 1]` days (of 24 hours) after the first failure, and never
    closer to the try before it than the schedule sets them apart: a desk that stood still makes
    every try, and none in a rush. A code that wants a new method waits for one until the
    schedule's last day; `stop`, or a schedule that is at its end, is final.

    To be asked once after each failure, its answer to be kept. Raises ValueError where nothing
    failed. I26
    """
    if attempts < 1:
        raise ValueError("dunning begins with a failure")
    action, days = action_of(decline_code), schedule.days
    if action == "stop" or attempts > len(days):
        return Final(schedule.final, schedule.downgrade_to)
    if action == "new_method":
        return WaitForMethod(max(now, first_failed_at + timedelta(days=days[-1])))
    earlier = days[attempts - 2] if attempts > 1 else 0
    apart = timedelta(days=days[attempts - 1] - earlier)
    due = max(first_failed_at + timedelta(days=days[attempts - 1]), now + apart)
    return Retry(due, len(days) - attempts)
