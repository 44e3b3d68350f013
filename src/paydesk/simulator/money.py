"""Currencies of the simulator: digits, least amounts, fees and how an amount is written."""

from __future__ import annotations

from .errors import StripeError

#: Currencies Stripe takes without minor units.
ZERO_DECIMAL = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split()
)
#: Currencies with three digits after the point.
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())
#: Presentment currencies Stripe lists.
CURRENCIES = frozenset(
    """usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd
    bwp byn bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel
    gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd
    kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok
    npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos
    srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer
    zar zmw""".split()
)
#: Least charge in minor units; others have 1 here.
MINIMUM_MINOR = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500,
    "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}
MAXIMUM_MINOR = 99_999_999
SYMBOLS = {
    "usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹", "krw": "₩", "aud": "A$",
    "cad": "CA$", "nzd": "NZ$", "brl": "R$", "ils": "₪", "mxn": "MX$", "vnd": "₫",
}


def check_currency(currency: str, param: str) -> str:
    """The currency in lower case; refuses what Stripe does not take."""
    lowered = currency.lower()
    if lowered not in CURRENCIES:
        raise StripeError(
            f"Invalid currency: {currency[:10]}. Stripe currently supports these currencies: "
            + ", ".join(sorted(CURRENCIES)),
            param=param,
        )
    return lowered


def check_amount(amount: int, currency: str, param: str = "amount") -> int:
    """Refuse an amount that no card could be charged with."""
    least = MINIMUM_MINOR.get(currency, 1)
    if amount < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param=param,
        )
    if amount < least:
        raise StripeError(
            f"Amount must be at least {shown(least, currency)} {currency}",
            code="amount_too_small",
            param=param,
        )
    if amount > MAXIMUM_MINOR:
        raise StripeError(
            f"Amount must be no more than {shown(MAXIMUM_MINOR, currency)}",
            code="amount_too_large",
            param=param,
        )
    return amount


def fee_minor(amount: int) -> int:
    """2.9 % rounded half up, and 30 minor units."""
    return (amount * 29 + 500) // 1000 + 30


def shown(amount: int, currency: str) -> str:
    """The amount as people write it: `$9.99`, `¥500`, `12.345 KWD`."""
    digits = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    whole, rest = divmod(abs(amount), 10**digits)
    number = f"{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
    sign = "−" if amount < 0 else ""
    symbol = SYMBOLS.get(currency)
    return f"{sign}{symbol}{number}" if symbol else f"{sign}{number} {currency.upper()}"
