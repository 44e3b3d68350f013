"""Fraud rules: each looks at features that were gathered before, and says how much it worries.

Pure and integer. A score is the sum of what the rules add, at most 100; reasons name the rules
that spoke. Entries of the lists outweigh the rules; `outweighing` says which entry counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

MOST_SCORE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What is known when a payment is asked for, amounts in the currency's minor unit.

    `usual_minor` and `largest_minor` are of what this customer paid before in this currency;
    countries are ISO 3166 letters in upper case, None where unknown.
    """

    amount_minor: int
    payments_1h: int = 0
    payments_24h: int = 0
    failed_1h: int = 0
    failed_24h: int = 0
    paid_before: int = 0
    usual_minor: int = 0
    largest_minor: int = 0
    methods_24h: int = 0
    cards_24h: int = 0
    customers_of_card: int = 0
    disputes: int = 0
    account_age_h: int = 0
    is_disposable_email: bool = False
    request_country: str | None = None
    card_country: str | None = None
    customer_country: str | None = None
    listed: str | None = None
    listed_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What differs from nothing at all."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A rule that spoke, what it added, and a sentence for the people who review."""

    rule: str
    score: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`decision` is allow, review or block."""

    score: int
    decision: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value of a payment that is on a list: `action` is allow, block or review."""

    action: str
    kind: str
    value: str


#: Kinds that stand for one person, not for many.
PERSONAL = frozenset({"customer", "card", "email"})


def outweighing(entries: Iterable[Entry]) -> Entry | None:
    """The entry that decides: of the customer, the card or the e-mail before wider ones; among
    those what blocks, then what allows; among wider ones what allows, then what blocks."""

    def rank(one: Entry) -> tuple[int, str, str]:
        is_wide = one.kind not in PERSONAL
        order = ("allow", "block", "review") if is_wide else ("block", "allow", "review")
        return is_wide * len(order) + order.index(one.action), one.kind, one.value

    return min(entries, key=rank, default=None)


Rule = Callable[[Features], Reason | None]


def _steps(count: int, *levels: tuple[int, int]) -> int:
    """The score of the highest level that a count reaches; levels are (from, score)."""
    return max((score for least, score in levels if count >= least), default=0)


def _reason(rule: str, score: int, detail: str) -> Reason | None:
    return Reason(rule=rule, score=score, detail=detail) if score else None


def velocity(f: Features) -> Reason | None:
    """Many payments in a short time."""
    score = max(
        _steps(f.payments_1h, (5, 15), (10, 35), (20, 60)),
        _steps(f.payments_24h, (20, 15), (50, 40)),
    )
    detail = f"{f.payments_1h} payments in an hour, {f.payments_24h} in a day."
    return _reason("velocity", score, detail)


def failures(f: Features) -> Reason | None:
    """Failed attempts, as of somebody who tries cards."""
    score = max(
        _steps(f.failed_1h, (3, 20), (6, 45), (12, 80)), _steps(f.failed_24h, (10, 25), (25, 60))
    )
    detail = f"{f.failed_1h} failed attempts in an hour, {f.failed_24h} in a day."
    return _reason("failed_attempts", score, detail)


def amount_against_history(f: Features) -> Reason | None:
    """Far more than this customer has ever paid."""
    if f.paid_before < 3 or f.largest_minor <= 0:
        return None
    score = _steps(f.amount_minor // f.largest_minor, (3, 10), (10, 30), (50, 50))
    times = f.amount_minor // f.largest_minor
    return _reason("amount", score, f"{times} times the largest payment so far.")


def country_mismatch(f: Features) -> Reason | None:
    """The card, the request and the customer are of different countries."""
    known = {c for c in (f.card_country, f.request_country, f.customer_country) if c}
    score = {0: 0, 1: 0, 2: 20, 3: 35}[len(known)]
    return _reason("country_mismatch", score, f"Countries differ: {', '.join(sorted(known))}.")


def disposable_email(f: Features) -> Reason | None:
    """An address that lives for minutes."""
    score = 25 if f.is_disposable_email else 0
    return _reason("disposable_email", score, "A disposable e-mail address.")


def many_cards(f: Features) -> Reason | None:
    """Many cards of one customer, or many customers of one card."""
    score = max(
        _steps(max(f.methods_24h, f.cards_24h), (3, 20), (5, 45), (8, 70)),
        _steps(f.customers_of_card, (3, 25), (6, 55)),
    )
    detail = (
        f"{max(f.methods_24h, f.cards_24h)} cards in a day;"
        f" {f.customers_of_card} customers of this card."
    )
    return _reason("many_cards", score, detail)


def disputes(f: Features) -> Reason | None:
    """Payments of this customer were disputed."""
    return _reason("disputes", _steps(f.disputes, (1, 30), (2, 60)),
                   f"{f.disputes} disputed payment{'' if f.disputes == 1 else 's'}.")  # fmt: skip


def young_and_large(f: Features) -> Reason | None:
    """A new customer who begins with failures."""
    is_odd = f.account_age_h < 1 and f.paid_before == 0 and f.failed_1h >= 2
    return _reason("new_customer", 15 if is_odd else 0, "A new customer with failed attempts.")


#: Every rule, in the order in which reasons are shown.
RULES: tuple[Rule, ...] = (
    velocity, failures, amount_against_history, country_mismatch, disposable_email, many_cards,
    disputes, young_and_large,
)  # fmt: skip


def judge(features: Features, *, review_from: int, block_from: int) -> Verdict:
    """Weigh the features. The thresholds are scores; 101 means never."""
    if features.listed == "block":
        detail = f"On the block list: {features.listed_by}."
        reason = Reason(rule="block_list", score=MOST_SCORE, detail=detail)
        return Verdict(score=MOST_SCORE, decision="block", reasons=(reason,))
    if features.listed == "allow":
        return Verdict(score=0, decision="allow", reasons=())
    reasons = tuple(r for rule in RULES if (r := rule(features)) is not None)
    score = min(MOST_SCORE, sum(r.score for r in reasons))
    decision = "block" if score >= block_from else "review" if score >= review_from else "allow"
    if features.listed == "review" and decision == "allow":
        detail = f"On the review list: {features.listed_by}."
        reasons = (*reasons, Reason(rule="review_list", score=0, detail=detail))
        decision = "review"
    return Verdict(score=score, decision=decision, reasons=reasons)
