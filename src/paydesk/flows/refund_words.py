"""What a refund would do, in sentences for whoever decides about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paydesk.rules.money import Money

if TYPE_CHECKING:
    from paydesk.flows.refunds import Preview

#: What becomes of goods that were used, by the policy.
_FATES = {
    "debt": "owed, and repaid by what comes in next", "clamp": "forgiven",
    "block": "in the way: nothing is refunded",
}  # fmt: skip
#: What stands in the way, by the error that it would meet.
_OBSTACLES = {
    "not_refundable": "No single charge of this payment holds so much: refund it in parts.",
    "not_supported": "The provider gives no refunds.",
    "goods_used": "What was used already is in the way.",
    "refund_window_closed": "Only an administrator may refund after the window has ended.",
}


def of_preview(seen: Preview) -> list[str]:
    """Sentences: the money, the goods, what is lost, and what stands in the way."""
    said = [f"{seen.amount} of {seen.refundable} that can be refunded go back."]
    fate = _FATES[seen.policy]
    if seen.credits_taken_back:
        said.append(f"{_credits(seen.credits_taken_back)} taken back.")
    if seen.credits_missing:
        said.append(f"{_credits(seen.credits_missing)} used already: {fate}.")
    if seen.credits_expired:
        said.append(f"{_credits(seen.credits_expired)} ended unused, and not asked for.")
    if seen.wallet_taken_back:
        said.append(f"{seen.wallet_taken_back} are taken out of the wallet.")
    if seen.wallet_missing:
        said.append(f"{seen.wallet_missing} are no more in the wallet: {fate}.")
    if seen.access_revoked:
        said.append(f"Access ends: {', '.join(seen.access_revoked)}.")
    if len(said) == 1:
        said.append("No goods are taken back.")
    return said + _conditions(seen)


def _conditions(seen: Preview) -> list[str]:
    said = []
    if seen.fee_lost > Money(0, seen.fee_lost.currency):
        said.append(f"The provider keeps its fee of {seen.fee_lost}.")
    if not seen.is_window_open and seen.window_ends_at is not None:
        said.append(f"The refund window ended on {seen.window_ends_at:%Y-%m-%d}.")
    if seen.needs_approval:
        said.append("Another person has to approve it.")
    if seen.obstacle is not None:
        said.append(_OBSTACLES.get(seen.obstacle, f"It would be refused: {seen.obstacle}."))
    return said


def _credits(n: int) -> str:
    return "1 credit is" if n == 1 else f"{n:,} credits are"
