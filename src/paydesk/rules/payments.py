"""What a provider's news means for a payment: pure decisions, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from paydesk.errors import NotFound
from paydesk.ids import customer_of, parse
from paydesk.rules.money import Money
from paydesk.tracker.models import PAID_STATES, TRANSITIONS

#: States in which nothing is decided yet; only fresh news moves a payment between them.
OPEN_STATES = frozenset({"pending", "processing", "requires_action"})
#: Ends of a payment for which no money came.
DEAD_STATES = frozenset({"failed", "expired", "canceled"})

HANDLE_PREFIX = "payment_"
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_LOW_BITS = 80


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: the next state, money to record, goods to hand over or to block, and why.

    `captured_minor` is in the payment's own currency; money of another currency is recorded in
    that currency's books and counts nothing here. `review` is set where a person must look.
    """

    state: str
    captured_minor: int = 0
    goods: str = "none"
    problem: str | None = None
    review: str | None = None


def judge(
    state: str,
    asked: Money,
    captured_minor: int,
    *,
    status: str,
    amount: Money | None,
    is_new: bool,
    is_fresh: bool,
) -> Verdict:
    """Weigh one piece of news about a payment.

    `is_new`: this capture was not recorded before. `is_fresh`: the news was read from the
    provider at this very version of the payment, so that it may also move it back.
    """
    if status == "succeeded":
        if amount is None or not is_new:
            return Verdict(state)
        return _captured(state, asked, captured_minor, amount)
    if status == "pending":
        back = is_fresh and state in ("processing", "requires_action")
        return Verdict("pending" if back else state)
    if status in ("processing", "requires_action"):
        return Verdict(status if is_fresh and state in OPEN_STATES else state)
    return Verdict(status if status in TRANSITIONS[state] else state)


def _captured(state: str, asked: Money, captured_minor: int, amount: Money) -> Verdict:
    after = state if state in PAID_STATES else "succeeded"
    if amount.currency != asked.currency:
        return Verdict(after, 0, "blocked", "currency_mismatch", "currency_mismatch")
    total = captured_minor + amount.minor
    if total < asked.minor:
        return Verdict(after, amount.minor, "blocked", "amount_mismatch", "underpaid")
    review = "overpaid" if total > asked.minor else None
    return Verdict(after, amount.minor, "hand_over", None, review)


def needs_asking(
    state: str, asked: Money, *, status: str, amount: Money | None, ended: bool, proof: bool
) -> bool:
    """Whether an event's claim must be confirmed by the provider before it is believed.

    A signed claim that the asked amount was paid is proof where the provider's events are; so
    is the end of a session. What can go back and forth, and anything odd, is asked about.
    """
    if status == "succeeded":
        return not proof or amount != asked
    if status == "pending":
        return False
    if status == "expired":
        return not (proof and ended) and state not in PAID_STATES
    return status != state and state in OPEN_STATES | {"authorized"}


def backoff_s(tries: int, *, first_s: int = 5, most_s: int = 3600) -> int:
    """Seconds until the next try after so many: 5, 10, 20 … up to an hour."""
    return min(most_s, first_s * 2 ** min(max(tries - 1, 0), 20))


def handle_of(payment_id: UUID) -> str:
    """The payment's handle `payment_<n>_<x>`: its id, written so that both parts give it back."""
    low = payment_id.int & ((1 << _LOW_BITS) - 1)
    chars = []
    while low:
        low, digit = divmod(low, 36)
        chars.append(_ALPHABET[digit])
    return f"{HANDLE_PREFIX}{payment_id.int >> _LOW_BITS}_{''.join(reversed(chars))}"


def payment_of_handle(handle: str) -> UUID:
    """The id inside a handle. Raises NotFound for what is none."""
    high, _, low = handle.removeprefix(HANDLE_PREFIX).partition("_")
    try:
        if not (high.isascii() and high.isdigit() and low.isalnum() and low.isascii()):
            raise ValueError
        return UUID(int=(int(high[:20]) << _LOW_BITS) | int(low[:20], 36))
    except ValueError:
        raise NotFound(f"No such payment: {handle[:64]!r}.") from None


def is_ours(payment_id: str | None) -> bool:
    """Whether a provider's metadata carry what can be a payment id of ours."""
    try:
        return payment_id is not None and bool(parse("payment", payment_id))
    except NotFound:
        return False


def owner_in_metadata(payment_id: str | None, customer_id: str | None) -> tuple[UUID, UUID] | None:
    """(customer, payment) from our ids in a provider's metadata; None where they do not fit."""
    if payment_id is None:
        return None
    try:
        payment = parse("payment", payment_id)
        customer = customer_of(payment)
        if customer_id is not None and parse("customer", customer_id) != customer:
            return None
    except NotFound:
        return None
    return customer, payment
