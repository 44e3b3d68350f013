"""Margins: what we keep of money that a customer converts, in basis points, by pair."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from paydesk.errors import InvalidRequest
from paydesk.rules.money import EXPONENTS

#: A hundred percent; and the most that can be asked for, the half.
WHOLE, MOST = 10_000, 5_000

_PAIR = re.compile(r"([a-z]{3})/([a-z]{3}) *[=:] *([0-9]{1,5})", re.IGNORECASE)
_ALL = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Margins:
    """Basis points (1 of 10,000) for every pair, and for pairs that have their own."""

    every: int = 0
    pairs: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def of(self, source: str, target: str) -> int:
        """For money of `source` that becomes `target`. A pair's own holds in both directions,
        unless the other one is named too."""
        for pair in ((source, target), (target, source)):
            if pair in self.pairs:
                return self.pairs[pair]
        return self.every


def parse(text: str) -> Margins:
    """`100` for all pairs, or `100, usd/htg=250, htg/usd=0`. Raises InvalidRequest."""
    every: int | None = None
    pairs: dict[tuple[str, str], int] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        if _ALL.fullmatch(part) and every is None:
            every = _bps(part)
        elif found := _PAIR.fullmatch(part):
            pair = found[1].lower(), found[2].lower()
            if not EXPONENTS.keys() >= set(pair) or pair[0] == pair[1] or pair in pairs:
                raise InvalidRequest(f"{part!r} is no pair of two currencies, named once.")
            pairs[pair] = _bps(found[3])
        else:
            raise InvalidRequest(f"{part[:40]!r} is not such as '100' or 'usd/htg=250'.")
    return Margins(every or 0, pairs)


def margin_of(minor: int, bps: int) -> int:
    """What is kept of an amount, rounded up: no number of small conversions gets around it."""
    return -(-minor * bps // WHOLE)


def _bps(text: str) -> int:
    if int(text) > MOST:
        raise InvalidRequest(f"{text} basis points are more than {MOST}, the half.")
    return int(text)
