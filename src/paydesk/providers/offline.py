"""What the ways to pay share that have no interface: a reference, and a page of instructions.

The payer is given a reference and instructions; a person, or an imported statement, says that the
money has come (`flows/offline.py`). Nothing can be asked, so nothing is ever fetched.
"""

from __future__ import annotations

import hashlib
from typing import Any

from paydesk.providers.base import Charge, Order, Provider, RemoteCheckout

#: No I, L, O, U, V, 0, 1: what is read out and written by hand is not mistaken.
_LETTERS = "23456789ABCDEFGHJKMNPQRSTWXYZ"
REFERENCE_PREFIX = "PD"
_GROUPS, _GROUP = 3, 4


def reference_of(payment: str) -> str:
    """What the payer writes beside the money: the same for the same payment. Its last letter
    checks the others."""
    number = int.from_bytes(hashlib.sha256(payment.encode()).digest()[:10], "big")
    letters = []
    for _ in range(_GROUPS * _GROUP - 1):
        number, digit = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[digit])
    letters.append(check_letter(letters))
    groups = ["".join(letters[i : i + _GROUP]) for i in range(0, len(letters), _GROUP)]
    return "-".join([REFERENCE_PREFIX, *groups])


def check_letter(letters: list[str]) -> str:
    """A weighted sum: finds one wrong letter and two that changed places."""
    total = sum((i + 1) * _LETTERS.index(one) for i, one in enumerate(letters))
    return _LETTERS[total % len(_LETTERS)]


class Offline(Provider):
    """A provider without an interface. A checkout is our own page of instructions."""

    can = frozenset({"checkout", "expire", "offline"})

    def checkout_request(self, order: Order) -> dict[str, Any]:
        return {"reference": reference_of(order.id)}

    def create_checkout(self, order: Order) -> RemoteCheckout:
        assert order.request is not None
        page, _, query = order.success_url.partition("?")
        url = page.removesuffix("/success") + "/instructions" + (f"?{query}" if query else "")
        return RemoteCheckout(id=order.request["reference"], url=url)

    def expire_checkout(self, ref: str, key: str) -> Charge:
        """Ours alone decides when it is over; money that comes later still counts."""
        return Charge(ref=ref, session_ref=ref, status="expired", ended=True)

    def session_minutes(self) -> int:
        return self.settings.offline_expiry_days * 1440

    def instructions(self) -> str:
        """What the payer is told, as the settings have it."""
        return ""
