"""Ids: time-sortable uuids that name their customer, shown with a prefix.

An owned row's id is a UUIDv8: 48 bits of Unix milliseconds, 40 bits of customer tag, 34 random
bits (version and variant take the other six). The customer's own id is a pure function of the
tag, so a bare `pay_…` gives the row's whole key without a look-up. Catalogue ids are UUIDv7.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import time
import uuid
from functools import lru_cache
from uuid import UUID

from paydesk.errors import NotFound

TAG_BITS = 40
RANDOM_BITS = 34
#: The highest bits of a tag are all set for customers whose clock is moved by hand, so that nobody
#: else's clock has to be looked for. Older customers may have them by chance.
_CLOCKED = 0xFFF << (TAG_BITS - 12)
_TAG_MASK = (1 << TAG_BITS) - 1
_VERSION = 8 << 76
_VARIANT = 2 << 62
#: Where the tag stands in an id, the customer's own and those of what is his.
_TAG_PLACES = (0xFFF << 64) | (((1 << 62) - 1) & ~((1 << RANDOM_BITS) - 1))
#: Douglas Crockford's base 32 alphabet: no I, L, O, U.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES = {c: i for i, c in enumerate(_ALPHABET)} | {c.lower(): i for i, c in enumerate(_ALPHABET)}
_TEXT_LENGTH = 26

#: Kind of object to prefix. The kinds marked with * belong to no customer.
PREFIXES = {
    "payment": "pay",
    "refund": "re",
    "customer": "cus",
    "checkout": "cs",
    "attempt": "att",
    "transfer": "txn",
    "batch": "crb",
    "hold": "hold",
    "event": "evt",
    "call": "call",
    "method": "pm",
    "setup": "seti",
    "purchase": "pur",
    "service": "srv",
    "access": "ent",
    "revocation": "rev",
    "wallet": "wal",
    "conversion": "conv",
    "withdrawal": "wd",
    "dispute": "dp",
    "dispute_file": "file",
    "clawback": "cb",
    "assessment": "risk",
    "delivery": "dlv",
    "notification": "ntf",
    "subscription": "sub",
    "invoice": "inv",
    "invoice_item": "ii",
    "credit_note": "cn",
    "refill": "rfl",
    "plan": "plan",  # *
    "tax_rate": "txr",  # *
    "clock": "clock",  # *
    "item": "item",  # *
    "rate": "rate",  # *
    "staff": "usr",  # *
    "reconciliation": "rec",  # *
    "endpoint": "whe",  # *
    "pack": "pack",  # *
    "promo": "promo",  # *
    "key": "key",  # *
    "request": "req",  # *
}

#: Ids are no secrets: a generator seeded by the system saves a system call for each of them.
_random = random.Random(secrets.randbits(256))
os.register_at_fork(after_in_child=lambda: _random.seed(secrets.randbits(256)))


def _uuid(number: int) -> UUID:
    """The same as UUID(int=number), which looks at many things that are so here."""
    made = object.__new__(UUID)
    _set(made, "int", number)
    _set(made, "is_safe", uuid.SafeUUID.unknown)
    return made


_set = object.__setattr__


def _assemble(ms: int, low74: int, version: int = _VERSION) -> UUID:
    high12, low62 = low74 >> 62, low74 & ((1 << 62) - 1)
    return _uuid((ms << 80) | version | (high12 << 64) | _VARIANT | low62)


def customer_of_tag(tag: int) -> UUID:
    """The customer id that a 40-bit tag stands for."""
    digest = hashlib.sha256(b"paydesk customer" + tag.to_bytes(5, "big")).digest()
    ms = int.from_bytes(digest[:6], "big")
    rest = int.from_bytes(digest[6:11], "big") & ((1 << RANDOM_BITS) - 1)
    return _assemble(ms, (tag << RANDOM_BITS) | rest)


def new_customer(*, clocked: bool = False) -> UUID:
    """A random customer id; drawn again by the caller on conflict. `clocked`: of a customer whose
    clock is moved by hand."""
    tag = secrets.randbits(TAG_BITS)
    if clocked:
        return customer_of_tag(tag | _CLOCKED)
    while tag & _CLOCKED == _CLOCKED:
        tag = secrets.randbits(TAG_BITS)
    return customer_of_tag(tag)


def may_have_clock(customer_id: UUID) -> bool:
    """Whether this customer's clock may be moved by hand; no for nearly everybody else."""
    return (customer_id.int >> 64) & 0xFFF == 0xFFF


