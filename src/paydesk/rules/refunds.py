"""Refunds as arithmetic: how much, until when, who decides, what share of the goods goes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from paydesk.rules.money import divide_half_up, exponent

#: States of a refund that count into the payment's refunded sum.
LIVE_STATES = frozenset({"pending", "succeeded"})
#: States that nothing leaves any more; succeeded can still fail at the provider.
ENDED_STATES = frozenset({"rejected", "failed", "canceled"})
#: What a provider's word about a refund means here.
STATE_OF_REMOTE = {
    "pending": "pending", "requires_action": "pending", "succeeded": "succeeded",
    "failed": "failed", "canceled": "failed",
}  # fmt: skip


class Source(NamedTuple):
    """What a refund takes from one of a payment's accounts, in minor units."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch of a payment's credits when a share of it is asked back.

    `spare`: unspent credits, in itself and in batches that took its place. `expired`: what ended
    unused. `gone`: what earlier refunds and disputes asked of it already, expired ones included;
    `gone_expired` is the expired part of that.
    """

    granted: int
    spare: int
    expired: int = 0
    gone: int = 0
    gone_expired: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What becomes of a batch's share: `share` = `taken` + `expired` + `missing`."""

    share: int
    taken: int
    expired: int
    missing: int


def refundable(captured: int, refunds: Iterable[tuple[str, int]], disputed: int = 0) -> int:
    """What may still be refunded: captured, less live refunds and what disputes hold; never < 0.

    `refunds` are (state, amount).
    """
    gone = sum(amount for state, amount in refunds if state in LIVE_STATES)
    return max(0, captured - gone - disputed)


def payment_state(captured: int, refunded: int) -> str:
    """The state of a paid payment of which so much went back or is on its way."""
    if not refunded:
        return "succeeded"
    return "refunded" if refunded >= captured else "partially_refunded"


def window_end(completed_at: datetime | None, days: int) -> datetime | None:
    """When refunds of a payment end; None: never (`days` 0), or nothing was paid yet."""
    return completed_at + timedelta(days=days) if days and completed_at else None


def needs_approval(amount: int, threshold: Decimal, currency: str) -> bool:
    """Whether another person decides: the amount is above `threshold`, in major units.

    A threshold of 0 asks nobody. Digits that the currency does not have are cut off.
    """
    if threshold <= 0:
        return False
    minor = (threshold * 10 ** exponent(currency)).to_integral_value(ROUND_FLOOR)
    return amount > int(minor)


def credits_to_take(granted: int, sold: int, refunded_before: int, amount: int) -> int:
    """How many of `granted` credits a refund of `amount` takes back, of a sale of `sold`.

    The difference of two cumulative shares, each to the nearest credit, halves up: so several
    partial refunds take exactly what one refund of their sum would, and all of them everything.
    """
    return share_of(granted, sold, refunded_before + amount) - share_of(
        granted, sold, refunded_before
    )


def share_of(whole: int, sold: int, refunded: int) -> int:
    """The part of `whole` that goes with `refunded` of `sold`: to the nearest, halves up."""
    if sold <= 0 or refunded >= sold:
        return whole
    return divide_half_up(whole * max(0, refunded), sold)


def of_sale(gone: int, captured: int, sold: int) -> int:
    """How much of the sale is refunded when `gone` of the captured money went back.

    Money beyond the price, paid too much, goes back first: no goods go with it.
    """
    return min(sold, max(0, gone - max(0, captured - sold)))


def batch_share(batch: BatchState, sold: int, refunded: int) -> Share:
    """What to take of one batch once `refunded` of the sale went back in all.

    The share is what the whole sum stands for, less what was asked before. Unspent credits are
    taken first. What ended unused was lost to the customer already: it is not asked a second
    time. The rest is missing: used, held or moved on.
    """
    share = max(0, share_of(batch.granted, sold, refunded) - batch.gone)
    taken = min(share, batch.spare)
    expired = min(share - taken, max(0, batch.expired - batch.gone_expired))
    return Share(share, taken, expired, share - taken - expired)


@dataclass(frozen=True, slots=True)
class Unused:
    """What goes back of a sale whose goods came bit by bit, of which the rest is given up: of the
    sale, from `since` on, the next `minor` take `credits` back, those aside that were never given;
    `gone` were asked by then."""

    since: int
    minor: int
    gone: int
    credits: int


def with_unused(granted: int, sold: int, refunded: int, unused: Unused) -> int:
    """How many of the granted credits go with `refunded` of the sale, in all."""
    if refunded <= unused.since:
        return min(unused.gone, share_of(granted, sold, refunded))
    part = min(refunded - unused.since, unused.minor)
    taken = unused.gone + divide_half_up(unused.credits * part, unused.minor)
    before = unused.since + unused.minor
    if refunded <= before:
        return taken
    return taken + share_of(max(0, granted - taken), sold - before, refunded - before)


def pooled_shares(batches: Sequence[BatchState], wanted: int) -> list[Share]:
    """What to take of batches together, of the first of them first: what is unspent of any, then
    what ended unused; the rest is missing."""
    taken, expired, missing = [0] * len(batches), [0] * len(batches), [0] * len(batches)
    left = max(0, wanted)
    for number, one in enumerate(batches):
        left -= (part := min(left, one.spare))
        taken[number] = part
    for number, one in enumerate(batches):
        left -= (part := min(left, max(0, one.expired - one.gone_expired)))
        expired[number] = part
    for number, one in enumerate(batches):
        room = max(0, one.granted - one.gone - taken[number] - expired[number])
        left -= (part := min(left, room))
        missing[number] = part
    return [Share(t + e + m, t, e, m) for t, e, m in zip(taken, expired, missing, strict=True)]


def by_policy(missing: int, policy: str) -> tuple[int, int]:
    """(owed, forgiven) of what is missing: owed under `debt`, forgiven under `clamp`."""
    return (0, missing) if policy == "clamp" else (missing, 0)


def from_accounts(amount: int, standing: Sequence[Source]) -> tuple[list[Source], int]:
    """Take `amount` from accounts in order; answers the parts and what none of them covers."""
    parts: list[Source] = []
    left = amount
    for one in standing:
        part = min(left, max(0, one.amount))
        if part:
            parts.append(Source(one.account, part))
            left -= part
    return parts, left


def with_tax(amount: int, standing: Sequence[Source]) -> list[Source]:
    """Accounts to take `amount` from, in order: of revenue and tax, which come last, as much of
    each as it has of the two, half up, so that all of the one goes with all of the other."""
    stands = {one.account: one.amount for one in standing}
    revenue, tax = stands.get("revenue", 0), stands.get("tax", 0)
    before = [one for one in standing if one.account not in ("revenue", "tax")]
    rest = amount - sum(max(0, one.amount) for one in before)
    if tax <= 0 or revenue <= 0 or rest >= revenue + tax:
        return [*before, Source("revenue", revenue), Source("tax", tax)]
    taken = divide_half_up(max(0, rest) * tax, revenue + tax)
    return [*before, Source("revenue", max(0, rest) - taken), Source("tax", taken)]


def fee_share(fee: int, captured: int, refunded_before: int, amount: int) -> int:
    """The part of the provider's fee that belongs to a refund; providers keep it."""
    return credits_to_take(fee, captured, refunded_before, amount)
