"""Money: whole minor units with an ISO 4217 currency, and divisions that say their rounding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from paydesk.errors import InvalidRequest

#: The largest amount that any column holds (BIGINT).
MAX_MINOR = 2**63 - 1

#: Active codes of ISO 4217 (list one, 2026) that can be charged.
_CODES = """
aed afn all amd aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp byn bzd cad
cdf chf clf clp cny cop crc cup cve czk djf dkk dop dzd egp ern etb eur fjd fkp gbp gel ghs gip gmd
gnf gtq gyd hkd hnl htg huf idr ils inr iqd irr isk jmd jod jpy kes kgs khr kmf kpw krw kwd kyd kzt
lak lbp lkr lrd lsl lyd mad mdl mga mkd mmk mnt mop mru mur mvr mwk mxn myr mzn nad ngn nio nok npr
nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sdg sek sgd shp sle sos srd ssp
stn svc syp szl thb tjs tmt tnd top try ttd twd tzs uah ugx usd uyu uyw uzs ved ves vnd vuv wst xaf
xcd xcg xof xpf yer zar zmw zwg
""".split()

#: Digits after the point where they are not two, ISO 4217.
_EXPONENTS = {
    **dict.fromkeys(
        "bif clp djf gnf isk jpy kmf krw pyg rwf ugx vnd vuv xaf xof xpf".split(), 0
    ),
    **dict.fromkeys("bhd iqd jod kwd lyd omr tnd".split(), 3),
    **dict.fromkeys(["clf", "uyw"], 4),
}

#: ISO exponent by currency code, lower case.
EXPONENTS: dict[str, int] = {code: _EXPONENTS.get(code, 2) for code in _CODES}

#: Stripe's own scale where it differs from ISO: currency -> (digits it is sent with, what the
#: amount must divide by). https://docs.stripe.com/currencies (zero-decimal and special cases).
STRIPE_SCALE: dict[str, tuple[int, int]] = {
    "mga": (0, 1),
    "ugx": (0, 1),
    "isk": (2, 100),
    **dict.fromkeys("bhd jod kwd omr tnd".split(), (3, 10)),
}

_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,10})?")


def exponent(currency: str, *, param: str = "currency") -> int:
    """Digits after the point. Raises InvalidRequest for a code that is not in the table."""
    try:
        return EXPONENTS[currency]
    except (KeyError, TypeError):
        raise InvalidRequest(
            f"{str(currency)[:16]!r} is not a currency: use a lower-case ISO 4217 code like 'usd'.",
            param=param,
        ) from None


def currency_code(text: str, *, param: str = "currency") -> str:
    """The lower-case code. Raises InvalidRequest where ISO 4217 has no such currency."""
    if not isinstance(text, str):
        raise InvalidRequest("currency must be a string like 'usd'.", param=param)
    code = text.lower()
    exponent(code, param=param)
    return code


def parse_minor(text: str, currency: str) -> int:
    """Minor units from a plain decimal text. More digits than the currency has are refused."""
    digits = exponent(currency)
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(f"{text[:40]!r} is not a plain decimal number.", param="amount")
    try:
        scaled = Decimal(text).scaleb(digits)
    except InvalidOperation:
        raise InvalidRequest(f"{text[:40]!r} is not a plain decimal number.") from None
    if scaled != scaled.to_integral_value():
        raise InvalidRequest(
            f"{text[:40]}: {currency.upper()} has {digits or 'no'} digits after the point.",
            param="amount",
        )
    minor = int(scaled)
    if abs(minor) > MAX_MINOR:
        raise InvalidRequest("The amount is too large.", param="amount")
    return minor


def format_minor(minor: int, currency: str) -> str:
    """`format_minor(4905, "usd")` is `"49.05"`; exact in every currency."""
    digits = exponent(currency)
    sign, number = ("-" if minor < 0 else ""), str(abs(minor)).rjust(digits + 1, "0")
    return sign + (f"{number[:-digits]}.{number[-digits:]}" if digits else number)


def to_stripe(minor: int, currency: str) -> int:
    """Our ISO minor units in Stripe's scale. Raises InvalidRequest where it has no exact form."""
    digits, step = STRIPE_SCALE.get(currency, (exponent(currency), 1))
    there = digits - exponent(currency)
    scaled, rest = (minor * 10**there, 0) if there >= 0 else divmod(minor, 10**-there)
    if rest or scaled % step:
        raise InvalidRequest(
            f"{format_minor(minor, currency)} {currency.upper()} cannot be charged exactly.",
            param="amount",
        )
    return scaled


