"""Random ids with Stripe's shapes."""

from __future__ import annotations

import os
import random
import secrets
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

_FITTING = 256 - 256 % len(ALPHABET)
_CHARACTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
_TOO_HIGH = bytes(range(_FITTING, 256))

#: Nothing real hangs on these: a generator seeded by the system saves a system call for each.
_random = random.Random(secrets.randbits(256))
os.register_at_fork(after_in_child=lambda: _random.seed(secrets.randbits(256)))

#: Prefix of each kind of object.
PREFIXES = {
    "balance_transaction": "txn_3",
    "charge": "ch_3",
    "checkout.session": "cs_test_a1",
    "customer": "cus_",
    "dispute": "du_1",
    "event": "evt_1",
    "file": "file_1",
    "invoice": "in_1",
    "invoice_payment": "inpay_1",
    "invoiceitem": "ii_1",
    "item": "li_1",
    "line_item": "il_1",
    "payment_intent": "pi_3",
    "payment_method": "pm_1",
    "payment_record": "pr_1",
    "payout": "po_1",
    "price": "price_1",
    "product": "prod_",
    "refund": "re_3",
    "request": "req_",
    "setup_attempt": "setatt_1",
    "setup_intent": "seti_1",
    "subscription": "sub_1",
    "subscription_item": "si_",
    "subscription_schedule": "sub_sched_1",
    "test_helpers.test_clock": "clock_1",
    "webhook_endpoint": "we_1",
}
#: Random characters after the prefix, where it is not 23.
LENGTHS = {
    "checkout.session": 56, "customer": 14, "product": 14, "request": 14, "subscription_item": 14,
}


def new(kind: str) -> str:
    """A fresh id of an object of this kind."""
    return PREFIXES[kind] + token(LENGTHS.get(kind, 23))


def token(length: int) -> str:
    """Random characters; each byte that fits into the alphabet a whole number of times is one."""
    found = ""
    while len(found) < length:  # About three bytes of a hundred are left out.
        found += _random.randbytes(length + 8).translate(_CHARACTERS, _TOO_HIGH).decode()
    return found[:length]
