"""The books' words: accounts, assets and the reasons of transfers."""

from __future__ import annotations

#: The asset of credits; every other asset is a currency in lower case.
CREDIT = "CREDIT"

#: Accounts by name. A credit adds to a balance, a debit takes from it.
CODES: dict[str, int] = {
    "credits": 1,
    "wallet": 2,
    "held": 3,
    "debt": 4,
    "deposits": 5,
    "revenue": 6,
    "usage": 7,
    "breakage": 8,
    "transit": 9,
    "clearing": 10,
    "issued": 11,
    "deferred": 12,
    "refunds": 13,
    "disputes": 14,
    "losses": 15,
    "fees": 16,
    "exchange": 17,
    "balance": 18,
    "tax": 19,
}
NAMES: dict[int, str] = {code: name for name, code in CODES.items()}

#: Accounts that never fall below zero.
FLOORED = frozenset({"credits", "wallet", "held", "balance"})

#: The largest amount of one transfer (BIGINT).
MAX_AMOUNT = 2**63 - 1

#: Types of the credit history (the bookings family, and CREDIT_GRANT for what was given).
CREDIT_TYPES = (
    "CREDIT_PURCHASE",
    "MEMBERSHIP_PAYMENT",
    "CREDIT_USAGE",
    "CREDIT_REFUND",
    "CREDIT_TRANSFER",
    "CREDIT_EXPIRY",
    "CREDIT_GRANT",
)

#: Kinds of batches.
KINDS = ("purchased", "membership", "promotional", "refunded")