def from_stripe(amount: int, currency: str) -> int:
    """An amount in Stripe's scale as our ISO minor units. Raises ValueError when inexact."""
    digits, _ = STRIPE_SCALE.get(currency, (exponent(currency), 1))
    back = exponent(currency) - digits
    scaled, rest = (amount * 10**back, 0) if back >= 0 else divmod(amount, 10**-back)
    if rest:
        raise ValueError(f"{amount} {currency} has no exact form in ISO 4217 minor units")
    return scaled


def divide_half_up(numerator: int, denominator: int) -> int:
    """Integer division rounded half up (away from zero at the half, for either sign)."""
    if denominator <= 0:
        raise ValueError("the denominator must be positive")
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def times(price: Decimal, count: int, currency: str) -> Money:
    """`count` things at a price in major units, rounded half up to the minor unit once, at last."""
    scaled = price.scaleb(exponent(currency)) * count
    numerator, denominator = scaled.as_integer_ratio()
    return Money(divide_half_up(numerator, denominator), currency, minor=True)


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Shares of `total` in proportion to `weights`, by largest remainder; they sum exactly.

    Equal remainders go to the earlier share. Raises ValueError when no weight is positive.
    """
    whole = sum(weights)
    if whole <= 0 or any(w < 0 for w in weights):
        raise ValueError("weights must be non-negative and not all zero")
    sign, amount = (-1, -total) if total < 0 else (1, total)
    shares = [amount * w // whole for w in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % whole), i))
    for i in order[: amount - sum(shares)]:
        shares[i] += 1
    return [sign * s for s in shares]


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount of one currency. `Money("49.05", "usd")`, or `Money(4905, "usd", minor=True)`."""

    minor: int
    currency: str

    def __init__(self, amount: int | str | Decimal, currency: str, *, minor: bool = False) -> None:
        code = currency_code(currency)
        if isinstance(amount, bool) or not isinstance(amount, int | str | Decimal):
            raise TypeError(
                f"{type(amount).__name__} is not exact: write {code.upper()}('49.05') "
                f"or Money(4905, {code!r}, minor=True)"
            )
        if minor:
            if not isinstance(amount, int):
                raise TypeError("minor=True takes a whole number of minor units")
            value = amount
        else:
            text = format(amount, "f") if isinstance(amount, Decimal) else str(amount)
            value = parse_minor(text, code)
        if abs(value) > MAX_MINOR:
            raise InvalidRequest("The amount is too large.", param="amount")
        object.__setattr__(self, "minor", value)
        object.__setattr__(self, "currency", code)

    @property
    def decimal(self) -> Decimal:
        return Decimal(format_minor(self.minor, self.currency))

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} cannot be mixed")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency, minor=True)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency, minor=True)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency, minor=True)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.minor < other.minor

    def __le__(self, other: Money) -> bool:
        self._same(other)
        return self.minor <= other.minor

    def __bool__(self) -> bool:
        return self.minor != 0

    def __str__(self) -> str:
        return f"{self.currency.upper()} {format_minor(self.minor, self.currency)}"

    def __repr__(self) -> str:
        return f"Money({format_minor(self.minor, self.currency)!r}, {self.currency!r})"


def _maker(code: str):
    def make(amount: int | str | Decimal, *, minor: bool = False) -> Money:
        return Money(amount, code, minor=minor)

    make.__name__ = make.__qualname__ = code.upper()
    make.__doc__ = f"An amount in {code.upper()}: a decimal text or whole units, never a float."
    return make


USD, EUR, GBP = _maker("usd"), _maker("eur"), _maker("gbp")
JPY, KWD, HTG = _maker("jpy"), _maker("kwd"), _maker("htg")