def tag_of(owned: UUID) -> int:
    """The 40-bit customer tag inside an owned id (or the customer's own)."""
    low62 = owned.int & ((1 << 62) - 1)
    high12 = (owned.int >> 64) & 0xFFF
    return (((high12 << 62) | low62) >> RANDOM_BITS) & _TAG_MASK


def customer_of(owned: UUID) -> UUID:
    """The customer that owns this id. Any uuid gives an answer; a made-up one owns nothing."""
    return customer_of_tag(tag_of(owned))


def new_owned(customer_id: UUID, ms: int | None = None) -> UUID:
    """A new id of something that belongs to this customer. `ms`: Unix milliseconds."""
    ms = time.time_ns() // 1_000_000 if ms is None else ms & ((1 << 48) - 1)
    tag = customer_id.int & _TAG_PLACES
    return _uuid((ms << 80) | _VERSION | _VARIANT | tag | _random.getrandbits(RANDOM_BITS))


def new_catalog(ms: int | None = None) -> UUID:
    """A UUIDv7 for things that belong to no customer."""
    ms = time.time_ns() // 1_000_000 if ms is None else ms
    return _assemble(ms & ((1 << 48) - 1), _random.getrandbits(74), version=7 << 76)


@lru_cache(maxsize=4_096)
def request_key(*parts: str) -> UUID:
    """A key from the caller and his words: the first 128 bits of SHA-256 over them. Asked for
    several times while something is done."""
    joined = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
    return UUID(bytes=hashlib.sha256(joined).digest()[:16])


def show(kind: str, value: UUID) -> str:
    """`show("payment", uuid)` is `pay_` and 26 characters of base 32."""
    n, p = value.int, _PAIRS  # One expression: it is asked for ten times for each renewal.
    return (
        f"{PREFIXES[kind]}_{p[n >> 120]}{p[n >> 110 & 1023]}{p[n >> 100 & 1023]}"
        f"{p[n >> 90 & 1023]}{p[n >> 80 & 1023]}{p[n >> 70 & 1023]}{p[n >> 60 & 1023]}"
        f"{p[n >> 50 & 1023]}{p[n >> 40 & 1023]}{p[n >> 30 & 1023]}{p[n >> 20 & 1023]}"
        f"{p[n >> 10 & 1023]}{p[n & 1023]}"
    )


def parse(kind: str, text: str) -> UUID:
    """A prefixed id, or a bare uuid, of this kind. Raises NotFound: a wrong id names nothing."""
    prefix = PREFIXES[kind] + "_"
    if text.startswith(prefix) and len(text) == len(prefix) + _TEXT_LENGTH:
        number = 0
        for char in text[len(prefix) :]:
            value = _VALUES.get(char)
            if value is None:
                raise NotFound(f"No such {kind}: {text[:64]!r}.")
            number = (number << 5) | value
        if number < (1 << 128):
            return UUID(int=number)
    elif len(text) in (32, 36):
        try:
            return uuid.UUID(text)
        except ValueError:
            pass
    raise NotFound(f"No such {kind}: {text[:64]!r}.")


def parse_any(text: str) -> UUID:
    """The uuid of an id of any kind. Raises NotFound: a wrong id names nothing."""
    prefix = text.partition("_")[0]
    kind = next((name for name, known in PREFIXES.items() if known == prefix), "event")
    return parse(kind, text)


def looks_like_customer(text: str) -> bool:
    """Whether a text has the shape of our own customer ids, which an external id may not have."""
    return text.startswith("cus_") and len(text) == 4 + _TEXT_LENGTH
