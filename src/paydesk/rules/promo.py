"""Promo codes: how they are compared, what they take off, and who may use them.

One code for a checkout. The discount is rounded half up to the currency's smallest step that
can be charged, and is capped so that the smallest chargeable amount is left to pay: it is never
negative and never the whole price.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from paydesk.errors import InvalidRequest
from paydesk.rules.money import STRIPE_SCALE, divide_half_up, exponent, parse_minor

MAX_CODE_LENGTH = 64
#: For how many periods of a subscription a code is used; and the kinds that take off a price.
DURATIONS = ("once", "repeating", "forever")
DISCOUNTS = ("percent", "fixed")

#: The least that can be charged, major units. https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
_LEAST_CHARGE = {
    "usd": "0.50", "aed": "2.00", "aud": "0.50", "bgn": "1.00", "brl": "0.50", "cad": "0.50",
    "chf": "0.50", "czk": "15.00", "dkk": "2.50", "eur": "0.50", "gbp": "0.30", "hkd": "4.00",
    "huf": "175.00", "inr": "0.50", "jpy": "50", "mxn": "10.00", "myr": "2.00", "nok": "3.00",
    "nzd": "0.50", "pln": "2.00", "ron": "2.00", "sek": "3.00", "sgd": "0.50", "thb": "10.00",
}  # fmt: skip

#: Why a code cannot be used: reason -> sentence.
REFUSALS = {
    "unknown": "There is no such code.",
    "inactive": "This code is not active.",
    "not_started": "This code cannot be used yet.",
    "expired": "This code has expired.",
    "wrong_product": "This code is not for this product.",
    "wrong_currency": "This code is for another currency.",
    "minimum_purchase": "The purchase is below the least that this code asks for.",
    "not_eligible": "This code is not for this customer.",
    "not_first_purchase": "This code is only for a first purchase.",
    "limit_reached": "This code has been used as often as it may be.",
    "customer_limit_reached": "This customer has used this code as often as one may.",
    "no_discount": "This code would take nothing off this price.",
    "already_settled": "The use of this code for this payment has ended.",
}


def norm(code: str) -> str:
    """What codes are compared by: without space around, NFKC, case folded.

    Folding can undo the normal form, hence twice; `norm(norm(x)) == norm(x)`.
    """
    text = code.strip()
    for _ in range(3):
        text = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", text).strip()


def check_code(code: object) -> str:
    """The code to show, without space around. Raises InvalidRequest for what cannot be a code:
    another type, nothing, more than 64 characters, spaces or control characters inside."""
    if not isinstance(code, str):
        raise InvalidRequest("code must be a string.", param="code")
    shown = code.strip()
    if not 1 <= len(shown) <= MAX_CODE_LENGTH or not 1 <= len(norm(shown)) <= 4 * MAX_CODE_LENGTH:
        raise InvalidRequest(f"A code has 1 to {MAX_CODE_LENGTH} characters.", param="code")
    for char in shown + norm(shown):
        if char.isspace() or not char.isprintable():
            raise InvalidRequest("A code has no spaces or control characters.", param="code")
    return shown


def charge_step(currency: str) -> int:
    """Minor units that every chargeable amount of the currency is a multiple of."""
    digits, step = STRIPE_SCALE.get(currency, (exponent(currency), 1))
    there = digits - exponent(currency)
    return step // math.gcd(step, 10**there) if there >= 0 else step * 10**-there


def least_charge(currency: str) -> int:
    """The smallest amount that can be charged, in minor units; at least one step."""
    step = charge_step(currency)
    known = parse_minor(_LEAST_CHARGE[currency], currency) if currency in _LEAST_CHARGE else step
    return max(step, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a code gives and to whom. `packs`, `plans`, `customers` None: all of them; with packs
    alone, or plans alone, nothing of the other kind. A free trial is for plans only."""

    kind: str
    percent_off: int | None = None
    amount_off_minor: int | None = None
    currency: str | None = None
    bonus_credits: int | None = None
    min_purchase_minor: int | None = None
    packs: frozenset[str] | None = None
    plans: frozenset[str] | None = None
    first_purchase: bool = False
    customers: frozenset[str] | None = None
    match_metadata: Mapping[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What is to be bought and by whom. `pack` is the pack's key, `plan` the plan's, None without
    one; `customer_ids` are all names of the customer; `has_purchased`: money was captured before.
    """

    price_minor: int
    currency: str
    pack: str | None
    plan: str | None = None
    customer_ids: Iterable[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    has_purchased: bool = False


def discount(terms: Terms, price_minor: int, currency: str) -> int:
    """What is taken off, in minor units: 0 <= discount < price for every positive price.

    Percentages are rounded half up. At least the smallest chargeable amount is left; where the
    price itself is not above that, nothing is taken off.
    """
    assert price_minor > 0
    step = charge_step(currency)
    if terms.kind == "percent":
        assert terms.percent_off is not None
        wanted = step * divide_half_up(price_minor * terms.percent_off, 100 * step)
    elif terms.kind == "fixed" and terms.currency == currency:
        assert terms.amount_off_minor is not None
        wanted = terms.amount_off_minor - terms.amount_off_minor % step
    else:
        wanted = 0
    return max(0, min(wanted, price_minor - least_charge(currency)))


def is_discount(kept: Mapping[str, Any] | None) -> bool:
    """Whether what a subscription keeps of a code takes something off its price."""
    return bool(kept and (kept.get("percent") or kept.get("minor")))


def refusal(terms: Terms, purchase: Purchase, now: datetime) -> str | None:
    """Why this purchase may not use the code, of REFUSALS, or None. Limits are counted apart."""
    if not terms.active:
        return "inactive"
    if terms.starts_at is not None and now < terms.starts_at:
        return "not_started"
    if terms.expires_at is not None and now >= terms.expires_at:
        return "expired"
    if not _is_for(terms, purchase):
        return "wrong_product"
    if terms.currency is not None and terms.currency != purchase.currency:
        return "wrong_currency"
    if terms.min_purchase_minor is not None and purchase.price_minor < terms.min_purchase_minor:
        return "minimum_purchase"
    if terms.customers is not None and terms.customers.isdisjoint(purchase.customer_ids):
        return "not_eligible"
    if any(purchase.metadata.get(key) != value for key, value in terms.match_metadata.items()):
        return "not_eligible"
    if terms.first_purchase and purchase.has_purchased:
        return "not_first_purchase"
    if terms.kind in DISCOUNTS and not (
        purchase.price_minor > 0 and discount(terms, purchase.price_minor, purchase.currency)
    ):
        return "no_discount"
    return None


def _is_for(terms: Terms, purchase: Purchase) -> bool:
    """Whether the code is for this product."""
    if terms.kind == "free_trial" and purchase.plan is None:
        return False
    if terms.packs is None and terms.plans is None:
        return True
    return purchase.pack in (terms.packs or ()) or purchase.plan in (terms.plans or ())
